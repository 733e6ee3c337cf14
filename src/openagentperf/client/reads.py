"""Shared wake-ups: the sockets that stream are in one epoll set, read at once when all is quiet and at most every 2 ms when not.

Waking a process costs more than reading a chunk. At 500 streams of 50 tokens/s every token came with a wake-up of its own and cost the
worker 20.0 us; with shared ones 13.1 (benchmarks/client_cost.py, medians of 3, in turns). The stamps lose nothing by it: they are the
kernel's, taken when a chunk arrives, and `read_lag_ns` shows up to 2 ms more. But chunks of one stream that lie together in a
socket merge and keep the last one's stamp. That must not happen to the first output, so the first reads of an answer are the event
loop's (client.connection.EAGER_READS); of later ones only the last stamp counts, and that is the one which a merged read keeps.

Only for kernel stamps: where they are our own, no read may wait.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

PAUSE_S = 0.002
_MOST = 4096


class SharedReads:
    """Reads of many sockets in one go. Callbacks run on the event loop, as the loop's own readers do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._resting: asyncio.TimerHandle | None = None
        loop.add_reader(self._epoll.fileno(), self._wake)

    def __len__(self) -> int:
        """How many sockets it reads."""
        return len(self._callbacks)

    @property
    def resting(self) -> bool:
        """Something was read less than 2 ms ago: what comes now is read when the pause is over."""
        return self._resting is not None

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        self._callbacks[fd] = callback
        self._epoll.register(fd, select.EPOLLIN)

    def remove_reader(self, fd: int) -> None:
        """Nothing where it is not watched."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        if self._resting is None:
            self._loop.remove_reader(self._epoll.fileno())
        else:
            self._resting.cancel()
        self._epoll.close()

    def _wake(self) -> None:
        """The first chunk after a silence: read it now, and what comes next together."""
        self._loop.remove_reader(self._epoll.fileno())
        self._read()

    def _read(self) -> None:
        callbacks = self._callbacks
        found = self._epoll.poll(0, _MOST)
        for fd, _ in found:
            callback = callbacks.get(fd)  # None: closed by a callback before it in this round
            if callback is not None:
                callback()
        if found:
            self._resting = self._loop.call_later(PAUSE_S, self._read)
        else:
            self._resting = None
            self._loop.add_reader(self._epoll.fileno(), self._wake)
