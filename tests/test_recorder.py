"""The recording proxy on raw sockets: bytes go through at once and unchanged, whoever leaves is told of, what is kept is scrubbed."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from pathlib import Path

import pytest
import trustme

from answers import CALL_ITEM, CHAT, CHAT_MESSAGE, MESSAGES, MESSAGES_MESSAGE, TEXT_ITEM, named, responses
from answers import plain as chat_stream
from openagentperf.client.endpoint import tls_context
from openagentperf.errors import StorageError
from openagentperf.recorder.courier import Courier
from openagentperf.recorder.heads import dialect_of, joined, session_of, upward
from openagentperf.recorder.protocol import Setup
from recording import CHUNKED, END, STARTED, Handler, chunk, plain, post, read_request, read_response, recorder, serving

KEY = "sk" + "-proj-a1B2c3D4e5F6g7H8i9J0k1L2m3"
ASKED = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Fix it."}], "stream": True}).encode()
CHAT_PATH = "/v1/chat/completions"


def answering(*answers: bytes) -> Handler:
    """Each request of a connection gets the next answer; then the connection closes."""
    waiting = iter(answers)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in waiting:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()

    return handler


STREAM = CHUNKED + b"".join(chunk(event + b"\n\n") for event in chat_stream(CHAT).split(b"\n\n")[:-1]) + END


# -- through, at once and unchanged ----------------------------------------------------------------------------------------------


async def test_each_piece_is_there_before_the_next_one_is_sent(tmp_path: Path) -> None:
    """In lockstep: the server sends a piece only when the client has the one before. Anything held back would stop the test."""
    pieces = [
        CHUNKED[:20],
        CHUNKED[20:],
        chunk(b"data: 1\n\n"),
        chunk(b"data: [DONE]\n\n")[:5],
        chunk(b"data: [DONE]\n\n")[5:],
        END,
    ]
    arrived = asyncio.Semaphore(1)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for piece in pieces:
            await arrived.acquire()
            writer.write(piece)

    async with serving(handler) as url, recorder(url, tmp_path) as recording, recording.connect() as (reader, writer):
        writer.write(post(CHAT_PATH, ASKED))
        for piece in pieces:
            assert await asyncio.wait_for(reader.readexactly(len(piece)), 20) == piece
            arrived.release()


async def test_the_request_is_sent_on_before_its_body_has_ended(tmp_path: Path) -> None:
    half = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(4) == ASKED[:4]
        half.set()
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) - 4)
        writer.write(plain(b"{}"))

    async with serving(handler) as url, recorder(url, tmp_path) as recording, recording.connect() as (reader, writer):
        request = post(CHAT_PATH, ASKED)
        writer.write(request[: -len(ASKED) + 4])
        await asyncio.wait_for(half.wait(), 20)
        writer.write(ASKED[4:])
        assert (await read_response(reader))[1] == b"{}"


async def test_what_goes_up_is_what_came_but_for_one_connection_s_headers(tmp_path: Path) -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(plain(b"{}"))
        await writer.drain()

    more = (
        f"aUthorization: Bearer {KEY}\r\nAccept-Encoding: gzip, br\r\nX-Two: 1\r\nX-Two: 2\r\nConnection: keep-alive, X-Hop\r\n"
        "X-Hop: 1\r\nTE: trailers\r\nUser-Agent: agent/1\r\n"
    )
    async with serving(handler) as url, recorder(url + "/base/v1", tmp_path) as recording:
        await recording.ask(post(f"{CHAT_PATH}?beta=true", ASKED, more))
    ((head, body),) = seen
    assert body == ASKED
    assert head.decode().split("\r\n") == [
        "POST /base/v1/chat/completions?beta=true HTTP/1.1", f"Host: {url.removeprefix('http://')}", f"Content-Length: {len(ASKED)}",
        f"aUthorization: Bearer {KEY}", "X-Two: 1", "X-Two: 2", "User-Agent: agent/1", "Accept-Encoding: identity", "", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (STREAM, 200),
        (
            plain(b'{"error":{"message":"slow down"}}', b"429 Too Many Requests", b"Retry-After: 7\r\nX-Odd:  y \r\n"),
            429,
        ),
        (plain(b"<html>", b"502 Bad Gateway"), 502),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    ],
)
async def test_answers_come_back_byte_for_byte_errors_too(tmp_path: Path, answer: bytes, status: int) -> None:
    async with (
        serving(answering(answer)) as url,
        recorder(url, tmp_path) as recording,
        recording.connect() as (reader, writer),
    ):
        writer.write(post(CHAT_PATH, ASKED))
        assert await reader.readexactly(len(answer)) == answer
    (row,) = recording.rows
    assert row.status == status
    assert row.error == {429: "slow down", 502: "HTML page"}.get(status, row.error)


async def test_a_body_in_chunks_goes_on_in_chunks(tmp_path: Path) -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(plain(b"{}"))
        await writer.drain()

    head = f"POST {CHAT_PATH} HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    async with serving(handler) as url, recorder(url, tmp_path) as recording:
        await recording.ask(head + chunk(ASKED[:10]) + chunk(ASKED[10:]) + END)
    assert seen[0][1] == ASKED
    assert recording.rows[0].appended


async def test_ten_megabytes_both_ways(tmp_path: Path) -> None:
    text = "x" * 10_000_000
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
    async with serving(answering(plain(answer))) as url, recorder(url, tmp_path) as recording:
        assert (await recording.ask(post(CHAT_PATH, body)))[1] == answer
    (row,) = recording.rows
    assert len(bytes(row.appended[0])) > len(text)
    assert len(bytes(row.answer)) > len(text)


async def test_a_slow_reader_slows_the_upstream_down_and_loses_nothing(tmp_path: Path) -> None:
    blocked = asyncio.Event()
    size = 40_000_000

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 1_000_000):
            writer.write(b"y" * 1_000_000)
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                blocked.set()
                await writer.drain()

    async with serving(handler) as url, recorder(url, tmp_path) as recording, recording.connect() as (reader, writer):
        reader._limit = 1 << 16  # type: ignore[attr-defined]
        writer.write(b"GET /file HTTP/1.1\r\nHost: p\r\n\r\n")
        await asyncio.wait_for(blocked.wait(), 60)
        await reader.readuntil(b"\r\n\r\n")
        assert len(await reader.readexactly(size)) == size


# -- connections -----------------------------------------------------------------------------------------------------------------


async def test_requests_of_one_connection_share_one_upstream_connection(tmp_path: Path) -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await read_request(reader)
            writer.write(plain(b"%d" % connections))

    async with serving(handler) as url, recorder(url, tmp_path) as recording, recording.connect() as (reader, writer):
        writer.write(post("/a", b"") * 2)  # the second before the first has its answer
        bodies = [(await read_response(reader))[1] for _ in range(2)]
        writer.write(post("/b", b""))
        bodies.append((await read_response(reader))[1])
    assert bodies == [b"1", b"1", b"1"]


async def test_a_connection_that_had_lain_idle_and_dies_is_dialled_again_once(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers all but the second request, on which it hangs up without a byte."""
        while True:
            seen.append((await read_request(reader))[1])
            if len(seen) == 2:
                return
            writer.write(plain(b"%d" % len(seen)))

    async with serving(handler) as url, recorder(url, tmp_path) as recording, recording.connect() as (reader, writer):
        for body in (b"one", b"two"):
            writer.write(post("/a", body))
            await read_response(reader)
    assert seen == [b"one", b"two", b"two"]


