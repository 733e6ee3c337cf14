"""One phase on a virtual clock: the same agents, the same window, the same rows as a live one (load.fleet), and no time passes.

What a load generator adds of its own (lateness, read lag, an event loop that stalls) is nothing here, so that what is judged is the
simulated system alone.
"""

from __future__ import annotations

import gc
import struct
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from openagentperf.agent import Agent, Send
from openagentperf.errors import UsageError
from openagentperf.records.phase import PhaseFacts, PhaseOrder, Quota, may_close
from openagentperf.records.turns import ClientSample
from openagentperf.sim.cluster import Cluster, Conversation
from openagentperf.sim.jobs import Job, Timers
from openagentperf.sim.rows import ABORTED, CONNECT, FIELDS, OK, OVERFLOW, RESET, TIMEOUT, columns
from openagentperf.sim.spec import ClusterSpec
from openagentperf.sim.usage import Meter, PowerPoint, Usage
from openagentperf.sim.workload import Workload
from openagentperf.units import NS_PER_MS, NS_PER_S, Ns, s_to_ns

_TICK_NS = 100 * NS_PER_MS
"""How often the fleet looks whether the window may close."""
_TICKS_PER_SWEEP = 5
_TICKS_PER_SAMPLE = 10
_MOST_TURNS, _MOST_TURNS_AN_AGENT = 20_000, 1_000
"""Turns that may end between two ticks: whoever answers faster answers for nothing, and a closed loop of turns that cost nothing and are
followed by no delay stands still in time."""
_ROW = struct.Struct(f"={len(FIELDS)}q")
"""sim.rows.FIELDS."""
_REFUSED_NS = NS_PER_MS
"""From the request to the answer that says no."""


class SimPhase(Struct, frozen=True, kw_only=True):
    """What a simulated phase left."""

    facts: PhaseFacts
    columns: dict[str, NDArray[Any]]
    """By the names of records.turns.TurnRow, -1 for None; sorted by (due, agent)."""
    samples: list[ClientSample]
    power: list[PowerPoint]
    usage: Usage


def run_phase(spec: ClusterSpec, work: Workload, order: PhaseOrder, quota: Quota) -> SimPhase:
    """Carry out one phase. The same arguments give the same bytes.

    UsageError where the spec is not one that can be run, or takes no time for its turns.
    """
    collecting = gc.isenabled()
    gc.disable()  # a collection walks every job, strand and agent, and finds no cycle
    try:
        return _Phase(spec, work, order, quota).run()
    finally:
        if collecting:
            gc.enable()


class _Seat:
    """One agent, and the conversation that it has."""

    __slots__ = ("agent", "conversation", "replay")

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.replay = -1
        self.conversation: Conversation | None = None


