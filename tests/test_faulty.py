"""Each fault shows itself on the wire as its name says, and only after the requests it was told to spare."""

from __future__ import annotations

import http.client
import json
import selectors
import socket
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from openagentperf.sim.faults import FAULTS
from openagentperf.sim.spawn import spawned

MODEL = "openagentperf-sim"
QUICK = ("--ttft-ms", "1", "--interval-ms", "1")
pytestmark = pytest.mark.e2e


def client(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    assert parts.hostname is not None
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)


def send(
    connection: http.client.HTTPConnection, tokens: int = 8, text: str = "hello", **more: Any
) -> http.client.HTTPResponse:
    body = {
        "model": MODEL, "messages": [{"role": "user", "content": text}], "stream": True, "max_tokens": tokens,
        "ignore_eos": True, "stream_options": {"include_usage": True}, **more,
    }  # fmt: skip
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    return connection.getresponse()


def once(mode: str, *args: str, tokens: int = 8, text: str = "hello") -> tuple[int, str, bytes]:
    """Status, content type and body of one request to a server with that fault."""
    with spawned("openagentperf.sim.faulty", "--mode", mode, *QUICK, *args) as url:
        connection = client(url)
        response = send(connection, tokens, text)
        answer = response.status, response.getheader("content-type", ""), response.read()
        connection.close()
        return answer


def listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=20):
            return True
    except ConnectionError:
        return False


def deltas(body: bytes) -> list[dict[str, Any]]:
    found = []
    for line in body.split(b"\n\n"):
        if line.startswith(b"data: {"):
            found += [choice["delta"] for choice in json.loads(line[6:]).get("choices", [])]
    return found


def content(body: bytes) -> list[str]:
    return [delta["content"] for delta in deltas(body) if delta.get("content")]


def usage(body: bytes) -> dict[str, Any]:
    (line,) = [line for line in body.split(b"\n\n") if b'"usage"' in line]
    return dict(json.loads(line[6:])["usage"])


def test_ok_is_an_honest_stream() -> None:
    status, kind, body = once("ok")
    assert (status, kind.split(";")[0]) == (200, "text/event-stream")
    assert len(content(body)) == 8
    assert usage(body)["completion_tokens"] == 8
    assert usage(body)["prompt_tokens_details"] == {"cached_tokens": 0}
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("mode", "status", "kind"),
    [
        ("html", 200, "text/html"),
        ("html-chat", 200, "text/html"),
        ("wrong-model", 404, "application/json"),
        ("http500", 500, "application/json"),
        ("http429", 429, "application/json"),
        ("no-stream", 200, "application/json"),
    ],
)
def test_answers_that_are_no_stream(mode: str, status: int, kind: str) -> None:
    got, content_type, body = once(mode)
    assert (got, content_type) == (status, kind)
    assert b"data:" not in body


@pytest.mark.parametrize(("mode", "usage_there", "done_there"), [("no-usage", False, True), ("no-done", True, False)])
def test_missing_ends(mode: str, usage_there: bool, done_there: bool) -> None:
    _, _, body = once(mode)
    assert len(content(body)) == 8
    assert (b'"usage"' in body, b"[DONE]" in body) == (usage_there, done_there)


def test_multi_token_has_a_quarter_of_the_events() -> None:
    _, _, body = once("multi-token")
    assert len(content(body)) == 2
    assert usage(body)["completion_tokens"] == 8


def test_reasoning_stands_in_both_fields() -> None:
    _, _, body = once("reasoning")
    thoughts = [delta for delta in deltas(body) if "reasoning" in delta]
    assert len(thoughts) == 4
    assert all(delta["reasoning"] == delta["reasoning_content"] for delta in thoughts)
    assert usage(body)["completion_tokens_details"] == {"reasoning_tokens": 4}


def test_tool_calls_only_has_no_text_and_valid_arguments() -> None:
    _, _, body = once("tool-calls-only")
    assert content(body) == []
    pieces = [call["function"]["arguments"] for delta in deltas(body) for call in delta.get("tool_calls", [])]
    assert "command" in json.loads("".join(pieces))
    assert usage(body)["completion_tokens"] == 8


def test_an_error_inside_the_stream() -> None:
    status, _, body = once("error-in-stream")
    assert status == 200
    assert len(content(body)) == 2
    assert b'data: {"error"' in body


def test_stops_early_in_spite_of_ignore_eos() -> None:
    _, _, body = once("ignores-eos-not")
    assert usage(body)["completion_tokens"] == 4


def test_no_cache_never_says() -> None:
    _, _, body = once("no-cache")
    assert "prompt_tokens_details" not in usage(body)


def test_cache_off_reports_that_nothing_is_ever_found() -> None:
    with spawned("openagentperf.sim.faulty", "--mode", "cache-off", *QUICK) as url:
        connection = client(url)
        found = [usage(send(connection, text="y" * 1_000).read())["prompt_tokens_details"] for _ in range(2)]
        connection.close()
    assert found == [{"cached_tokens": 0}] * 2


