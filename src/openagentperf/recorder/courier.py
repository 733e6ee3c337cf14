"""The proxy's end of the writer: starts its process, hands exchanges over without waiting, hears what became of them."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import TypeAlias, cast

from openagentperf.errors import StorageError, WorkerError
from openagentperf.recorder.protocol import Done, Ended, FromWriter, Inbox, Ready, Setup, Trouble, Wrote, frame

MAX_BACKLOG_BYTES = 512 << 20
"""What the writer is behind by at most. More would take the memory that the agents need; what comes then is not recorded, and counted."""
_START_S = 30.0
Hear: TypeAlias = Callable[[Wrote | Trouble], object]


class Courier(asyncio.Protocol):
    """One writer process. Use `start` to make one, `finish` to end it."""

    def __init__(self, hear: Hear) -> None:
        loop = asyncio.get_running_loop()
        self._hear = hear
        self._inbox = Inbox()
        self._ready: asyncio.Future[FromWriter | None] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()
        self._process: subprocess.Popen[bytes] | None = None
        self.done: Done | None = None
        self.dropped = 0
        """Exchanges that were not handed over: the writer was too far behind, or gone."""

    @classmethod
    async def start(cls, setup: Setup, hear: Hear) -> Courier:
        """`hear` is told of each exchange that was written, and of what went wrong.

        StorageError where the folder cannot be written, WorkerError where the process does not come up."""
        courier = cls(hear)
        ours, theirs = socket.socketpair()
        with theirs:
            courier._process = subprocess.Popen(
                [sys.executable, "-m", "openagentperf.recorder.writer", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches this process alone; the writer ends when the socket does
            )
        await asyncio.get_running_loop().create_unix_connection(lambda: courier, sock=ours)
        courier._transport.writelines(frame(setup))
        try:
            said = await asyncio.wait_for(courier._ready, _START_S)
        except TimeoutError:
            said = None
        if isinstance(said, Ready):
            return courier
        courier._transport.abort()
        courier._process.wait()
        if isinstance(said, Trouble):
            raise StorageError(said.where, said.found, said.needed, said.fix)
        raise WorkerError("recorder", "its writer process did not start", f"within {_START_S:g} s", "see above")

    def send(self, ended: Ended, request: Iterable[bytes], response: Iterable[bytes]) -> None:
        """Hand an exchange over. Returns at once."""
        if self._gone.done() or self._transport.get_write_buffer_size() > MAX_BACKLOG_BYTES:
            self.dropped += 1
        else:
            self._transport.writelines(frame(ended, request, response))

    async def finish(self) -> Done | None:
        """Wait until all is written; None where the writer died before its last word."""
        assert self._process is not None
        if not self._gone.done():
            self._transport.write_eof()
        await self._gone
        await asyncio.to_thread(self._process.wait)
        return self.done

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for message in self._inbox.feed(data):
            if not self._ready.done():
                self._ready.set_result(message)
            elif isinstance(message, Done):
                self.done = message
            elif isinstance(message, Wrote | Trouble):
                self._hear(message)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._ready.done():
            self._ready.set_result(None)
        if self.done is None and self._process is not None and self._ready.result() is not None:
            self._hear(Trouble(storage=False, where="recorder", found="its writer process died", fix="see above"))
        self._gone.set_result(None)
