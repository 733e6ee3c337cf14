"""What the search does for every system, start, limit and resolution, and for every sequence of verdicts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openagentperf import plan
from openagentperf.records.phase import Judged, TierVerdict
from openagentperf.search.belief import step_size
from openagentperf.search.step import Step, next_step, standings
from openagentperf.seeds import Stream

Word = Literal["pass", "fail", "invalid", "short"]
"""A verdict, or `short`: invalid for nothing but too little data."""
Oracle = Callable[[Step, str], Word]
RIGOR = plan.Rigor()
CERTIFY = RIGOR.certify_phases


def tiers_of(count: int) -> plan.TierSet:
    return plan.TierSet(
        name="law", tier=tuple(plan.Tier(name=f"t{i}", output_speed=10, ttft_s=1) for i in range(count))
    )


def judged(index: int, step: Step, verdicts: Sequence[TierVerdict]) -> Judged:
    return Judged(
        index=index,
        agents=step.agents,
        kind=step.kind,
        verdicts=tuple(verdicts),
        measured_turns=200,
        completed_trajectories=0,
        failed_turns=0,
    )


def run(tiers: plan.TierSet, rules: plan.Search, oracle: Oracle, bound: int) -> list[Judged]:
    """The whole search against an oracle; fails where it is longer than `bound` phases."""
    history: list[Judged] = []
    while (step := next_step(history, tiers, rules, RIGOR)) is not None:
        assert len(history) < bound, f"more than {bound} phases"
        assert 1 <= step.agents <= rules.limit
        history.append(judged(len(history), step, [said(t.name, oracle(step, t.name)) for t in tiers.tier]))
    return history


def said(tier: str, word: Word) -> TierVerdict:
    return TierVerdict(tier=tier, verdict="invalid" if word == "short" else word, short=word == "short")


def monotone(capacities: Sequence[int]) -> Oracle:
    return lambda step, tier: "pass" if step.agents <= capacities[int(tier[1:])] else "fail"


def short_below(level: int, oracle: Oracle) -> Oracle:
    """A slow system: too few turns fit into a search phase of fewer than `level` agents."""
    return lambda step, tier: "short" if step.kind == "search" and step.agents < level else oracle(step, tier)


def searched(history: Sequence[Judged]) -> list[int]:
    return [phase.agents for phase in history if phase.kind == "search"]


def bracket(capacity: int, rules: plan.Search) -> tuple[int, int, int | None]:
    """(phases of the ramp, largest passing, smallest failing): the doubling, written down once more."""
    low, level, phases = 0, min(rules.start, rules.limit), 1
    while level <= capacity and level < rules.limit:
        low, level, phases = level, min(2 * level, rules.limit), phases + 1
    return (phases, level, None) if level <= capacity else (phases, low, level)


def log2_up(n: int) -> int:
    return (n - 1).bit_length()


RULES = st.builds(
    plan.Search,
    start=st.integers(1, 300),
    limit=st.integers(1, 5000),
    resolution=st.sampled_from([0.0, 0.001, 0.02, 0.1, 0.5, 1.0]) | st.floats(0, 1),
)
CAPACITIES = st.lists(st.integers(0, 5200), min_size=1, max_size=4)


@given(CAPACITIES, RULES)
@settings(max_examples=150, deadline=None)
@example([0, 1, 2, 3], plan.Search(start=1, limit=1))
@example([99, 100, 101], plan.Search(start=300, limit=5000, resolution=0.02))
def test_finds_the_capacities_of_any_monotone_system(capacities: list[int], rules: plan.Search) -> None:
    tiers = tiers_of(len(capacities))
    history = run(tiers, rules, monotone(capacities), bound=400)
    levels = searched(history)
    assert len(levels) == len(set(levels)), "a search level is never measured twice: a phase costs minutes"
    for capacity, standing in zip(capacities, standings(history, tiers, rules, RIGOR), strict=True):
        found = standing.agents
        assert found is not None
        assert standing.non_monotone == ()
        if capacity == 0:
            assert (standing.standing, found) == ("unmet", 0)
        elif capacity >= rules.limit:
            assert (standing.standing, found) == ("at_least", rules.limit)
        else:
            assert standing.standing in ("certified", "unmet")
            assert found <= capacity < found + step_size(rules.resolution, found)
            assert standing.failing is not None
            assert capacity < standing.failing <= found + step_size(rules.resolution, found)


@given(st.integers(0, 5200), RULES)
@settings(max_examples=150, deadline=None)
def test_one_tier_takes_the_ramp_then_a_bisection_of_its_bracket(capacity: int, rules: plan.Search) -> None:
    """Search phases <= ramp + ceil(log2(width / step)), with = where the width is a power of two and the step one."""
    history = run(tiers_of(1), rules, monotone([capacity]), bound=100)
    ramp, low, high = bracket(capacity, rules)
    phases = len(searched(history))
    if high is None:
        assert phases == ramp
    else:
        width, step = high - low, step_size(rules.resolution, low)
        assert phases <= ramp + log2_up(-(-width // step))
        if width & (width - 1) == 0 and rules.resolution == 0:
            assert phases == ramp + log2_up(width)


@pytest.mark.parametrize("start", [1, 3, 5, 8])
@pytest.mark.parametrize("limit", [8, 21, 48])
def test_no_bisection_could_take_fewer_phases(start: int, limit: int) -> None:
    """A bracket of width w holds w answers and a phase tells two apart, so some capacity in it costs ceil(log2 w)
    phases whatever the rule; here the worst does, and not one more."""
    rules = plan.Search(start=start, limit=limit, resolution=0)
    worst: dict[tuple[int, int], int] = {}
    for capacity in range(limit):
        ramp, low, high = bracket(capacity, rules)
        assert high is not None
        bisections = len(searched(run(tiers_of(1), rules, monotone([capacity]), bound=100))) - ramp
        worst[low, high] = max(worst.get((low, high), 0), bisections)
    assert worst == {(low, high): log2_up(high - low) for low, high in worst}


@given(CAPACITIES, RULES)
@settings(max_examples=60, deadline=None)
def test_tiers_together_measure_what_each_would_alone_and_no_more(capacities: list[int], rules: plan.Search) -> None:
    together = run(tiers_of(len(capacities)), rules, monotone(capacities), bound=400)
    alone = [run(tiers_of(1), rules, monotone([capacity]), bound=100) for capacity in capacities]
    assert set(searched(together)) == {level for history in alone for level in searched(history)}
    # Certifying: three phases a distinct candidate, shared by the tiers that have it in common.
    certified = [phase.agents for phase in together if phase.kind == "certify"]
    assert certified == [
        level
        for level in sorted({p.agents for h in alone for p in h if p.kind == "certify"}, reverse=True)
        for _ in range(CERTIFY)
    ]


@given(st.integers(0, 5200), RULES)
@settings(max_examples=60, deadline=None)
def test_phases_left_is_never_too_few(capacity: int, rules: plan.Search) -> None:
    tiers = tiers_of(1)
    history = run(tiers, rules, monotone([capacity]), bound=100)
    left = [standings(history[:n], tiers, rules, RIGOR)[0].phases_left for n in range(len(history) + 1)]
    assert all(left[n] >= len(history) - n for n in range(len(left)))
    assert all(after < before for before, after in itertools.pairwise(left)), "each phase brings the end nearer"
    assert left[-1] == 0


@given(st.lists(st.integers(0, 300), min_size=1, max_size=3), st.integers(1, 300), RULES)
@settings(max_examples=250, deadline=None)
@example([6], 5, plan.Search(start=1, limit=4096))  # the first level with data, 8, fails
@example([7], 7, plan.Search(start=1, limit=4096, resolution=1.0))
@example([4], 5, plan.Search(start=1, limit=4096))
@example([9], 8, plan.Search(start=1, limit=8))
def test_a_system_short_of_turns_at_low_levels_is_found_all_the_same(
    capacities: list[int], enough: int, rules: plan.Search
) -> None:
    """Exactly where the capacity is a level with data, else not at all; no short level is ever believed."""
    tiers = tiers_of(len(capacities))
    history = run(tiers, rules, short_below(enough, monotone(capacities)), bound=400)
    levels = searched(history)
    most = {level: 1 if level >= enough else 1 + rules.invalid_repeats for level in levels}
    assert all(levels.count(level) <= most[level] for level in most)
    for capacity, standing in zip(capacities, standings(history, tiers, rules, RIGOR), strict=True):
        assert standing.passing == 0 or standing.passing >= enough
        found = standing.agents
        if enough > rules.limit or capacity < enough != 1:
            assert (standing.standing, found) == ("invalid", None)
            assert "larger limit_s" in standing.why
        elif capacity >= rules.limit:
            assert (standing.standing, found) == ("at_least", rules.limit)
        else:
            assert found is not None
            assert found <= capacity < found + step_size(rules.resolution, found)
            assert capacity == 0 or step_size(rules.resolution, found) > 1 or found == capacity


@given(st.integers(0, 300), st.integers(1, 300), RULES)
@settings(max_examples=100, deadline=None)
def test_phases_left_is_never_too_few_beside_short_levels(capacity: int, enough: int, rules: plan.Search) -> None:
    """Counted from the last invalid phase: `phases_left` foresees none."""
    tiers = tiers_of(1)
    history = run(tiers, rules, short_below(enough, monotone([capacity])), bound=100)
    valid = 1 + max((i for i, phase in enumerate(history) if phase.verdict("t0") == "invalid"), default=-1)
    for n in range(valid, len(history) + 1):
        assert standings(history[:n], tiers, rules, RIGOR)[0].phases_left >= len(history) - n
    assert standings(history, tiers, rules, RIGOR)[0].phases_left == 0


@st.composite
def noise(draw: st.DrawFn) -> tuple[plan.TierSet, plan.Search, Oracle, int]:
    """Any verdicts at all: each tier draws pass, fail, invalid or short by weights of its own, or by level, or both."""
    count = draw(st.integers(1, 3))
    rules = plan.Search(
        start=draw(st.integers(1, 12)),
        limit=draw(st.integers(1, 24)),
        resolution=draw(st.sampled_from([0.0, 0.02, 0.2, 1.0])),
        invalid_repeats=draw(st.integers(0, 2)),
    )
    percent = st.integers(0, 100)
    weights = [(draw(percent), draw(st.integers(0, 30)), draw(st.integers(0, 60))) for _ in range(count)]
    knees = [draw(st.integers(0, 24)) for _ in range(count)]
    stream = Stream(draw(st.integers(0, 2**32)), "oracle")

    def oracle(step: Step, tier: str) -> Word:
        i = int(tier[1:])
        agree, invalid, short = weights[i]
        if stream.below(100) < invalid:
            return "invalid"
        if stream.below(100) < short:
            return "short"
        right = stream.below(100) < agree
        return "pass" if (step.agents <= knees[i]) == right else "fail"

    # Per tier and level: one short phase, one search verdict, one repeat, two runs of certifying phases; each after R invalid ones.
    bound = count * rules.limit * (3 + 2 * CERTIFY) * (1 + rules.invalid_repeats)
    return tiers_of(count), rules, oracle, bound


def stands(history: Sequence[Judged], tier: str, level: int) -> bool:
    """Whether a fail at `level` stands, by the rule's words: one fail only, then a pass above, then a pass here."""
    seen = [(p.agents, p.verdict(tier)) for p in history]
    fails = [i for i, (agents, verdict) in enumerate(seen) if agents == level and verdict == "fail"]
    if len(fails) != 1:
        return bool(fails)
    passes_here = [i for i in range(fails[0], len(seen)) if seen[i] == (level, "pass")]
    passes_above = [i for i, (agents, verdict) in enumerate(seen) if agents > level and verdict == "pass"]
    return not any(above < here for here in passes_here for above in passes_above)


