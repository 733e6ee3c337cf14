"""The measured connection against real sockets on loopback: where answers end, whose clock stamps them, what dies and how."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from openagentperf.client.clock import Clock, now_ns
from openagentperf.client.connection import Connection
from openagentperf.client.endpoint import Address, request_head, resolve, tls_context
from openagentperf.client.exchange import exchange
from openagentperf.errors import EndpointError
from openagentperf.records.turns import RawTurn
from openagentperf.wire import http

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return await reader.readexactly(length)


@asynccontextmanager
async def served(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[Address]:
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
        host = "localhost" if context else "127.0.0.1"
        yield resolve(f"http{'s' if context else ''}://{host}:{port}/v1")


def post(address: Address, body: bytes) -> list[bytes]:
    return [b"%s%d\r\n\r\n" % (request_head(address, "POST", "/chat/completions", {"X-A": "b"}), len(body)), body]


async def ask(handler: Handler, body: bytes = b"{}", timeout_s: float = 20) -> RawTurn:
    async with served(handler) as address:
        return await exchange(address, None, post(address, body), timeout_s)


def body_of(raw: RawTurn) -> bytes:
    return http.parse(raw.data, memoryview(raw.sizes).cast("q")).body


async def test_a_chunked_answer_is_kept_byte_for_byte_with_a_stamp_for_each_read():
    async def handler(reader, writer):
        await read_request(reader)
        for part in (CHUNKED, chunk(b"one"), chunk(b"two"), END):
            writer.write(part)
            await writer.drain()
            await reader.read(0)

    raw = await ask(handler)
    assert raw.failure == ""
    assert body_of(raw) == b"onetwo"
    times = memoryview(raw.times_ns).cast("q")
    assert list(times) == sorted(times)
    assert raw.sent_ns is not None
    assert raw.due_ns <= raw.sent_ns <= times[0] <= times[-1] <= raw.closed_ns


async def test_kernel_stamps_tell_when_bytes_came_not_when_they_were_read():
    """The loop is blocked for 50 ms after the answer has reached the socket: the stamp is from before the block."""
    arrived: list[int] = []

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(CHUNKED + chunk(b"x") + END)  # asyncio writes to the socket at once
        arrived.append(now_ns())
        while now_ns() < arrived[0] + 50_000_000:  # block the one loop that client and server share
            pass
        await (
            reader.read()
        )  # close only after the client: a FIN would lend its own, later stamp to what it is queued behind

    raw = await ask(handler)
    lags = memoryview(raw.lags_ns).cast("q")
    if not len(lags):
        pytest.skip("this platform has no SO_TIMESTAMPNS: stamps are the program's own")
    assert memoryview(raw.times_ns).cast("q")[0] < arrived[0] + 5_000_000
    assert lags[0] > 40_000_000


async def test_a_large_body_is_sent_whole_and_the_request_names_nobody():
    """8 MB do not fit the socket buffer: the rest goes out as the server reads."""
    seen: list[bytes] = []
    body = bytes(range(256)) * 32768

    async def handler(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        seen.append(await reader.readexactly(len(body)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    raw = await ask(handler, body)
    assert raw.failure == ""
    assert seen[1] == body
    assert seen[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"Accept-Encoding: identity" in seen[0]
    assert b"user-agent" not in seen[0].lower()
    assert b"openagentperf" not in seen[0].lower()


@pytest.mark.parametrize(
    ("answer", "failure", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "", ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "", ""),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", "", ""),  # ends where the server closes
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", "reset", "middle of the answer"),
        (CHUNKED + chunk(b"hello"), "reset", "middle of the answer"),
        (b"", "reset", "closed the connection"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "malformed", "not HTTP/1.1"),
    ],
)
async def test_where_an_answer_ends(answer: bytes, failure: str, said: str):
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    raw = await ask(handler)
    assert (raw.failure, said in raw.detail) == (failure, True)
    assert raw.data == answer
    if not failure:
        assert raw.data.endswith(b"hello")


async def test_a_server_that_never_answers_is_given_up_at_the_limit():
    async def handler(reader, writer):
        await read_request(reader)
        await reader.read()

    raw = await ask(handler, timeout_s=0.2)
    assert raw.failure == "timeout"
    assert raw.sent_ns is not None


async def test_nobody_listens():
    async with served(lambda r, w: asyncio.sleep(0)) as address:
        pass  # closed again: the port is free
    raw = await exchange(address, None, post(address, b"{}"), 5)
    assert (raw.failure, raw.detail, raw.sent_ns) == ("connect", "Connection refused", None)


class Watcher:
    """An Owner that only remembers."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()

    def opened(self, connection: Connection) -> None:
        self.events.put_nowait(("opened", "", ""))

    def ended(self, connection: Connection, failure: str, detail: str) -> None:
        self.events.put_nowait(("ended", failure, detail))

    def lost(self, connection: Connection, failure: str, detail: str) -> None:
        self.events.put_nowait(("lost", failure, detail))


