"""A load worker as the fleet sees it, and the place where workers run: this host (load.local), or the hosts of a cluster (load.remote)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from openagentperf.errors import CorpusError, EndpointError, OpenAgentPerfError, StorageError, WorkerError
from openagentperf.load.protocol import Broken, Drained, FromWorker, Inbox, Ready, Setup, Stopped, ToWorker
from openagentperf.records.hosts import HostFacts, LoadHost
from openagentperf.records.preflight import Check
from openagentperf.units import Ns

_ERRORS: dict[str, type[OpenAgentPerfError]] = {
    "storage": StorageError,
    "endpoint": EndpointError,
    "corpus": CorpusError,
}


class Link:
    """One worker: what it was told, what it has said, and whether it has ended."""

    def __init__(self, setup: Setup, log: Path) -> None:
        self.setup = setup
        self.log = log
        """What it writes to standard error."""
        self.said: list[FromWorker] = []
        self.dead = False
        self._inbox = Inbox(FromWorker)

    def send(self, message: ToWorker) -> None:
        """Never raises: one that cannot be reached is dead."""
        raise NotImplementedError

    def hear(self, data: bytes) -> None:
        self.said += self._inbox.feed(data)  # type: ignore[arg-type]

    def heard(self, kind: type[Ready] | type[Drained] | type[Stopped]) -> bool:
        return any(isinstance(message, kind) for message in self.said)

    def check(self) -> None:
        """Raises what it has said of itself where it cannot go on."""
        for message in self.said:
            if isinstance(message, Broken):
                kind = _ERRORS.get(message.kind, WorkerError)
                raise kind(message.where, message.found, message.needed, message.fix or f"see {self.log}")


class Placed(msgspec.Struct, frozen=True):
    """A host, and which of the workers run there."""

    facts: HostFacts
    workers: tuple[int, ...]


class Hosts(Protocol):
    """Where workers run. It is handed to one fleet after another; whoever opened it closes it."""

    tick_s: float
    """How long the fleet waits for news at a time."""
    ahead_ns: Ns
    """By so much more the start of a phase lies ahead: the time that an order may need to get there."""

    def placed(self, workers: int) -> tuple[Placed, ...]:
        """What hosts there are, and where each of so many workers would run."""
        ...

    def checks(self) -> tuple[Check, ...]:
        """What a run is to be told of them before its first phase."""
        ...

    def start(self, setup: Setup, log: Path) -> Link: ...

    def listen(self, timeout_s: float) -> None:
        """Take in what the workers have said; where they have said nothing, for about `timeout_s`."""
        ...

    def late(self, start_ns: Ns) -> str:
        """Called once all have been sent their orders: what went wrong where one did not get there before `start_ns`; "" where all did."""
        ...

    def clocks(self, before: tuple[LoadHost, ...] | None = None) -> tuple[LoadHost, ...]:
        """The clocks of the other hosts against this one's; with what was read `before` a phase, how they kept over it."""
        ...

    def end(self, link: Link) -> None:
        """Of one worker, dead or alive."""
        ...
