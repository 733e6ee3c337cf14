"""From the ledger to the answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from openagentperf.plan import Endpoint, Plan, Rigor, Simulate, System, Tier, TierSet, Workload
from openagentperf.records.phase import Judged
from openagentperf.records.result import Result, labels, standing_words
from openagentperf.records.standing import Standing
from openagentperf.score import worklength
from openagentperf.score.capacity import CorpusFacts, exit_code, other_notes, result
from openagentperf.score.estimate import crossing, student_t95
from phases import EASY, HARD, attempt

CORPUS = CorpusFacts(digest="c" * 64, input_tokens_mean=27000.0, output_tokens_mean=400.0)


def plan(**more: Any) -> Plan:
    fields: dict[str, Any] = {
        "tiers": TierSet(name="test", version="2", tier=(EASY,)),
        "endpoint": Endpoint(url="http://localhost/v1"),
        "system": System(accelerators=8),
    }
    return Plan(**(fields | more))


def standing(name: str = "certified", **more: Any) -> Standing:
    fields: dict[str, Any] = {
        "tier": "easy", "standing": name, "agents": 12, "passing": 12, "failing": 14, "certifying": (1, 2, 3)
    }  # fmt: skip
    return Standing(**(fields | more))


def history() -> list[Judged]:
    return [
        attempt(0, 14, "fail", "search"),
        attempt(1, 12, "pass", ttft_p95_s=7.0, speed_p25=40.0, input_tokens_mean=100.0, measured_turns=100),
        attempt(2, 12, "pass", ttft_p95_s=8.0, speed_p25=45.0, input_tokens_mean=200.0, measured_turns=300),
        attempt(3, 12, "pass", ttft_p95_s=6.0, speed_p25=39.0, e2e_speed_p25=20.0),
    ]


def found(**more: Any) -> Result:
    asked: dict[str, Any] = {"history": history(), "standings": [standing()], "plan": plan()}
    asked |= more
    return result(asked["plan"], asked["history"], asked["standings"], CORPUS, "0.1.0", notes=("said before",))


def test_a_certified_capacity() -> None:
    answer = found()
    (tier,) = answer.results
    assert (tier.standing, tier.agents, tier.smallest_failing) == ("certified", 12, 14)
    assert tier.agents_per_accelerator == 1.5  # 12 / 8
    # the worst of the three certifying phases, not of the search
    assert (tier.ttft_p95_s, tier.speed_p25, tier.e2e_speed_p25) == (8.0, 39.0, 20.0)
    assert tier.estimate is None  # three full phases, six are needed
    assert answer.workmix.input_tokens_mean == 175.0  # (100 x 100 + 300 x 200) / 400; phase 3 has no count
    assert answer.workmix.output_tokens_mean is None
    assert answer.workmix.set_input_tokens_mean == 27000.0
    assert (answer.tiers, answer.target, answer.cache) == ("test 2", "endpoint", "cache verified")
    assert answer.phases == tuple(history())  # every attempt, in order
    assert (answer.exit_code, answer.notes[0]) == (0, "said before")


def test_a_figure_missing_from_one_certifying_phase_has_no_worst() -> None:
    phases = history()
    phases[2] = attempt(2, 12, "pass", ttft_p95_s=None)
    assert found(history=phases).results[0].ttft_p95_s is None


@pytest.mark.parametrize(
    ("agents", "accelerators", "want"), [(12, 8, 1.5), (0, 8, 0.0), (12, 0, None), (None, 8, None)]
)
def test_agents_per_accelerator(agents: int | None, accelerators: int, want: float | None) -> None:
    answer = found(plan=plan(system=System(accelerators=accelerators)), standings=[standing(agents=agents)])
    assert answer.results[0].agents_per_accelerator == want


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["certified", "confirmed", "at_least"], 0),
        (["certified", "unmet"], 3),
        (["unmet", "unfinished"], 130),
        (["unmet", "unfinished", "invalid"], 4),
    ],
)
def test_exit_code(names: list[str], code: int) -> None:
    assert exit_code([standing(name) for name in names]) == code


@pytest.mark.parametrize(
    ("phases", "cache"),
    [
        ([attempt(0, 1, "pass")], "cache verified"),
        ([attempt(0, 1, "pass"), attempt(1, 2, "pass", cached_fraction=None)], "cache unverified"),
        # nobody answered, so nobody could report
        ([attempt(0, 1, "pass"), attempt(1, 2, "fail", cached_fraction=None, failed_turns=200)], "cache verified"),
        ([], "cache unverified"),
    ],
)
def test_cache(phases: list[Judged], cache: str) -> None:
    assert found(history=phases, standings=[standing(certifying=())]).cache == cache


def test_labels_of_a_quick_run_on_the_embedded_target() -> None:
    answer = found(plan=plan(endpoint=None, rigor=Rigor(preset="quick", preliminary=True)))
    assert (answer.target, answer.preliminary, answer.rigor) == ("embedded simulated node", True, "quick")
    assert any(note.startswith("preliminary: rigor `quick`") for note in answer.notes)
    assert any("says nothing of any real system" in note for note in answer.notes)


def test_an_unfinished_simulation_is_simulated_by_its_target() -> None:
    """`simulated` is what the simulator found out at its end; the label does not wait for it."""
    answer = found(plan=plan(endpoint=None, simulate=Simulate(), rigor=Rigor(preset="quick", preliminary=True)))
    assert answer.simulated is None
    assert answer.standing_words(answer.results[0]) == "simulated"
    told = (*labels(answer), *other_notes(answer))
    assert any(label.startswith("simulated: ") for label in told)
    assert not any("confirmed" in label for label in told)


@pytest.mark.parametrize(
    ("standing", "target", "words"),
    [
        ("at_least", "endpoint", "at least"),
        ("at_least", "simulated cluster", "simulated"),
        ("certified", "embedded simulated node", "certified"),
        ("unmet", "simulated cluster", "unmet"),
        ("missing", "simulated cluster", "missing"),  # of a comparison: one side has no such tier
    ],
)
def test_standing_in_words(standing: str, target: str, words: str) -> None:
    assert standing_words(standing, target) == words


def test_a_note_that_a_label_says_is_said_once() -> None:
    answer = found(
        plan=plan(endpoint=None, rigor=Rigor(preset="quick", preliminary=True)), history=[], standings=[standing(certifying=())]
    )  # fmt: skip
    assert [label.partition(":")[0] for label in labels(answer)] == [
        "self-reported", "preliminary", "simulated target", "cache unverified", "quality unverified",
    ]  # fmt: skip
    assert other_notes(answer) == ["said before"]


def test_tiers_come_in_the_order_of_the_plan() -> None:
    both = plan(tiers=TierSet(name="test", tier=(HARD, EASY)))
    no_phases = {"certifying": ()}
    answer = found(
        plan=both, history=[], standings=[standing(**no_phases), standing("unmet", tier="hard", agents=0, **no_phases)]
    )
    assert [(t.tier, t.agents) for t in answer.results] == [("hard", 0), ("easy", 12)]
    assert answer.exit_code == 3


# --- the crossing ------------------------------------------------------------------------------------------------------------

TIER = Tier(name="easy", output_speed=30, ttft_s=10)


def on_a_line(levels: list[int], noise: list[float], crosses_at: float = 68.0, slope: float = 2.34) -> list[Judged]:
    """Full phases whose P95 TTFT is 10 s (N / crossing)^slope, times exp(noise)."""
    phases = []
    for index, (agents, error) in enumerate(zip(levels, noise, strict=True)):
        ttft = 10.0 * (agents / crosses_at) ** slope * math.exp(error)
        phases.append(attempt(index, agents, "pass" if ttft <= 10 else "fail", ttft_p95_s=ttft, speed_p25=3000.0))
    return phases


def test_an_exact_line_crosses_where_it_should() -> None:
    estimate = crossing(on_a_line([60, 64, 66, 70, 72, 80], [0.0] * 6), TIER)
    assert estimate is not None
    assert (estimate.estimate, estimate.low, estimate.high) == pytest.approx((68.0, 68.0, 68.0), rel=1e-9)
    assert estimate.phases == 6


def test_the_interval_by_hand() -> None:
    """x = ln N at +-h about the middle, three phases each, y = +-h with errors -e, 0, +e: slope 1, crossing in the middle.

    residual^2 = 4 e^2 / 4 = e^2; Sxx = 6 h^2; t(4) = 2.132; g = t^2 e^2 / (6 h^2); half width = t e sqrt((1 - g) / 6) / (1 - g).
    """
    h, e = math.log(2), 0.1
    phases = on_a_line([25, 25, 25, 100, 100, 100], [-e, 0, e, -e, 0, e], crosses_at=50, slope=1.0)
    estimate = crossing(phases, TIER)
    g = 2.132**2 * e * e / (6 * h * h)
    half = 2.132 * e * math.sqrt((1 - g) / 6) / (1 - g)
    assert estimate is not None
    assert estimate.estimate == pytest.approx(50.0)
    assert math.log(estimate.high / 50) == pytest.approx(half, rel=2e-3)
    assert math.log(50 / estimate.low) == pytest.approx(half, rel=2e-3)


def test_the_interval_solves_its_own_equation_away_from_the_middle() -> None:
    """At both ends the line is just t standard errors from zero: y^2 = t^2 s^2 (1 / n + (x - mean)^2 / Sxx), s^2 over n - 2."""
    levels, noise = [34, 38, 42, 46, 50, 70], [0.05, -0.05, 0.02, 0.04, -0.06, 0.01]
    phases = on_a_line(levels, noise, crosses_at=60.0)
    estimate = crossing(phases, TIER)
    assert estimate is not None
    xs = np.log(levels)
    ys = 2.34 * (xs - math.log(60.0)) + noise
    slope, at_zero = np.polyfit(xs, ys, 1)
    variance = float(((ys - at_zero - slope * xs) ** 2).sum()) / 4
    assert math.log(estimate.estimate) == pytest.approx(-at_zero / slope)
    for end in (estimate.low, estimate.high):
        x = math.log(end)
        error = variance * (1 / 6 + (x - xs.mean()) ** 2 / float(((xs - xs.mean()) ** 2).sum()))
        assert (at_zero + slope * x) ** 2 == pytest.approx(student_t95(4) ** 2 * error)


def test_phases_far_from_the_boundary_do_not_bend_the_line() -> None:
    """A cliff is no line: of twelve phases the six within a factor of 1.5 of the boundary make the fit."""
    near = on_a_line([12, 13, 14, 17, 18, 20], [0.0] * 6, crosses_at=15.5, slope=4.0)
    far = [attempt(10 + i, n, "pass", ttft_p95_s=9.5, speed_p25=3000.0) for i, n in enumerate([2, 2, 2, 4, 4, 4])]
    estimate = crossing(near + far, TIER)
    assert estimate is not None
    assert (estimate.estimate, estimate.phases) == (pytest.approx(15.5), 6)
    assert crossing(far + near[:5], TIER) is None, "five phases near it are too few, whatever lies far away"


@pytest.mark.parametrize(
    ("agents", "failing", "shown"),
    [
        (60, 72, True),  # the crossing, 68, lies between what was certified and what failed
        (60, 64, False),  # wholly above a level that failed: a cliff is no line
        (72, 80, False),  # wholly below a level that was certified
        (None, None, True),
    ],
)
def test_an_interval_beside_the_levels_found_is_not_an_estimate(
    agents: int | None, failing: int | None, shown: bool
) -> None:
    phases = on_a_line([60, 64, 66, 70, 72, 80], [0.0] * 6)
    stands = standing("unfinished" if agents is None else "certified", agents=agents, failing=failing, certifying=())
    assert (found(history=phases, standings=[stands]).results[0].estimate is not None) == shown


def with_speed_limit() -> list[Judged]:
    """TTFT stays far from its limit; P25 speed is 30 tokens/s x 50 / N."""
    return [
        attempt(i, n, "pass" if n <= 50 else "fail", ttft_p95_s=1.0, speed_p25=30.0 * 50 / n)
        for i, n in enumerate([40, 44, 48, 52, 56, 60])
    ]


def test_the_worse_criterion_decides() -> None:
    estimate = crossing(with_speed_limit(), TIER)
    assert estimate is not None
    assert estimate.estimate == pytest.approx(50.0)


@pytest.mark.parametrize(
    "phases",
    [
        on_a_line([60, 64, 66, 70, 72], [0.0] * 5),  # five
        on_a_line([40, 44, 48, 52, 56, 60], [0.0] * 6),  # all pass
        on_a_line([68] * 6, [-0.1, 0.1] * 3),  # one level
        on_a_line([60, 64, 66, 70, 72, 80], [0.9, -0.9, 0.9, -0.9, 0.9, -0.9]),  # all noise
        [*with_speed_limit(), attempt(6, 70, "fail", ttft_p95_s=None)],  # infinite: not on a log axis
        [attempt(j.index, j.agents, j.verdict("easy"), "search") for j in with_speed_limit()],  # not full phases
    ],
)
def test_no_estimate(phases: list[Judged]) -> None:
    assert crossing(phases, TIER) is None


def test_invalid_phases_are_not_on_the_line() -> None:
    phases = [*with_speed_limit(), attempt(6, 50, "invalid", speed_p25=1.0)]
    estimate = crossing(phases, TIER)
    assert estimate is not None
    assert estimate.phases == 6


@pytest.mark.parametrize(("freedom", "table"), [(4, 2.1318), (6, 1.9432), (10, 1.8125), (30, 1.6973)])
def test_student_t(freedom: int, table: float) -> None:
    assert student_t95(freedom) == pytest.approx(table, rel=2e-3)


# --- equal work --------------------------------------------------------------------------------------------------------------


def lengths(index: int, agents: int, scale: float, turns: int = 2000) -> Judged:
    """Log-normal output lengths as AgentPerf's (median 150, sigma 1.57), scaled."""
    quartiles = tuple(150 * scale * math.exp(1.57 * z) for z in (-0.6745, 0.0, 0.6745))
    mean = 150 * scale * math.exp(1.57**2 / 2)
    deviation = mean * math.sqrt(math.exp(1.57**2) - 1)
    return attempt(
        index, agents, "pass", measured_turns=turns, output_tokens_mean=mean, output_tokens_sd=deviation,
        output_tokens_quartiles=quartiles,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scale", "turns", "outside"),
    [
        (1.0, 2000, ""),
        (0.92, 20000, ""),  # within 10 %
        (0.7, 2000, "mean -30%, P25 -30%, P50 -30%, P75 -30%"),
        (0.7, 60, ""),  # 60 turns cannot tell: sigma 1.57, standard error of the median 25 %
        (0.7, 49, ""),  # too few to look at
    ],
)
def test_output_length_band(scale: float, turns: int, outside: str) -> None:
    reference, phase = lengths(0, 1, 1.0, max(turns, 2000)), lengths(4, 12, scale, turns)
    notes = worklength.unequal([reference, phase], [phase])
    assert [outside in note for note in notes] == ([True] if outside else [])


