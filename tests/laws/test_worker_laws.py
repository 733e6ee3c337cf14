"""The worker that jumps from event to event against the replica that walks every step; and what is conserved whatever is asked."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from openagentperf.sim.cost import NodeConfig
from openagentperf.sim.replica import Replica, Request
from openagentperf.sim.spec import StepCosts
from openagentperf.units import Ns
from replicas import serve
from simworlds import ENDLESS, POWER, Alone, twin_of

CHUNK = 8
NODE = NodeConfig(
    block_tokens=CHUNK,
    blocks=4_000,
    max_batch=3,
    max_model_len=400,
    chunk_tokens=CHUNK,
    base_ns=5_000,
    per_sequence_ns=800,
    per_kv_token_ns=0.0,
    per_prefill_token_ns=100.0,
)
"""Room for everybody, and blocks as long as a chunk: what is left to compute of a prompt is always whole chunks."""


class Order(NamedTuple):
    at_ns: Ns
    chunks: int
    output: int
    family: int


@st.composite
def orders(draw: st.DrawFn) -> list[Order]:
    made, now = [], 0
    for _ in range(draw(st.integers(1, 14))):
        now += draw(st.integers(0, 60_000))
        made.append(
            Order(now, draw(st.integers(1, 9)), draw(st.integers(1, 20)), draw(st.integers(0, 2)))
        )  # few families: prefixes are found
    return made


def step_by_step(node: NodeConfig, placed: list[Order]) -> dict[int, tuple[Ns, Ns]]:
    asked = []
    for number, order in enumerate(placed):
        prefix = tuple(order.family * 100 + at for at in range(order.chunks))
        request = Request(id=number, prompt_tokens=order.chunks * CHUNK, output_tokens=order.output, prefix=prefix)
        asked.append((order.at_ns, request))
    return dict(serve(Replica(node), asked))


def event_by_event(node: NodeConfig, placed: list[Order]) -> Alone:
    world = Alone(twin_of(node))
    for order in placed:
        world.submit(order.at_ns, order.chunks * CHUNK, order.output, ((order.family, ENDLESS),))
    world.timers.run()
    return world


@given(orders())
@settings(max_examples=300, deadline=None)
def test_first_and_last_tokens_come_at_the_nanosecond_of_the_step_by_step_replica(placed: list[Order]) -> None:
    assert event_by_event(NODE, placed).seen == step_by_step(NODE, placed)


@given(orders())
@settings(max_examples=200, deadline=None)
def test_with_kv_that_grows_they_stay_within_a_step(placed: list[Order]) -> None:
    """A prompt's chunks cost the same each here and more and more there; the sum is the same, so only who leaves in between shifts."""
    node = replace(NODE, per_kv_token_ns=3.0)
    ours, theirs = event_by_event(node, placed).seen, step_by_step(node, placed)
    assert ours.keys() == theirs.keys()
    step = 5_000 + 3 * 800 + CHUNK * 100 + 3 * 3.0 * 100
    for number, (first, last) in ours.items():
        assert abs(first - theirs[number][0]) <= 2 * step
        assert abs(last - theirs[number][1]) <= 2 * step


@st.composite
def crowds(draw: st.DrawFn) -> list[tuple[Ns, int, int, int]]:
    made, now = [], 0
    for _ in range(draw(st.integers(1, 20))):
        now += draw(st.integers(0, 40_000))
        made.append((now, draw(st.integers(1, 90)), draw(st.integers(1, 30)), draw(st.integers(0, 3))))
    return made


@given(crowds(), st.integers(15, 60), st.floats(1.0, 3.5), st.booleans(), st.lists(st.integers(0, 19), max_size=4))
@settings(max_examples=300, deadline=None)
def test_tokens_blocks_time_and_energy_are_conserved(
    asked: list[tuple[Ns, int, int, int]], blocks: int, per_step: float, host_tier: bool, given_up: list[int]
) -> None:
    spec = twin_of(replace(NODE, per_kv_token_ns=2.0))
    costs = replace(spec.costs, tokens_per_step=per_step)
    assert isinstance(costs, StepCosts)
    spec = replace(
        spec,
        costs=costs,
        kv_pool_bytes=blocks * CHUNK,
        host_cache_bytes=20 * CHUNK if host_tier else 0.0,
        host_bytes_per_s=1e6,
    )
    world = Alone(spec)
    for at, prompt, output, family in asked:
        world.submit(at, prompt, output, ((family, ENDLESS),))
    gone = set()
    for number in given_up:
        if number < len(asked) and number not in gone:
            gone.add(number)
            at = asked[number][0] + 50_000

            def forget(job, now) -> None:  # type: ignore[no-untyped-def]
                if job in world.worker.jobs:
                    world.worker.forget(job, now)

            world.timers.at(at, forget, world.jobs[number])
    world.timers.run()
    worker = world.worker
    end = world.timers.now + 1_000
    worker.settle(end)

    # Everybody has ended, at a time that his work allows, and holds nothing any more.
    assert set(world.seen) | gone == set(range(len(asked)))
    assert (worker.running, worker.load, worker.jobs, worker.pool.pinned) == (0, 0, {}, 0)
    for number, (at, prompt, output, _) in enumerate(asked):
        job = world.jobs[number]
        if number in gone:
            continue
        first, last = world.seen[number]
        steps = -(-(prompt - job.cached_tokens) // CHUNK)
        assert 0 <= job.cached_tokens < prompt
        assert first >= at + steps * 5_000
        assert last - first >= int((output - 1) / per_step) * 5_000
    # Time is idle or busy, and energy is power times time of each kind.
    assert 0 <= worker.busy_ns <= end
    assert -1 <= worker.prefill_ns <= worker.busy_ns + 1
    watts = (
        POWER.idle_w * (end - worker.busy_ns)
        + POWER.decode_w * (worker.busy_ns - worker.prefill_ns)
        + POWER.prefill_w * worker.prefill_ns
    )
    assert abs(worker.energy - watts) <= 1e-9 * watts
    assert worker.batch_max <= spec.max_batch
    assert worker.batch_ns <= worker.batch_max * worker.busy_ns


@given(crowds(), st.lists(st.integers(0, 900_000), max_size=30))
@settings(max_examples=100, deadline=None)
def test_nothing_depends_on_when_the_meters_are_read(asked: list[tuple[Ns, int, int, int]], looks: list[Ns]) -> None:
    def run(looks: list[Ns]) -> tuple[dict[int, tuple[Ns, Ns]], float]:
        world = Alone(twin_of(replace(NODE, per_kv_token_ns=2.0)))
        for at, prompt, output, family in asked:
            world.submit(at, prompt, output, ((family, ENDLESS),))
        for at in looks:
            world.timers.at(at, lambda _, now: world.worker.settle(now), None)
        world.timers.run()
        world.worker.settle(1_000_000_000)
        return world.seen, world.worker.energy

    plain, looked_at = run([]), run(sorted(looks))
    assert plain[0] == looked_at[0]
    assert abs(plain[1] - looked_at[1]) <= 1e-9 * plain[1]