@given(noise())
@settings(max_examples=250, deadline=None)
def test_any_verdicts_end_and_nothing_is_believed_above_a_standing_fail(
    case: tuple[plan.TierSet, plan.Search, Oracle, int],
) -> None:
    tiers, rules, oracle, bound = case
    history = run(tiers, rules, oracle, bound)
    for s in standings(history, tiers, rules, RIGOR):
        assert s.standing != "unfinished"
        assert s.phases_left == 0
        believed = s.agents or 0
        assert s.failing is None or max(believed, s.passing) < s.failing
        if s.standing == "invalid":
            assert s.agents is None
            continue
        assert not any(stands(history, s.tier, level) for level in range(1, believed + 1))
        assert all(s.failing is not None and level > s.failing for level in s.non_monotone)
        if believed:
            certifying = [history[i] for i in s.certifying]
            assert [(p.agents, p.kind, p.verdict(s.tier)) for p in certifying] == [
                (believed, "certify", "pass")
            ] * CERTIFY
            # It was the candidate by then: the phases before wanted this level certified, or had it certified already.
            before = history[: s.certifying[0]]
            alone = plan.TierSet(name="alone", tier=(plan.Tier(name=s.tier, output_speed=10, ttft_s=1),))
            step = next_step(before, alone, rules, RIGOR)
            assert step is not None
            assert (step.agents, step.kind) == (believed, "certify")
        elif s.standing == "unmet":
            assert s.failing == 1
            assert any(p.agents == 1 and p.verdict(s.tier) == "fail" for p in history)


@given(noise())
@settings(max_examples=60, deadline=None)
def test_every_attempt_answers_a_need_and_no_need_is_asked_for_ever(
    case: tuple[plan.TierSet, plan.Search, Oracle, int],
) -> None:
    """No level gets more search phases than tiers x (short + first + repeat), each after its invalid repeats."""
    tiers, rules, oracle, bound = case
    levels = searched(run(tiers, rules, oracle, bound))
    most = len(tiers.tier) * (3 + 3 * rules.invalid_repeats)
    assert all(levels.count(level) <= most for level in set(levels))
