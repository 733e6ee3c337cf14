"""Clusters of the event simulation driven by a bare list of requests, without agents, and looked at after every event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from openagentperf.sim.cluster import Cluster, Conversation
from openagentperf.sim.jobs import Job, Timers
from openagentperf.sim.spec import ClusterSpec, KvGroup, PowerDraw, Role, StepCosts, WorkerSpec
from openagentperf.units import NS_PER_S, Ns
from queueing import Ask, Served

WHOLE = 1 << 40
"""Blocks at which a prompt leaves its own strand: never."""


def spec_of(
    costs: StepCosts, role: Role = "aggregated", workers: int = 1, max_batch: int = 8, chunk_tokens: int = 512
) -> WorkerSpec:
    """Workers whose pools hold whatever comes."""
    return WorkerSpec(
        pool=role, role=role, workers=workers, accelerators_per_worker=1, costs=costs,
        power=PowerDraw(idle_w=100, decode_w=400, prefill_w=700), max_batch=max_batch, chunk_tokens=chunk_tokens,
        kv=(KvGroup(name="kv", kind="full", bytes_per_token=1),), kv_pool_bytes=1e12,
    )  # fmt: skip


def alone(worker: WorkerSpec) -> ClusterSpec:
    return ClusterSpec(name="one pool", workers=(worker,), max_model_len=1 << 30)


class Order(Struct, frozen=True, kw_only=True):
    """One request, and when its client gives it up."""

    at_ns: Ns
    prompt: int
    output: int
    conversation: int
    """Prompts of one are beginnings of each other."""
    gives_up_ns: Ns | None = None


class Course(Struct, kw_only=True):
    """What became of a list of orders."""

    cluster: Cluster
    now_ns: Ns = 0
    jobs: list[Job]
    ended: dict[int, Ns]
    """By the order's place in the list."""
    lost: dict[int, Ns]
    refused: list[int]


class _Watched(Timers):
    """Lets somebody look after every event."""

    def __init__(self) -> None:
        super().__init__(0)
        self.look: Callable[[Ns], None] = lambda _: None

    def at(self, when: Ns, call: Callable[[Any, Ns], None], what: Any) -> None:
        assert when >= self.now, "an event in the past"
        super().at(when, self._seen, (call, what))

    def _seen(self, event: tuple[Callable[[Any, Ns], None], Any], now: Ns) -> None:
        call, what = event
        call(what, now)
        self.look(now)


def carry_out(
    spec: ClusterSpec,
    orders: Sequence[Order],
    look: Callable[[Course], None] = lambda course: None,
    shared_blocks: int = 0,
) -> Course:
    """Submit and give up at their times, then run until nothing moves. All prompts begin with the same `shared_blocks`."""
    timers = _Watched()

    def ended(job: Job, now: Ns) -> None:
        assert course.ended.setdefault(job.number, now) == now, "ended twice"

    def lost(job: Job, now: Ns) -> None:
        assert course.lost.setdefault(job.number, now) == now, "lost twice"

    cluster = Cluster(spec, timers, ended, lost)
    course = Course(cluster=cluster, jobs=[], ended={}, lost={}, refused=[])
    talks = {order.conversation: Conversation(order.conversation) for order in orders}
    longest = cluster.longest_tokens(2)

    def submit(job: Job, now: Ns) -> None:
        order = orders[job.number]
        if order.prompt + order.output > longest or not cluster.submit(job, talks[order.conversation], now):
            course.refused.append(job.number)

    def give_up(job: Job, now: Ns) -> None:
        if not ({job.number} & (course.ended.keys() | course.lost.keys() | set(course.refused))):
            cluster.forget(job, now)

    def seen(now: Ns) -> None:
        course.now_ns = now
        look(course)

    for number, order in enumerate(orders):
        own = (order.conversation, WHOLE)
        path = ((-1, shared_blocks), own) if shared_blocks else (own,)
        course.jobs.append(Job(number, None, order.prompt, order.output, path, order.at_ns))
        timers.at(order.at_ns, submit, course.jobs[-1])
        if order.gives_up_ns is not None:
            timers.at(max(order.at_ns, order.gives_up_ns), give_up, course.jobs[-1])
    timers.look = seen
    timers.run()
    cluster.settle(timers.now)
    return course


def serve(spec: ClusterSpec, asks: Sequence[Ask]) -> list[Served]:
    """Prompts that are all new: first tokens and ends."""
    orders = [
        Order(at_ns=round(ask.at_s * NS_PER_S), prompt=ask.new_tokens, output=ask.output_tokens, conversation=number)
        for number, ask in enumerate(asks)
    ]
    course = carry_out(spec, orders)
    return [Served(job.first_ns / NS_PER_S, course.ended[job.number] / NS_PER_S) for job in course.jobs]
