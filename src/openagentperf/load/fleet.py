"""All load workers of this host, and the course of a phase seen from outside.

The fleet never touches a request. Per phase it sends an order, watches the rows that come back, closes the window when the quotas are
met (or the limit ends it), waits until every measured turn has closed with the load still on, and stops the workers.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import msgspec

from openagentperf.client.clock import now_ns, wall_minus_monotonic_ns
from openagentperf.errors import CorpusError, EndpointError, OpenAgentPerfError, StorageError, WorkerError
from openagentperf.load.budget import cores_of
from openagentperf.load.collect import Collector
from openagentperf.load.protocol import (
    Begin,
    Broken,
    Close,
    Drained,
    FromWorker,
    Inbox,
    Ready,
    Setup,
    Stop,
    Stopped,
    ToWorker,
    pack,
)
from openagentperf.records.phase import PhaseFacts, PhaseOrder
from openagentperf.records.progress import Stage
from openagentperf.rundir import storage_errors
from openagentperf.units import NS_PER_MS, NS_PER_S, Ns, s_to_ns

_START_S = 30.0
_STOP_S = 20.0
_TICK_S = 0.1
_ERRORS: dict[str, type[OpenAgentPerfError]] = {
    "storage": StorageError,
    "endpoint": EndpointError,
    "corpus": CorpusError,
}


class Quota(msgspec.Struct, frozen=True):
    """What a phase must hold before its window may close."""

    turns: int
    trajectories: int


class _Process:
    """One worker and the pipe to it."""

    def __init__(self, setup: Setup, log: Path) -> None:
        self.setup = setup
        self.log = log
        with storage_errors(log), log.open("ab") as file:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "openagentperf.load.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,  # Ctrl-C reaches us first; the workers stop when their stdin closes
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self.inbox = Inbox(FromWorker)
        self.said: list[FromWorker] = []
        self.dead = False
        self.send(setup)

    def send(self, message: ToWorker) -> None:
        assert self.popen.stdin is not None
        try:
            self.popen.stdin.write(pack(message))
            self.popen.stdin.flush()
        except OSError:
            self.dead = True

    def read(self) -> None:
        assert self.popen.stdout is not None
        data = os.read(self.popen.stdout.fileno(), 1 << 16)
        if not data:
            self.dead = True
            return
        for message in self.inbox.feed(data):
            if isinstance(message, Broken):
                kind = _ERRORS.get(message.kind, WorkerError)
                raise kind(message.where, message.found, message.needed, message.fix or f"see {self.log}")
            self.said.append(message)  # type: ignore[arg-type]

    def heard(self, kind: type[Ready] | type[Drained] | type[Stopped]) -> bool:
        return any(isinstance(m, kind) for m in self.said)

    def end(self) -> None:
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        try:
            self.popen.wait(2)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


class Fleet:
    """Use as a context manager: workers end with it, whatever happens inside."""

    def __init__(self, setup: Setup, log_folder: Path) -> None:
        self._setup = setup
        self._logs = log_folder
        self._processes: list[_Process] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Fleet:
        try:
            for worker in range(self._setup.workers):
                self._start(worker)
            self._wait(Ready, _START_S, "set up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.end()
        self._selector.close()

    def _start(self, worker: int) -> None:
        asked = self._setup
        setup = msgspec.structs.replace(asked, worker=worker, cores=cores_of(asked.cores, worker, asked.workers))
        process = _Process(setup, self._logs / f"worker-{worker}.log")
        self._processes.insert(worker, process)
        assert process.popen.stdout is not None
        self._selector.register(process.popen.stdout, selectors.EVENT_READ, process)

    def _revive(self) -> None:
        """A worker that died in the phase before is started anew."""
        dead = [(worker, process) for worker, process in enumerate(self._processes) if process.dead]
        for worker, process in dead:
            if process.popen.stdout in self._selector.get_map():  # died at a write: its pipe was never seen to close
                self._selector.unregister(process.popen.stdout)  # type: ignore[arg-type]
            process.end()
            self._processes.remove(process)
            self._start(worker)
        if dead:
            for process in self._processes:
                if process.setup.worker not in {worker for worker, _ in dead}:
                    process.said.append(Ready())  # set up long ago
            self._wait(Ready, _START_S, "set up")

    def _poll(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            process: _Process = key.data
            process.read()
            if process.dead:  # a closed pipe stays readable: left registered, this loop would spin
                self._selector.unregister(key.fileobj)

    def _wait(self, kind: type[Ready] | type[Stopped], timeout_s: float, what: str) -> None:
        end = now_ns() + s_to_ns(timeout_s)
        while not all(p.heard(kind) or p.dead for p in self._processes):
            if now_ns() > end:
                raise WorkerError(
                    "load workers",
                    f"did not {what} within {timeout_s:.0f} s",
                    "",
                    f"see {self._logs}/worker-*.log; is this machine overloaded?",
                )
            self._poll(_TICK_S)
        if kind is Ready and any(p.dead for p in self._processes):
            log = next(p.log for p in self._processes if p.dead)
            raise WorkerError("load workers", "one ended before it was set up", "", f"see {log}")

    def run(
        self, order: PhaseOrder, folder: Path, quota: Quota, tick: Callable[[Collector, PhaseOrder, Stage], None]
    ) -> tuple[PhaseFacts, Collector]:
        """One phase from start to stop. `tick` is called about ten times a second with the stage's name."""
        self._revive()
        wall_before_ns = wall_minus_monotonic_ns()
        collector = Collector(order, folder, len(self._processes))
        for process in self._processes:
            process.said.clear()
            process.send(Begin(order=order, folder=str(folder)))
        opens_ns, limit_ns = order.window_opens_ns, order.start_ns + s_to_ns(order.limit_s)
        earliest_ns = opens_ns + s_to_ns(order.measure_s)
        window_end_ns: Ns | None = None
        hit_limit = False
        while True:
            self._poll(_TICK_S)
            now = now_ns()
            collector.poll()
            stage = _stage(order, now, window_end_ns is not None)
            tick(collector, order, stage)
            if any(p.dead for p in self._processes):
                break
            if window_end_ns is None and now >= earliest_ns:
                met = collector.measured_turns >= quota.turns and collector.completed_trajectories >= quota.trajectories
                if met or now >= limit_ns - _drain_reserve_ns(collector):
                    window_end_ns = now
                    for process in self._processes:
                        process.send(Close(window_end_ns=now))
            if window_end_ns is not None and all(p.heard(Drained) for p in self._processes):
                break
            if now >= limit_ns:
                hit_limit = True
                break
        for process in self._processes:
            process.send(Stop())
        self._wait(Stopped, _STOP_S, "stop")
        collector.poll()
        faults = [f"load worker {p.setup.worker} died (see {p.log})" for p in self._processes if p.dead]
        end_ns = now_ns()
        window_end_ns = window_end_ns or max(opens_ns, min(end_ns, limit_ns))
        facts = PhaseFacts(
            order=order,
            window_start_ns=opens_ns,
            window_end_ns=window_end_ns,
            ended_ns=end_ns,
            wall_offset_ns=(wall_before_ns, wall_minus_monotonic_ns()),
            hit_limit=hit_limit,
            workers=len(self._processes),
            stamps="kernel" if collector.stamped else "user",
            min_active_share=collector.active_share(opens_ns, window_end_ns),
            faults=tuple(faults),
        )
        return facts, collector


def _stage(order: PhaseOrder, now: Ns, closed: bool) -> Stage:
    if closed:
        return "drain"
    if now >= order.window_opens_ns:
        return "measure"
    return "settle" if now >= order.window_opens_ns - s_to_ns(order.settle_s) else "ramp"


def _drain_reserve_ns(collector: Collector) -> Ns:
    """Time that a window short of its quotas leaves before the limit, so that the turns in flight can end: twice the longest so far.

    Closing at the limit itself would cut off every turn in flight, and healthy ones would fail by our own doing: 4 of 53 in a
    search phase of 7 agents whose turns took 0.8 s.
    """
    return max(NS_PER_S, 2 * collector.longest_turn_ns)


def start_barrier_ns(agents: int) -> Ns:
    """A start far enough ahead that every worker has its order and its lanes: 50 ms, and 50 us an agent."""
    return now_ns() + (50 + agents // 20) * NS_PER_MS
