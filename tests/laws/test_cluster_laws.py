"""Laws of the cluster: whatever it is made of, whatever is asked of it, whoever gives up and whichever worker dies."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from openagentperf.records.phase import PhaseOrder, Quota
from openagentperf.sim.kvcache import KvPool
from openagentperf.sim.prefix import PrefixPool
from openagentperf.sim.spec import ClusterSpec, KvGroup, PowerDraw, Role, StepCosts, WorkerSpec
from openagentperf.sim.virtual import SimPhase, run_phase
from openagentperf.sim.workload import PlainTurn, Workload
from openagentperf.units import NS_PER_MS, NS_PER_S
from workers import Course, Order, carry_out

BLOCK = 4
IDLE_W, DECODE_W, PREFILL_W, WAIT_W = 10.0, 40.0, 70.0, 25.0


@st.composite
def costs(draw: st.DrawFn) -> StepCosts:
    return StepCosts(
        step_s=(0.0, *(draw(st.integers(1, 3)) * 1e-6 + batch * 1e-7 for batch in range(1, 6))),
        per_kv_token_s=draw(st.sampled_from((0.0, 1e-9))),
        tokens_per_step=draw(st.sampled_from((1.0, 2.49))),
        tokens_per_step_spread=draw(st.sampled_from((0.0, 1.05))),
        prefill_token_s=draw(st.sampled_from((0.0, 1e-7))),
        prefill_context_s=draw(st.sampled_from((0.0, 1e-9))),
        prefill_start_s=draw(st.sampled_from((0.0, 1e-6))),
        prefill_spread=draw(st.sampled_from((0.0, 0.7))),
    )


@st.composite
def pools(draw: st.DrawFn, role: Role) -> WorkerSpec:
    """Of a few small workers: 20 to 60 blocks of 4 tokens, for prompts and answers of up to 60 together."""
    kv = [KvGroup(name="full", kind="full", bytes_per_token=2)]
    if draw(st.booleans()):
        kv.append(KvGroup(name="window", kind="window", bytes_per_token=1, window_tokens=6))
    host = draw(st.sampled_from((0.0, 150.0, 1_000.0)))
    return WorkerSpec(
        pool=role,
        role=role,
        workers=draw(st.integers(1, 3)),
        accelerators_per_worker=2,
        costs=draw(costs()),
        power=PowerDraw(idle_w=IDLE_W, decode_w=DECODE_W, prefill_w=PREFILL_W, wait_w=WAIT_W),
        max_batch=draw(st.integers(1, 5)),
        chunk_tokens=draw(st.sampled_from((1, 7, 16, 1_000))),
        kv=tuple(kv),
        kv_pool_bytes=draw(st.integers(20, 60)) * BLOCK * 2.0 + 20,
        block_tokens=BLOCK,
        host_cache_bytes=host,
        host_bytes_per_s=1e7 if host else 0.0,
        lockstep=draw(st.sampled_from((1, 2, 3))),
    )


@st.composite
def clusters(draw: st.DrawFn, fails: bool = False) -> ClusterSpec:
    roles: tuple[Role, ...] = draw(st.sampled_from((("aggregated",), ("prefill", "decode"))))
    made = tuple(draw(pools(role)) for role in roles)
    count = sum(pool.workers for pool in made)
    failures: tuple[tuple[int, float], ...] = ()
    if fails:
        failures = tuple(
            draw(
                st.lists(
                    st.tuples(st.integers(0, count - 1), st.integers(1, 200).map(lambda us: us * 1e-6)),
                    min_size=1,
                    max_size=3,
                )
            )
        )
    return ClusterSpec(
        name="drawn",
        workers=made,
        max_model_len=64,
        routing=draw(st.sampled_from(("affinity", "least_loaded", "round_robin"))),
        transfer_bytes_per_s=draw(st.sampled_from((1e7, 1e9))),
        transfer_start_s=draw(st.sampled_from((0.0, 1e-6))),
        fail_worker_at_s=failures,
    )


@st.composite
def orders(draw: st.DrawFn, gives_up: bool = True) -> list[Order]:
    """Up to 14 requests of up to 4 conversations, 0 to 60 us apart: steps take about 2 us."""
    made, now = [], 0
    for _ in range(draw(st.integers(1, 14))):
        now += draw(st.integers(0, 60_000))
        prompt = draw(st.integers(1, 50))
        made.append(
            Order(
                at_ns=now,
                prompt=prompt,
                output=draw(st.integers(1, 62 - prompt)),
                conversation=draw(st.integers(0, 3)),
                gives_up_ns=draw(st.none() | st.integers(now, now + 80_000)) if gives_up else None,
            )
        )
    return made


def counted(pool: PrefixPool, leases: list[Any]) -> tuple[int, int]:
    """Bytes in the pool and those of them that nobody holds, from its strands and leases, not from its own sums."""
    strands = pool._strands.values()
    there = sum((s.end - s.start) * pool.block_bytes + s.mark * pool.mark_bytes for s in strands)
    unheld = sum((s.end - s.pin_end) * pool.block_bytes + (s.mark and not s.pins) * pool.mark_bytes for s in strands)
    return there + sum(lease.own for lease in leases), unheld


def blocks_add_up(course: Course) -> None:
    """Pinned, cached and free are the pool."""
    for worker in course.cluster.workers:
        pool = worker.pool
        assert isinstance(pool, PrefixPool)
        assert pool.pinned >= 0
        assert pool.cached >= 0
        assert pool.pinned + pool.cached <= pool.capacity
        assert pool.host_used <= pool.host_capacity


def places_hold(course: Course) -> None:
    for worker in course.cluster.workers:
        assert worker.running >= 0
        if worker.spec.role != "prefill":
            assert worker.running <= worker.spec.max_batch


@given(clusters(), orders(), st.sampled_from((0, 2, 5)))
@settings(max_examples=100, deadline=None)
def test_every_request_ends_once_and_every_block_comes_back(spec: ClusterSpec, asked: list[Order], shared: int) -> None:
    def look(course: Course) -> None:
        blocks_add_up(course)
        places_hold(course)

    course = carry_out(spec, asked, look, shared)
    for number, order in enumerate(asked):
        if number in course.ended:
            job = course.jobs[number]
            assert order.at_ns <= job.first_ns <= course.ended[number]
            assert 0 <= job.cached_tokens < order.prompt
        else:
            assert number in course.refused or order.gives_up_ns is not None
    assert not course.lost
    for worker in course.cluster.workers:
        assert not worker.jobs
        assert not worker.running
        assert not worker.busy
        assert worker.pool.pinned == 0
        there, unheld = counted(worker.pool, [])
        assert there == unheld == worker.pool.cached


@given(clusters(), orders(), st.sampled_from((0, 2, 5)))
@settings(max_examples=80, deadline=None)
def test_a_pool_s_sums_are_what_is_in_it(spec: ClusterSpec, asked: list[Order], shared: int) -> None:
    """Counted anew after every event, over all workers: what strands hold, and what leases hold beside them."""

    def look(course: Course) -> None:
        leases = [lease for job in course.jobs for lease in (job.lease, job.room) if lease is not None]
        parts = [counted(worker.pool, []) for worker in course.cluster.workers]
        pools = [worker.pool for worker in course.cluster.workers]
        assert sum(pool.cached for pool in pools) == sum(unheld for _, unheld in parts)
        own = sum(lease.own for lease in leases)
        assert sum(pool.pinned + pool.cached for pool in pools) == sum(there for there, _ in parts) + own

    carry_out(spec, asked, look, shared)


@given(clusters(fails=True), orders())
@settings(max_examples=100, deadline=None)
def test_time_and_energy_add_up_whatever_fails(spec: ClusterSpec, asked: list[Order]) -> None:
    """Busy is no more than elapsed, its parts no more than busy, a batch no more than its places; watts are those of the parts."""
    course = carry_out(spec, asked, blocks_add_up)
    for worker in course.cluster.workers:
        elapsed, busy, prefill, wait = course.now_ns, worker.busy_ns, worker.prefill_ns, worker.wait_ns
        assert prefill >= 0
        assert wait >= 0
        assert prefill + wait <= 1.001 * busy + 1  # events lie on whole nanoseconds, steps here take a thousand
        assert worker.peers or not wait
        assert busy <= elapsed
        assert worker.batch_ns <= worker.spec.max_batch * busy
        assert worker.batch_max <= worker.spec.max_batch
        joules = IDLE_W * (elapsed - busy) + DECODE_W * (busy - prefill - wait) + PREFILL_W * prefill + WAIT_W * wait
        assert worker.energy == pytest.approx(joules, rel=1e-6, abs=1)
        assert worker.sent_ns <= elapsed


@given(clusters(), orders(gives_up=False))
@settings(max_examples=100, deadline=None)
def test_what_prompts_cost_is_billed_once_however_many_wait_for_them(spec: ClusterSpec, asked: list[Order]) -> None:
    """Prefill of all workers together is what their prompts cost; of a group that spreads them, less what resting ranks compute."""
    course = carry_out(spec, asked)
    front = course.cluster.front
    costs = front[0].spec.costs
    work_ns = 0.0
    for number in course.ended:
        job = course.jobs[number]
        new = job.prompt - job.cached_tokens
        attention_s = costs.prefill_context_s * (job.cached_tokens + new / 2)
        work_ns += (costs.prefill_start_s + new * (costs.prefill_token_s + attention_s)) * NS_PER_S
    billed_ns = sum(worker.prefill_ns for worker in front)
    if costs.prefill_spread and front[0].peers:
        assert billed_ns <= work_ns * (1 + 1e-9)
    else:
        assert billed_ns == pytest.approx(work_ns, rel=1e-9)


@given(clusters(fails=True), orders())
@settings(max_examples=100, deadline=None)
def test_nobody_is_forgotten_when_workers_die(spec: ClusterSpec, asked: list[Order]) -> None:
    """Each request ends, is lost, is refused, or was given up; and no two of the first three."""
    course = carry_out(spec, asked)
    fates = Counter([*course.ended, *course.lost, *course.refused])
    for number, order in enumerate(asked):
        assert fates[number] == 1 or (fates[number] == 0 and order.gives_up_ns is not None)
    for worker in course.cluster.workers:
        assert not worker.jobs
        assert worker.pool.pinned == 0


@given(clusters(fails=True), orders(), st.sampled_from((0, 2)))
@settings(max_examples=40, deadline=None)
def test_the_same_again_is_the_same(spec: ClusterSpec, asked: list[Order], shared: int) -> None:
    once, again = (carry_out(spec, asked, shared_blocks=shared) for _ in range(2))
    assert (once.ended, once.lost, once.refused) == (again.ended, again.lost, again.refused)
    assert [job.first_ns for job in once.jobs] == [job.first_ns for job in again.jobs]
    assert [worker.energy for worker in once.cluster.workers] == [worker.energy for worker in again.cluster.workers]


@given(pools("aggregated"), orders(gives_up=False))
@settings(max_examples=80, deadline=None)
def test_one_worker_computes_prompts_in_the_order_they_came(pool: WorkerSpec, asked: list[Order]) -> None:
    """Unless one has to come back from the host tier first: the others do not wait for it."""
    worker = replace(pool, workers=1, host_cache_bytes=0.0)
    course = carry_out(ClusterSpec(name="one", workers=(worker,), max_model_len=64), asked)
    first = [job.first_ns for job in course.jobs if job.number in course.ended]
    assert first == sorted(first)


@given(
    st.integers(12, 40),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 40), st.integers(1, 8)), max_size=30),
    st.sampled_from((0, 3)),
)
@settings(max_examples=80, deadline=None)
def test_what_a_lone_request_finds_is_what_a_pool_of_blocks_would_hold(
    blocks: int, asked: list[tuple[int, int, int]], shared: int
) -> None:
    """One at a time, so that nothing but least recently used decides: the embedded target's pool of single blocks finds the same.

    No prompt ends with a block. The last block of such a prompt is computed again even where it is there; a pool of single blocks then
    leaves the old one as old as it was, while here it counts as used.
    """
    worker = WorkerSpec(
        pool="all", role="aggregated", workers=1, accelerators_per_worker=1, costs=StepCosts(step_s=(0.0, 1e-6)),
        power=PowerDraw(idle_w=1, decode_w=1, prefill_w=1), max_batch=1, chunk_tokens=64, block_tokens=BLOCK,
        kv=(KvGroup(name="full", kind="full", bytes_per_token=1),), kv_pool_bytes=blocks * BLOCK,
    )  # fmt: skip
    spec = ClusterSpec(name="one", workers=(worker,), max_model_len=1_000)
    listed = [
        Order(at_ns=n * NS_PER_S, prompt=prompt + (prompt % BLOCK == 0), output=output, conversation=talk)
        for n, (talk, prompt, output) in enumerate(asked)
    ]
    course = carry_out(spec, listed, shared_blocks=shared)
    pool = KvPool(blocks)
    for number, order in enumerate(listed):
        hashes = [i if i < shared else 1_000 * (1 + order.conversation) + i for i in range(order.prompt // BLOCK)]
        lease = pool.lease(hashes[: (order.prompt - 1) // BLOCK], -(-(order.prompt + order.output) // BLOCK))
        assert (lease is None) == (number in course.refused)
        if lease is not None:
            assert course.jobs[number].cached_tokens == lease.hits * BLOCK
            for block, key in zip(lease.blocks, hashes, strict=False):
                pool.publish(block, key)
            pool.release(lease)


# -- whole phases ----------------------------------------------------------------------------------------------------------------------


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """1 to 5 trajectories of 1 to 4 turns that grow; delays up to 150 ms, some prompts too long for any of these systems."""
    made = []
    for _ in range(draw(st.integers(1, 5))):
        prompt, turns = draw(st.integers(1, 12)), []
        for _ in range(draw(st.integers(1, 4))):
            turns.append(PlainTurn(prompt, draw(st.integers(1, 12)), draw(st.integers(0, 150)) * NS_PER_MS))
            prompt += draw(st.integers(1, 14))
        made.append(turns)
    return Workload.plain(made, shared_tokens=draw(st.sampled_from((0, 9))))


SLOWER = 5_000
"""A fleet looks ten times a second whether its window may close: steps of some 2 us would make it 50,000 events a look."""


def slowed(spec: ClusterSpec) -> ClusterSpec:
    def costs(of: StepCosts) -> StepCosts:
        return replace(
            of,
            step_s=tuple(seconds * SLOWER for seconds in of.step_s),
            per_kv_token_s=of.per_kv_token_s * SLOWER,
            prefill_token_s=of.prefill_token_s * SLOWER,
            prefill_context_s=of.prefill_context_s * SLOWER,
            prefill_start_s=of.prefill_start_s * SLOWER + 1e-3,  # turns that take no time at all would never end
        )

    pools = (replace(w, costs=costs(w.costs), host_bytes_per_s=w.host_bytes_per_s / SLOWER) for w in spec.workers)
    return replace(
        spec,
        workers=tuple(pools),
        transfer_bytes_per_s=spec.transfer_bytes_per_s / SLOWER,
        transfer_start_s=spec.transfer_start_s * SLOWER,
        fail_worker_at_s=tuple((ordinal, seconds * SLOWER) for ordinal, seconds in spec.fail_worker_at_s),
    )


def phase_of(spec: ClusterSpec, work: Workload, agents: int, seed: int, turns: int) -> SimPhase:
    order = PhaseOrder(
        index=0, agents=agents, kind="search", seed=seed, phase_nonce="", nonce_key=bytes(16), start_ns=1_000, spawn_per_s=20,
        settle_s=0.1, measure_s=0.5, limit_s=8.0, turn_timeout_s=2.0,
    )  # fmt: skip
    return run_phase(slowed(spec), work, order, Quota(turns, 0))


@given(clusters(fails=True), workloads(), st.integers(1, 6), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_a_phase_s_rows_are_its_agents_lives(spec: ClusterSpec, work: Workload, agents: int, seed: int) -> None:
    """Every agent's turns follow each other without a gap, whatever became of them; answers hold the tokens that were asked for."""
    phase = phase_of(spec, work, agents, seed, 50)
    rows = phase.columns
    known = rows["failure"] == ""
    at = np.array([work.first[t] for t in rows["trajectory"]]) + rows["turn"]
    assert (rows["output_tokens"][known] == np.array(work.output_tokens)[at][known]).all()
    assert (rows["prompt_tokens"][known] == np.array(work.input_tokens)[at][known]).all()
    assert (rows["cached_tokens"][known] < rows["prompt_tokens"][known]).all()
    assert (rows["due_ns"] <= rows["closed_ns"]).all()
    for agent in range(agents):
        mine = rows["agent"] == agent
        lives = list(
            zip(
                rows["replay"][mine],
                rows["trajectory"][mine],
                rows["turn"][mine],
                rows["closed_ns"][mine],
                rows["due_ns"][mine],
                strict=True,
            )
        )
        for (replay, trajectory, turn, closed, _), (replay2, trajectory2, turn2, _, due) in pairwise(lives):
            assert due >= closed
            if replay2 == replay:
                assert (trajectory2, turn2) == (trajectory, turn + 1)
            else:
                assert (replay2, turn2) == (replay + 1, 0)
                assert turn + 1 == work.first[trajectory + 1] - work.first[trajectory]


