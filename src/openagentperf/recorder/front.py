"""A client's connection: its requests go on as they come in, and it learns of everything as the upstream would have let it.

One upstream connection stands behind each: dialled when the client connects, so that the dialling is not in the first request's time, and
kept as long as both keep it. A request of which no byte was answered on a *reused* connection is sent once more on a fresh one (servers
close idle connections, and some right after a stream); nothing else is retried.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from http import HTTPStatus
from typing import cast

import httptools
import msgspec

from openagentperf.client.clock import now_ns
from openagentperf.recorder.exchange import MAX_KEPT_BYTES, Exchange
from openagentperf.recorder.heads import Header, dialect_of, joined, upward
from openagentperf.recorder.proxy import Proxy
from openagentperf.recorder.upstream import Upstream
from openagentperf.records.capture import Ending

DIAL_S = 30.0
_NO_TUNNEL = (
    "the request is one to a proxy, a plain one was needed: set the agent's base URL to this address, not HTTP_PROXY"
)


class Front(asyncio.Protocol):
    """See the module's docstring."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: list[Header] = []
        self._coming: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._current: Exchange | None = None
        self._upstream: Upstream | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._begun = False
        self._fresh = False
        """The upstream connection was dialled for the current request, and has not lain idle."""
        self._held: set[str] = set()
        self.transport: asyncio.Transport

    def stop(self) -> None:
        """Cut the connection, and what is on its way."""
        self._leave("recorder stopped")
        self.transport.abort()

    # the client's side: asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._proxy.fronts.add(self)
        self._dial()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise
        except httptools.HttpParserUpgrade as upgrade:
            if self._parser.get_method() == b"CONNECT":
                self._refuse(501, _NO_TUNNEL)
                return
            # The wish for another protocol is not passed on; the request went on as a plain one, and so do those behind it.
            self._parser = httptools.HttpRequestParser(self)
            self.data_received(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(400, f"the request is no HTTP/1.1 ({error})")

    def connection_lost(self, _error: Exception | None) -> None:
        self._proxy.fronts.discard(self)
        self._leave("client left")

    def pause_writing(self) -> None:
        if self._upstream is not None and not self._upstream.transport.is_closing():
            self._upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._upstream is not None and not self._upstream.transport.is_closing():
            self._upstream.transport.resume_reading()

    # httptools

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers = []
        self._coming = Exchange("", self._headers, now_ns(), time.time_ns())

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        exchange = self._coming
        assert exchange is not None
        method, target = self._parser.get_method().decode("latin-1"), self._target.decode("latin-1")
        if not target.startswith("/"):
            if method != "CONNECT":  # which the parser reports itself
                self._refuse(501, _NO_TUNNEL)
            return
        if self.transport.is_closing():
            return
        address = self._proxy.address
        exchange.method = method
        exchange.dialect = dialect_of(method, target, self._proxy.forced)
        exchange.keep_alive = self._parser.should_keep_alive()
        exchange.length_known = not any(name.lower() == b"transfer-encoding" for name, _ in self._headers)
        target, version = joined(address.path, target), self._parser.get_http_version()
        exchange.head = upward(method, target, version, address.host, self._headers)
        self._waiting.append(exchange)
        if self._current is None:
            self._next()
        else:
            self._hold("pipelined", held=True)

    def on_body(self, piece: bytes) -> None:
        exchange = self._coming
        assert exchange is not None
        exchange.body.append(piece)
        exchange.kept_bytes += len(piece)
        if exchange is self._current and self._begun and self._upstream is not None:
            self._upstream.push(exchange)
            if exchange.kept_bytes > MAX_KEPT_BYTES:
                exchange.forget()

    def on_message_complete(self) -> None:
        exchange = self._coming
        assert exchange is not None
        exchange.complete = True
        if exchange is self._current and self._begun and self._upstream is not None:
            self._upstream.push(exchange)

    # the upstream's side: upstream.Client

    @property
    def gone(self) -> bool:
        return self not in self._proxy.fronts

    def forward(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_upload(self, *, paused: bool) -> None:
        self._hold("upload", held=paused)

    def answered(self, upstream: Upstream, *, alive: bool) -> None:
        exchange = self._current
        assert exchange is not None
        if not alive:
            self._forget(upstream)
        self._current = None
        self._proxy.over(exchange, "")
        if not (alive and exchange.keep_alive):
            self.transport.close()
            return
        self._hold("pipelined", held=False)
        if self._waiting:
            self._next()

    def cut(self, upstream: Upstream, why: str) -> None:
        exchange = self._current
        assert exchange is not None
        self._forget(upstream)
        if not exchange.times and not self._fresh and exchange.resendable:
            self._begun = False
            self._dial()
            return
        if not exchange.times:
            self._unanswered(502, f"{self._proxy.url}: {why} before it answered")
            return
        self._current = None
        self._proxy.over(exchange, "upstream cut")
        self.transport.close()

    def lost(self, upstream: Upstream) -> None:
        self._forget(upstream)

    # what happens in between

    def _next(self) -> None:
        self._current = self._waiting.popleft()
        self._begun = False
        if self._upstream is not None and not self._upstream.transport.is_closing():
            self._begin(self._upstream, fresh=False)
        else:
            self._dial()

    def _begin(self, upstream: Upstream, *, fresh: bool) -> None:
        assert self._current is not None
        self._begun, self._fresh = True, fresh
        upstream.begin(self._current)

    def _dial(self) -> None:
        if self._dialling is None:
            self._dialling = asyncio.get_running_loop().create_task(self._dialled())

    async def _dialled(self) -> None:
        address, context = self._proxy.address, self._proxy.context
        try:
            _, upstream = await asyncio.wait_for(
                asyncio.get_running_loop().create_connection(
                    lambda: Upstream(self), address.server_name, self._proxy.port, ssl=context,
                    server_hostname=None if context is None else address.server_name,
                ),
                DIAL_S,
            )  # fmt: skip
        except TimeoutError:
            self._dialling = None
            self._unanswered(504, f"{self._proxy.url}: no connection within {DIAL_S:g} s")
        except OSError as error:
            self._dialling = None
            self._unanswered(502, f"{self._proxy.url}: cannot be reached ({error.strerror or error})")
        else:
            self._dialling = None
            self._upstream = upstream
            if self._current is not None and not self._begun:
                self._begin(upstream, fresh=True)

    def _unanswered(self, status: int, why: str) -> None:
        """The upstream gave no answer: say so in its place. Nothing where nobody waits (dialled ahead of a request)."""
        if (exchange := self._current) is not None:
            self._current = None
            self._proxy.over(exchange, "upstream cut")
            self._refuse(status, why)

    def _refuse(self, status: int, why: str) -> None:
        body = msgspec.json.encode(
            {"error": {"message": f"openagentperf record: {why}", "type": "recorder", "code": status}}
        )
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        if not self.transport.is_closing():
            self.transport.write(head.encode() + body)
            self.transport.close()

    def _leave(self, ending: Ending) -> None:
        """Nobody reads any more: let the upstream know, and keep what came."""
        exchange, self._current = self._current, None
        self._waiting.clear()
        if self._dialling is not None:
            self._dialling.cancel()
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None
        if exchange is not None:
            self._proxy.over(exchange, ending)

    def _forget(self, upstream: Upstream) -> None:
        if self._upstream is upstream:
            self._upstream = None

    def _hold(self, why: str, *, held: bool) -> None:
        """Stop reading from the client while any reason stands."""
        before = bool(self._held)
        (self._held.add if held else self._held.discard)(why)
        if bool(self._held) != before and not self.transport.is_closing():
            with suppress(RuntimeError):
                (self.transport.pause_reading if held else self.transport.resume_reading)()
