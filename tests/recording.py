"""A recorder in a test's own event loop, its writer a real process; servers behind it and clients before it on raw sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from openagentperf.client.endpoint import resolve
from openagentperf.recorder.courier import Courier
from openagentperf.recorder.front import Front
from openagentperf.recorder.protocol import Setup, Trouble, Wrote
from openagentperf.recorder.proxy import Proxy
from openagentperf.recorder.writer import CAPTURE_NAME
from openagentperf.records.capture import Dialect, Exchange, Row, Started
from openagentperf.scrubfile import default_rules

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
STARTED = Started(at="2026-11-24T08:00:00Z", upstream="http://x", version="0", scrubbed=True)
_ROWS = msgspec.json.Decoder(Row)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def plain(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status,
        more,
        len(body),
        body,
    )


def post(path: str, body: bytes, more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: proxy\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body, the body without chunk framing."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:])}
    if fields.get(b"transfer-encoding") != b"chunked":
        return head, await reader.readexactly(int(fields.get(b"content-length", 0)))
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return head, body


async def read_response(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of a response with a length or in chunks."""
    return await read_request(reader)


@asynccontextmanager
async def serving(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server whose handler gets each connection; yields its URL without a path."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"https://localhost:{port}" if context else f"http://127.0.0.1:{port}"


class Recording:
    """A running recorder: `connect` to it; its `rows` can be read when it has stopped."""

    def __init__(self, folder: Path, port: int, proxy: Proxy) -> None:
        self.folder = folder
        self.port = port
        self.proxy = proxy
        self.troubles: list[Trouble] = []

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 25)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """One request on a connection of its own."""
        async with self.connect() as (reader, writer):
            writer.write(request)
            return await read_response(reader)

    @property
    def rows(self) -> list[Exchange]:
        lines = (self.folder / CAPTURE_NAME).read_bytes().splitlines()
        return [row for row in map(_ROWS.decode, lines) if isinstance(row, Exchange)]


@asynccontextmanager
async def recorder(
    url: str, folder: Path, *, dialect: Dialect | None = None, context: ssl.SSLContext | None = None, scrub: bool = True
) -> AsyncIterator[Recording]:
    """Leaving it stops the recorder and waits until everything is written."""
    troubles: list[Trouble] = []
    rules = default_rules() if scrub else None

    def hear(said: Wrote | Trouble) -> None:
        if isinstance(said, Trouble):
            troubles.append(said)

    courier = await Courier.start(Setup(folder=str(folder), started=STARTED, rules=rules), hear)
    proxy = Proxy(resolve(url, "--upstream"), context, dialect, courier)
    server = await asyncio.get_running_loop().create_server(lambda: Front(proxy), "127.0.0.1", 0)
    recording = Recording(folder, server.sockets[0].getsockname()[1], proxy)
    recording.troubles = troubles
    try:
        yield recording
    finally:
        server.close()
        proxy.stop()
        await asyncio.sleep(0)
        await courier.finish()