class _Phase:
    def __init__(self, spec: ClusterSpec, work: Workload, order: PhaseOrder, quota: Quota) -> None:
        self._work, self._order, self._quota = work, order, quota
        self._timers = Timers(order.start_ns)
        self._cluster = Cluster(spec, self._timers, self._ended, self._lost, order.window_opens_ns)
        self._longest_tokens = self._cluster.longest_tokens(1 + max(map(len, work.chains)))
        self._block_tokens = self._cluster.front[0].pool.block_tokens
        self._meter = Meter(spec, self._cluster, order.start_ns)
        self._opens_ns = order.window_opens_ns
        self._limit_ns = order.limit_ns
        self._timeout_ns = s_to_ns(order.turn_timeout_s)
        self._window_end_ns: Ns | None = None
        self._hit_limit = False
        self._turns_left = self._most_turns = max(_MOST_TURNS, _MOST_TURNS_AN_AGENT * order.agents)
        """That may end before the next tick."""
        self._jobs = self._conversations = self._started = self._ticks = 0
        self._open: dict[Job, None] = {}
        """In flight, in the order in which they came due."""
        self._measured_open = 0
        self._measured = self._completed = 0
        self._longest_ns: Ns = 0
        self._rows = bytearray()
        self._samples: list[ClientSample] = []

    def run(self) -> SimPhase:
        order, timers = self._order, self._timers
        for index in range(order.agents):
            timers.later(order.start_ns + s_to_ns(index / order.spawn_per_s), self._spawn, index)
        timers.at(order.start_ns + _TICK_NS, self._tick, None)
        timers.at(self._opens_ns, self._opened, None)
        timers.run()
        return self._result(timers.now)

    # -- agents ----------------------------------------------------------------------------------------------------------------

    def _spawn(self, index: int, now: Ns) -> None:
        seat = _Seat(Agent(index, self._work, self._order.seed))
        self._started += 1
        for send in seat.agent.start(now):
            self._timers.later(send.due_ns, self._due, (seat, send))

    def _due(self, owner: tuple[_Seat, Send], now: Ns) -> None:
        seat, send = owner
        work = self._work
        row = work.first[send.trajectory] + send.turn
        prompt, output = work.input_tokens[row], work.output_tokens[row]
        conversation = seat.conversation
        if conversation is None or seat.replay != send.replay:
            if conversation is not None:
                self._cluster.close(conversation)
            conversation = seat.conversation = Conversation(self._conversations)
            self._conversations += 1
            seat.replay = send.replay
        segment = work.segment[row]
        path = conversation.paths.get(segment)
        if path is None:
            path = conversation.paths[segment] = work.path(segment, conversation.number, self._block_tokens)
        self._jobs += 1
        job = Job(self._jobs, owner, prompt, output, path, send.due_ns)
        if prompt + output > self._longest_tokens:
            self._close(job, now + _REFUSED_NS, OVERFLOW)
        elif self._cluster.submit(job, conversation, now):
            self._open[job] = None
        else:
            self._close(job, now + _REFUSED_NS, CONNECT)

    def _ended(self, job: Job, now: Ns) -> None:
        del self._open[job]
        self._close(job, now, OK)

    def _lost(self, job: Job, now: Ns) -> None:
        if self._open.pop(job, job) is None:
            self._close(job, now, RESET)

    def _close(self, job: Job, now: Ns, failure: int) -> None:
        """The turn has ended: its agent goes on, and its row is kept."""
        self._turns_left -= 1
        if self._turns_left < 0:
            self._refuse_free_turns()
        seat, send = job.owner
        sends = seat.agent.drained(send.line, now, failure != OK)
        last = bool(sends) and sends[0].replay > send.replay
        at, due = self._timers.later, self._due
        for following in sends:
            at(following.due_ns, due, (seat, following))
        self._put(job, now, failure, last)
        due_ns = send.due_ns
        if now - due_ns > self._longest_ns:
            self._longest_ns = now - due_ns
        if due_ns >= self._opens_ns:
            self._measured += 1
            if last and send.replay > 0 and failure == OK:
                self._completed += 1
            if self._window_end_ns is not None and due_ns < self._window_end_ns:
                self._measured_open -= 1

    def _put(self, job: Job, now: Ns, failure: int, last: bool) -> None:
        seat, send = job.owner
        first_ns = job.first_ns
        self._rows += _ROW.pack(
            seat.agent.index, send.replay, send.trajectory, send.turn, send.line, last, send.due_ns,
            first_ns, now if failure == OK else first_ns, now, failure, job.cached_tokens,
        )  # fmt: skip

    def _refuse_free_turns(self) -> None:
        raise UsageError(
            self._cluster.spec.name,
            f"{self._order.agents:,} agents had more than {self._most_turns:,} answers in {_TICK_NS // NS_PER_MS} ms of virtual time",
            "steps that take time were needed, or tool delays",
            "give the cluster step costs above 0; where they were fitted to a run, fit to one whose turns tell them",
        )

    # -- the phase's course ------------------------------------------------------------------------------------------------------

    def _opened(self, _: None, now: Ns) -> None:
        self._meter.open_window(now)

    def _tick(self, _: None, now: Ns) -> None:
        """What load.fleet does ten times a second."""
        self._ticks += 1
        self._turns_left = self._most_turns
        if self._ticks % _TICKS_PER_SWEEP == 0:
            self._sweep(now)
        if self._ticks % _TICKS_PER_SAMPLE == 0:
            self._meter.read(now)
            self._sample(now)
        if (
            self._window_end_ns is None
            and now >= self._opens_ns
            and may_close(
                self._order,
                self._quota,
                now,
                turns=self._measured,
                trajectories=self._completed,
                longest_ns=self._longest_ns,
            )
        ):
            self._close_window(now)
        if self._window_end_ns is not None and self._measured_open == 0:
            self._timers.stopped = True
        elif now >= self._limit_ns:
            self._timers.stopped = self._hit_limit = True
        else:
            self._timers.at(now + _TICK_NS, self._tick, None)

    def _close_window(self, now: Ns) -> None:
        self._window_end_ns = now
        self._meter.close_window(now)
        self._measured_open = sum(1 for job in self._open if job.due_ns >= self._opens_ns)

    def _sweep(self, now: Ns) -> None:
        late = []
        for job in self._open:
            if now - job.due_ns <= self._timeout_ns:
                break
            late.append(job)
        for job in late:
            del self._open[job]
            self._cluster.forget(job, now)
            self._close(job, now, TIMEOUT)

    def _sample(self, now: Ns) -> None:
        self._samples.append(
            ClientSample(
                worker=0,
                t_ns=now,
                loop_lag_max_ns=0,
                cpu_ns=0,
                gc_pause_max_ns=0,
                active_agents=self._started,
                in_flight=len(self._open),
                clock_offset_ns=0,
            )
        )

    # -- what is left ------------------------------------------------------------------------------------------------------------

    def _result(self, now: Ns) -> SimPhase:
        order = self._order
        self._meter.read(now)
        self._sample(now)
        for job in self._open:
            self._put(job, now, ABORTED, last=False)
        end_ns = self._window_end_ns or max(self._opens_ns, min(now, self._limit_ns))
        self._meter.close_window(now)
        facts = PhaseFacts(
            order=order,
            window_start_ns=self._opens_ns,
            window_end_ns=end_ns,
            ended_ns=now,
            hit_limit=self._hit_limit,
            workers=1,
            stamps="kernel",
            min_active_share=_active_share(self._samples, self._opens_ns, end_ns, order.agents),
        )
        rows = columns(self._rows, self._work, self._cluster.spec)
        usage = msgspec.structs.replace(
            self._meter.usage, hit_rate=_hit_rate(rows, facts), overflow_share=_overflow_share(rows, facts)
        )
        return SimPhase(facts=facts, columns=rows, samples=self._samples, power=self._meter.power, usage=usage)


def _active_share(samples: list[ClientSample], start_ns: Ns, end_ns: Ns, agents: int) -> float:
    """As load.collect counts it."""
    seen = [s.active_agents >= agents for s in samples if start_ns < s.t_ns <= end_ns + NS_PER_S]
    return sum(seen) / len(seen) if seen else 0.0


def _measured(columns: dict[str, NDArray[Any]], facts: PhaseFacts) -> NDArray[np.bool_]:
    due = columns["due_ns"]
    mask: NDArray[np.bool_] = (due >= facts.window_start_ns) & (due < facts.window_end_ns)
    return mask


def _overflow_share(columns: dict[str, NDArray[Any]], facts: PhaseFacts) -> float:
    refused = columns["failure"][_measured(columns, facts)] == "overflow"
    return float(refused.mean()) if len(refused) else 0.0


def _hit_rate(columns: dict[str, NDArray[Any]], facts: PhaseFacts) -> float | None:
    mask = _measured(columns, facts) & (columns["prompt_tokens"] >= 0)
    prompt = int(columns["prompt_tokens"][mask].sum())
    return int(columns["cached_tokens"][mask].sum()) / prompt if prompt else None