async def test_a_connection_is_used_again_until_the_server_closes_it():
    async def handler(reader, writer):
        for _ in range(2):
            await read_request(reader)
            writer.write(CHUNKED + chunk(b"x") + END)
            await writer.drain()

    async with served(handler) as address:
        owner, clock = Watcher(), Clock()
        conn = Connection(asyncio.get_running_loop(), address, clock, owner)
        conn.dial()
        assert await owner.events.get() == ("opened", "", "")
        for _ in range(2):
            conn.send(post(address, b"{}"))
            assert await owner.events.get() == ("ended", "", "")
        assert (await owner.events.get())[0] == "lost"
        assert (conn.requests, conn.open) == (2, False)
        clock.close()


async def test_a_server_that_asks_to_close_is_not_asked_again():
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
        await writer.drain()

    async with served(handler) as address:
        owner, clock = Watcher(), Clock()
        conn = Connection(asyncio.get_running_loop(), address, clock, owner)
        conn.dial()
        await owner.events.get()
        conn.send(post(address, b"{}"))
        assert await owner.events.get() == ("ended", "", "")
        assert not conn.open
        clock.close()


@asynccontextmanager
async def connected(handler: Handler) -> AsyncIterator[tuple[Connection, Watcher]]:
    """A connection that is open, and who watches it."""
    async with served(handler) as address:
        owner, clock = Watcher(), Clock()
        conn = Connection(asyncio.get_running_loop(), address, clock, owner)
        conn.dial()
        assert await owner.events.get() == ("opened", "", "")
        yield conn, owner
        conn.close()
        clock.close()


async def test_an_answer_to_a_question_not_asked_is_nobodys_turn():
    """Two answers in one read once ended the next turn before it was sent, with a TTFT of -300 ms."""

    async def handler(reader, writer):
        await read_request(reader)
        writer.write(2 * b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        await writer.drain()
        await reader.read()

    async with connected(handler) as (conn, owner):
        conn.send(post(conn.address, b"{}"))
        assert await owner.events.get() == ("ended", "", "")
        assert owner.events.empty()


async def test_an_answer_before_the_whole_question_closes_the_connection():
    """A 429 after the head: the rest of the body must not be read by the server as its next request."""

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.get_running_loop().create_future()  # reads nothing more, closes nothing

    async with connected(handler) as (conn, owner):
        conn.send(post(conn.address, b"x" * 20_000_000))
        assert (await owner.events.get())[0] == "ended"
        assert (conn.status, conn.open) == (429, False)


async def test_an_answer_that_ends_by_closing_has_its_status():
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")
        await writer.drain()

    async with connected(handler) as (conn, owner):
        conn.send(post(conn.address, b"{}"))
        assert await owner.events.get() == ("ended", "", "")
        assert conn.status == 200


async def test_switching_protocols_is_not_an_answer():
    async def handler(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with connected(handler) as (conn, owner):
        conn.send(post(conn.address, b"{}"))
        assert (await owner.events.get())[:2] == ("ended", "malformed")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def echo_length(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = await read_request(reader)
    writer.write(CHUNKED)
    for digit in str(len(body)).encode():
        writer.write(chunk(bytes((digit,))))
        await writer.drain()
    writer.write(END)
    await writer.drain()


async def test_tls_with_a_private_authority(authority: trustme.CA, tmp_path: Path):
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with served(echo_length, server_context(authority, "localhost")) as address:
        raw = await exchange(address, tls_context(str(tmp_path / "ca.pem")), post(address, b"x" * 1_000_000), 20)
    assert raw.failure == ""
    assert body_of(raw) == b"1000000"


@pytest.mark.parametrize(
    ("name", "trusted", "said"),
    [("localhost", False, "certificate"), ("elsewhere.example", True, "Hostname mismatch")],
)
async def test_tls_refuses_what_it_cannot_verify(
    authority: trustme.CA, tmp_path: Path, name: str, trusted: bool, said: str
):
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with served(echo_length, server_context(authority, name)) as address:
        context = tls_context(str(tmp_path / "ca.pem") if trusted else "")
        raw = await exchange(address, context, post(address, b"{}"), 20)
    assert raw.failure == "connect"
    assert raw.detail.startswith("TLS: ")
    assert said.lower() in raw.detail.lower()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:8000/v1", "is not a URL that can be called"),
        ("ftp://localhost/v1", "is not a URL that can be called"),
        ("http://localhost:99999/v1", "is not a URL that can be called"),
        ("http://no-such-host.invalid/v1", "host name no-such-host.invalid is not known"),
    ],
)
def test_an_endpoint_that_cannot_be_called_is_said_before_any_load(url: str, said: str):
    with pytest.raises(EndpointError, match=said):
        resolve(url)


def test_a_ca_file_that_is_none(tmp_path: Path):
    (tmp_path / "ca.pem").write_text("nothing here")
    with pytest.raises(EndpointError, match=r"cannot be used as a CA file .*: check --ca-file"):
        tls_context(str(tmp_path / "ca.pem"))
