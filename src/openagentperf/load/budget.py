"""Does this host have the descriptors, ports and cores that a phase needs? Asked before its first byte is sent.

A lane has a connection of its own, and a seat as many lanes as its agent's widest tree has requests waiting or in flight at once. So a
phase of N agents needs at most N x the widest tree connections:

- each is a descriptor of its worker, which runs every m-th agent;
- each is a port of this host for every address from which it dials one (address, port) of an endpoint; agent i dials endpoint i mod k.
"""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from openagentperf.client.endpoint import Address
from openagentperf.errors import InfrastructureError, PlanError
from openagentperf.records.preflight import Check
from openagentperf.records.tree import NONE, Line
from openagentperf.seeds import shard, share

SPARE_FILES = 64
"""Descriptors of a worker beside its connections: pipes, the corpus, rows, two epoll sets, the clock's proof."""
_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
_MOST_PORTS = (1024, 65535)


class Limits(Struct, frozen=True, kw_only=True):
    """Of this host."""

    files: int
    """Descriptors that a process may have once it has raised its own soft limit to the hard one; -1: no limit."""
    ports: int
    """Local ports for connections to one (address, port)."""


def limits() -> Limits:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ports = 28_232  # the kernel's default range, 32768 to 60999
    with suppress(OSError, ValueError):
        low, high = map(int, _PORTS.read_text().split())
        ports = max(0, high - low + 1 - _reserved(_RESERVED.read_text(), low, high))
    return Limits(files=-1 if hard == resource.RLIM_INFINITY else hard, ports=ports)


def raise_file_limit() -> None:
    """A socket an agent: the soft limit of 1,024 is for interactive shells."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def widest(lines: Sequence[Line]) -> int:
    """Most lines of one tree that can have a turn waiting or in flight at once (records.tree): never fewer than run, seldom more.

    While a line's turn t is in flight, beside it run the branches spawned before t that do not join at or before t; while it waits for
    turn t, those that join there too, and itself no more.
    """
    return _width(lines, 0)


def _width(lines: Sequence[Line], index: int) -> int:
    its = lines[index]
    below = [(line, _width(lines, i)) for i, line in enumerate(lines) if line.parent == index]
    most = 1
    for turn in range(its.first, its.first + its.turns + 1):
        begun = [(line, width) for line, width in below if line.after < turn]
        beside = sum(width for line, width in begun if line.join == NONE or line.join > turn)
        joining = sum(width for line, width in begun if line.join == turn)
        most = max(most, beside + max(joining, turn < its.first + its.turns))
    return most


class Room:
    """What phases need of a host: `width` requests of an agent at once, on so many load workers, to these addresses.

    host      how it is called where it is not this one
    its       the workers that run there; None: all of them
    """

    def __init__(
        self, width: int, workers: int, addresses: Sequence[Address], of: Limits | None = None, host: str = "this host",
        its: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        self._width, self._workers, self._addresses = width, workers, addresses
        self._of = of if of is not None else limits()
        self._host, self._its = host, set(range(workers) if its is None else its)

    def needs(self, agents: int) -> tuple[int, int]:
        """Most descriptors of one worker, and most connections of all to one (address, port); unix sockets need no ports."""
        ports: Counter[object] = Counter()
        for k, address in enumerate(self._addresses):
            if not address.is_unix:
                dialling = share(agents, k, len(self._addresses))
                ports[address.sockaddr[:2]] += sum(shard(agent, self._workers) in self._its for agent in dialling)
        files = self._width * len(share(agents, min(self._its), self._workers)) + SPARE_FILES
        return files, self._width * max(ports.values(), default=0)

    def complaint(self, agents: int) -> tuple[str, str, str]:
        """(found, needed, fix) where the host cannot hold a phase of `agents`; three times "" where it can."""
        files, ports = self.needs(agents)
        each = f" with up to {self._width} requests at once" if self._width > 1 else ""
        if 0 <= self._of.files < files:
            on = f"{self._workers} load worker{'s' if self._workers > 1 else ''}"
            limit = _rounded(files)
            shell = "this shell" if self._host == "this host" else "the shell that starts Ray there"
            return (
                f"a process of {self._host} may open {self._of.files:,} files",
                f"{agents:,} agents{each} on {on} need {files:,}",
                f"raise the hard limit of {shell} (sudo prlimit --pid $$ --nofile={limit}:{limit}), or take more --workers",
            )
        if self._of.ports < ports:
            low, high = _MOST_PORTS
            fix = f'widen the range (sudo sysctl -w net.ipv4.ip_local_port_range="{low} {high}")'
            if ports > high - low + 1:
                fix = "spread the agents over several addresses of the system (repeat --endpoint)"
            found = f"{self._host} has {self._of.ports:,} local ports for connections to one address"
            return found, f"{agents:,} agents{each} need {ports:,}", fix
        return "", "", ""

    def check(self, agents: int) -> None:
        """Raises InfrastructureError where this host cannot hold a phase of `agents`."""
        found, needed, fix = self.complaint(agents)
        if found:
            raise InfrastructureError(f"a phase of {agents} agents", found, needed, fix)

    def holds(self, limit: int) -> int:
        """The most agents, up to `limit`, that the host can hold."""
        low, high = 0, limit
        while low < high:
            middle = (low + high + 1) // 2
            if self.complaint(middle)[0]:
                high = middle - 1
            else:
                low = middle
        return low

    def warnings(self, limit: int) -> tuple[Check, ...]:
        """One where the search cannot go up to its limit: it will end with an error when it gets there. Else none."""
        found, needed, fix = self.complaint(limit)
        if not found:
            return ()
        found = f"{found}, and {needed}; phases of up to {self.holds(limit):,} agents can be run"
        return (Check(name="host", status="warning", found=found, fix=fix),)


def cores_of(cores: Sequence[int], worker: int, workers: int) -> tuple[int, ...]:
    """The cores of one worker: every m-th of those given; one of them, shared, where there are fewer than workers."""
    return tuple(cores[worker::workers]) or (() if not cores else (cores[worker % len(cores)],))


def check_cores(cores: Iterable[int]) -> None:
    """Raises PlanError where this process may not use one of them."""
    if not (wanted := set(cores)):
        return
    usable = os.sched_getaffinity(0)
    if missing := sorted(wanted - usable):
        raise PlanError(
            "plan", f"load.cores names core {missing[0]}, which this process may not use",
            f"some of {', '.join(map(str, sorted(usable)))} were needed", "see `taskset -cp $$`, or leave load.cores out",
        )  # fmt: skip


def _reserved(text: str, low: int, high: int) -> int:
    """Of `8080,9000-9010`, the ports inside low..high."""
    count = 0
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        count += max(0, min(high, int(last or first)) - max(low, int(first)) + 1)
    return count


def _rounded(files: int) -> int:
    """Up to a power of two, at least 4,096: room for a few more agents."""
    return max(4096, 1 << (files - 1).bit_length())
