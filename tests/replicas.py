"""The step-by-step replica, driven by a bare list of requests or by the agents of a closed loop: the twin of the event simulation."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from openagentperf.agent import Agent
from openagentperf.corpus.profiles import PROFILES
from openagentperf.corpus.shape import plan_session
from openagentperf.records.phase import PhaseOrder
from openagentperf.seeds import Stream
from openagentperf.sim.cost import NodeSizes
from openagentperf.sim.replica import Emitted, Replica, Request
from openagentperf.sim.workload import PlainTurn, Workload
from openagentperf.units import NS_PER_S, Ns, s_to_ns


class Served(NamedTuple):
    """When a request had its first and its last token."""

    first_ns: Ns
    last_ns: Ns


class Turn(NamedTuple):
    """A measured turn of a closed loop."""

    ttft_s: float
    speed: float | None
    """Tokens a second after the first one; None where there was none."""
    prompt_tokens: int
    cached_tokens: int


def run_to_end(replica: Replica) -> list[Emitted]:
    events: list[Emitted] = []
    while (at := replica.next_event_ns()) is not None:
        events += replica.advance(at)
    return events


def serve(replica: Replica, asked: Iterable[tuple[Ns, Request]]) -> dict[int, Served]:
    """Of a list by its times, each request to its end; by its id."""
    events = []
    for at, request in asked:
        events += replica.submit(request, at)
    first: dict[int, Ns] = {}
    last: dict[int, Ns] = {}
    for event in events + run_to_end(replica):
        first.setdefault(event.sequence.request.id, event.at_ns)
        last[event.sequence.request.id] = event.at_ns
    return {number: Served(first[number], last[number]) for number in first}


def demo_work(count: int = 100, seed: int = 1) -> Workload:
    """Planned sessions of the `demo` profile."""
    demo = PROFILES["demo"]
    shapes = [plan_session(demo, Stream(seed, "session", i)) for i in range(count)]
    return Workload.plain(
        [[PlainTurn(t.input_tokens, t.output_tokens, t.delay_ns) for t in shape.turns] for shape in shapes],
        demo.shared_tokens,
    )


def closed_loop(node: NodeSizes, work: Workload, order: PhaseOrder) -> list[Turn]:
    """The agents of a phase: turns due in a window of exactly `measure_s`, all of which end with the load still on.

    Blocks up to the end of system prompt and tools are everybody's; those after it belong to one replay of one agent.
    """
    replica = Replica(node)
    fleet = [Agent(i, work, order.seed) for i in range(order.agents)]
    starts = [order.start_ns + s_to_ns(i / order.spawn_per_s) for i in range(order.agents)]
    # Sessions of one line: an agent has one turn in hand.
    due = [(starts[i], i, fleet[i].start(starts[i])[0]) for i in range(order.agents)]
    opens, closes = order.window_opens_ns, order.window_opens_ns + s_to_ns(order.measure_s)
    owners: list[tuple[int, Ns]] = []
    first: dict[int, Ns] = {}
    turns: list[Turn] = []
    open_turns = 0
    while True:
        step_end = replica.next_event_ns()
        if due and (step_end is None or due[0][0] < step_end):
            now, agent, send = heapq.heappop(due)
            if now >= closes and not open_turns:
                return turns
            open_turns += opens <= now < closes
            row = work.first[send.trajectory] + send.turn
            shared = work.chains[work.segment[row]][0][1] // node.block_tokens
            own = (agent * 100_000 + send.replay + 1) * 10_000
            size = work.input_tokens[row]
            prefix = tuple(block if block < shared else own + block for block in range(size // node.block_tokens))
            request = Request(id=len(owners), prompt_tokens=size, output_tokens=work.output_tokens[row], prefix=prefix)
            owners.append((agent, now))
            events = replica.submit(request, now)
        else:
            assert step_end is not None
            events = replica.advance(step_end)
        for event in events:
            sequence = event.sequence
            agent, asked = owners[sequence.request.id]
            first.setdefault(sequence.request.id, event.at_ns)
            if not event.done:
                continue
            (send,) = fleet[agent].drained(0, event.at_ns)
            heapq.heappush(due, (send.due_ns, agent, send))
            if opens <= asked < closes:
                open_turns -= 1
                began, tokens = first[sequence.request.id], sequence.generated - 1
                speed = tokens * NS_PER_S / (event.at_ns - began) if tokens else None
                turns.append(
                    Turn((began - asked) / NS_PER_S, speed, sequence.request.prompt_tokens, sequence.cached_tokens)
                )
