"""The connection to the endpoint: each read goes to the client before anything else is done with it, byte for byte.

The answer is parsed only for where it ends, and without callbacks for its body; its framing (chunks, length) goes on as it came, so no read
is held back for a size that is not known yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Protocol, cast

import httptools

from openagentperf.client.clock import now_ns
from openagentperf.recorder.exchange import Exchange


class Client(Protocol):
    """The client's side, as this one sees it."""

    @property
    def gone(self) -> bool:
        """It has left: a connection that was being dialled for it is not wanted any more."""

    def forward(self, data: bytes) -> None:
        """Write to the client, now."""

    def pause_upload(self, *, paused: bool) -> None:
        """The upstream takes no more for now, or does again."""

    def answered(self, upstream: Upstream, *, alive: bool) -> None:
        """The answer is complete; alive: the connection can take another request."""

    def cut(self, upstream: Upstream, why: str) -> None:
        """The connection ended before the answer did."""

    def lost(self, upstream: Upstream) -> None:
        """The connection ended while nothing was asked."""


class Upstream(asyncio.Protocol):
    """One connection, for one client connection; one exchange at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._exchange: Exchange | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._over = False
        self._alive = False
        self._garbage = False
        self._ends_by_closing = True
        self._status = 0
        self.transport: asyncio.Transport

    def begin(self, exchange: Exchange) -> None:
        """Send the request's head, and what has come of its body."""
        self._exchange = exchange
        self._parser = httptools.HttpResponseParser(self)
        self._over = self._garbage = False
        self._ends_by_closing, self._status = True, 0
        exchange.uploaded = 0
        self.transport.writelines([exchange.head, *self._upload(exchange)])

    def push(self, exchange: Exchange) -> None:
        """More of its body has come, or its end."""
        if pieces := list(self._upload(exchange)):
            self.transport.writelines(pieces)

    def _upload(self, exchange: Exchange) -> Iterator[bytes]:
        pieces = exchange.body[exchange.uploaded :]
        exchange.uploaded = len(exchange.body)
        if exchange.length_known:
            yield from pieces
            return
        for piece in pieces:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
        if exchange.complete:
            yield b"0\r\n\r\n"

    def close(self) -> None:
        """Leave: the endpoint stops what it is doing for this connection. The client hears nothing of it."""
        self._exchange = None
        self.transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._client.gone:
            transport.abort()  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # bytes that nobody asked for: the next answer could not be told from them
            self.transport.abort()
            return
        now = now_ns()  # before it is written: the client may run before this process goes on
        self._client.forward(data)
        exchange.heard(now, data)
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._over:
                self._end_badly(f"it answered something that is not HTTP/1.1 ({error})")
                return
            self._garbage = True
        if self._over:
            self._end_well(alive=self._alive and not self._garbage and exchange.complete)

    def connection_lost(self, error: Exception | None) -> None:
        if self._exchange is None:
            self._client.lost(self)
        elif self._status and self._ends_by_closing and error is None:
            self._end_well(alive=False)
        else:
            self._end_badly(str(error) if error is not None else "it closed the connection")

    def pause_writing(self) -> None:
        self._client.pause_upload(paused=True)

    def resume_writing(self) -> None:
        self._client.pause_upload(paused=False)

    # httptools

    def on_message_begin(self) -> None:
        self._garbage = self._over

    def on_header(self, name: bytes, _value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._ends_by_closing = False

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        assert self._exchange is not None
        if not self._over:
            self._status = self._parser.get_status_code()
            self._alive = self._parser.should_keep_alive()  # behind the message's end the parser has forgotten
            # The answer to HEAD has the length of a body that does not come.
            self._over = self._exchange.method == "HEAD" and self._status >= 200

    def on_message_complete(self) -> None:
        if 100 <= self._status < 200:  # Continue, Early Hints: the answer is still to come
            self._ends_by_closing, self._status = True, 0
            return
        self._over = True

    def _end_well(self, *, alive: bool) -> None:
        self._exchange = None
        if not alive:
            self.transport.close()
        self._client.answered(self, alive=alive)

    def _end_badly(self, why: str) -> None:
        self._exchange = None
        self.transport.abort()
        self._client.cut(self, why)
