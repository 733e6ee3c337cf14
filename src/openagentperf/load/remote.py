"""Load workers on other hosts: what a fleet needs of them, over a cluster that places a process on each (load.ray) and a line to it
(load.line).

A host's clock is its own. Orders are told in its time and its rows are read in the run's: the first frame of each file that comes from
there says by how much they differ. That was found by round trips before the phase, is asked again after it, and stands with its bound in
the phase's record; what the bound may be, the judge knows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from openagentperf import rundir
from openagentperf.client.clock import now_ns
from openagentperf.errors import EndpointError, InfrastructureError, StorageError, UsageError, WorkerError
from openagentperf.load import line as its_line
from openagentperf.load.cluster import Cluster, NodeAt, refuse
from openagentperf.load.hostfacts import host_facts
from openagentperf.load.line import Heard, HostLost, Line, Post
from openagentperf.load.link import Link, Placed
from openagentperf.load.protocol import Begin, Close, Setup, Stopped, ToWorker, pack
from openagentperf.records.hosts import HostFacts, LoadHost
from openagentperf.records.preflight import Check
from openagentperf.records.turns import Shift
from openagentperf.units import NS_PER_MS, Ns

LOST_S = 20.0
"""A host that does not answer for so long is lost."""
OPEN_S = 60.0
"""For the first answer of a host: Ray starts a Python there."""
_KEEP_S = 600.0
_PART_BYTES = 64 << 20
_TRIPS, _MOST_TRIPS, _GOOD_NS = 16, 128, NS_PER_MS // 2


class _Host:
    """One host that was opened, as the run sees it."""

    def __init__(self, node: str, name: str, handle: Any, facts: HostFacts, line: Line) -> None:
        self.node, self.name, self.handle, self.facts, self.line = node, name, handle, facts, line
        self.offset_ns: Ns = 0
        """Its clock less ours."""
        self.outbox: list[Post] = []
        self.lost = ""
        """Why, where it is."""
        self.kept: dict[str, str] = {}
        """Files that were sent there: where they lie here, and there."""


class _Seat(Link):
    """One worker on another host."""

    def __init__(self, setup: Setup, log: Path, host: _Host) -> None:
        super().__init__(setup, log)
        self.host = host
        self._writer: rundir.FrameWriter | None = None
        self.send(setup)

    def send(self, message: ToWorker) -> None:
        if self.dead:
            return
        worker, offset_ns = self.setup.worker, self.host.offset_ns
        match message:
            case Begin():
                self.close()
                self._writer = rundir.FrameWriter(rundir.frames_path(Path(message.folder), worker))
                self._writer.put(Shift(-offset_ns))
                order = msgspec.structs.replace(message.order, start_ns=message.order.start_ns + offset_ns)
                message = Begin(order=order, folder=message.folder)
            case Close():
                message = Close(window_end_ns=message.window_end_ns + offset_ns)
        self.host.outbox.append((worker, pack(message)))

    def take(self, heard: Heard) -> None:
        _, messages, frames, dead, log = heard
        if frames and self._writer is not None:
            self._writer.put_bytes(frames)
        self.hear(messages)
        if self.heard(Stopped):
            self.close()
        if dead:
            self.die(log)

    def die(self, log: bytes) -> None:
        if not self.dead:
            self.dead = True
            rundir.write(self.log, log)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class Remote:
    """Implements load.link.Hosts over as many nodes of a cluster as there are workers, or fewer: worker k on node k modulo how many."""

    tick_s = 0.25
    ahead_ns: Ns = 250 * NS_PER_MS

    def __init__(self, cluster: Cluster, workers: int, cores: Sequence[int] = ()) -> None:
        """Closes the cluster, now where its hosts will not do, else with itself."""
        self._cluster, self._workers, self._cores = cluster, workers, tuple(cores)
        self._own = host_facts("this host", workers)
        self._seats: dict[int, _Seat] = {}
        self._parts: dict[str, list[Any]] = {}
        self._behind = False
        """The last exchange left rows on a host."""
        try:
            self._hosts = self._first()
        except BaseException:
            cluster.close()
            raise

    # -- hosts -------------------------------------------------------------------------------------------------------------

    def _first(self) -> dict[int, _Host]:
        """By worker."""
        nodes = self._cluster.nodes()
        if not nodes:
            raise InfrastructureError(
                "--ray", "no node of the cluster has a CPU to give", "load workers need one each",
                "start one with `ray start --address=HEAD:6379` on a load host",
            )  # fmt: skip
        self.nodes = len(nodes)
        used = list(nodes)[: self._workers]
        shares = [len(range(k, self._workers, len(used))) for k in range(len(used))]
        handles = [self._cluster.place(*each) for each in zip(used, shares, strict=True)]  # they start side by side
        hosts = [self._open(node, nodes[node], *each) for node, *each in zip(used, handles, shares, strict=True)]
        return {k: hosts[k % len(hosts)] for k in range(self._workers)}

    def _open(self, node: str, at: NodeAt, handle: Any, workers: int) -> _Host:
        name = at.name
        try:
            told = self._cluster.get(self._cluster.call(handle, "facts", name, workers), OPEN_S)
            port, token = self._cluster.get(self._cluster.call(handle, "listen", at.address), OPEN_S)
        except HostLost as error:
            if "No module named 'openagentperf" in str(error):
                raise UsageError(
                    f"load host {name}", "has no openagentperf in the Python that Ray runs there", "the same version as here is needed",
                    f"install openagentperf {self._own.version} there",
                ) from None  # fmt: skip
            raise InfrastructureError(
                f"load host {name}", f"started no worker: {error}", f"{workers} free CPUs were needed within {OPEN_S:.0f} s",
                "see `ray status`, end what holds the cluster's CPUs, or take fewer --workers",
            ) from None  # fmt: skip
        facts = msgspec.json.decode(told, type=HostFacts)
        refuse(self._own, facts, self._cores)
        try:
            line = Line(at.address, port, token)
        except OSError as error:
            raise InfrastructureError(
                f"load host {name}", f"its port {port} at {at.address} cannot be reached from here ({error})",
                "rows and orders take that way", "run on a node of the cluster, and let its nodes reach each other's ports",
            ) from None  # fmt: skip
        return _Host(node, name, handle, facts, line)

    def _host_of(self, worker: int) -> _Host:
        """Where it is, or was to be; another where that one is lost: the node with the fewest workers, itself if it is up again."""
        host = self._hosts[worker]
        if not host.lost:
            return host
        up = self._cluster.nodes()
        load = dict.fromkeys(up, 0)
        opened = {}
        for other in self._hosts.values():
            if not other.lost and other.node in load:
                load[other.node] += 1
                opened[other.node] = other
        for node in sorted(load, key=load.__getitem__):
            try:
                self._hosts[worker] = opened.get(node) or self._open(node, up[node], self._cluster.place(node, 1), 1)
            except InfrastructureError as error:  # one that is gone may be listed for a while
                host.lost = str(error)
                continue
            return self._hosts[worker]
        raise WorkerError(
            "load hosts", f"none is left ({host.lost})", "a node with a free CPU is needed", "see `ray status`"
        )

    def _used(self) -> list[_Host]:
        return list({id(host): host for host in self._hosts.values() if not host.lost}.values())

    def placed(self, workers: int) -> tuple[Placed, ...]:
        assert workers == self._workers, "a cluster is opened for so many"
        return tuple(Placed(host.facts, self._workers_of(host)) for host in self._used())

    def _workers_of(self, host: _Host) -> tuple[int, ...]:
        return tuple(worker for worker, its in self._hosts.items() if its is host)

    def checks(self) -> tuple[Check, ...]:
        used = self._used()
        on = ", ".join(f"{len(self._workers_of(host))} on {host.name} ({len(host.facts.cores)} cores)" for host in used)
        if self.nodes > len(used):
            found = f"{self.nodes - len(used)} of the cluster's {self.nodes} nodes make no load; load workers: {on}"
            return (Check(name="load hosts", status="warning", found=found, fix=f"--workers {self.nodes} takes all"),)
        return (Check(name="load hosts", status="ok", found=f"load workers: {on}"),)

    def _ask(self, host: _Host, timeout_s: float, method: str, *args: Any) -> Any:
        """The answer to a call before a phase; WorkerError where none comes."""
        try:
            return self._cluster.get(self._cluster.call(host.handle, method, *args), timeout_s)
        except HostLost as error:
            self._lose(host, str(error))
            raise WorkerError(f"load host {host.name}", f"was lost ({error})", "", "see `ray status`") from None

    def _lose(self, host: _Host, why: str) -> None:
        host.lost = why
        host.line.close()
        self._cluster.drop(host.handle)  # it may only be cut off, and hold its CPUs
        for seat in self._seats.values():
            if seat.host is host:
                seat.die(f"load host {host.name} was lost: {why}\n".encode())

    # -- workers -----------------------------------------------------------------------------------------------------------

    def start(self, setup: Setup, log: Path) -> Link:
        host = self._host_of(setup.worker)
        if not host.kept:
            self._bring(host, setup.corpus)
            if setup.ca_file:
                self._bring(host, setup.ca_file)
            if why := self._ask(host, LOST_S, "unreachable", setup.urls):
                fix = "name the endpoint so that every load host reaches it, and open its firewall to them"
                raise EndpointError(f"load host {host.name}", why, "all load hosts need it", fix)
        there = msgspec.structs.replace(setup, corpus=host.kept[setup.corpus], ca_file=host.kept.get(setup.ca_file, ""))
        self._seats[setup.worker] = seat = _Seat(there, log, host)
        return seat

    def _bring(self, host: _Host, path: str) -> None:
        """A file from here to there. A corpus is read and handed to the cluster once, however many hosts take it."""
        if path not in self._parts:
            with open(path, "rb") as file:
                self._parts[path] = [self._cluster.put(part) for part in iter(lambda: file.read(_PART_BYTES), b"")]
        there, why = self._ask(host, _KEEP_S, "keep", Path(path).name, *self._parts[path])
        if why:
            raise StorageError(f"load host {host.name}", why)
        host.kept[path] = there

    def listen(self, timeout_s: float) -> None:
        hosts = self._used()
        if not self._behind and not any(host.outbox for host in hosts):
            time.sleep(timeout_s)
        self._behind = False
        for host in hosts:
            posts, host.outbox = host.outbox, []
            try:
                host.line.post(posts)
            except HostLost as error:
                self._lose(host, str(error))
        for host in hosts:
            try:
                for heard in [] if host.lost else host.line.heard(LOST_S):
                    self._seats[heard[0]].take(heard)
                    self._behind = self._behind or len(heard[2]) >= its_line.BATCH_BYTES
            except HostLost as error:
                self._lose(host, str(error))

    def late(self, start_ns: Ns) -> str:
        self.listen(0)
        late_ns = now_ns() - start_ns
        return f"the order reached the load hosts {late_ns / NS_PER_MS:.1f} ms after the start" if late_ns > 0 else ""

    def end(self, link: Link) -> None:
        assert isinstance(link, _Seat)
        link.close()
        self._seats.pop(link.setup.worker, None)
        if not link.host.lost:
            try:
                self._ask(link.host, LOST_S, "end", link.setup.worker)
            except WorkerError:
                return  # it is lost, and its worker with it

    def close(self) -> None:
        for host in self._used():
            try:
                self._ask(host, LOST_S, "close")
            except WorkerError:
                continue
            host.line.close()
            self._cluster.drop(host.handle)
        self._cluster.close()

    # -- clocks ------------------------------------------------------------------------------------------------------------

    def clocks(self, before: tuple[LoadHost, ...] | None = None) -> tuple[LoadHost, ...]:
        self._parts.clear()  # every host has what it needs; the cluster's memory is given back
        read = [clock for host in self._used() if (clock := self._read(host)) is not None]
        if before is None:
            return tuple(read)
        after = {host.facts.name: host for host in read}
        return tuple(drifted(host, after.get(host.facts.name)) for host in before)

    def _read(self, host: _Host) -> LoadHost | None:
        """By round trips, sixteen and more where the shortest of them tells little. None where it was lost meanwhile."""
        error_ns: Ns | None = None
        for trip in range(_MOST_TRIPS):
            if error_ns is not None and trip >= _TRIPS and error_ns <= _GOOD_NS:
                break
            asked_ns = now_ns()
            try:
                there_ns = host.line.clock_ns(LOST_S)
            except HostLost as error:
                self._lose(host, str(error))
                return None
            took_ns = now_ns() - asked_ns
            if error_ns is None or took_ns < 2 * error_ns:
                error_ns = -(-took_ns // 2)
                host.offset_ns = there_ns - asked_ns - took_ns // 2
        assert error_ns is not None
        return LoadHost(facts=host.facts, workers=self._workers_of(host), offset_ns=host.offset_ns, error_ns=error_ns)


def drifted(before: LoadHost, after: LoadHost | None) -> LoadHost:
    """How a clock kept over a phase: the change of its offset, and the error of the second reading. As it was where that is missing."""
    if after is None:
        return before
    return msgspec.structs.replace(before, drift_ns=abs(after.offset_ns - before.offset_ns) + after.error_ns)
