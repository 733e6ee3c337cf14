"""Shared wake-ups: all sockets of a worker in one epoll set, read at once when quiet and at most every 2 ms when busy.

Waking a process costs more than reading a chunk: at 500 streams of 50 tokens/s each token came with a wake-up of its own, and the worker
spent 16 us a token, 9 us with shared ones (benchmarks/client_cost.py). The stamps lose nothing by it, because they are the
kernel's and are taken when a chunk arrives; `read_lag_ns` shows up to 2 ms more. Two chunks of one stream that arrive
within the 2 ms do share a stamp (records.turns.TurnRow.first_read_events): from 500 events/s a stream on.

Only for kernel stamps. With our own, every read waits for nobody (load.worker hands the loop itself to its connections then).
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

    def add_reader(self, fd: int, callback: Callable[[], None], /) -> None:
        self._callbacks[fd] = callback
        self._epoll.register(fd, select.EPOLLIN)

    def remove_reader(self, fd: int, /) -> None:
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
