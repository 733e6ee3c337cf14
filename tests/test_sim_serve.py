"""The simulated node over real sockets on loopback: shapes, counts and cleaning up; never absolute times."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from openagentperf.errors import InfrastructureError
from openagentperf.sim import null
from openagentperf.sim.chatapi import prompt_of
from openagentperf.sim.spawn import spawned

MODEL = "openagentperf-sim"
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with spawned("openagentperf.sim.serve", "--config", "demo") as base:
        yield base


@pytest.fixture
def connection(url: str) -> Iterator[http.client.HTTPConnection]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    client = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    yield client
    client.close()


def asked(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}


def post(connection: http.client.HTTPConnection, body: object) -> tuple[int, bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", "/v1/chat/completions", data, {"content-type": "application/json"})
    response = connection.getresponse()
    return response.status, response.read()


def get(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200
    return response.read()


def events(body: bytes) -> list[dict[str, Any]]:
    """The JSON events of a stream that ends with [DONE]."""
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]
    assert lines.pop() == b"[DONE]"
    return [json.loads(line) for line in lines]


def gauge(connection: http.client.HTTPConnection, name: str) -> float:
    text = get(connection, "/metrics").decode()
    (value,) = [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(name + "{")]
    return float(value)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "not within 10 s"


def test_models_and_health(connection: http.client.HTTPConnection) -> None:
    (entry,) = json.loads(get(connection, "/v1/models"))["data"]
    assert entry["id"] == MODEL
    assert entry["max_model_len"] == 8_192
    assert get(connection, "/health") == b""


@pytest.mark.parametrize("continuous", [False, True])
def test_a_stream_is_role_then_one_event_a_token_then_finish_then_usage(
    connection: http.client.HTTPConnection, continuous: bool
) -> None:
    options = {"include_usage": True, "continuous_usage_stats": continuous}
    status, body = post(connection, asked(stream=True, stream_options=options, max_tokens=9, ignore_eos=True))
    assert status == 200
    role, *tokens, finish, usage = events(body)
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(tokens) == 9
    assert all(event["choices"][0]["delta"]["content"] for event in tokens)
    assert finish["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 9
    if continuous:
        assert [event["usage"]["completion_tokens"] for event in tokens] == list(range(1, 10))
    else:
        assert not any("usage" in event for event in tokens)


def test_no_usage_event_unless_asked(connection: http.client.HTTPConnection) -> None:
    _, body = post(connection, asked(stream=True, max_completion_tokens=2, ignore_eos=True))
    assert len(events(body)) == 4  # role, two tokens, finish
    assert b"usage" not in body


def test_streamed_and_whole_answers_hold_the_same_text(connection: http.client.HTTPConnection) -> None:
    _, streamed = post(connection, asked(stream=True, max_tokens=60, ignore_eos=True))
    _, whole = post(connection, asked(stream=False, max_tokens=60, ignore_eos=True))
    answer = json.loads(whole)
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events(streamed))
    assert answer["choices"][0]["message"]["content"] == text
    assert answer["usage"]["completion_tokens"] == 60


def test_natural_length_depends_on_the_request_alone(connection: http.client.HTTPConnection) -> None:
    def length(text: str) -> int:
        answer = json.loads(post(connection, asked(text, max_tokens=500))[1])
        assert answer["choices"][0]["finish_reason"] == "stop"
        return int(answer["usage"]["completion_tokens"])

    assert length("a") == length("a")
    assert len({length(text) for text in "abcdef"}) > 1


def test_a_longer_conversation_reuses_its_prefix(connection: http.client.HTTPConnection) -> None:
    tools = [{"type": "function", "function": {"name": "bash", "description": "d" * 300}}]
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "s" * 400},
        {"role": "user", "content": [{"type": "text", "text": "u" * 400}]},
    ]
    call = {"id": "c", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
    later = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "r" * 500},
    ]
    usages = []
    for history in (messages, messages + later):
        body = asked(tools=tools, max_tokens=1, ignore_eos=True) | {"messages": history}
        usages.append(json.loads(post(connection, body)[1])["usage"])
    first, second = usages
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    # All full blocks of the first prompt are there: 64 tokens each.
    assert second["prompt_tokens_details"]["cached_tokens"] == first["prompt_tokens"] // 64 * 64
    assert second["prompt_tokens"] > first["prompt_tokens"] + 140


@pytest.mark.parametrize(
    ("text", "tokens", "blocks"),
    [
        (b"x", 1, 0),  # 1 / 3.5 rounded up
        (b"x" * 7, 2, 0),
        (b"x" * 8, 3, 0),
        (b"x" * 224, 64, 1),  # 64 tokens of 3.5 bytes: one full block
        (b"x" * 447, 128, 1),
    ],
)
def test_prompt_counts(text: bytes, tokens: int, blocks: int) -> None:
    prompt = prompt_of(text, 64)
    assert (prompt.tokens, len(prompt.prefix)) == (tokens, blocks)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (asked(max_tokens=1) | {"model": "gpt-9"}, 404, "does not exist"),
        ({"model": MODEL}, 400, "messages"),
        ({"model": MODEL, "messages": []}, 400, "length >= 1"),
        (asked(max_tokens=0), 400, ">= 1"),
        (asked(max_tokens=8_192), 400, "maximum context length is 8192 tokens"),
        (asked("x" * 80_000), 400, "maximum context length is 8192 tokens"),
        (b"{", 400, "truncated"),
    ],
    ids=["model", "no messages", "empty", "zero tokens", "answer too long", "prompt too long", "broken"],
)
def test_refusals_are_openai_errors(
    connection: http.client.HTTPConnection, body: object, status: int, said: str
) -> None:
    got, data = post(connection, body)
    assert got == status
    error = json.loads(data)["error"]
    assert said in error["message"]
    assert error["code"] == status
    assert len(json.loads(get(connection, "/v1/models"))["data"]) == 1  # the connection is still good


def test_pipelined_requests_are_answered_in_order(url: str) -> None:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as plain:
        plain.sendall(
            b"GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        received = b""
        while data := plain.recv(65536):
            received += data
    assert received.count(b"HTTP/1.1 200 OK") == 1
    assert received.index(b"200 OK") < received.index(b"404 Not Found")


def test_a_client_that_leaves_frees_its_sequence(url: str, connection: http.client.HTTPConnection) -> None:
    parts = urlsplit(url)
    body = json.dumps(asked("leaving", stream=True, max_tokens=6_000, ignore_eos=True)).encode()
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as plain:
        plain.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert plain.recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert gauge(connection, "vllm:num_requests_running") == 1
    eventually(lambda: gauge(connection, "vllm:num_requests_running") == 0)
    assert gauge(connection, "vllm:kv_cache_usage_perc") == 0


def test_metrics_agree_with_usage(connection: http.client.HTTPConnection) -> None:
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:prefix_cache_hits_total")
    before = [gauge(connection, name) for name in names]
    usage = json.loads(post(connection, asked("m" * 2_000, max_tokens=7, ignore_eos=True))[1])["usage"]
    made = [gauge(connection, name) - old for name, old in zip(names, before, strict=True)]
    assert made == [usage["prompt_tokens"], 7, usage["prompt_tokens_details"]["cached_tokens"]]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(stop: signal.Signals) -> None:
    command = [sys.executable, "-m", "openagentperf.sim.serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().startswith(b"listening on http://127.0.0.1:")
        child.send_signal(stop)
        assert child.wait(10) == 0
        assert child.stderr.read() == b""


def test_a_spawned_server_ends_with_its_context() -> None:
    with spawned("openagentperf.sim.serve") as base:
        port = urlsplit(base).port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_server_that_does_not_come_up_is_an_error_with_its_last_words() -> None:
    with (
        pytest.raises(InfrastructureError, match="invalid choice: 'none'"),
        spawned("openagentperf.sim.serve", "--config", "none"),
    ):
        pass


def test_a_server_listens_on_loopback_only(url: str) -> None:
    port = urlsplit(url).port
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table if line.split()[3] == "0A"]
    assert [row[1] for row in rows if row[1].endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_a_server_that_names_no_model_takes_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        null.main(["--model", "mine"])
    assert "unrecognized arguments: --model mine" in capsys.readouterr().err
