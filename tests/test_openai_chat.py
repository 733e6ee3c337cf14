"""OpenAI chat recordings: one request an answer, and nothing that an engine would refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openagentperf.corpus.formats import openai_chat
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, ToolCall, Trajectory, histories

EXAMPLES = Path(__file__).parent / "data" / "formats"


def ask(text: str = "Fix it") -> dict[str, Any]:
    return {"role": "user", "content": text}


def call(call_id: str | None = "c1", arguments: object = "{}", **more: Any) -> dict[str, Any]:
    calls = [{"id": call_id, "type": "function", "function": {"name": "bash", "arguments": arguments}}]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def result(call_id: str | None = "c1", text: str = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


DONE = {"role": "assistant", "content": "Done."}


def one(*messages: dict[str, Any], **more: Any) -> Trajectory:
    data = json.dumps({"messages": list(messages), **more}).encode()
    (session,) = openai_chat.read(data, "s.jsonl", [])
    return session


def sent(session: Trajectory) -> list[Message]:
    """The messages of the last request."""
    last: list[Message] = []
    for messages in histories(session):
        last = list(messages)
    return last


def test_the_example_has_two_requests() -> None:
    data = (EXAMPLES / "09_openai_chat.jsonl").read_bytes()
    (session,) = openai_chat.read(data, "09.jsonl", [])
    first, second = session.turns
    assert (session.id, session.model, len(session.tools)) == ("conv-1", "demo/model", 1)
    assert [message.role for message in first.appended] == ["system", "user"]
    assert [message.role for message in second.appended] == ["assistant", "tool", "tool"]
    assert second.appended[0].tool_calls[1] == ToolCall("c2", "bash", '{"command":"git log -1"}')
    assert (first.tool_calls, second.tool_calls) == (2, 0)
    assert first.tool_delay_ns is None
    assert second.output_tokens == 2  # ceil(5 bytes / 3.5)
    assert session.notes == ()


TWO = {"messages": [ask(), DONE]}


@pytest.mark.parametrize(
    ("text", "sessions"),
    [
        (json.dumps(TWO) + "\n" + json.dumps(TWO), 2),  # JSONL
        (json.dumps(TWO) + json.dumps(TWO), 2),  # two objects on one line
        (json.dumps([TWO, TWO, TWO], indent=1), 3),  # one array of conversations
        (json.dumps(TWO, indent=1), 1),  # one object over many lines
        (json.dumps(TWO["messages"], indent=1), 1),  # one bare list of messages
        (json.dumps(TWO["messages"]) + "\n" + json.dumps(TWO["messages"]), 2),  # a bare list a line
        ("\ufeff" + json.dumps(TWO) + "\r\n\r\n", 1),  # byte order mark, Windows line ends
    ],
)
def test_shapes_of_files(text: str, sessions: int) -> None:
    assert len(list(openai_chat.read(text.encode(), "s", []))) == sessions


@pytest.mark.parametrize(
    ("recorded", "want"),
    [
        ("{}", "{}"),
        ('{"a": 1}', '{"a": 1}'),  # byte for byte
        ("", "{}"),
        ("ls -l", '{"raw":"ls -l"}'),
        ("[1]", '{"raw":"[1]"}'),  # JSON, but templates want an object
        ('{"a": ', '{"raw":"{\\"a\\": "}'),
        ({"a": 1}, '{"a": 1}'),  # the object itself instead of its text
    ],
)
def test_arguments_are_a_json_object(recorded: object, want: str) -> None:
    session = one(ask(), call(arguments=recorded), result(), DONE)
    assert session.turns[1].appended[0].tool_calls[0].arguments == want


NO_CALL = Message("user", "[tool result]\nok")


@pytest.mark.parametrize(
    ("messages", "want"),
    [
        ([ask(), DONE, result(), DONE], [Message("user", "Fix it"), Message("assistant", "Done."), NO_CALL]),
        # a call nobody answered, and an answer to another one
        (
            [ask(), call(), result("other"), DONE],
            [Message("user", "Fix it"), None, Message("tool", "(no result recorded)", tool_call_id="c1"), NO_CALL],
        ),
        # no id in the result: the first open call's
        (
            [ask(), call(), result(None), DONE],
            [Message("user", "Fix it"), None, Message("tool", "ok", tool_call_id="c1")],
        ),
        # the user's words between a call and its result
        (
            [ask(), call(), ask("Hurry"), result(), DONE],
            [Message("user", "Fix it"), None, Message("tool", "ok", tool_call_id="c1"), Message("user", "Hurry")],
        ),
        (
            [ask(), {"role": "assistant", "content": ""}, ask(), DONE],
            [Message("user", "Fix it"), Message("assistant", " "), Message("user", "Fix it")],
        ),
        ([{"role": "developer", "content": "x"}, DONE], [Message("system", "x"), Message("user", "Continue.")]),
        # an answer before anything was asked is history
        ([DONE, ask(), DONE], [Message("user", "Continue."), Message("assistant", "Done."), Message("user", "Fix it")]),
    ],
)
def test_histories_are_mended_and_noted(messages: list[dict[str, Any]], want: list[Message | None]) -> None:
    session = one(*messages)
    got = sent(session)
    assert len(got) == len(want)
    assert all(a == b for a, b in zip(got, want, strict=True) if b is not None)
    changed = messages[0].get("role") != "developer"
    assert session.notes or not changed


def test_legacy_function_calls_become_tool_calls() -> None:
    legacy = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    session = one(ask(), legacy, {"role": "function", "name": "f", "content": "7"}, DONE)
    assert session.turns[1].appended == (
        Message("assistant", tool_calls=(ToolCall("call_1", "f", "{}"),)),
        Message("tool", "7", tool_call_id="call_1"),
    )


def test_parts_are_joined_and_images_leave_a_placeholder() -> None:
    parts = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    session = one({"role": "user", "content": parts}, DONE)
    assert session.turns[0].appended[0].content == "See\n[image_url]"
    assert session.notes == ("1 content parts that are no text replaced by a placeholder",)


def test_recorded_usage_is_preferred() -> None:
    usage = {"prompt_tokens": 900, "completion_tokens": 40, "prompt_tokens_details": {"cached_tokens": 800}}
    (turn,) = one(ask(), {**DONE, "usage": usage}).turns
    assert (turn.input_tokens, turn.output_tokens, turn.cached_tokens, turn.counted) == (900, 40, 800, "recorded")


def test_reasoning_counts_as_output_only() -> None:
    session = one(ask(), {**DONE, "reasoning_content": "a" * 35}, ask(), DONE)
    first, second = session.turns
    assert first.output_tokens == 2 + 10  # "Done.", 35 bytes at 3.5
    assert second.input_tokens == first.input_tokens + (2 + 4) + (2 + 4)  # + answer + question, no reasoning


def test_half_an_emoji_costs_no_line() -> None:
    skipped: list[Skipped] = []
    data = rb'{"messages": [{"role": "user", "content": "cut \ud83d"}, {"role": "assistant", "content": "\ud83d\ude00 \\ud83d"}]}'
    (session,) = openai_chat.read(data, "s", skipped)
    assert skipped == []
    assert session.turns[0].appended[0].content == "cut �"


def test_nothing_usable_is_an_error() -> None:
    skipped: list[Skipped] = []
    with pytest.raises(CorpusError, match="no conversation with an answer"):
        list(openai_chat.read(json.dumps({"messages": [ask()]}).encode(), "s.jsonl", skipped))
    assert [row.where for row in skipped] == ["s.jsonl"]
