"""Answers of the three dialects as servers stream them, for tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise

from openagentperf.wire import sse

Json = dict[str, object]


def named(events: Iterable[Json]) -> bytes:
    """Events with their type as `event:` line, as Anthropic and the Responses API send them."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (str(e["type"]).encode(), json.dumps(e).encode()) for e in events)


def plain(events: Iterable[Json], done: bool = True) -> bytes:
    """Chat chunks."""
    return b"".join(b"data: %b\n\n" % json.dumps(e).encode() for e in events) + (b"data: [DONE]\n\n" if done else b"")


def events_of(body: bytes, cuts: Sequence[int] = ()) -> list[sse.Event]:
    """The events of `body`, read in pieces that end at `cuts`."""
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(body)), len(body)]
    return sse.events(body, [b for _, b in pairwise(edges)], ended=True)


def delta(finish: str | None = None, **fields: object) -> Json:
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


CHAT: list[Json] = [
    delta(role="assistant", content=""),
    delta(reasoning_content="Look "),
    delta(reasoning_content="first."),
    delta(content="I will "),
    delta(content="look."),
    delta(tool_calls=[{"index": 0, "id": "call_1", "type": "function", "function": {"name": "bash", "arguments": ""}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '{"command":'}}]),
    delta(tool_calls=[{"index": 1, "id": "call_2", "function": {"name": "read", "arguments": "{}"}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '"ls"}'}}]),
    delta("tool_calls"),
    {"id": "c1", "choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 30}}},
]  # fmt: skip
CHAT_MESSAGE: Json = {
    "role": "assistant",
    "content": "I will look.",
    "reasoning_content": "Look first.",
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "bash", "arguments": '{"command":"ls"}'}},
        {"id": "call_2", "type": "function", "function": {"name": "read", "arguments": "{}"}},
    ],
}


def block_delta(index: int, kind: str, **fields: object) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


MESSAGES: list[Json] = [
    {"type": "message_start", "message": {"id": "m1", "model": "claude", "content": [],
     "usage": {"input_tokens": 5, "cache_creation_input_tokens": 15, "cache_read_input_tokens": 30, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    block_delta(0, "thinking_delta", thinking="Look first."),
    block_delta(0, "signature_delta", signature="EqQB"),
    {"type": "content_block_stop", "index": 0},
    {"type": "ping"},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    block_delta(1, "text_delta", text="I will "),
    block_delta(1, "text_delta", text="look."),
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}},
    block_delta(2, "input_json_delta", partial_json='{"comm'),
    block_delta(2, "input_json_delta", partial_json='and": "ls"}'),
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]  # fmt: skip
MESSAGES_MESSAGE: Json = {
    "role": "assistant",
    "content": [
        {"type": "thinking", "thinking": "Look first."},
        {"type": "text", "text": "I will look."},
        {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
    ],
}

TEXT_ITEM: Json = {
    "type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "I will look."}],
}  # fmt: skip
CALL_ITEM: Json = {
    "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "shell", "arguments": '{"cmd":"ls"}',
}  # fmt: skip
RESPONSES_USAGE: Json = {"input_tokens": 50, "input_tokens_details": {"cached_tokens": 30}, "output_tokens": 9}


def responses(output: Sequence[Json] = (TEXT_ITEM, CALL_ITEM), ending: str = "completed") -> list[Json]:
    """A stream whose last event holds `output`."""
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return [
        {"type": "response.created", "response": {"id": "r1", "model": "gpt", "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**TEXT_ITEM, "content": []}},
        {"type": "response.output_text.delta", **at, "delta": "I will "},
        {"type": "response.output_text.delta", **at, "delta": "look."},
        {"type": "response.output_item.done", "output_index": 0, "item": TEXT_ITEM},
        {"type": "response.output_item.added", "output_index": 1, "item": {**CALL_ITEM, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"cmd":"ls"}'},
        {"type": "response.output_item.done", "output_index": 1, "item": CALL_ITEM},
        {
            "type": f"response.{ending}",
            "response": {
                "id": "r1",
                "model": "gpt",
                "status": ending,
                "output": list(output),
                "usage": RESPONSES_USAGE,
            },
        },
    ]
