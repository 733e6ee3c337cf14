"""Items of OpenAI's Responses dialect as our messages."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec
import pytest

from openagentperf.corpus.formats import responses
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.snapshots import Snapshots
from openagentperf.records.trajectory import Message, ToolCall


def items(*values: dict[str, Any]) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def messages(*values: dict[str, Any]) -> list[Message]:
    return responses.to_messages(items(*values), Counter())


def notes_of(*values: dict[str, Any]) -> dict[str, int]:
    notes: Counter[str] = Counter()
    responses.to_messages(items(*values), notes)
    return dict(notes)


def text(role: str, *texts: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text} for text in texts]}


def call(call_id: str = "c1", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "name": "f", "arguments": '{"a": 1}', "call_id": call_id, **more}


@pytest.mark.parametrize(
    ("item", "want"),
    [
        (text("user", "a", "b"), Message("user", "a\nb")),
        ({"role": "user", "content": "plain"}, Message("user", "plain")),  # requests may leave the type out
        (text("developer", "x"), Message("system", "x")),
        (text("system", "x"), Message("system", "x")),
        (text("assistant", "x"), Message("assistant", "x")),
        (
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            Message("assistant", "No."),
        ),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "See"}, {"type": "input_image", "image_url": "data:"}]},
            Message("user", "See\n[input_image]"),
        ),
        (
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "short"}], "encrypted_content": "x"},
            Message("assistant", reasoning="short"),
        ),
        (
            {"type": "reasoning", "summary": [{"text": "short"}], "content": [{"type": "reasoning_text", "text": "long"}]},
            Message("assistant", reasoning="long"),
        ),
        (call(), Message("assistant", tool_calls=(ToolCall("c1", "f", '{"a": 1}'),))),
        (call(namespace="mcp__s"), Message("assistant", tool_calls=(ToolCall("c1", "mcp__s__f", '{"a": 1}'),))),
        (call(arguments="ls"), Message("assistant", tool_calls=(ToolCall("c1", "f", '{"raw":"ls"}'),))),
        (call(arguments=""), Message("assistant", tool_calls=(ToolCall("c1", "f", "{}"),))),
        (
            {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin", "call_id": "c1"},
            Message("assistant", tool_calls=(ToolCall("c1", "apply_patch", '{"input":"*** Begin"}'),)),
        ),
        (
            {"type": "local_shell_call", "id": "l1", "call_id": None, "action": {"type": "exec"}},
            Message("assistant", tool_calls=(ToolCall("l1", "local_shell", '{"type": "exec"}'),)),
        ),
        (
            {"type": "tool_search_call", "call_id": "c1", "arguments": {"query": "q"}},
            Message("assistant", tool_calls=(ToolCall("c1", "tool_search", '{"query": "q"}'),)),
        ),
        (
            {"type": "apply_patch_call", "call_id": "c1", "operation": {"type": "delete_file", "path": "a"}},
            Message("assistant", tool_calls=(ToolCall("c1", "apply_patch", '{"type": "delete_file", "path": "a"}'),)),
        ),
        (
            {"type": "web_search_call", "action": {"type": "search", "query": "q"}},
            Message("assistant", '[web_search_call {"type": "search", "query": "q"}]'),
        ),
        (
            {"type": "mcp_call", "name": "ask", "arguments": '{"q": 1}', "output": "yes"},
            Message("assistant", '[mcp_call ask "{\\"q\\": 1}" "yes"]'),
        ),
        ({"type": "function_call_output", "call_id": "c1", "output": "ok"}, Message("tool", "ok", tool_call_id="c1")),
        (
            {"type": "custom_tool_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "a"}, {"type": "x"}]},
            Message("tool", "a\n[x]", tool_call_id="c1"),
        ),
        (
            {"type": "local_shell_call_output", "call_id": "c1", "output": {"exit": 0}},
            Message("tool", '{"exit": 0}', tool_call_id="c1"),
        ),
        (
            {"type": "tool_search_output", "call_id": "c1", "tools": [{"name": "f"}]},
            Message("tool", '[{"name": "f"}]', tool_call_id="c1"),
        ),
        ({"type": "compaction", "encrypted_content": "x"}, Message("user", responses.COMPACTED)),
    ],
)  # fmt: skip
def test_each_type_alone(item: dict[str, Any], want: Message) -> None:
    assert messages(item) == [want]


def test_an_answer_is_one_message() -> None:
    got = messages(
        text("user", "Go"),
        {"type": "reasoning", "summary": [{"text": "Plan"}]},
        text("assistant", "Looking."),
        call("c1"),
        call("c2"),
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2", "output": "2"},
        text("assistant", "Done."),
        text("assistant", "Really."),
    )
    calls = (ToolCall("c1", "f", '{"a": 1}'), ToolCall("c2", "f", '{"a": 1}'))
    assert got == [
        Message("user", "Go"),
        Message("assistant", "Looking.", reasoning="Plan", tool_calls=calls),
        Message("tool", "1", tool_call_id="c1"),
        Message("tool", "2", tool_call_id="c2"),
        Message("assistant", "Done.\nReally."),
    ]


@pytest.mark.parametrize(
    ("item", "note"),
    [
        ({"type": "ghost_snapshot"}, "response items of other types left out"),
        ({"type": "item_reference", "id": "x"}, "response items of other types left out"),
        ({"type": "compaction"}, "summaries that only their provider can read replaced by a placeholder"),
        ({"type": "web_search_call"}, "calls that the provider ran itself kept as text of the answer"),
        ({"role": "critic", "content": "x"}, "messages of role `critic` taken as user messages"),
        (
            {"role": "user", "content": [{"type": "input_image"}]},
            "content parts that are no text replaced by a placeholder",
        ),
    ],
)
def test_what_is_changed_is_noted(item: dict[str, Any], note: str) -> None:
    assert notes_of(item) == {note: 1}


@pytest.mark.parametrize(
    "bad", [b"7", b"null", b'{"type": 7}', b'{"type": "message", "role": "user", "content": "\xff"}']
)
def test_an_item_of_no_known_form(bad: bytes) -> None:
    with pytest.raises(BAD):
        responses.to_messages([bad], Counter())


def test_half_an_emoji_stays_text() -> None:
    item = rb'{"type": "function_call_output", "call_id": "c1", "output": "cut \ud83d \\ud83d"}'
    assert responses.to_messages([item], Counter()) == [Message("tool", "cut � \\ud83d", tool_call_id="c1")]


PARAMETERS = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("tool", "want"),
    [
        (
            {"type": "function", "name": "f", "description": "d", "parameters": PARAMETERS, "strict": True},
            [{"name": "f", "description": "d", "parameters": PARAMETERS, "strict": True}],
        ),
        ({"type": "function", "name": "f"}, [{"name": "f"}]),
        ({"type": "function", "function": {"name": "chat"}}, [{"name": "chat"}]),
        (
            {
                "type": "custom",
                "name": "p",
                "description": "d",
                "format": {"type": "grammar", "definition": "start: x"},
            },
            [
                {
                    "name": "p",
                    "description": "d\nstart: x",
                    "parameters": {
                        "type": "object",
                        "properties": {"input": {"type": "string"}},
                        "required": ["input"],
                    },
                }
            ],
        ),
        (
            {"type": "namespace", "name": "n", "tools": [{"name": "a"}, {"name": "b", "defer_loading": True}]},
            [{"name": "n__a"}],
        ),
        ({"type": "web_search"}, []),
        ({"type": "local_shell"}, []),
        ({"type": "function"}, []),
        (7, []),
    ],
)
def test_tools(tool: object, want: list[dict[str, Any]]) -> None:
    notes: Counter[str] = Counter()
    texts = responses.tool_texts([msgspec.Raw(json.dumps(tool).encode())], notes)
    assert [json.loads(text) for text in texts] == [{"type": "function", "function": function} for function in want]
    assert bool(notes) == (not want)


def test_requests_of_full_lists_are_compared_by_answer() -> None:
    """What a proxy sees: each request holds all items of the one before."""
    first = items(text("user", "Go"))
    answer = items({"type": "reasoning", "summary": []}, text("assistant", "Looking."), call("c1"))
    result = items({"type": "function_call_output", "call_id": "c1", "output": "ok"})
    snapshots = Snapshots(responses.convert)
    snapshots.add(responses.grouped(first))
    appended = snapshots.add(responses.grouped(first + answer + result))
    assert [message.role for message in appended] == ["assistant", "tool"]
    assert appended[0].tool_calls[0].id == "c1"
    assert snapshots.turns[1].keep is None
