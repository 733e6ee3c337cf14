"""Phases begun before they are asked for: the same bytes, whatever was guessed; and how good the guesses are."""

from __future__ import annotations

import multiprocessing

import pytest
from msgspec.structs import replace

import simulated
from openagentperf.errors import UsageError
from openagentperf.records.phase import Judged, Quota, TierVerdict
from openagentperf.search.step import Step, next_step
from openagentperf.sim.spec import ClusterSpec
from openagentperf.sim.virtual import SimPhase, run_phase
from openagentperf.simulation.ahead import Ahead, Asked, foreseen, likely_steps
from replicas import demo_work
from simworlds import order_of

SPEC = simulated.cluster()
WORK = demo_work(10)
QUOTA = Quota(turns=20, trajectories=0)
SLOW, NEVER = simulated.TIERS.tier


def asked(agents: int, seed: int = 1) -> Asked:
    return Asked(order_of(agents, seed=seed, settle_s=0.5, measure_s=2.0), QUOTA)


def alone(spec: ClusterSpec, each: Asked) -> SimPhase:
    return run_phase(spec, WORK, *each)


def same(one: SimPhase, other: SimPhase) -> bool:
    columns = {name: column.tolist() for name, column in one.columns.items()}
    rest = (one.facts, one.samples, one.power, one.usage)
    return columns == {name: column.tolist() for name, column in other.columns.items()} and rest == (
        other.facts, other.samples, other.power, other.usage,
    )  # fmt: skip


def test_what_was_begun_ahead_is_what_would_have_been_simulated_in_its_turn() -> None:
    """A first phase here, which says how long they take; then a right guess, and a wrong one."""
    first, second, third, other = asked(2), asked(4), asked(6), asked(6, seed=2)
    with Ahead(SPEC, WORK, processes=2, worth_s=0.0) as ahead:
        for each, guess in ((first, second), (second, third), (third, second), (other, first)):
            assert same(ahead.phase(each, iter([guess])), alone(SPEC, each))
    assert not multiprocessing.active_children()


def test_a_process_that_was_killed_costs_time_and_nothing_else() -> None:
    """What it made is more than a pipe holds, so that it cannot have ended before."""
    long = Asked(order_of(8, settle_s=0.5, measure_s=60.0), QUOTA)
    with Ahead(SPEC, WORK, processes=2, worth_s=0.0) as ahead:
        ahead.phase(asked(1), iter([]))
        ahead.phase(asked(2), iter([long]))
        (child,) = multiprocessing.active_children()
        child.kill()
        child.join()
        assert same(ahead.phase(long, iter([])), alone(SPEC, long))


def test_what_cannot_be_simulated_says_why_as_if_it_had_been_simulated_here() -> None:
    with Ahead(replace(SPEC, workers=()), WORK, processes=2, worth_s=-1.0) as ahead, pytest.raises(UsageError):
        ahead.phase(asked(1), iter([]))


def judged(agents: int, verdict: str, speed: float, ttft_s: float = 1.0, index: int = 0) -> Judged:
    return Judged(
        index=index, agents=agents, kind="search", measured_turns=200, completed_trajectories=0, failed_turns=0,
        speed_p25=speed, ttft_p95_s=ttft_s,
        verdicts=tuple(TierVerdict(tier=tier.name, verdict=verdict) for tier in (SLOW, NEVER)),  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("history", "agents", "verdict"),
    [
        ([], 1, "pass"),
        ([judged(8, "pass", 40)], 4, "pass"),  # a higher level passed
        ([judged(8, "fail", 10)], 8, "fail"),  # it failed
        ([judged(4, "pass", 80), judged(8, "pass", 40)], 16, "pass"),  # 20 tokens/s: just on it
        ([judged(4, "pass", 80), judged(8, "pass", 30)], 16, "fail"),  # falls by 2.7: 11
        ([judged(4, "pass", 40), judged(16, "fail", 15)], 8, "pass"),  # 24
        ([judged(4, "pass", 26), judged(16, "fail", 13)], 8, "fail"),  # 18
        ([judged(4, "pass", 40, 0.5), judged(16, "fail", 40, 20)], 8, "fail"),  # 3.2 s where 2 are allowed
        ([judged(4, "pass", 40), judged(8, "fail", 0, 0)], 6, "fail"),  # nothing came
    ],
)  # fmt: skip
def test_a_verdict_is_guessed_from_the_levels_around(history: list[Judged], agents: int, verdict: str) -> None:
    plan = simulated.plan()
    guess = foreseen(history, plan, Step(agents=agents, kind="search", why=""))
    assert guess.verdict(SLOW.name) == verdict


def test_most_of_a_search_is_guessed() -> None:
    """A system of 1,000 / (20 + agents) tokens/s: 30 hold 20 tokens/s. Wrong are two of the 12 phases after the first."""
    plan = simulated.plan()
    history: list[Judged] = []
    right = []
    guess: Step | None = None
    while (step := next_step(history, plan.tiers, plan.search, plan.rigor)) is not None:
        right.append(guess is not None and (guess.agents, guess.kind) == (step.agents, step.kind))
        guess = next(likely_steps(history, plan, step), None)
        speed = 1_000 / (20 + step.agents)
        verdicts = tuple(
            TierVerdict(tier=tier.name, verdict="pass" if speed >= tier.output_speed else "fail")
            for tier in (SLOW, NEVER)
        )
        level = judged(step.agents, "pass", speed, 0.1, len(history))
        history.append(replace(level, kind=step.kind, verdicts=verdicts))
    assert history[-1].agents == 30
    assert (len(right), sum(right)) == (13, 10)
