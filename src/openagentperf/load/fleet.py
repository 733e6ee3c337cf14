"""All load workers, and the course of a phase seen from outside.

The fleet never touches a request. Per phase it sends an order, watches the rows that come back, closes the window when the quotas are
met (or the limit ends it), waits until every measured turn has closed with the load still on, and stops the workers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import msgspec

from openagentperf.client.clock import now_ns, wall_minus_monotonic_ns
from openagentperf.errors import WorkerError
from openagentperf.load.budget import cores_of
from openagentperf.load.collect import Collector
from openagentperf.load.link import Hosts, Link
from openagentperf.load.local import ThisHost
from openagentperf.load.protocol import Begin, Close, Drained, Ready, Setup, Stop, Stopped
from openagentperf.records.hosts import LoadHost
from openagentperf.records.phase import PhaseFacts, PhaseOrder, Quota, may_close
from openagentperf.records.progress import Stage
from openagentperf.units import NS_PER_MS, Ns, s_to_ns

_START_S = 30.0
_STOP_S = 20.0
_DECODE_NS = 100 * NS_PER_MS
"""Of rows between two looks at the workers and the limit."""


class Fleet:
    """Use as a context manager: workers end with it, whatever happens inside."""

    def __init__(self, setup: Setup, log_folder: Path, hosts: Hosts | None = None) -> None:
        """On `hosts`, which whoever opened them closes; without, on this one."""
        self._setup = setup
        self._logs = log_folder
        self._hosts: Hosts = ThisHost() if hosts is None else hosts
        self._workers: list[Link] = []
        self._clocks: tuple[LoadHost, ...] | None = None
        """As they were read before the phase that comes next; None where they were not yet."""

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
        for worker in self._workers:
            self._hosts.end(worker)

    def _start(self, worker: int) -> None:
        asked = self._setup
        cores: tuple[int, ...] = ()
        for host in self._hosts.placed(asked.workers) if asked.cores else ():
            if worker in host.workers:
                cores = cores_of(asked.cores, host.workers.index(worker), len(host.workers))
        setup = msgspec.structs.replace(asked, worker=worker, cores=cores)
        self._workers.insert(worker, self._hosts.start(setup, self._logs / f"worker-{worker}.log"))

    def prepare(self) -> None:
        """All that may take its time before a phase, and must not once its start is set: workers that died are started anew, clocks read.

        `run` does it where nobody has.
        """
        while True:
            self._revive()
            self._clocks = self._hosts.clocks()
            if not any(worker.dead for worker in self._workers):  # a host may be found to be gone only now
                return

    def _revive(self) -> None:
        dead = [(number, worker) for number, worker in enumerate(self._workers) if worker.dead]
        for number, worker in dead:
            self._hosts.end(worker)
            self._workers.remove(worker)
            self._start(number)
        if dead:
            for worker in self._workers:
                if worker.setup.worker not in {number for number, _ in dead}:
                    worker.said.append(Ready())  # set up long ago
            self._wait(Ready, _START_S, "set up")

    def starts_ns(self, agents: int) -> Ns:
        """When a phase of so many may start, ordered now."""
        return start_barrier_ns(agents) + self._hosts.ahead_ns

    def _listen(self, timeout_s: float) -> None:
        self._hosts.listen(timeout_s)
        for worker in self._workers:
            worker.check()

    def _wait(self, kind: type[Ready] | type[Stopped], timeout_s: float, what: str) -> None:
        end = now_ns() + s_to_ns(timeout_s)
        while not all(w.heard(kind) or w.dead for w in self._workers):
            if now_ns() > end:
                raise WorkerError(
                    "load workers",
                    f"did not {what} within {timeout_s:.0f} s",
                    "",
                    f"see {self._logs}/worker-*.log; is this machine overloaded?",
                )
            self._listen(self._hosts.tick_s)
        if kind is Ready and any(w.dead for w in self._workers):
            log = next(w.log for w in self._workers if w.dead)
            raise WorkerError("load workers", "one ended before it was set up", "", f"see {log}")

    def run(
        self, order: PhaseOrder, folder: Path, quota: Quota, tick: Callable[[Collector, PhaseOrder, Stage], None]
    ) -> tuple[PhaseFacts, Collector]:
        """One phase from start to stop. `tick` is called about ten times a second with the stage's name."""
        if self._clocks is None:
            self.prepare()
        wall_before_ns = wall_minus_monotonic_ns()
        collector = Collector(order, folder, len(self._workers))
        for worker in self._workers:
            worker.said.clear()
            worker.send(Begin(order=order, folder=str(folder)))
        late = self._hosts.late(order.start_ns)
        opens_ns, limit_ns = order.window_opens_ns, order.limit_ns
        window_end_ns: Ns | None = None
        hit_limit = False
        while True:
            self._listen(self._hosts.tick_s)
            now = now_ns()
            collector.poll(_DECODE_NS)
            stage = _stage(order, now, window_end_ns is not None)
            tick(collector, order, stage)
            if any(w.dead for w in self._workers):
                break
            if window_end_ns is None and may_close(
                order,
                quota,
                now,
                turns=collector.measured_turns,
                trajectories=collector.completed_trajectories,
                longest_ns=collector.longest_turn_ns,
            ):
                window_end_ns = now
                for worker in self._workers:
                    worker.send(Close(window_end_ns=now))
            if window_end_ns is not None and all(w.heard(Drained) for w in self._workers):
                break
            if now >= limit_ns:
                hit_limit = True
                break
        for worker in self._workers:
            worker.send(Stop())
        self._wait(Stopped, _STOP_S, "stop")
        collector.poll()
        clocks, self._clocks = (
            self._hosts.clocks(self._clocks),
            None,
        )  # before the faults: a host may be found to be gone only now
        faults = [f"load worker {w.setup.worker} died (see {w.log})" for w in self._workers if w.dead]
        end_ns = now_ns()
        window_end_ns = window_end_ns or max(opens_ns, min(end_ns, limit_ns))
        facts = PhaseFacts(
            order=order,
            window_start_ns=opens_ns,
            window_end_ns=window_end_ns,
            ended_ns=end_ns,
            wall_offset_ns=(wall_before_ns, wall_minus_monotonic_ns()),
            hit_limit=hit_limit,
            workers=len(self._workers),
            stamps="kernel" if collector.stamped else "user",
            min_active_share=collector.active_share(opens_ns, window_end_ns),
            faults=(*faults, *filter(None, (late,))),
            hosts=clocks,
        )
        return facts, collector


def _stage(order: PhaseOrder, now: Ns, closed: bool) -> Stage:
    if closed:
        return "drain"
    if now >= order.window_opens_ns:
        return "measure"
    return "settle" if now >= order.window_opens_ns - s_to_ns(order.settle_s) else "ramp"


def start_barrier_ns(agents: int) -> Ns:
    """A start far enough ahead that every worker has its order and its lanes: 50 ms, and 50 us an agent."""
    return now_ns() + (50 + agents // 20) * NS_PER_MS
