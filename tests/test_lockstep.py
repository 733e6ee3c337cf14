"""Ranks that step together, and who streams the first token: times are added up in the comments."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from openagentperf.records.phase import Quota
from openagentperf.sim.virtual import run_phase
from openagentperf.sim.workload import PlainTurn, Workload
from openagentperf.units import NS_PER_MS, NS_PER_S
from simworlds import DECODE, POWER, PREFILL, SPLIT, WORKER, Course, cluster_of, order_of

PAIR = replace(WORKER, workers=2, costs=replace(WORKER.costs, prefill_token_s=0.001, step_s=(0.01,) * 5))


def pair(spread: float, lockstep: int) -> Course:
    """The second prompt comes while the first request decodes on the other worker."""
    course = Course(
        cluster_of(
            replace(PAIR, lockstep=lockstep, costs=replace(PAIR.costs, prefill_spread=spread)), routing="round_robin"
        )
    )
    course.ask(0, talk=1, prompt=80, output=21)
    course.ask(95, talk=2, prompt=60, output=2)
    return course


def two(spread: float, lockstep: int) -> list[tuple[float, float]]:
    return pair(spread, lockstep).run()


def test_workers_without_lockstep_do_not_feel_each_other() -> None:
    # 10 + 80 ms to the first token, then 20 steps of 10 ms: 90, 290. The second worker is idle at 95: 10 + 60, and one step more.
    assert two(spread=0.0, lockstep=1) == [(90.0, 290.0), (165.0, 175.0)]


def test_a_prompt_on_one_rank_keeps_the_others() -> None:
    # At 95 the first is in its first step, which ends at 100; the next one takes 10 + 60 ms with the other's prompt, and ends at 170, by
    # when that has ended (at 165, in step with nobody yet): 18 steps more of 10 ms.
    assert two(spread=0.0, lockstep=2) == [(90.0, 350.0), (165.0, 175.0)]


def test_what_is_spread_over_the_group_is_shared() -> None:
    # All of a prompt is: 60 ms on one rank are 30 on two. The second has its first token at 95 + 10 + 30; the first one's long step ends at
    # 100 + 10 + 30 = 140, and 18 more follow. Its own prompt, alone in the group, took 10 + 40.
    first, second = two(spread=1.0, lockstep=2)
    assert first[0] == 50.0
    assert second == (135.0, 145.0)
    # From 50 on, steps end at 60, 70, 80, 90, 100 (the fifth); the sixth takes 10 + 30 ms; the 14 that are left end at 140 + 140.
    assert first[1] == 280.0


@pytest.mark.parametrize(
    ("spread", "first", "second"),
    [
        # (prefill, wait, busy) in ms. Its own 80; the other's 60 it waits for; 20 steps and that of its prompt decode, 10 ms each.
        (0.0, (80, 60, 350), (60, 0, 80)),
        # Half of 80 (the other rests, and is not metered), half of 60 in the step that both compute; nobody waits.
        (1.0, (70, 0, 280), (30, 0, 50)),
    ],
)
def test_what_a_rank_waits_is_billed_as_a_wait_and_not_as_a_prompt(
    spread: float, first: tuple[int, int, int], second: tuple[int, int, int]
) -> None:
    course = pair(spread, lockstep=2)
    course.run()
    course.cluster.settle(NS_PER_S)
    for worker, (prefill, wait, busy) in zip(course.cluster.workers, (first, second), strict=True):
        assert (worker.prefill_ns, worker.wait_ns) == pytest.approx((prefill * NS_PER_MS, wait * NS_PER_MS))
        assert worker.busy_ns == busy * NS_PER_MS
        decode = busy - prefill - wait
        watts = (
            (POWER.prefill_w, prefill),
            (POWER.wait_w, wait),
            (POWER.decode_w, decode),
            (POWER.idle_w, 1_000 - busy),
        )
        assert worker.energy == pytest.approx(sum(w * ms * NS_PER_MS for w, ms in watts))


def test_a_batch_that_slows_one_rank_slows_the_others_for_as_long_as_it_is_there() -> None:
    """Steps of 10 ms, of 30 ms with two sequences; prompts cost nothing. The other rank has two from 115 to 175 ms."""
    costs = replace(PAIR.costs, prefill_token_s=0.0, step_s=(0.01, 0.01, 0.03, 0.03, 0.03))
    course = Course(cluster_of(replace(PAIR, lockstep=2, costs=costs)))
    course.ask(0, talk=1, output=41)
    course.ask(95, talk=2, output=4)
    course.ask(95, talk=2, output=3)
    # The first one's steps end at 20, 30 ... 120 (the eleventh), 150, 180; the other 27 take 10 ms again.
    assert course.run() == [(10.0, 450.0), (105.0, 175.0), (115.0, 175.0)]
    assert course.cluster.workers[0].wait_ns == pytest.approx(40 * NS_PER_MS)


def test_lockstep_loses_nothing_and_is_never_faster() -> None:
    turns = [PlainTurn(300 + 40 * k, 12, 50_000_000) for k in range(6)]
    work = Workload.plain([turns] * 4, shared_tokens=100)
    phases = [
        run_phase(cluster_of(replace(PAIR, lockstep=lockstep)), work, order_of(6), Quota(turns=100, trajectories=0))
        for lockstep in (1, 2)
    ]
    free, bound = (phase.columns for phase in phases)
    for columns in (free, bound):
        assert set(columns["failure"].tolist()) <= {"", "aborted"}
    assert len(bound["due_ns"]) <= len(free["due_ns"])
    again = run_phase(cluster_of(replace(PAIR, lockstep=2)), work, order_of(6), Quota(turns=100, trajectories=0))
    assert all((again.columns[name] == bound[name]).all() for name in bound)


@pytest.mark.parametrize(("streams", "second"), [("decode", (350.0, 450.0)), ("prefill", (160.0, 450.0))])
def test_who_streams_the_first_token(streams: str, second: tuple[float, float]) -> None:
    """One place to decode, two requests: the wait for it is in the second one's TTFT, or between its first two tokens."""
    course = Course(replace(SPLIT, workers=(PREFILL, replace(DECODE, max_batch=1)), first_token=streams))
    course.ask(0, talk=1)
    course.ask(0, talk=2)
    first, other = course.run()
    assert other == second  # computed at 160, in its place at 350
    assert first == ((80.0 if streams == "prefill" else 165.0), 265.0)


def test_a_rank_that_has_failed_keeps_nobody() -> None:
    course = Course(cluster_of(replace(PAIR, lockstep=2), routing="round_robin", fail_worker_at_s=((1, 0.15),)))
    course.ask(0, talk=1, prompt=80, output=21)
    course.ask(95, talk=2, prompt=1000, output=2)
    first, _ = course.run()
    # Its second step, from 100 on, takes 10 + 100 ms with the other's chunk; the 18 after it take 10.
    assert first == (90.0, 390.0)
    assert list(course.lost) == [1]
