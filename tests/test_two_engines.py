"""The simulator's two engines on the same requests: the replica that takes every step, and the worker in virtual time.

What they share is the spec. What differs by design: the worker takes room for the whole answer before it starts, the replica takes it
block by block and preempts where that was too much (docs/decisions/0003-two-simulation-engines.md).
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from msgspec.structs import replace

from openagentperf.seeds import Stream
from openagentperf.sim.replica import Replica, Request
from openagentperf.sim.spec import ClusterSpec, KvGroup, PowerDraw, StepCosts, WorkerSpec
from openagentperf.sim.workernode import node_of
from openagentperf.units import NS_PER_S
from queueing import exponential
from replicas import serve
from workers import Order, carry_out

SPEC = ClusterSpec(
    name="one worker",
    max_model_len=50_000,
    workers=(
        WorkerSpec(
            pool="all",
            role="aggregated",
            workers=1,
            accelerators_per_worker=1,
            costs=StepCosts(
                step_s=tuple(0.008 + 0.0005 * batch for batch in range(17)),
                per_kv_token_s=2e-8,
                prefill_token_s=4e-5,
                prefill_context_s=2e-9,
                prefill_start_s=0.002,
                chunk_start_s=0.001,
            ),
            power=PowerDraw(idle_w=100, decode_w=400, prefill_w=700),
            max_batch=16,
            chunk_tokens=2_048,
            kv=(KvGroup(name="kv", kind="full", bytes_per_token=1),),
            kv_pool_bytes=1e6,
        ),
    ),
)


def conversations(count: int, turns: int, rate: float) -> list[Order]:
    """Each grows by some 500 tokens a turn from 2,000 on and answers with some 60; turns of all of them mixed, Poisson at `rate`."""
    stream, at = Stream(9, "turns"), 0.0
    lengths = [2_000 + stream.below(1_000) for _ in range(count)]
    made = []
    for turn in range(count * turns):
        at += exponential(stream, 1 / rate)
        talk = stream.below(count) if turn >= count else turn
        lengths[talk] += 1 + round(exponential(stream, 500))
        output = 1 + round(exponential(stream, 60))
        made.append(Order(at_ns=round(at * NS_PER_S), prompt=lengths[talk], output=output, conversation=talk))
    return made


class Means(NamedTuple):
    hit: float
    ttft_s: float
    stay_s: float
    joules: float
    """Of one accelerator until the last answer."""


def by_worker(spec: ClusterSpec, orders: list[Order]) -> Means:
    course = carry_out(spec, orders)
    assert not course.refused
    firsts = [job.first_ns - order.at_ns for job, order in zip(course.jobs, orders, strict=True)]
    stays = [course.ended[number] - order.at_ns for number, order in enumerate(orders)]
    hit = sum(job.cached_tokens for job in course.jobs) / sum(order.prompt for order in orders)
    joules = course.cluster.workers[0].energy / NS_PER_S
    return Means(hit, sum(firsts) / len(firsts) / NS_PER_S, sum(stays) / len(stays) / NS_PER_S, joules)


def by_replica(spec: ClusterSpec, orders: list[Order]) -> tuple[Means, int]:
    """And how often it preempted."""
    node, draw = node_of(spec), spec.workers[0].power
    energy = 0.0

    def step(begins: int, ends: int, prefill: float) -> None:
        nonlocal energy
        busy_w = draw.decode_w + (draw.prefill_w - draw.decode_w) * prefill
        energy += (busy_w - draw.idle_w) * (ends - begins) / NS_PER_S

    replica = Replica(node, step)
    asked = []
    for number, order in enumerate(orders):
        prefix = tuple(order.conversation * 10_000 + block for block in range(order.prompt // node.block_tokens))
        request = Request(id=number, prompt_tokens=order.prompt, output_tokens=order.output, prefix=prefix)
        asked.append((order.at_ns, request))
    served = serve(replica, asked)
    hit = replica.counters.prefix_hits / replica.counters.prefix_queries
    ttft = sum(served[n].first_ns - order.at_ns for n, order in enumerate(orders)) / len(orders) / NS_PER_S
    stay = sum(served[n].last_ns - order.at_ns for n, order in enumerate(orders)) / len(orders) / NS_PER_S
    energy += draw.idle_w * max(each.last_ns for each in served.values()) / NS_PER_S
    return Means(hit, ttft, stay, energy), replica.counters.preemptions


def test_with_room_for_all_they_are_the_same_to_one_percent() -> None:
    orders = conversations(20, 25, 5.0)
    ours, (theirs, preempted) = by_worker(SPEC, orders), by_replica(SPEC, orders)
    assert not preempted
    assert ours.hit == theirs.hit
    assert theirs.hit > 0.9
    assert ours.ttft_s == pytest.approx(theirs.ttft_s, rel=0.01)
    assert ours.stay_s == pytest.approx(theirs.stay_s, rel=0.01)
    assert ours.joules == pytest.approx(theirs.joules, rel=0.01)


@pytest.mark.parametrize(
    ("pool_tokens", "rate", "least", "most"),
    [(150_000, 2.0, 0.7, 0.8), (100_000, 1.0, 0.5, 0.6), (60_000, 1.0, 0.3, 0.4)],
)
def test_where_the_pool_overflows_they_fall_down_the_same_cliff(
    pool_tokens: int, rate: float, least: float, most: float
) -> None:
    """20 conversations that grow to 14,000 tokens on average, in a pool of half to a fifth of all."""
    spec = replace(SPEC, workers=(replace(SPEC.workers[0], kv_pool_bytes=pool_tokens),))
    orders = conversations(20, 25, rate)
    ours, (theirs, _) = by_worker(spec, orders), by_replica(spec, orders)
    assert least < theirs.hit < most
    assert ours.hit == pytest.approx(theirs.hit, abs=0.01)
    assert ours.ttft_s == pytest.approx(theirs.ttft_s, rel=0.05)
    assert ours.stay_s == pytest.approx(theirs.stay_s, rel=0.02)
    assert ours.joules == pytest.approx(theirs.joules, rel=0.01)