@given(clusters(fails=True), workloads(), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_a_phase_s_energy_and_shares_are_possible(spec: ClusterSpec, work: Workload, agents: int) -> None:
    phase = phase_of(spec, work, agents, 1, 50)
    seconds = (phase.facts.ended_ns - phase.facts.order.start_ns) / NS_PER_S
    for pool in spec.workers:
        points = [point for point in phase.power if point.pool == pool.pool]
        count = pool.workers * pool.accelerators_per_worker
        assert IDLE_W * count * seconds * (1 - 1e-9) <= points[-1].joules <= PREFILL_W * count * seconds * (1 + 1e-9)
        # The points' means are the integral.
        spans = [(later.t_ns - point.t_ns) / NS_PER_S * later.watts for point, later in pairwise(points)]
        assert sum(spans) == pytest.approx(points[-1].joules, rel=1e-9)
    for used, pool in zip(phase.usage.pools, spec.workers, strict=True):
        assert min(used.prefill_share, used.wait_share) >= 0
        assert used.prefill_share + used.wait_share <= 1.001 * used.busy_share + 1e-9
        assert used.busy_share <= 1 + 1e-9
        assert 0 <= used.batch_mean <= used.batch_max <= pool.max_batch
        assert 0 <= used.kv_pinned_share + used.kv_cached_share <= 1 + 1e-9
        assert min(used.evicted_tokens, used.host_hit_tokens, used.queue_mean, used.transfer_busy_share) >= 0
        assert used.queue_mean <= used.queue_max
        assert used.transfer_busy_share <= 1 + 1e-9


@given(clusters(fails=True), workloads(), st.integers(1, 6), st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_the_same_phase_again_has_the_same_bytes(spec: ClusterSpec, work: Workload, agents: int, seed: int) -> None:
    def written(phase: SimPhase) -> bytes:
        columns = {name: column.tolist() for name, column in phase.columns.items()}
        return msgspec.json.encode([columns, phase.facts, phase.samples, phase.power, phase.usage])

    assert written(phase_of(spec, work, agents, seed, 30)) == written(phase_of(spec, work, agents, seed, 30))
