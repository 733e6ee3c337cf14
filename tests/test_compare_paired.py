"""The paired ratio and its interval: exact where the arithmetic is, and as often right as it says where agents share one queue."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare_coverage import by_requests, holding, intervals
from openagentperf.report.comparepaired import Observed, Ratio, matched, of_phases


def observed(*turns: tuple[int, float, float]) -> Observed:
    """(key, due, value)."""
    keys, due, values = zip(*turns, strict=True)
    return Observed(np.array(keys), np.array(due), np.log(np.array(values)))


def test_turns_are_held_against_the_same_turns() -> None:
    """B is twice as slow on each turn, and ran mostly the short one: unpaired it would look faster."""
    a = observed((1, 0.1, 1.0), (2, 0.2, 100.0), (2, 0.4, 100.0), (3, 0.5, 7.0))
    b = observed((1, 0.1, 2.0), (1, 0.3, 2.0), (1, 0.6, 2.0), (2, 0.7, 200.0), (4, 0.9, 0.001))
    found = matched([a], [b])
    assert found is not None
    assert found.ratio.ratio == pytest.approx(2.0)
    assert found.keys == 2, "turns 1 and 2; 3 and 4 stand alone"


def test_what_a_phase_adds_to_all_its_turns_is_its_own_effect() -> None:
    """Phases of A add x1 and x4, those of B x2 and x8, whatever the turns: the ratio of the geometric means is 4 / 2."""
    cost = {key: 1.0 + key for key in range(6)}
    phases = [observed(*((key, key / 6, cost[key] * added) for key in keys)) for added, keys in
              ((1, (0, 1, 2)), (4, (2, 3, 4)), (2, (1, 3, 5)), (8, (0, 4, 5)))]  # fmt: skip
    found = matched(phases[:2], phases[2:])
    assert found is not None
    assert found.ratio.unit == "phase"
    assert found.ratio.ratio == pytest.approx(2.0)
    # Scatter within each side: ln 4 apart, so s^2 = (2 (ln 2)^2 + 2 (ln 2)^2) / 2; error s; t(2 degrees, 95 %) = 2.92.
    s = math.sqrt(2) * math.log(2)
    assert found.ratio.high is not None
    assert math.log(found.ratio.high / 2) == pytest.approx(2.92 * s, rel=0.02)


def test_one_phase_each_is_cut_into_blocks() -> None:
    turns = [(key, (key + 0.5) / 60, 1.0 + key % 7) for key in range(60)]
    twice = [(key, due, 2 * value) for key, due, value in turns]
    found = matched([observed(*turns)], [observed(*twice)])
    assert found is not None
    assert (found.ratio.unit, found.ratio.ratio) == ("block", pytest.approx(2.0))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([], [observed((1, 0.5, 1.0))]),
        ([observed((1, 0.5, 1.0))], [observed((2, 0.5, 1.0))]),  # no turn in common
    ],
)
def test_nothing_in_common_is_no_ratio(a: list[Observed], b: list[Observed]) -> None:
    assert matched(a, b) is None


def test_phases_that_do_not_hang_together_are_no_ratio() -> None:
    """A1 and B1 share turn 1, A2 and B2 share turn 2: nothing ties the one couple to the other."""
    assert (
        matched([observed((1, 0, 1.0)), observed((2, 0, 9.0))], [observed((1, 0, 2.0)), observed((2, 0, 18.0))]) is None
    )


@pytest.mark.parametrize(
    ("a", "b", "want"),
    [
        ([2.0], [3.0], Ratio(ratio=1.5)),  # one phase each: no scatter, no interval
        ([2.0, 2.0], [3.0, 3.0], Ratio(ratio=1.5, low=1.5, high=1.5, unit="phase")),
        ([2.0], [0.0], None),
        ([], [1.0], None),
        ([math.inf], [1.0], None),
    ],
)
def test_figures_that_a_phase_gives_once(a: list[float], b: list[float], want: Ratio | None) -> None:
    found = of_phases(a, b)
    if want is None:
        assert found is None
    else:
        assert found is not None
        assert (found.ratio, found.unit) == (pytest.approx(want.ratio), want.unit)
        assert (found.low is None) == (want.low is None)
        assert found.low is None or found.low == pytest.approx(want.low)


# -- how often the interval holds the truth ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phases_a", "phases_b", "unit", "least"), [(3, 3, "phase", 0.84), (2, 2, "phase", 0.84), (1, 1, "block", 0.90)]
)
def test_a_90_percent_interval_holds_the_truth_nine_times_in_ten(
    phases_a: int, phases_b: int, unit: str, least: float
) -> None:
    """100 pairs of runs. Of a true 90 % interval 84 or more of 100 hold it with a probability of 0.98; with requests as units 32 do."""
    found = intervals(phases_a, phases_b, 100, agents=20)
    assert {ratio.unit for ratio in found} == {unit}
    assert holding(found) >= least * 100


def test_requests_as_units_would_be_wrong_most_of_the_time() -> None:
    """What the method is there for."""
    assert by_requests(60, agents=20) < 0.5 * 60


# -- laws ----------------------------------------------------------------------------------------------------------------------

seen = st.lists(st.tuples(st.integers(0, 5), st.floats(0, 0.999), st.floats(0.01, 100)), min_size=3, max_size=30)
side = st.lists(seen, min_size=1, max_size=3)


def sides(
    a: list[list[tuple[int, float, float]]], b: list[list[tuple[int, float, float]]]
) -> tuple[list[Observed], list[Observed]]:
    return [observed(*phase) for phase in a], [observed(*phase) for phase in b]


@given(a=side, b=side)
def test_the_other_way_round_is_the_inverse(
    a: list[list[tuple[int, float, float]]], b: list[list[tuple[int, float, float]]]
) -> None:
    there, back = matched(*sides(a, b)), matched(*sides(b, a))
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert there.ratio.ratio * back.ratio.ratio == pytest.approx(1)
        assert there.keys == back.keys
        assert (there.ratio.low is None) == (back.ratio.high is None)
        if there.ratio.low is not None and back.ratio.high is not None:
            assert math.log(there.ratio.low) == pytest.approx(-math.log(back.ratio.high), abs=1e-6)


@given(a=side, b=side, factor=st.floats(0.1, 10), costs=st.lists(st.floats(0.1, 10), min_size=6, max_size=6))
def test_a_turn_s_own_cost_cancels_out_and_a_factor_comes_through(
    a: list[list[tuple[int, float, float]]], b: list[list[tuple[int, float, float]]], factor: float, costs: list[float]
) -> None:
    before = matched(*sides(a, b))
    after = matched(
        *sides(
            [[(key, due, value * costs[key]) for key, due, value in phase] for phase in a],
            [[(key, due, value * costs[key] * factor) for key, due, value in phase] for phase in b],
        )
    )
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert after.ratio.ratio == pytest.approx(factor * before.ratio.ratio, rel=1e-6)
