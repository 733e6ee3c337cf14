"""A worker's share of one phase: its seats, its clock, its health, its rows.

Agent i starts at `start_ns + i / spawn_per_s` on worker `i % workers`. Nothing here knows whether the phase passes; it keeps the load on
until the fleet says that the window has closed, tells it when the last measured turn of its own has ended, and stops when told.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from itertools import takewhile
from typing import Protocol

from openagentperf.agent import Agent, Send
from openagentperf.client.clock import Clock, now_ns
from openagentperf.client.connection import Connection
from openagentperf.errors import StorageError
from openagentperf.load.dials import Dials
from openagentperf.load.lane import Lane
from openagentperf.load.requests import Request
from openagentperf.load.seat import Seat
from openagentperf.records.phase import PhaseOrder
from openagentperf.records.turns import ClientSample, RawTurn
from openagentperf.rundir import FrameWriter
from openagentperf.units import NS_PER_MS, NS_PER_S, Ns, s_to_ns

_BEAT_NS = 20 * NS_PER_MS
_SWEEP_NS = NS_PER_S // 2


class Requests(Protocol):
    """Makes request bytes (load.requests.RequestMaker)."""

    def make(self, send: Send, agent: int) -> Request: ...


class WorkerPhase:
    """Implements load.lane.Host."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        order: PhaseOrder,
        agents: list[Agent],
        requests: Requests,
        connect: Callable[[Lane], Connection],
        dials: Dials,
        clock: Clock,
        writer: FrameWriter,
        *,
        worker: int,
        idle_reuse_ns: Ns,
        drained: Callable[[], None],
        broken: Callable[[StorageError], None],
    ) -> None:
        self.loop, self.dials, self.worker, self.idle_reuse_ns = loop, dials, worker, idle_reuse_ns
        self.stopping = False
        self.due: dict[Lane, None] = {}
        self.active_agents = 0
        self._order, self._requests, self._connect, self._clock, self._writer = order, requests, connect, clock, writer
        self._drained, self._broken = drained, broken
        self._seats = [Seat(self, agent) for agent in agents]
        self._window_end_ns: Ns | None = None
        self._measured_open = 0
        self._timers: list[asyncio.TimerHandle] = []
        self._beat_due_ns = 0
        self._lag_max_ns = 0
        self._gc_max_ns = self._gc_began_ns = 0
        self._second_ns = self._sweep_ns = 0
        self._cpu_ns = 0

    # -- load.lane.Host ----------------------------------------------------------------------------------------------------

    def connection(self, lane: Lane) -> Connection:
        return self._connect(lane)

    def request(self, send: Send, agent: int) -> Request:
        return self._requests.make(send, agent)

    def turn_scheduled(self, due_ns: Ns) -> None:
        if self._measured(due_ns):
            self._measured_open += 1

    def turn_ended(self, row: RawTurn) -> None:
        try:
            self._writer.put(row)
        except StorageError as error:
            self._broken(error)
            return
        if self._measured(row.due_ns):
            self._measured_open -= 1
            self._tell_if_drained()

    def _measured(self, due_ns: Ns) -> bool:
        """Only once the window has closed can a turn be known to lie in it."""
        return self._window_end_ns is not None and self._order.window_opens_ns <= due_ns < self._window_end_ns

    def _tell_if_drained(self) -> None:
        if self._measured_open == 0 and not self.stopping:
            self._drained()

    def _lanes(self) -> list[Lane]:
        """Of all seats. A list of its own: a turn that is given up may need a lane more."""
        return [lane for seat in self._seats for lane in seat.lanes]

    # -- the phase's course ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Set a timer for each agent's start, and for the heartbeat."""
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection over 4,000 lanes takes 30 ms and more; the phase makes next to no cycles
        gc.callbacks.append(self._gc_event)
        for seat in self._seats:
            start_ns = self._order.start_ns + s_to_ns(seat.index / self._order.spawn_per_s)
            wait_s = max(0, start_ns - now_ns()) / NS_PER_S
            self._timers.append(self.loop.call_later(wait_s, seat.start))
        self._second_ns = self._sweep_ns = now_ns()
        self._cpu_ns = time.process_time_ns()
        self._next_beat()

    def _next_beat(self) -> None:
        self._beat_due_ns = now_ns() + _BEAT_NS
        self._beat_timer = self.loop.call_later(_BEAT_NS / NS_PER_S, self._beat)

    def close_window(self, window_end_ns: Ns) -> None:
        self._window_end_ns = window_end_ns
        self._measured_open = sum(
            1 for lane in self._lanes() if lane.turn is not None and self._measured(lane.turn.due_ns)
        )
        self._tell_if_drained()

    def stop(self) -> None:
        """Rows for what is in flight, then silence."""
        self.stopping = True
        for timer in self._timers:
            timer.cancel()
        self._beat_timer.cancel()
        self._sample(now_ns())  # while the lanes still have their turns: afterwards no agent would count as active
        for lane in self._lanes():
            lane.give_up("aborted", "the phase ended while the turn was open")
            lane.stop()
        self.dials.clear()
        gc.callbacks.remove(self._gc_event)
        gc.enable()
        self._writer.close()

    # -- its own health ----------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        """Every 20 ms: how late is the loop? Once a second a sample, twice a second a look for turns that take too long.

        Neither looks at an agent in a tool delay. Those whose turns are due stand in the order in which they fell due: the first that
        has not waited too long ends the look.
        """
        now = now_ns()  # loop.time() is taken once an iteration, before the callbacks whose length is asked for here
        self._lag_max_ns = max(self._lag_max_ns, now - self._beat_due_ns)
        if now - self._second_ns >= NS_PER_S:
            self._sample(now)
        if now - self._sweep_ns >= _SWEEP_NS:
            self._sweep_ns = now
            limit_ns = s_to_ns(self._order.turn_timeout_s)
            for lane in list(takewhile(lambda lane: lane.waited_ns(now) > limit_ns, self.due)):
                lane.give_up("timeout", f"no complete answer within {self._order.turn_timeout_s:.0f} s")
        self._next_beat()

    def _sample(self, now: Ns) -> None:
        cpu_ns = time.process_time_ns()
        sample = ClientSample(
            worker=self.worker,
            t_ns=now,
            loop_lag_max_ns=self._lag_max_ns,
            cpu_ns=cpu_ns - self._cpu_ns,
            gc_pause_max_ns=self._gc_max_ns,
            active_agents=self.active_agents,
            in_flight=sum(lane.in_flight for lane in self.due),
            clock_offset_ns=self._clock.sample(),
        )
        self._second_ns, self._cpu_ns, self._lag_max_ns, self._gc_max_ns = now, cpu_ns, 0, 0
        try:
            self._writer.put(sample)
        except StorageError as error:
            self._broken(error)

    def _gc_event(self, when: str, _info: dict[str, int]) -> None:
        if when == "start":
            self._gc_began_ns = now_ns()
        else:
            self._gc_max_ns = max(self._gc_max_ns, now_ns() - self._gc_began_ns)
