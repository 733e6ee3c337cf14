"""How fast this worker may open connections: a bucket of tokens, and a queue in the order in which turns are due.

Where load is normal the bucket is never empty and a dial begins at once. After a reset of thousands of connections it is: their next
turns are all due at once, and a server whose accept queue (often 2,048, at most net.core.somaxconn) overflows drops the rest, which the
kernel tries again after a second. What a turn waited here beyond its due time is the client's doing and stands in its row (`paced_ns`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush

from openagentperf.client.clock import now_ns
from openagentperf.units import NS_PER_S, Ns

BURST_S = 0.1
"""So many seconds' worth of dials may begin at one instant."""
_SOONEST_S = 0.001


class Dials:
    """`per_s` dials a second, and a tenth of that at once."""

    __slots__ = ("_asked", "_at_ns", "_burst", "_level", "_loop", "_per_s", "_timer", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, per_s: float) -> None:
        self._loop, self._per_s = loop, per_s
        self._burst = self._level = max(1.0, per_s * BURST_S)
        self._at_ns = now_ns()
        self._asked = 0
        self._waiting: list[tuple[Ns, int, Callable[[], bool]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def ask(self, due_ns: Ns, dial: Callable[[], bool]) -> None:
        """Call `dial` as soon as may be, before those whose turns are due later. It says whether it still had to dial."""
        self._asked += 1
        heappush(self._waiting, (due_ns, self._asked, dial))
        if self._timer is None:
            self._release()

    def clear(self) -> None:
        """Forget who waits."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _release(self) -> None:
        self._timer = None
        now = now_ns()
        self._level = min(self._burst, self._level + (now - self._at_ns) * self._per_s / NS_PER_S)
        self._at_ns = now
        while self._waiting and self._level >= 1:
            _, _, dial = heappop(self._waiting)
            self._level -= dial()
        if self._waiting:
            self._timer = self._loop.call_later(max(_SOONEST_S, (1 - self._level) / self._per_s), self._release)
