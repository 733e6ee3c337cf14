"""HTTP/1.1 streaming over one socket: bytes out, (time, bytes) in, nothing parsed but where the answer ends.

Why not a library: a rival's HTTP stack spends 20 calls and a JSON parse on each streamed event and reads a P95 TTFT of 1,437 ms
for a true 675 ms at 500 streams. Here a read costs a `recvmsg_into`, two array appends and a pass of httptools without callbacks.

Stamps: the kernel's receive time (SO_TIMESTAMPNS) where the platform has it. A chunk that waited in the socket because this process had
no CPU still carries the time it arrived, so a busy client makes `lag` grow and not TTFT. Kernel stamps are wall-clock time; `Clock`
holds the offset to the monotonic clock, sampled by whoever owns it. Without kernel stamps the time is our own, and `lags` stays empty.

Policy `direct-no-retry-v1`: no redirect, no proxy from the environment, identity encoding, no retry. One exception, counted: a *reused*
connection that dies before the first byte of an answer is dialled again once (servers close idle connections at 5 s, and some
right after a streamed answer).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from array import array
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, TypeAlias

import httptools

from openagentperf.client import sockets
from openagentperf.client.clock import ANCILLARY_BYTES, Clock, now_ns
from openagentperf.client.endpoint import Address
from openagentperf.client.reads import SharedReads
from openagentperf.client.sockets import OUR_LIMITS
from openagentperf.records.turns import Failure

Piece: TypeAlias = bytes | memoryview

TRANSPORT_POLICY = "direct-no-retry-v1"

EAGER_READS = 4
"""Headers, a role-only event, the first output and the next: the events whose stamps a shared read could merge to any effect."""
_READ_BYTES = 1 << 16
_SHARED = memoryview(bytearray(_READ_BYTES))
_INTO = [_SHARED]


class Owner(Protocol):
    """Whoever uses a connection. Callbacks run on the event loop and must return quickly."""

    def opened(self, connection: Connection) -> None:
        """Ready for a first request."""

    def ended(self, connection: Connection, failure: Failure, detail: str) -> None:
        """The request in flight is over: complete (failure ""), or not."""

    def lost(self, connection: Connection, failure: Failure, detail: str) -> None:
        """Closed while no request was in flight, or never opened."""


class Connection:
    """One socket: dialled, then one request at a time, until it closes. Never dials again by itself."""

    __slots__ = (
        "_clock", "_context", "_dead", "_fd", "_incoming", "_loop", "_out", "_outgoing", "_owner", "_parser", "_shared", "_sock", "_tls",
        "_together", "_writing", "address", "busy", "chunks", "idle_since_ns", "lags", "open", "requests", "status", "times",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        clock: Clock,
        owner: Owner,
        context: ssl.SSLContext | None = None,
        shared: SharedReads | None = None,
    ) -> None:
        """`shared` reads the body of a stream from its EAGER_READS-th read on; the loop itself reads all else, or all.

        Over a unix socket it reads all: the kernel does not stamp what comes there, so no read may wait.
        """
        self._shared = None if address.is_unix else shared
        self._together = False
        self._loop, self.address, self._clock, self._owner, self._context = loop, address, clock, owner, context
        self._sock: socket.socket | None = None
        self._fd = -1
        self._tls: ssl.SSLObject | None = None
        self._incoming = None if context is None else ssl.MemoryBIO()
        self._outgoing = None if context is None else ssl.MemoryBIO()
        self._out: list[Piece] = []
        self._parser: httptools.HttpResponseParser | None = None
        self._writing = self._dead = self.open = self.busy = False
        self.requests = self.status = self.idle_since_ns = 0
        self._fresh()

    def _fresh(self) -> None:
        self.times: array[int] = array("q")
        self.lags: array[int] = array("q")
        self.chunks: list[bytes] = []

    # -- dialling ----------------------------------------------------------------------------------------------------------

    def dial(self) -> None:
        """Begin to connect; the owner hears `opened` or `lost`."""
        try:
            self._sock = sockets.stream(self.address, stamped=self._clock.kernel)
        except OSError as error:
            self._refused(error.errno or errno.EIO)
            return
        self._fd = self._sock.fileno()
        self._connect()

    def _connect(self) -> None:
        if self._sock is None:
            return
        code = sockets.connect(self._sock, self.address)
        if code == errno.EAGAIN:
            self._loop.call_later(sockets.AGAIN_S, self._connect)
        elif code:
            self._refused(code)
        else:
            self._loop.add_writer(self._fd, self._connected)

    def _refused(self, code: int) -> None:
        """Told on a later turn of the loop, so that an owner never hears back inside its own call."""
        self._loop.call_soon(self._die, "client" if code in OUR_LIMITS else "connect", os.strerror(code))

    def _connected(self) -> None:
        sock = self._sock
        if sock is None:
            return
        self._loop.remove_writer(self._fd)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._refused(code)
            return
        self._loop.add_reader(self._fd, self._readable)
        if self._context is None:
            self._opened()
            return
        assert self._incoming is not None
        assert self._outgoing is not None
        self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_hostname=self.address.server_name)
        self._handshake()

    def _handshake(self) -> None:
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush_tls()
            return
        except ssl.SSLError as error:
            with suppress(OSError):
                self._flush_tls()  # the alert
            self._die("connect", f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}")
            return
        self._flush_tls()
        self._opened()

    def _opened(self) -> None:
        self.open = True
        self.idle_since_ns = now_ns()
        self._owner.opened(self)

    # -- a request out -----------------------------------------------------------------------------------------------------

    def send(self, pieces: Sequence[Piece]) -> None:
        """Write one request."""
        self._parser = httptools.HttpResponseParser(self)
        self._fresh()
        self.status = 0
        self.busy = True
        self.requests += 1
        if self._tls is not None:
            try:
                self._tls.write(b"".join(pieces))
            except ssl.SSLError as error:
                self._die("reset", f"TLS: {error.reason}")
                return
            self._flush_tls()
        else:
            self._out = list(pieces)
            self._write()

    def _flush_tls(self) -> None:
        assert self._outgoing is not None
        if data := self._outgoing.read():
            self._out.append(data)
        if self._out and not self._writing:
            self._write()

    def _write(self) -> None:
        """sendmsg takes the pieces where they lie (the corpus's mmap): a 500 KB history is not copied in this process."""
        sock = self._sock
        if sock is None:
            return
        out = self._out
        try:
            while out:
                sent = sock.sendmsg(out)
                while out and sent >= len(out[0]):
                    sent -= len(out.pop(0))
                if sent:
                    out[0] = memoryview(out[0])[sent:]
        except (BlockingIOError, InterruptedError):
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._fd, self._write)
            return
        except OSError as error:
            failure: Failure = "client" if error.errno in OUR_LIMITS else "reset"
            self._die(failure, f"while sending: {error.strerror}")
            return
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)

    # -- the answer in -----------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            size, stamps, _, _ = sock.recvmsg_into(_INTO, ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._die("reset", error.strerror or str(error))
            return
        now = now_ns()
        data = _SHARED[:size].tobytes()
        if not data:
            self._eof()
            return
        at = self._clock.stamp_ns(stamps) if stamps else now
        if self._tls is not None:
            data = self._decrypt(data)
            if not data:
                return
        if not self.busy:
            self._die("reset", "the server sent bytes nobody asked for")
            return
        self.times.append(at)
        if stamps:
            self.lags.append(now - at)
        self.chunks.append(data)
        if len(self.times) == EAGER_READS and self._shared is not None:
            self._read_together(self._shared)
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # ours, from the owner's `ended`: swallowed, it would leave a lane that never sends again
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.busy:  # else: complete, and garbage behind it
                self._die("malformed", f"not HTTP/1.1: {error}")

    def _read_together(self, shared: SharedReads) -> None:
        self._together = True
        self._loop.remove_reader(self._fd)
        shared.add_reader(self._fd, self._readable)

    def _read_alone(self) -> None:
        if self._together and self._shared is not None:
            self._together = False
            self._shared.remove_reader(self._fd)
            self._loop.add_reader(self._fd, self._readable)

    def _decrypt(self, data: bytes) -> bytes:
        assert self._tls is not None
        assert self._incoming is not None
        self._incoming.write(data)
        if not self.open:
            self._handshake()
            if not self.open:
                return b""
        plain = []
        try:
            while chunk := self._tls.read(_READ_BYTES):
                plain.append(chunk)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._die("reset", f"TLS: {error.reason}")
            return b""
        self._flush_tls()
        return b"".join(plain)

    def on_message_complete(self) -> None:
        """Called by httptools inside feed_data."""
        parser = self._parser
        assert parser is not None
        if not self.busy:  # a second response in one read would end a turn that has not been sent, before it is due
            return
        self.status = parser.get_status_code()
        if self.status < 200:  # 100 Continue, 103 Early Hints: the answer is still to come
            return
        self.busy = False
        self.idle_since_ns = now_ns()
        if self._out or not parser.should_keep_alive():  # a next request behind half a body would be read as its rest
            self.close()
        else:
            self._read_alone()
        self._owner.ended(self, "", "")

    def _eof(self) -> None:
        if self.busy and self.chunks and _ends_by_closing(self.chunks[0]):
            assert self._parser is not None
            self.status = self._parser.get_status_code()
            self.busy = False
            self.close()
            self._owner.ended(self, "", "")
            return
        self._die("reset", "the server closed the connection" + (" in the middle of the answer" if self.chunks else ""))

    # -- the end -----------------------------------------------------------------------------------------------------------

    def abort(self, failure: Failure, detail: str) -> None:
        """Give the request in flight up (timeout, end of phase): the owner hears `ended`."""
        self._die(failure, detail)

    def _die(self, failure: Failure, detail: str) -> None:
        if self._dead:
            return
        busy, self.busy = self.busy, False
        self.close()
        if busy:
            self._owner.ended(self, failure, detail)
        else:
            self._owner.lost(self, failure, detail)

    def close(self) -> None:
        """Close the socket, tell nobody. The reads of the last request stay."""
        self._dead, self.open = True, False
        sock, self._sock = self._sock, None
        if sock is not None:
            if self._together and self._shared is not None:
                self._shared.remove_reader(self._fd)
            if self._fd >= 0:
                self._loop.remove_reader(self._fd)
                self._loop.remove_writer(self._fd)
            sock.close()
        self._out = []


def _ends_by_closing(first: bytes) -> bool:
    """An answer with neither a length nor chunks ends where the server closes (RFC 9112, 6.3)."""
    head = first.partition(b"\r\n\r\n")[0].lower()
    return b"\r\ncontent-length:" not in head and b"\r\ntransfer-encoding:" not in head and head.startswith(b"http/1.")
