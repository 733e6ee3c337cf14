"""Agents in a tool delay cost nothing until it is over: a worker's heartbeat does as much for 300 of them as for 10."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from openagentperf.agent import Agent, Send
from openagentperf.client.clock import Clock
from openagentperf.client.connection import Connection
from openagentperf.client.endpoint import request_head, resolve
from openagentperf.load.dials import Dials
from openagentperf.load.phase import WorkerPhase
from openagentperf.load.requests import Request
from openagentperf.records.turns import ClientSample, RawTurn
from openagentperf.rundir import FrameReader, FrameWriter
from openagentperf.units import NS_PER_S
from test_agent import Set
from test_fleet import order
from test_lane import Scripted, ok


class _Requests:
    def __init__(self, head: bytes) -> None:
        self._request = head + b"2\r\n\r\n{}"

    def make(self, send: Send, agent: int) -> Request:
        return Request([self._request], len(self._request), exact_tokens=0, corpus_tokens=0)


async def beat_of(agents: int, file: Path) -> tuple[Counter[str], ClientSample]:
    """What one heartbeat with its sweep and its sample calls while so many agents wait for their tools; and that sample."""
    server, loop, clock = Scripted(ok), asyncio.get_running_loop(), Clock()
    listening = await asyncio.start_server(server.one, "127.0.0.1", 0, backlog=1024)
    async with listening:
        address = resolve(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1")
        phase = WorkerPhase(
            loop,
            order(agents=agents, spawn_per_s=10_000),
            [Agent(k, Set([1000], delay_ns=3600 * NS_PER_S), seed=1) for k in range(agents)],
            _Requests(request_head(address, "POST", "/chat/completions", {})),
            lambda lane: Connection(loop, address, clock, lane),
            Dials(loop, 2000),
            clock,
            FrameWriter(file),
            worker=0,
            idle_reuse_ns=4 * NS_PER_S,
            drained=lambda: None,
            broken=lambda error: None,
        )
        phase.begin()
        answered = 0
        reader = FrameReader(file)
        while answered < agents:
            await asyncio.sleep(0.01)
            answered += sum(isinstance(frame, RawTurn) for frame in reader.read())
        calls: Counter[str] = Counter()

        def count(frame: FrameType, event: str, what: object) -> None:
            if event == "call":
                calls[frame.f_code.co_qualname] += 1
            elif event == "c_call":
                calls[getattr(what, "__qualname__", "")] += 1

        phase._sweep_ns = phase._second_ns = 0
        phase._beat_timer.cancel()
        sys.setprofile(count)
        phase._beat()
        sys.setprofile(None)
        (sample,) = [frame for frame in reader.read() if isinstance(frame, ClientSample)][-1:]
        phase.stop()
        await server.ended()
        clock.close()
    return calls, sample


async def test_the_heartbeat_looks_at_no_idle_agent(tmp_path: Path):
    few, of_few = await beat_of(10, tmp_path / "few")
    many, of_many = await beat_of(300, tmp_path / "many")
    # The timers are a heap: its depth grows, by a step a doubling.
    assert many.total() < 2 * few.total(), (many - few).most_common(5)
    assert (of_few.active_agents, of_many.active_agents) == (10, 300), "they count as active all the same"
    assert (of_few.in_flight, of_many.in_flight) == (0, 0)
