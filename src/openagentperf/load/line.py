"""The line between a run and one of its load hosts: a TCP connection, four exchanges a second whatever the load.

u32 length + msgpack, one question and one answer at a time. The calls that Ray carries would do, and cost 2 ms of CPU each, five times
that above 100 KB, which go through its object store (2 nodes, 2 cores); an exchange by this costs a tenth, and its round trips of 0.1 ms
tell the hosts' clocks that much better.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

import msgspec

from openagentperf.units import Ns

Post: TypeAlias = tuple[int, bytes]
"""A worker, and messages to it."""
Heard: TypeAlias = tuple[int, bytes, bytes, bool, bytes]
"""A worker, its messages, its new frames, whether it has ended, and then the end of its log."""

BATCH_BYTES = 64 << 20
"""Frames of one worker in one answer; as many as that say that there are more."""
CONNECT_S = 10.0
_TOKEN_BYTES = 32
_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    # A run whose host has lost its network says nothing any more: after 10 s of silence the kernel asks, and 15 s later gives it up.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
_LENGTH = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode
_asked = msgspec.msgpack.Decoder(list[Post] | None)
_heard = msgspec.msgpack.Decoder(list[Heard])
_time = msgspec.msgpack.Decoder(int)


class HostLost(Exception):
    """A host that gives no answer: why."""


class Line:
    """The run's end."""

    def __init__(self, address: str, port: int, token: bytes) -> None:
        """OSError where it cannot be reached."""
        self._sock = socket.create_connection((address, port), CONNECT_S)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.sendall(token)

    def post(self, posts: Sequence[Post]) -> None:
        """Ask for an exchange; `heard` has the answer. Raises HostLost."""
        self._send(list(posts))

    def heard(self, timeout_s: float) -> list[Heard]:
        return _heard.decode(self._receive(timeout_s))

    def clock_ns(self, timeout_s: float) -> Ns:
        self._send(None)
        return _time.decode(self._receive(timeout_s))

    def _send(self, question: list[Post] | None) -> None:
        try:
            _write(self._sock, question)
        except OSError as error:
            raise HostLost(error.strerror or str(error)) from None

    def _receive(self, timeout_s: float) -> bytes:
        self._sock.settimeout(timeout_s)
        try:
            data = _read(self._sock)
        except TimeoutError:
            raise HostLost(f"no answer within {timeout_s:.0f} s") from None
        except OSError as error:
            raise HostLost(error.strerror or str(error)) from None
        if data is None:
            raise HostLost("it closed the connection")
        return data

    def close(self) -> None:
        self._sock.close()


class Answering(threading.Thread):
    """The host's end: answers whoever knows the token, one connection after another, until it is closed.

    gone   called where such a connection has ended
    """

    def __init__(
        self, address: str, exchange: Callable[[Sequence[Post]], list[Heard]], clock_ns: Callable[[], Ns], gone: Callable[[], None]
    ) -> None:  # fmt: skip
        super().__init__(daemon=True)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._server = socket.create_server((address, 0), family=family)
        self._exchange, self._clock_ns, self._gone = exchange, clock_ns, gone
        self._sock: socket.socket | None = None
        self.port: int = self._server.getsockname()[1]
        self.token = secrets.token_bytes(_TOKEN_BYTES)

    def run(self) -> None:
        with suppress(OSError):  # closed
            while True:
                self._sock, _ = self._server.accept()
                with self._sock, suppress(OSError, msgspec.DecodeError):
                    self._sock.settimeout(CONNECT_S)
                    if hmac.compare_digest(_exactly(self._sock, _TOKEN_BYTES) or b"", self.token):
                        self._answer(self._sock)

    def _answer(self, sock: socket.socket) -> None:
        sock.settimeout(None)
        for level, option, value in _OPTIONS:
            sock.setsockopt(level, option, value)
        try:
            while (data := _read(sock)) is not None:
                posts = _asked.decode(data)
                _write(sock, self._clock_ns() if posts is None else self._exchange(posts))
        finally:
            self._gone()

    def close(self) -> None:
        for sock in (self._server, self._sock):
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # wakes the thread, which a close does not
                sock.close()
        self.join()


def _write(sock: socket.socket, message: object) -> None:
    body = _encode(message)
    sock.sendall(_LENGTH.pack(len(body)) + body)


def _read(sock: socket.socket) -> bytes | None:
    """One message; None where the other end has closed."""
    head = _exactly(sock, _LENGTH.size)
    return None if head is None else _exactly(sock, _LENGTH.unpack(head)[0])


def _exactly(sock: socket.socket, size: int) -> bytes | None:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        got = sock.recv_into(view)
        if not got:
            return None
        view = view[got:]
    return bytes(data)
