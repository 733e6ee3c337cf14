"""Rows of published sets of software-engineering trajectories."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openagentperf.corpus.detect import detect
from openagentperf.corpus.formats import swe_rows
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, ToolCall, Trajectory

SYSTEM = {"role": "system", "content": "Be brief."}
TASK = {"role": "user", "content": [{"type": "text", "text": "Fix it"}]}
DONE = {"role": "assistant", "content": "Done."}
CALL = {
    "role": "assistant",
    "content": "Look",
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command":"ls a.py"}'}}
    ],
}
TOOL = {"type": "function", "function": {"name": "bash", "parameters": {}}}


def read(*records: dict[str, Any], skipped: list[Skipped] | None = None) -> list[Trajectory]:
    data = "\n".join(map(json.dumps, records)).encode()
    assert detect(data) == "swe-rows"
    return list(swe_rows.read(data, "r.jsonl", [] if skipped is None else skipped))


@pytest.mark.parametrize(
    "row",
    [
        {
            "messages": json.dumps([SYSTEM, TASK, DONE]),
            "instance_id": "i",
            "traj_id": "t",
            "model": "m",
            "resolved": True,
        },
        {"messages": [SYSTEM, TASK, DONE], "instance_id": "i", "traj_id": "t", "model": "m"},
        {"trajectory": [SYSTEM, TASK, DONE], "instance_id": "i", "trajectory_id": "t", "model_name": "m"},
        {"trajectory": json.dumps([SYSTEM, TASK, DONE]), "instance_id": "i", "trajectory_id": "t", "model_name": "m"},
    ],
)
def test_every_spelling_gives_the_same(row: dict[str, Any]) -> None:
    (session,) = read(row)
    assert (session.id, session.task, session.model, session.harness) == ("t", "i", "m", "")
    assert session.turns[0].appended == (Message("system", "Be brief."), Message("user", "Fix it"))
    assert session.turns[0].tool_delay_ns is None


@pytest.mark.parametrize("as_text", [True, False])
def test_tools_and_calls_of_openhands_rows(as_text: bool) -> None:
    result = {"role": "tool", "content": "ok", "tool_call_id": "c1", "name": "bash"}
    tools = json.dumps([TOOL]) if as_text else [TOOL]
    (session,) = read(
        {"instance_id": "i", "run_id": "r", "messages": [SYSTEM, TASK, CALL, result, DONE], "tools": tools}
    )
    assert session.id == "i-r"
    assert [json.loads(text) for text in session.tools] == [TOOL]
    assert session.turns[1].appended == (
        Message("assistant", "Look", "", (ToolCall("c1", "bash", '{"command":"ls a.py"}'),)),
        Message("tool", "ok", tool_call_id="c1"),
    )
    assert session.language == "Python"


def test_swe_agents_spelling_in_a_string() -> None:
    result = {"role": "tool", "content": "ok", "agent": "main", "tool_call_ids": ["c1"], "message_type": "observation"}
    demo = [{"role": "user", "content": "Demo", "is_demo": True}, {**DONE, "is_demo": True}]
    messages = [SYSTEM, *demo, TASK, {**CALL, "agent": "main", "action": "ls a.c"}, result, DONE]
    (session,) = read({"messages": json.dumps(messages), "traj_id": "t"})
    assert len(session.turns) == 2  # the demonstration is no request
    assert session.turns[1].appended[1] == Message("tool", "ok", tool_call_id="c1")
    assert (session.harness, session.language) == ("swe-agent", "C")


def test_half_an_emoji_inside_the_string() -> None:
    cut = r'[{"role": "user", "content": "cut \ud83d"}, {"role": "assistant", "content": "Done."}]'
    (session,) = read({"messages": cut, "instance_id": "i"})
    assert session.turns[0].appended[0].content == "cut �"


def test_bad_rows_are_named_and_the_rest_is_used() -> None:
    skipped: list[Skipped] = []
    good = {"messages": [TASK, DONE], "instance_id": "i"}
    bad = {"messages": "[{", "instance_id": "i"}
    (session,) = read(good, bad, {"messages": [TASK], "instance_id": "i"}, {"instance_id": "i"}, skipped=skipped)
    assert len(session.turns) == 1
    assert [row.where for row in skipped] == ["r.jsonl:2", "r.jsonl:3", "r.jsonl:4"]


@pytest.mark.parametrize(
    ("row", "want"),
    [
        ({"messages": [TASK, DONE]}, "openai-chat"),  # no id of an instance
        ({"messages": "Fix it", "instance_id": "i"}, None),
        ({"instance_id": "i", "history": [{"id": 0, "action": "message"}], "metrics": {}}, "openhands-v0"),
        ({"instance_id": "i", "trajectory": [{"role": "ai", "text": "x", "mask": True}]}, "nebius-swe-agent"),
    ],
)
def test_neighbours_are_not_taken(row: dict[str, Any], want: str | None) -> None:
    assert detect(json.dumps(row).encode()) in (want, None)


def test_nothing_answered_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no row with an answer"):
        read({"messages": [TASK], "instance_id": "i"})