def test_role_early_opens_with_what_is_no_output() -> None:
    _, _, body = once("role-early")
    assert [delta.get("content") for delta in deltas(body)[:2]] == ["", ""]
    assert b"\n\n: keep-alive\n\n" in body
    assert len(content(body)) == 8


def test_small_context_refuses_what_is_longer() -> None:
    status, _, body = once("small-context", text="x" * 1_800)
    assert status == 400
    assert b"maximum context length is 512 tokens" in body


@pytest.mark.parametrize("mode", ["reset-midstream", "dies"])
def test_streams_that_break(mode: str) -> None:
    with spawned("openagentperf.sim.faulty", "--mode", mode, *QUICK, "--after", "1") as url:
        connection = client(url)
        assert len(content(send(connection).read())) == 8  # spared
        response = send(connection)
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            response.read()
        connection.close()
        if mode == "dies":
            deadline = time.monotonic() + 10  # its sockets do not close all at the same instant
            while listens(url):
                assert time.monotonic() < deadline, "it still listens after 10 s"
        else:
            assert listens(url)


@pytest.mark.parametrize("mode", ["never-ends", "stall"])
def test_streams_without_end_begin(mode: str) -> None:
    with spawned("openagentperf.sim.faulty", "--mode", mode, *QUICK) as url:
        connection = client(url)
        response = send(connection, tokens=1)
        assert response.readline().startswith(b"data: ")
        response.close()
        connection.close()


def test_a_storm_begins_after_the_requests_it_spares() -> None:
    with spawned("openagentperf.sim.faulty", "--mode", "storm500", "--after", "2", *QUICK) as url:
        connection = client(url)
        statuses = []
        for _ in range(4):
            response = send(connection)
            statuses.append(response.status)
            response.read()
        connection.close()
    assert statuses == [200, 200, 500, 500]


def test_keepalive_race_closes_what_it_announced_to_keep() -> None:
    with spawned("openagentperf.sim.faulty", "--mode", "keepalive-race", *QUICK) as url:
        connection = client(url)
        response = send(connection)
        assert response.getheader("connection") is None  # HTTP/1.1: kept
        assert len(content(response.read())) == 8
        assert connection.sock.recv(1) == b""
        connection.close()


def plain_request(text: str, tokens: int) -> bytes:
    messages = [{"role": "user", "content": text}]
    body = json.dumps({"model": MODEL, "messages": messages, "stream": True, "max_tokens": tokens}).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def test_buffered_comes_in_one_piece() -> None:
    with spawned("openagentperf.sim.faulty", "--mode", "buffered", *QUICK) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as plain:
            plain.sendall(plain_request("hello", 8))
            only = plain.recv(65536)
    assert only.startswith(b"HTTP/1.1 200 OK")
    assert only.endswith(b"[DONE]\n\n\r\n0\r\n\r\n")


def test_slow_serves_one_at_a_time_in_order_of_arrival() -> None:
    """Of three sent at once the third has nothing before the second is complete."""
    with spawned("openagentperf.sim.faulty", "--mode", "slow", "--service-ms", "60") as url, ExitStack() as stack:
        parts = urlsplit(url)
        waiting: dict[socket.socket, bytes] = {}
        with selectors.DefaultSelector() as selector:
            for _ in range(3):
                plain = stack.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=20))
                plain.sendall(plain_request("hello", 4))
                selector.register(plain, selectors.EVENT_READ)
                waiting[plain] = b""
            finished = 0
            while finished < 3:
                ready = selector.select(20)
                assert ready, "silent for 20 s"
                for key, _ in ready:
                    plain = key.fileobj  # type: ignore[assignment]
                    waiting[plain] += plain.recv(65536)
                    if waiting[plain].endswith(b"0\r\n\r\n"):
                        selector.unregister(plain)
                        finished += 1
                begun = sum(1 for received in waiting.values() if b'content":"def' in received)
                assert begun <= finished + 1


def test_known_prefixes_are_reported() -> None:
    with spawned("openagentperf.sim.faulty", *QUICK) as url:
        connection = client(url)
        cached = [
            usage(send(connection, text="y" * size).read())["prompt_tokens_details"]["cached_tokens"]
            for size in (1_000, 1_500)
        ]
        connection.close()
    assert cached == [0, 256]  # "<|user|>" and 1,000 bytes: four full blocks of 64 tokens


def test_every_mode_starts_with_models_that_can_be_listed() -> None:
    assert len(FAULTS) == 26
    with spawned("openagentperf.sim.faulty", "--mode", "wrong-model") as url:
        connection = client(url)
        connection.request("GET", "/v1/models")
        listed = json.loads(connection.getresponse().read())["data"]
        connection.close()
    assert [entry["id"] for entry in listed] == ["other"]
