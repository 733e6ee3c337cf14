"""agentperf-local traces: full message lists become deltas; what was rewritten says so."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import index_rows
from openagentperf.corpus.formats import agentperf_local
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, ToolCall, Trajectory, histories

EXAMPLES = Path(__file__).parent / "data" / "formats"
SYSTEM = {"role": "system", "content": "Be brief."}
ASK = {"role": "user", "content": "Fix it"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command":"ls"}'}}],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "main.py"}


def line(index: int, messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    usual = {
        "conversation_id": "a",
        "conversation_idx": index,
        "simulated_tool_delay_ms_after": 120.5,
        "target_output_tokens": 7,
    }
    return {**usual, "messages": messages, **more}


def read(lines: Iterable[object], skipped: list[Skipped] | None = None) -> list[Trajectory]:
    data = b"\n".join(text if isinstance(text, bytes) else json.dumps(text).encode() for text in lines)
    return list(agentperf_local.read(data, "t.jsonl", [] if skipped is None else skipped))


def test_the_example_becomes_one_session_of_two_turns() -> None:
    skipped: list[Skipped] = []
    data = (EXAMPLES / "13b_agentperf-local_trace.jsonl").read_bytes()
    (session,) = agentperf_local.read(data, "13b.jsonl", skipped)
    first, second = session.turns
    assert skipped == []
    assert (session.id, session.task, session.harness, len(session.tools)) == ("demo-1", "demo-1", "demo", 1)
    assert json.loads(session.tools[0])["function"]["name"] == "bash"
    assert first.appended == (Message("system", "You are an agent."), Message("user", "Fix bug"))
    assert (first.input_tokens, first.output_tokens, first.counted) == (150, 20, "recorded")
    assert first.tool_delay_ns == 120_500_000  # 120.5 ms
    assert (first.tool_calls, second.tool_calls) == (1, 0)
    assert second.keep is None
    assert second.appended == (
        Message("assistant", tool_calls=(ToolCall("c1", "bash", '{"command":"ls"}'),)),
        Message("tool", "main.py", tool_call_id="c1"),
    )


@pytest.mark.parametrize(
    ("then", "keep", "appended"),
    [
        ([SYSTEM, ASK, CALL, RESULT], None, 2),  # 4 messages - 2 sent before
        (
            [SYSTEM, CALL, RESULT],
            1,
            3,
        ),  # the user's message is gone: 1 common, then 2 and the user message that none may lack
        ([ASK, CALL, RESULT], 0, 3),  # nothing in common at the front
        ([SYSTEM, {**ASK, "name": "x"}, CALL, RESULT], None, 2),  # a key that is never sent: no rewrite
        (
            [SYSTEM, {"content": [{"type": "text", "text": "Fix it"}], "role": "user"}],
            None,
            0,
        ),  # the same text as a part
    ],
)
def test_a_turn_keeps_the_common_prefix(then: list[dict[str, Any]], keep: int | None, appended: int) -> None:
    (session,) = read([line(0, [SYSTEM, ASK]), line(1, then)])
    turn = session.turns[1]
    assert (turn.keep, len(turn.appended)) == (keep, appended)
    assert turn.cut == ("" if keep is None else "undeclared")


def test_histories_are_those_of_the_lines() -> None:
    hint = {"role": "user", "content": "Turn 1 of 9"}
    (session,) = read([line(0, [SYSTEM, ASK, hint]), line(1, [SYSTEM, ASK, CALL, RESULT, hint])])
    lengths = [len(messages) for messages in histories(session)]
    assert lengths == [3, 5]
    assert session.turns[1].keep == 2


def test_lines_out_of_order_and_twice() -> None:
    skipped: list[Skipped] = []
    (session,) = read([line(1, [SYSTEM, ASK, CALL, RESULT]), line(0, [SYSTEM, ASK]), line(0, [SYSTEM, ASK])], skipped)
    assert [len(turn.appended) for turn in session.turns] == [2, 2]
    assert [row.where for row in skipped] == ["t.jsonl:3"]


def test_bad_lines_are_named_and_the_rest_is_used() -> None:
    skipped: list[Skipped] = []
    bad: list[object] = [
        b'{"messages": [',
        {"messages": "none"},
        b"\xff\xfe",
        line(5, [{"role": 1}]),
        line(6, []),
    ]
    (session,) = read([line(0, [SYSTEM, ASK]), *bad], skipped)
    assert len(session.turns) == 1
    assert sorted(row.where for row in skipped) == [f"t.jsonl:{number}" for number in (2, 3, 4, 5, 6)]
    assert all(row.why for row in skipped)


@pytest.mark.parametrize(
    ("field", "value"),
    [("recorded_prompt_tokens", -5), ("recorded_prompt_tokens", 10**30), ("simulated_tool_delay_ms_after", 1e300)],
)
def test_numbers_out_of_bounds_are_unknown(field: str, value: float) -> None:
    (session,) = read([line(0, [SYSTEM, ASK], **{field: value})])
    (turn,) = session.turns
    assert turn.counted == "estimated"
    # ceil(9 / 3.5) + 4 for the system message, ceil(6 / 3.5) + 4 for the user's
    assert turn.input_tokens == 3 + 4 + 2 + 4
    assert turn.tool_delay_ns == (None if "delay" in field else 120_500_000)


def test_a_manifest_says_what_to_import() -> None:
    data = (EXAMPLES / "13_agentperf-local_manifest.json").read_bytes()
    with pytest.raises(CorpusError, match=r"manifest.*import the trace files"):
        list(agentperf_local.read(data, "m.json", []))


def test_nothing_usable_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no usable request"):
        read([b"{}"])


def test_real_traces_give_the_figures_of_their_index() -> None:
    rows = index_rows.rows("agentperf-local-jsonl")
    assert len(rows) == 6
    for row in rows:
        turns = index_rows.turns_of(index_rows.imported(row, "agentperf-local"), row)
        assert index_rows.counts_off(turns, row) == {}, row["file"]
        assert index_rows.delays_off([(turn.tool_delay_ns or 0) / 1e9 for turn in turns], row) == {}, row["file"]
