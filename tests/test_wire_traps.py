"""The traps that rivals fall into, each on a real socket through the real client, decoder and judge (score.turn).

What is asked of a time is its place between two sends of the server: the first output's stamp lies between its own send and the next one.
Whole phases with the same traps against a server's own log: e2e/test_truth.py. All streams ending in one
instant, a matter of many: e2e/test_disturbances.py.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import msgspec
import pytest

from openagentperf.client.clock import now_ns
from openagentperf.client.exchange import exchange
from openagentperf.score.columns import Turns
from openagentperf.score.turn import pace
from openagentperf.units import NS_PER_MS
from openagentperf.wire.chat import decode
from test_client import CHUNKED, END, chunk, post, read_request, served

GAP_S = 0.03


class Event(NamedTuple):
    delta: dict[str, Any]
    output: bool
    """Whether it shows anything: a role alone does not."""


def said(tokens: int = 1, **delta: Any) -> list[Event]:
    return [Event(delta, True)] * tokens


def call(name: str = "", arguments: str = "") -> Event:
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    return Event({"tool_calls": [{"index": 0, "function": function}]}, True)


ROLE = Event({"role": "assistant", "content": ""}, False)
NONE_YET = Event({"role": "assistant", "content": None, "reasoning_content": None}, False)


@pytest.mark.parametrize(
    ("events", "tokens", "failure", "paid"),
    [
        ([ROLE, NONE_YET, ROLE, *said(6, content="x")], 6, "", 1),  # a role that comes early is not output
        ([ROLE, call("bash"), *[call("", "x")] * 5], 6, "", 1),  # nothing but a tool call
        ([ROLE, *said(3, reasoning="h", reasoning_content="h"), *said(3, content="x")], 6, "", 1),  # one thought under two names
        ([ROLE, *said(3, reasoning="h"), *said(3, content="x")], 6, "", 1),
        ([ROLE, *said(3, reasoning_content="h"), *said(3, content="x")], 6, "", 1),
        ([ROLE, *said(6, content="word")], 24, "", 4),  # four tokens an event: the first four are paid for by TTFT
        ([ROLE, *said(6, content="x")], None, "no_usage", 1),
    ],
    ids=["early role", "tool call alone", "reasoning twice", "reasoning", "reasoning_content", "four an event", "no usage"],
)  # fmt: skip
async def test_a_trap(events: list[Event], tokens: int | None, failure: str, paid: int):
    sends: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: text/event-stream\r\n\r\n"))
        for delta, _ in events:
            sends.append(now_ns())
            writer.write(event(choices=[{"index": 0, "delta": delta, "finish_reason": None}]))
            await asyncio.sleep(GAP_S)
        usage = {"usage": {"prompt_tokens": 9, "completion_tokens": tokens}} if tokens else {}
        writer.write(event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]) + event(choices=[], **usage))
        writer.write(chunk(b"data: [DONE]\n\n") + END)
        await writer.drain()

    async with served(handler) as address:
        row = decode(await exchange(address, None, post(address, b"{}"), 20))

    assert (row.failure, row.output_tokens) == (failure, tokens)
    visible = [n for n, event in enumerate(events) if event.output]
    assert row.output_events == len(visible)
    assert row.first_output_ns is not None
    assert row.last_output_ns is not None
    first, last = visible[0], visible[-1]
    clock_ns = NS_PER_MS
    assert sends[first] - clock_ns <= row.first_output_ns < sends[first + 1] + clock_ns
    assert sends[last] - clock_ns <= row.last_output_ns
    assert row.output_chars == sum(text_of(event.delta) for event in events), "the same thought is not counted twice"
    if tokens:
        assert row.first_tokens == paid
        speed = pace(Turns.from_rows([row])).speed[0]
        true = (tokens - paid) / ((sends[last] - sends[first]) / 1e9)
        assert abs(speed / true - 1) < 0.1, (
            "by a client and a server in one loop; a first event counted as decoded is 20 % off"
        )


def event(**fields: Any) -> bytes:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields}
    return chunk(b"data: " + msgspec.json.encode(body) + b"\n\n")


def text_of(delta: dict[str, Any]) -> int:
    calls = [call["function"] for call in delta.get("tool_calls", ())]
    shown = [delta.get("content"), delta.get("reasoning") or delta.get("reasoning_content")]
    shown += [function.get("name") for function in calls] + [function.get("arguments") for function in calls]
    return sum(len(text) for text in shown if text)
