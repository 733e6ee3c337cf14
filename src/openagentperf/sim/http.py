"""A small HTTP/1.1 server connection on a raw asyncio protocol: enough for one JSON API with streamed answers, on loopback.

No framework: one that costs 50 us an event would itself be the bottleneck at 10,000 events a second, and the meter would measure it.
Requests of one connection are answered one after the other (pipelined ones wait).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeAlias, cast

import httptools

MAX_BODY_BYTES = 64 << 20
MAX_UNREAD_BYTES = 4 << 20
"""A client that leaves more than this unread is cut off: its stream would otherwise fill this process's memory."""

LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """`data` as one HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Exchange:
    """One request, and the answer that is being written to it."""

    __slots__ = ("body", "connection", "keep_alive", "method", "on_gone", "path")

    def __init__(self, connection: Connection, method: str, path: str, body: bytes, keep_alive: bool) -> None:
        self.connection = connection
        self.method = method
        self.path = path
        self.body = body
        self.keep_alive = keep_alive
        self.on_gone: Callable[[], object] | None = None
        """Called if the client leaves before `finish`."""

    def answer(self, status: int, body: bytes, content_type: str = "application/json", headers: str = "") -> None:
        """The whole answer at once. `headers`: further lines, each ended by CRLF."""
        head = self._head(status, content_type, f"content-length: {len(body)}\r\n{headers}")
        self.write(head + body)
        self.finish()

    def start_stream(self) -> bytes:
        """The head of a streamed answer; what follows it are chunks, LAST_CHUNK and `finish`."""
        return self._head(200, "text/event-stream; charset=utf-8", "transfer-encoding: chunked\r\n")

    def write(self, data: bytes) -> None:
        """Raw bytes of the answer; nothing where the client is gone."""
        if not self.connection.closed:
            self.connection.transport.write(data)

    def finish(self) -> None:
        """The answer is complete: the connection's next request may be handled."""
        self.on_gone = None
        self.connection.finished(self)

    def _head(self, status: int, content_type: str, more: str) -> bytes:
        closing = "" if self.keep_alive else "connection: close\r\n"
        reason = HTTPStatus(status).phrase
        return (
            f"HTTP/1.1 {status} {reason}\r\nserver: openagentperf-sim\r\ncontent-type: {content_type}\r\n{more}{closing}\r\n"
        ).encode("latin-1")


Handler: TypeAlias = Callable[[Exchange], None]


class Connection(asyncio.Protocol):
    """One client connection. `handler` is called with each complete request and answers it now or later."""

    def __init__(self, handler: Handler, open_connections: set[Connection]) -> None:
        self._handler = handler
        self._open = open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Exchange] = deque()
        self._current: Exchange | None = None
        self._url = b""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._expects_continue = False
        self.closed = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=MAX_UNREAD_BYTES)
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()

    def pause_writing(self) -> None:
        self.transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        self.closed = True
        self._open.discard(self)
        self._queue.clear()
        if self._current is not None and self._current.on_gone is not None:
            self._current.on_gone()

    # httptools callbacks

    def on_message_begin(self) -> None:
        self._url = b""
        self._body = []
        self._body_bytes = 0
        self._expects_continue = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True

    def on_headers_complete(self) -> None:
        if self._expects_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes <= MAX_BODY_BYTES:
            self._body.append(body)
        elif not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()

    def on_message_complete(self) -> None:
        if self.transport.is_closing():
            return
        path = self._url.decode("latin-1").partition("?")[0]
        method = self._parser.get_method().decode("latin-1")
        self._queue.append(Exchange(self, method, path, b"".join(self._body), self._parser.should_keep_alive()))
        self._body = []
        self._next()

    def finished(self, exchange: Exchange) -> None:
        """Called by `Exchange.finish`."""
        if exchange is not self._current:
            return
        self._current = None
        if not exchange.keep_alive:
            self.transport.close()
        elif self._queue:
            asyncio.get_running_loop().call_soon(
                self._next
            )  # not a call within the call: a long pipeline would overflow the stack

    def _next(self) -> None:
        if self._current is None and self._queue and not self.closed:
            self._current = self._queue.popleft()
            self._handler(self._current)
