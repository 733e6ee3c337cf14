"""How long may the run still take? Arithmetic over what the search still wants."""

from __future__ import annotations

import pytest

from openagentperf.plan import Rigor
from openagentperf.records.standing import Standing
from openagentperf.snapshot import rest_s

RIGOR = Rigor(spawn_per_s=10, settle_s=2, search_measure_s=4, measure_s=6, certify_phases=3)
SEARCH_S, CERTIFY_S = 20 / 10 + 2 + 4, 20 / 10 + 2 + 6


def unfinished(left: int, failing: int | None) -> Standing:
    return Standing(tier="t", standing="unfinished", agents=None, passing=1, failing=failing, phases_left=left)


def test_phases_that_outlast_their_shortest_length_are_reckoned_at_the_usual_one():
    left = [unfinished(2, 8)]
    assert rest_s(left, RIGOR, 20, usual_s=15) == pytest.approx(30)
    assert rest_s(left, RIGOR, 20, usual_s=15, in_phase_s=4) == pytest.approx(26)
    assert rest_s(left, RIGOR, 20, usual_s=15, in_phase_s=400) == pytest.approx(15), (
        "the open phase takes its own share only"
    )
    assert rest_s(left, RIGOR, 20, usual_s=1) == pytest.approx(2 * CERTIFY_S)


@pytest.mark.parametrize(
    ("standings", "want_s"),
    [
        ([], 0),
        ([unfinished(2, 8)], 2 * CERTIFY_S),  # two certifying phases are all that is left
        ([unfinished(10, None)], 7 * SEARCH_S + 3 * CERTIFY_S),
        ([unfinished(10, None), unfinished(8, None)], 7 * SEARCH_S + 6 * CERTIFY_S),  # they share the ramp
        ([unfinished(10, None), unfinished(5, 8)], (7 + 2) * SEARCH_S + 6 * CERTIFY_S),  # a bisection of its own adds
    ],
)
def test_rest(standings: list[Standing], want_s: float):
    assert rest_s(standings, RIGOR, agents=20) == pytest.approx(want_s)
