"""Anthropic's messages as ours."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from msgspec import Raw

from openagentperf.corpus.formats.anthropic import to_messages, tool_texts
from openagentperf.corpus.formats.lines import BAD
from openagentperf.records.trajectory import Message, ToolCall

PLACEHOLDER = "content parts that are no text replaced by a placeholder"


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words, "cache_control": {"type": "ephemeral"}}


def result(call: str, content: object) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call, "content": content}


@pytest.mark.parametrize(
    ("role", "content", "want", "noted"),
    [
        ("user", "Go", [Message("user", "Go")], {}),
        ("user", [text("Go"), text("on")], [Message("user", "Go\non")], {}),
        ("user", [], [], {}),  # an engine refuses an empty user message
        ("user", None, [], {}),
        # results stand first, whatever the block order: engines want them right behind their calls
        (
            "user",
            [text("And?"), result("t1", "one"), result("t2", [text("two")])],
            [
                Message("tool", "one", tool_call_id="t1"),
                Message("tool", "two", tool_call_id="t2"),
                Message("user", "And?"),
            ],
            {},
        ),
        ("user", [result("t1", None)], [Message("tool", "", tool_call_id="t1")], {}),
        ("user", [result("t1", {"k": 1})], [Message("tool", '{"k":1}', tool_call_id="t1")], {}),  # a server tool's
        (
            "user",
            [result("t1", [text("seen"), {"type": "image", "source": {}}])],
            [Message("tool", "seen\n[image]", tool_call_id="t1")],
            {PLACEHOLDER: 1},
        ),
        (
            "assistant",
            [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "x"},
                text("I look"),
                {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}},
                {"type": "tool_use", "id": "t2", "name": "Read", "input": {}},
            ],
            [
                Message(
                    "assistant",
                    "I look",
                    reasoning="hm",
                    tool_calls=(ToolCall("t1", "Bash", '{"command":"ls"}'), ToolCall("t2", "Read", "{}")),
                )
            ],
            {},
        ),
        (
            "assistant",
            [{"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}, text("found")],
            [Message("assistant", "found")],
            {"answer blocks of other types left out": 1},
        ),
        ("assistant", "Done", [Message("assistant", "Done")], {}),
        ("system", [text("Be brief")], [Message("system", "Be brief")], {}),
        ("critic", "No", [Message("user", "No")], {"messages of role `critic` taken as user messages": 1}),
    ],
)
def test_messages(role: str, content: object, want: list[Message], noted: dict[str, int]) -> None:
    notes: Counter[str] = Counter()
    raw = json.dumps({"role": role, "content": content}, separators=(",", ":")).encode()
    assert to_messages(raw, notes) == want
    assert notes == noted


@pytest.mark.parametrize(
    "raw", [b"7", b"{}", b'{"role":"user","content":7}', b"\xff", b'{"role":"user","content":"\\ud800"}']
)
def test_what_is_no_message_raises(raw: bytes) -> None:
    with pytest.raises(BAD):
        to_messages(raw, Counter())


def test_tools_become_openai_entries() -> None:
    notes: Counter[str] = Counter()
    tools = [
        Raw(
            b'{"name": "Read", "description": "Reads", "input_schema": {"type": "object", "properties": {"b": {}, "a": {}}}}'
        ),
        Raw(b'{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}'),
        Raw(b'{"description": "nameless"}'),
    ]
    read, search = tool_texts(tools, notes)
    # The schema's keys keep their order: sorting them would be a rewrite of the prompt.
    assert read == (
        '{"type":"function","function":{"name":"Read","description":"Reads",'
        '"parameters":{"type":"object","properties":{"b":{},"a":{}}}}}'
    )
    assert json.loads(search)["function"] == {
        "name": "web_search",
        "description": "",
        "parameters": {"type": "object", "properties": {}},
    }
    assert notes == {
        "tools without a schema (the provider's own) offered by name alone": 1,
        "tool definitions without a name left out": 1,
    }