async def test_a_request_on_a_fresh_connection_is_never_sent_twice(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        seen.append((await read_request(reader))[1])

    async with serving(handler) as url, recorder(url, tmp_path) as recording:
        head, body = await recording.ask(post(CHAT_PATH, ASKED))
    assert head.startswith(b"HTTP/1.1 502 Bad Gateway")
    assert "closed the connection before it answered" in json.loads(body)["error"]["message"]
    assert len(seen) <= 2, "the connection dialled ahead may count as one that had lain idle, the next one may not"
    assert [(row.ending, row.error) for row in recording.rows] == [("upstream cut", "no answer came")]


async def test_an_upstream_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    async with serving(answering()) as url:
        pass
    async with recorder(url, tmp_path) as recording:
        head, body = await recording.ask(post(CHAT_PATH, ASKED))
    assert head.startswith(b"HTTP/1.1 502")
    assert f"{url}: cannot be reached" in json.loads(body)["error"]["message"]


async def test_a_client_that_leaves_is_told_to_the_upstream(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED + chunk(chat_stream(CHAT[:5], done=False)))
        assert await reader.read() == b""
        gone.set()

    async with serving(handler) as url, recorder(url, tmp_path) as recording:
        async with recording.connect() as (reader, writer):
            writer.write(post(CHAT_PATH, ASKED))
            await reader.readuntil(b"look.")
        await asyncio.wait_for(gone.wait(), 20)
    (row,) = recording.rows
    assert row.ending == "client left"
    assert json.loads(bytes(row.answer))["content"] == "I will look."


async def test_a_client_that_leaves_at_the_terminal_event_has_the_whole_answer(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(STREAM.removesuffix(END))
        await reader.read()
        gone.set()

    async with serving(handler) as url, recorder(url, tmp_path) as recording:
        async with recording.connect() as (reader, writer):
            writer.write(post(CHAT_PATH, ASKED))
            await reader.readuntil(b"[DONE]\n\n")
        await asyncio.wait_for(gone.wait(), 20)
    assert [row.ending for row in recording.rows] == [""]


async def test_an_upstream_that_breaks_off_breaks_off_for_the_client(tmp_path: Path) -> None:
    async with (
        serving(answering(STREAM[:-400])) as url,
        recorder(url, tmp_path) as recording,
        recording.connect() as (reader, writer),
    ):
        writer.write(post(CHAT_PATH, ASKED))
        assert await reader.read() == STREAM[:-400]
    assert [row.ending for row in recording.rows] == ["upstream cut"]


async def test_an_answer_that_ends_with_its_connection_is_whole(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + chat_stream(CHAT)
    async with (
        serving(answering(answer)) as url,
        recorder(url, tmp_path) as recording,
        recording.connect() as (reader, writer),
    ):
        writer.write(post(CHAT_PATH, ASKED))
        assert await reader.read() == answer
    assert [row.ending for row in recording.rows] == [""]


async def test_tls_upstream_with_a_private_authority(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with serving(answering(STREAM), context) as url:
        trusting = tls_context(str(tmp_path / "ca.pem"))
        async with recorder(url + "/v1", tmp_path / "a", context=trusting) as recording:
            assert (await recording.ask(post(CHAT_PATH, ASKED)))[1] == chat_stream(CHAT)
        async with recorder(url + "/v1", tmp_path / "b", context=tls_context("")) as recording:
            head, body = await recording.ask(post(CHAT_PATH, ASKED))
        assert head.startswith(b"HTTP/1.1 502")
        assert b"cannot be reached" in body


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        (b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com\r\n\r\n", b"501", b"not HTTP_PROXY"),
        (b"GET http://api.openai.com/v1/models HTTP/1.1\r\nHost: api.openai.com\r\n\r\n", b"501", b"not HTTP_PROXY"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"400", b"no HTTP/1.1"),
    ],
)
async def test_what_is_no_plain_request_is_refused_with_a_hint(
    tmp_path: Path, request_: bytes, status: bytes, says: bytes
) -> None:
    async with serving(answering()) as url, recorder(url, tmp_path) as recording:
        head, body = await recording.ask(request_)
    assert head.split()[1] == status
    assert says in body


async def test_other_methods_and_informational_answers_pass_through(tmp_path: Path) -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\n"
    head_only = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"
    models = plain(b'{"data":[]}')
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n"

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (models, head_only, early + models, plain(b"")):
            head, _ = await read_request(reader)
            assert b"upgrade" not in head.lower()
            writer.write(answer)

    async with serving(handler) as url, recorder(url, tmp_path) as recording, recording.connect() as (reader, writer):
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: p\r\n\r\n")
        assert (await read_response(reader))[1] == b'{"data":[]}'
        writer.write(b"HEAD /v1/models HTTP/1.1\r\nHost: p\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == head_only
        writer.write(post("/v1/embeddings", b"{}", "Expect: 100-continue\r\n"))
        assert await reader.readuntil(b"\r\n\r\n") == early
        await read_response(reader)
        writer.write(f"GET /v1/responses HTTP/1.1\r\nHost: p\r\n{upgrade}\r\n".encode())
        assert (await read_response(reader))[1] == b""
    assert recording.rows == []
    assert recording.proxy.counts["passed"] == 4


# -- what is kept ----------------------------------------------------------------------------------------------------------------


RESPONSES_ASKED = {
    "model": "gpt",
    "instructions": "You code.",
    "input": [{"role": "user", "content": "Fix it."}],
    "stream": True,
}
MESSAGES_ASKED = {
    "model": "claude",
    "system": [{"type": "text", "text": "You code."}],
    "messages": [{"role": "user", "content": "Fix it."}],
    "metadata": {"user_id": "user_9f_account__session_0a1b2c3d-0000"},
}


@pytest.mark.parametrize(
    ("path", "asked", "answer", "items", "want"),
    [
        (CHAT_PATH, json.loads(ASKED), chat_stream(CHAT), ["user"], CHAT_MESSAGE),
        ("/v1/responses", RESPONSES_ASKED, named(responses()), ["system", "user"], [TEXT_ITEM, CALL_ITEM]),
        ("/v1/messages?beta=true", MESSAGES_ASKED, named(MESSAGES), ["system", "user"], MESSAGES_MESSAGE),
    ],
)
async def test_each_api_is_written_down(
    tmp_path: Path, path: str, asked: object, answer: bytes, items: list[str], want: object
) -> None:
    framed = CHUNKED + chunk(answer) + END
    async with serving(answering(framed)) as url, recorder(url, tmp_path) as recording:
        await recording.ask(post(path, json.dumps(asked).encode(), "User-Agent: agent/1\r\n"))
    (row,) = recording.rows
    assert [json.loads(bytes(item))["role"] for item in row.appended] == items
    assert json.loads(bytes(row.answer)) == want
    assert (row.input_tokens, row.output_tokens, row.cached_tokens) == (50, 9, 30)
    assert row.agent == "agent/1"
    assert row.arrived_ns < row.answered_ns
    assert row.session == ("s1" if "messages" in path else "")


async def test_nothing_unscrubbed_and_no_header_reaches_the_disk(tmp_path: Path) -> None:
    secret = "hunter2-but-longer"
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "bash", "arguments": json.dumps({"command": f"export A_TOKEN={KEY}"})},
    }
    asked = {
        "model": "m", "user": secret, "metadata": {"k": secret},
        "tools": [{"type": "function", "function": {"name": f"/home/alice/{KEY}"}}],
        "messages": [
            {"role": "user", "content": f"mail alice@corp.io, password: '{secret}'"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": f"\x1b[1m{KEY}"},
        ],
    }  # fmt: skip
    # The answer tells a key in two events: whole only when they are put together.
    answer = chat_stream([{"choices": [{"delta": {"content": half}}]} for half in (KEY[:15], KEY[15:])])
    headers = f"Authorization: Bearer {KEY}\r\nx-api-key: {secret}\r\nCookie: a={secret}\r\nx-session-id: {secret}\r\n"
    async with serving(answering(CHUNKED + chunk(answer) + END)) as url, recorder(url, tmp_path) as recording:
        await recording.ask(post(CHAT_PATH, json.dumps(asked).encode(), headers))
    assert len(recording.rows) == 1
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for planted in (KEY[8:], secret, "alice", "corp.io"):
        assert planted.encode() not in written
    assert recording.rows[0].session == "s1"


async def test_without_scrubbing_everything_stands_there(tmp_path: Path) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": KEY}]}).encode()
    async with serving(answering(STREAM)) as url, recorder(url, tmp_path, scrub=False) as recording:
        await recording.ask(post(CHAT_PATH, body))
    assert KEY.encode() in bytes(recording.rows[0].appended[0])


async def test_a_compressed_answer_goes_through_compressed_and_is_read(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps({"choices": [{"message": CHAT_MESSAGE}]}).encode())
    async with (
        serving(answering(plain(packed, more=b"Content-Encoding: gzip\r\n"))) as url,
        recorder(url, tmp_path) as recording,
    ):
        assert (await recording.ask(post(CHAT_PATH, ASKED)))[1] == packed
    assert json.loads(bytes(recording.rows[0].answer)) == CHAT_MESSAGE


async def test_a_request_that_cannot_be_read_goes_through_and_is_noted(tmp_path: Path) -> None:
    packed = gzip.compress(ASKED)
    async with (
        serving(answering(STREAM, STREAM, STREAM)) as url,
        recorder(url, tmp_path) as recording,
        recording.connect() as (reader, writer),
    ):
        for body, more in [
            (packed, "Content-Encoding: gzip\r\n"),
            (b"\x28\xb5", "Content-Encoding: zstd\r\n"),
            (b"no json", ""),
        ]:
            writer.write(post(CHAT_PATH, body, more))
            assert (await read_response(reader))[1] == chat_stream(CHAT)
    assert [(bool(row.appended), row.error) for row in recording.rows] == [
        (True, ""),
        (False, "the request is compressed (zstd), which this program does not read"),
        (False, "the request is no JSON object of a known shape"),
    ]


async def test_a_history_is_written_once(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Fix it."}]
    tools = [{"type": "function", "function": {"name": "bash"}}]
    async with (
        serving(answering(*[STREAM] * 3)) as url,
        recorder(url, tmp_path) as recording,
        recording.connect() as (reader, writer),
    ):
        for _ in range(3):
            writer.write(post(CHAT_PATH, json.dumps({"messages": messages, "tools": tools}).encode()))
            await read_response(reader)
            messages += [CHAT_MESSAGE, {"role": "tool", "tool_call_id": "call_1", "content": "ok"}]  # type: ignore[list-item]
    assert [(row.base, row.keep, len(row.appended), row.tools is None) for row in recording.rows] == [
        (0, 0, 1, False), (1, 1, 2, True), (2, 3, 2, True),
    ]  # fmt: skip


async def test_any_path_can_be_told_to_be_of_one_api(tmp_path: Path) -> None:
    async with serving(answering(STREAM)) as url, recorder(url, tmp_path, dialect="chat") as recording:
        await recording.ask(post("/gateway/generate", ASKED))
    assert [row.dialect for row in recording.rows] == ["chat"]


async def test_two_recorders_do_not_share_a_folder(tmp_path: Path) -> None:
    async with serving(answering()) as url, recorder(url, tmp_path):
        with pytest.raises(StorageError, match="is being written by another process"):
            await Courier.start(Setup(folder=str(tmp_path), started=STARTED, rules=None), print)
    with pytest.raises(StorageError, match="cannot be written"):
        await Courier.start(Setup(folder="/proc/none", started=STARTED, rules=None), print)


async def test_a_writer_that_dies_is_noted_and_the_agents_are_served(tmp_path: Path) -> None:
    async with (
        serving(answering(STREAM, STREAM)) as url,
        recorder(url, tmp_path) as recording,
        recording.connect() as (reader, writer),
    ):
        courier = recording.proxy._courier
        assert courier._process is not None
        courier._process.kill()
        await asyncio.wait_for(asyncio.shield(courier._gone), 20)
        for _ in range(2):
            writer.write(post(CHAT_PATH, ASKED))
            assert (await read_response(reader))[1] == chat_stream(CHAT)
    assert [trouble.found for trouble in recording.troubles] == ["its writer process died"]
    assert courier.dropped == 2


# -- heads -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "target", "want"),
    [
        ("", "/v1/models", "/v1/models"),
        ("/v1", "/v1/models", "/v1/models"),
        ("/v1", "/models", "/v1/models"),
        ("/openai/v1", "/v1/models?a=/v1", "/openai/v1/models?a=/v1"),
        ("/openai/v1", "/openai/v1/models", "/openai/v1/models"),
        ("/openai/v1", "/models", "/openai/v1/models"),
        ("/v1", "/v1beta/models", "/v1/v1beta/models"),
        ("/v1/", "/", "/v1/"),
    ],
)
def test_paths_join_where_they_overlap(base: str, target: str, want: str) -> None:
    assert joined(base, target) == want


@pytest.mark.parametrize(
    ("method", "target", "want"),
    [
        ("POST", "/v1/chat/completions", "chat"),
        ("POST", "/openai/deployments/x/chat/completions?api-version=1", "chat"),
        ("POST", "/v1/responses/", "responses"),
        ("POST", "/v1/messages?beta=true", "messages"),
        ("POST", "/v1/messages/count_tokens", None),
        ("GET", "/v1/responses", None),
        ("POST", "/v1/completions", None),
        ("POST", "/v1/embeddings", None),
    ],
)
def test_what_is_recorded_is_told_by_method_and_path(method: str, target: str, want: str | None) -> None:
    assert dialect_of(method, target, None) == want
    assert dialect_of(method, target, "chat") == ("chat" if method == "POST" else None)


def test_the_widest_session_id_wins() -> None:
    assert session_of([(b"Thread-Id", b"t"), (b"Session-Id", b"s")]) == "s"
    assert session_of([(b"Authorization", b"x")]) == ""


def test_the_version_of_the_request_is_kept() -> None:
    assert upward("GET", "/", "1.0", "h", []).startswith(b"GET / HTTP/1.0\r\nHost: h\r\n")