@pytest.mark.parametrize(
    ("reference", "silent"),
    [
        (lengths(0, 1, 1.0), True),
        (lengths(0, 1, 1.0, turns=50), True),
        (lengths(0, 1, 1.0, turns=49), False),  # short of turns: no reference
        (lengths(0, 2, 1.0), False),  # the search started at two agents
    ],
)
def test_work_that_could_not_be_compared_is_said_to_be_unverified(reference: Judged, silent: bool) -> None:
    notes = worklength.unequal([reference, lengths(1, 12, 1.0)], [lengths(1, 12, 1.0)])
    assert [n.startswith("equal work unverified: no low-load reference phase") for n in notes] == [True] * (not silent)
    assert worklength.unequal([reference], []) == [], "where nothing is established there is nothing to compare"


def test_output_lengths_are_compared_on_the_natural_track_only() -> None:
    phases = [lengths(0, 1, 1.0), *(lengths(i, 12, 0.5) for i in (1, 2, 3))]
    assert sum("output length" in note for note in found(history=phases).notes) == 3
    exact = plan(workload=Workload(track="exact"))
    assert not any("output length" in note for note in found(history=phases, plan=exact).notes)


def test_requests_of_sub_agents_are_reported_beside_the_agents_that_count():
    phases = [
        attempt(1, 12, "pass", subagent_share=0.3, in_flight_max=31, measured_turns=100),
        attempt(2, 12, "pass", subagent_share=0.4, in_flight_max=29, measured_turns=300),
        attempt(3, 12, "pass", subagent_share=0.4, in_flight_max=30, measured_turns=200),
    ]
    (said,) = [note for note in found(history=phases).notes if note.startswith("sub-agents")]
    assert "38.3% of the measured turns" in said  # (0.3 x 100 + 0.4 x 300 + 0.4 x 200) / 600
    assert "up to 31 requests in flight at 12 agents" in said
    alone = [attempt(k, 12, "pass", subagent_share=0.0, in_flight_max=12) for k in (1, 2, 3)]
    assert not any("sub-agents" in note for note in found(history=alone).notes)
