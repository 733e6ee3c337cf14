"""What moves through a simulated cluster: jobs, and the event heap that moves them."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from openagentperf.sim.prefix import Path
from openagentperf.sim.strand import Lease
from openagentperf.units import Ns

if TYPE_CHECKING:
    from openagentperf.sim.worker import Worker

_Event: TypeAlias = tuple[Ns, int, Callable[[Any, Ns], None], Any]


class Job:
    """One request on its way through the cluster."""

    __slots__ = (
        "cached_tokens",
        "due_ns",
        "first_ns",
        "gone",
        "lease",
        "left_tokens",
        "left_work_ns",
        "number",
        "output",
        "owner",
        "path",
        "prompt",
        "room",
        "worker",
    )

    left_tokens: int
    """Of the prompt, to be computed; set with the lease."""
    left_work_ns: float

    def __init__(self, number: int, owner: Any, prompt: int, output: int, path: Path, due_ns: Ns) -> None:
        self.number = number
        """In order of arrival: breaks ties."""
        self.owner = owner
        """Whatever the driver keeps with it."""
        self.prompt = prompt
        self.output = output
        self.path = path
        self.due_ns = due_ns
        self.first_ns: Ns = -1
        """When its first token was seen; -1 before."""
        self.cached_tokens = 0
        self.lease: Lease | None = None
        self.worker: Worker | None = None
        """Where it is; where it was, once it has ended."""
        self.room: Lease | None = None
        """Taken on a decode worker, while its KV is on its way there."""
        self.gone = False
        """Given up by its client, or lost with a worker."""


class Host(Protocol):
    """Whom a worker tells what became of its jobs (sim.cluster)."""

    def prefilled(self, job: Job, now: Ns) -> None: ...
    def ended(self, job: Job, now: Ns) -> None: ...


class Timers:
    """The events to come: (time, order, call, argument). Two heaps, because agents in their tool delays are thousands, and the events of a
    few dozen workers, three of four, would be sifted through them."""

    __slots__ = ("_far", "_near", "_next", "now", "stopped")

    def __init__(self, now: Ns) -> None:
        self.now = now
        self.stopped = False
        self._near: list[_Event] = []
        self._far: list[_Event] = []
        self._next = count().__next__

    def at(self, when: Ns, call: Callable[[Any, Ns], None], what: Any) -> None:
        """`call(what, when)`; of equal times the one asked for first goes first."""
        heappush(self._near, (when, self._next(), call, what))

    def later(self, when: Ns, call: Callable[[Any, Ns], None], what: Any) -> None:
        """The same, for what is some seconds away."""
        heappush(self._far, (when, self._next(), call, what))

    def run(self) -> None:
        """Until nothing is left, or `stopped`."""
        near, far = self._near, self._far
        while not self.stopped:
            if near and not (far and far[0] < near[0]):
                when, _, call, what = heappop(near)
            elif far:
                when, _, call, what = heappop(far)
            else:
                return
            self.now = when
            call(what, when)
