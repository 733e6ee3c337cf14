"""Codex rollouts and their traps on lines written here, then all real ones against their index."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

import index_rows
from event_logs import Meter, Row, called, came, codex, envelope, event, item, meta, said, text_of
from openagentperf.corpus.formats import codex_rollout, counts, responses
from openagentperf.corpus.formats.prefix import prefix
from openagentperf.corpus.tokens import estimate, estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, ToolCall, Trajectory, histories
from shared_data import real

EXAMPLES = Path(__file__).parent / "data" / "formats"


def read(rows: list[Row]) -> Trajectory:
    skipped: list[Skipped] = []
    (session,) = codex_rollout.read(text_of(rows), "f.jsonl", skipped)
    assert skipped == []
    return session


def contents(session: Trajectory) -> list[list[str]]:
    """Role and text of every message of every request."""
    return [[f"{message.role}:{message.content}" for message in messages] for messages in histories(session)]


def figures(session: Trajectory) -> list[tuple[int, int | None, int, str]]:
    return [(turn.input_tokens, turn.cached_tokens, turn.output_tokens, turn.counted) for turn in session.turns]


def delays_s(session: Trajectory) -> list[float | None]:
    return [None if turn.tool_delay_ns is None else turn.tool_delay_ns / 1e9 for turn in session.turns]


def test_the_example_is_one_request() -> None:
    data = (EXAMPLES / "06_codex_rollout.jsonl").read_bytes()
    skipped: list[Skipped] = []
    (session,) = codex_rollout.read(data, "06.jsonl", skipped)
    (turn,) = session.turns
    assert skipped == []
    assert (session.id, session.harness, session.model) == (
        "019f0000-0000-7000-8000-000000000001",
        "codex 0.144.2",
        "demo-model",
    )
    assert (turn.input_tokens, turn.cached_tokens, turn.output_tokens) == (19322, 9984, 137)  # reasoning is in the 137
    assert turn.tool_delay_ns == 400_000_000  # 02.900 - 02.500
    system, user = turn.appended
    assert user == Message("user", "Fix bug")
    head, filled = system.content.split("\n", 1)
    assert head == "You are a coding agent."
    assert filled == prefix("codex 0.144.2", len(filled))
    assert estimate_message(system) + estimate_message(user) == 19322


def test_a_whole_session() -> None:
    session = read(codex())
    assert figures(session) == [
        (300, 100, 50, "recorded"),
        (420, 300, 20, "recorded"),
        (390, 0, 10, "recorded"),
    ]
    assert [turn.tool_calls for turn in session.turns] == [2, 1, 0]
    assert delays_s(session) == [0.9, 0.5, None]  # 3.2 - 2.3: from the last call to the last result; 5.5 - 5
    assert session.tools == ('{"type":"function","function":{"name":"look","parameters":{"type":"object"}}}',)
    assert session.language == "Rust"
    first, second, third = contents(session)
    assert first[0].startswith("system:You are an agent.\n")
    assert first[1:] == ["user:Be brief.", "user:Go"]
    assert second[3:] == ["assistant:Looking.", "tool:ok", "tool:two"]
    answer = session.turns[1].appended[0]
    assert answer.reasoning == "Plan"
    assert answer.tool_calls == (
        ToolCall("c1", "exec_command", '{"cmd": "ls"}'),
        ToolCall("c2", "local_shell", '{"type": "exec", "command": ["ls"]}'),
    )
    assert third[0] == first[0]
    assert (session.turns[2].keep, session.turns[2].cut) == (1, "compaction")
    assert third[1] == "user:Go"
    assert third[2].startswith(f"user:{responses.COMPACTED}\n")


def test_a_web_search_stays_in_its_answer() -> None:
    rows = [*codex(), said(11, "user", "On"), said(12, "assistant", "Yes"), Meter().count(13, 500, 0, 1)]
    answer = read(rows).turns[3].appended[0]
    assert answer.content == '[web_search_call {"type": "search", "query": "q"}]\nDone.'
    assert answer.tool_calls == ()


def test_a_summary_that_was_not_recorded_is_as_long_as_the_next_count_says() -> None:
    last = list(histories(read(codex())))[2]
    tools = estimate('{"type":"function","function":{"name":"look","parameters":{"type":"object"}}}')
    assert sum(map(estimate_message, last)) + tools == 390


@pytest.mark.parametrize(
    ("payload", "want"),
    [
        # replaced by a plain summary, which the replacement holds already
        (
            {"message": "Sum", "replacement_history": [said(0, "user", "Go")["payload"], said(0, "user", "Sum")["payload"]]},
            ["user:Go", "user:Sum"],
        ),
        ({"message": "Sum"}, ["user:Sum"]),  # older versions
        # versions before 0.142.5 write no summary down at all
        ({"message": "", "replacement_history": [said(0, "user", "Go")["payload"]]}, ["user:Go", "unread"]),
        # an answer in the new history is no request
        (
            {"message": "S", "replacement_history": [said(0, "user", "Go")["payload"], said(0, "assistant", "Yes")["payload"]]},
            ["user:Go", "assistant:Yes"],
        ),
    ],
)  # fmt: skip
def test_compaction_replaces_the_history(payload: Row, want: list[str]) -> None:
    meter = Meter()
    session = read(
        [
            said(0, "user", "Go"),
            said(1, "assistant", "Half"),
            meter.count(2, 90, 0, 5),
            envelope("compacted", 3, payload),
            said(4, "user", "On"),
            said(5, "assistant", "Whole"),
            meter.count(6, 80, 0, 5),
        ]
    )
    assert [turn.cut for turn in session.turns] == ["", "compaction"]
    got = ["unread" if responses.COMPACTED in text else text for text in contents(session)[1]]
    assert got[1:] == [*want, "user:On"]  # behind the filled system prompt


def test_a_count_that_repeats_counts_nothing() -> None:
    meter = Meter()
    rows = [said(0, "user", "Go"), called(1, "c1"), came(2, "c1"), meter.count(2, 90, 0, 5), meter.again(2.1, 90, 0, 5)]
    rows += [event(2.2, "token_count", info=None), said(3, "assistant", "Done"), meter.count(4, 99, 90, 6)]
    assert figures(read(rows)) == [(90, 0, 5, "recorded"), (99, 90, 6, "recorded")]


def test_the_count_may_come_before_the_results() -> None:
    meter = Meter()
    session = read(
        [
            said(0, "user", "Go"),
            called(1, "c1"),
            meter.count(1.2, 90, 0, 5),
            came(4, "c1", "late"),
            said(6, "assistant", "Done"),
            meter.count(6, 99, 90, 6),
        ]
    )
    assert delays_s(session) == [3.0, None]
    assert contents(session)[1][-1] == "tool:late"


def interrupted(rows: list[Row], meter: Meter) -> list[Row]:
    """`rows`, then an interruption, and an answer that is counted."""
    go = [said(0, "user", "Go"), said(1, "assistant", "A"), meter.count(1.1, 90, 0, 5), said(2, "user", "On")]
    return [
        *go,
        *rows,
        event(6, "turn_aborted"),
        said(7, "user", "No"),
        said(8, "assistant", "B"),
        meter.count(9, 120, 90, 7),
    ]


def test_an_interrupted_answer_whose_count_is_in_the_total() -> None:
    meter = Meter()
    rows = interrupted([called(3, "c1"), came(5, "c1", "aborted")], meter)
    meter.lose(100, 80, 30)
    rows[-1] = meter.again(9, 120, 90, 7)
    session = read(rows)
    assert figures(session) == [(90, 0, 5, "recorded"), (100, 80, 30, "recorded"), (120, 90, 7, "recorded")]
    assert contents(session)[2][-2:] == ["tool:aborted", "user:No"]


def test_an_interrupted_answer_without_any_count_is_estimated() -> None:
    session = read(interrupted([called(3, "c1", "ls"), came(5, "c1", "aborted")], Meter()))
    assert [turn.counted for turn in session.turns] == ["recorded", "estimated", "recorded"]
    assert (
        session.turns[1].output_tokens == 4 + 4
    )  # ceil(12 / 3.5) for `exec_command`, ceil(13 / 3.5) for {"cmd": "ls"}


def test_one_that_was_interrupted_before_it_said_anything_is_left_out() -> None:
    session = read(interrupted([item(3, "reasoning", summary=[])], Meter()))
    assert len(session.turns) == 2
    assert "1 answers interrupted before they said anything left out" in session.notes


def test_an_answer_at_the_end_without_its_count_is_left_out() -> None:
    rows = [*codex(), said(20, "user", "More"), called(21, "c9")]
    session = read(rows)
    assert len(session.turns) == 3
    assert "1 answers at the end, not yet counted, left out" in session.notes


def test_a_file_without_counts_is_estimated() -> None:
    rows = [said(0, "user", "Go"), called(1, "c1"), came(2, "c1"), said(3, "assistant", "Done.")]
    assert [(turn.counted, turn.output_tokens) for turn in read(rows).turns] == [("estimated", 8), ("estimated", 2)]


def test_a_forked_session_opens_with_copied_lines() -> None:
    meter = Meter()
    copied = [
        meta(100, forked_from_id="s0"),
        meta(100, id="s0", cli_version="0.1"),
        said(100, "user", "Go"),
        called(100, "c1"),
        called(100, "c2"),
        came(100.001, "c1", "Wall time: 0.2500 seconds\nok"),
        came(100.001, "c2", [{"type": "input_text", "text": "Script completed\nWall time 1.5 seconds\n"}]),
        meter.count(100.001, 90, 0, 5),
        called(100.001, "c3"),
        came(100.002, "c3", '{"output":"","metadata":{"exit_code":0,"duration_seconds":0.3}}'),
        meter.count(100.002, 95, 0, 5),
        called(100.002, "c4"),
        came(100.003, "c4", "ok"),
        meter.count(100.003, 97, 0, 5),
    ]
    own = [called(103, "c5"), came(103.5, "c5", "Wall time: 0.1 seconds"), meter.count(104, 99, 0, 5)]
    session = read([*copied, *own])
    assert (session.id, session.harness) == ("s1", "codex 0.144.2")
    assert delays_s(session) == [1.5, 0.3, None, 0.5]
    assert any(note.startswith("1 sessions forked from another one") for note in session.notes)


def test_a_resumed_session_keeps_its_first_name() -> None:
    meter = Meter()
    rows = [meta(), said(0, "user", "Go"), said(1, "assistant", "A"), meter.count(2, 90, 0, 5)]
    rows += [meta(500, id="s9"), said(501, "user", "On"), said(502, "assistant", "B"), meter.count(503, 99, 0, 5)]
    session = read(rows)
    assert (session.id, len(session.turns)) == ("s1", 2)


def test_a_sub_agent_has_tools_of_its_own() -> None:
    rows = [meta(source={"subagent": {"thread_spawn": {"parent_thread_id": "s0"}}}), said(0, "user", "Look")]
    session = read([*rows, said(1, "assistant", "Found"), Meter().count(2, 900, 0, 5)])
    assert session.harness == "codex 0.144.2 sub-agent"
    assert any("sub-agents whose session lies in a file of its own" in note for note in session.notes)


def test_older_instructions_are_a_string() -> None:
    rows = [meta(instructions="Old prompt"), said(0, "user", "Go"), said(1, "assistant", "A")]
    assert contents(read(rows))[0] == ["system:Old prompt", "user:Go"]


def test_deferred_tools_are_not_offered() -> None:
    tools = {"type": "namespace", "name": "app", "tools": [
        {"type": "function", "name": "open", "description": "d", "inputSchema": {"type": "object"}},
        {"type": "function", "name": "rare", "inputSchema": {}, "deferLoading": True},
    ]}  # fmt: skip
    session = read([meta(dynamic_tools=[tools]), said(0, "user", "Go"), said(1, "assistant", "A")])
    (tool,) = session.tools
    assert json.loads(tool)["function"] == {"name": "app__open", "description": "d", "parameters": {"type": "object"}}
    assert session.notes == ()


@pytest.mark.parametrize(
    "bad",
    [
        b'{"timestamp": "x", "type": "response_item", "payload": {"type": 7}}',
        b'{"timestamp": "x", "type": "event_msg", "payload": {"type": "token_count", "info": 7}}',
        b'{"timestamp": "x", "type": "compacted", "payload": null}',
        b'{"type": "response_item", "payload": {"type": "message", "role": "user", "content": "\xff"}}',
    ],
)
def test_a_bad_line_is_named_and_changes_nothing(bad: bytes) -> None:
    skipped: list[Skipped] = []
    data = text_of(codex())
    (session,) = codex_rollout.read(bad + b"\n" + data, "f.jsonl", skipped)
    assert [row.where for row in skipped] == ["f.jsonl:1"]
    assert session.turns == read(codex()).turns


def test_half_an_emoji_costs_no_line() -> None:
    line = rb'{"type": "response_item", "payload": {"type": "message", "role": "user", "content": "cut \ud83d"}}'
    skipped: list[Skipped] = []
    (session,) = codex_rollout.read(line + b"\n" + text_of([said(1, "assistant", "A")]), "f", skipped)
    assert (skipped, contents(session)) == ([], [["user:cut �"]])


def test_nothing_answered_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no answered request"):
        read([meta(), said(0, "user", "Go")])


# --- real sessions ------------------------------------------------------------------------------------------------

SEARCH = "one tool_search_call, which the client answers like any other call: the index does not count it"
TAIL = "the file ends inside its last answer, before the count: the index takes the calls of that answer, we do not"
UNCOUNTED = (
    "one answer was never counted, yet its call was made and answered, so there was a request: ours is an estimate"
)
FORKED = (
    "22 answers were copied when the session was forked: their stamps are the copy's, so we take what the tools report"
)
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("019f2387-40a7-7151-a232-8ebb871f52ba.jsonl", "tool calls"): SEARCH,
    ("019ed936-c4f5-7a21-ad41-d1eed95dc4df.jsonl", "tool calls"): SEARCH,
    ("019f17a5-6d3f-7470-9097-c70f6cefe936.jsonl", "tool calls"): SEARCH,
    ("019f1d64-a048-7e10-8a4d-fd6b9e9d7b34.jsonl", "tool calls"): SEARCH,
    ("019ed9f4-6510-7fc0-8643-6d434f193bd0.jsonl", "tool calls"): SEARCH,
    ("019f6c22-e40a-73b3-99fb-15c4deb3ba1e.jsonl", "tool calls"): TAIL,
    ("019ed836-b1da-78f1-8a0c-e598363d10f4.jsonl", "tool calls"): TAIL,
    ("019eef3d-abd1-72e1-ab99-dcdb259027c5.jsonl", "tool calls"): TAIL,
    ("019efc87-fa98-7971-91df-0c9512a065da.jsonl", "tool calls"): TAIL
    + " (two calls; a tool_search_call makes up for one)",
    ("019f0675-387a-79c2-9e8d-ceb8a30657c9.jsonl", "tool calls"): TAIL,
    ("019f690c-8f7b-7631-86d1-935c66dbf4f4.jsonl", "all input"): UNCOUNTED,
    ("019f690c-8f7b-7631-86d1-935c66dbf4f4.jsonl", "all output"): UNCOUNTED,
    (
        "019f1de1-ca1d-7261-9e32-4d51380144e6.jsonl",
        "output sum",
    ): "the index raises counts to the visible text's estimate",
    ("019f1fd6-f9a0-7e13-8a8f-cbf5a3fd10d1.jsonl", "delay p95"): FORKED,
    ("019f1fd6-f9a0-7e13-8a8f-cbf5a3fd10d1.jsonl", "turn delay median"): FORKED,
}
"""(file, figure) that may differ, and why. A row that no longer differs fails the test."""


def waits_s(data: bytes) -> tuple[list[float], list[float]]:
    """Read by the letter: each call's wait, as the index has them, and each answer's: from its last item to its last result."""
    calls: dict[str, int] = {}
    of_calls: list[float] = []
    of_answers: list[float] = []
    said_at = came_at = 0
    for line in data.splitlines():
        row = json.loads(line)
        at = counts.stamp_ns(row["timestamp"]) or 0
        kind = row["payload"].get("type", "")
        if row["type"] != "response_item":
            continue
        if kind.endswith("_output"):
            if row["payload"]["call_id"] in calls:
                of_calls.append((at - calls[row["payload"]["call_id"]]) / 1e9)
            came_at = at
        elif kind.endswith("_call") or kind == "reasoning" or row["payload"].get("role") == "assistant":
            if came_at:
                of_answers.append((came_at - said_at) / 1e9)
            said_at, came_at = at, 0
            if kind in ("function_call", "custom_tool_call"):
                calls[row["payload"]["call_id"]] = at
    if came_at:
        of_answers.append((came_at - said_at) / 1e9)
    return of_calls, of_answers


def differences(row: dict[str, Any]) -> index_rows.Figures:
    (session,) = index_rows.imported(row, codex_rollout.FORMAT)
    turns = session.turns
    waits = [turn.tool_delay_ns / 1e9 for turn in turns if turn.tool_delay_ns is not None]
    data = real(row["file"]).read_bytes()
    of_calls, of_answers = waits_s(data)
    totals = [json.loads(line)["payload"]["info"] for line in data.splitlines() if b'"token_count"' in line]
    total = next(info for info in reversed(totals) if info)["total_token_usage"]
    return {
        **index_rows.counts_off(list(turns), row),
        **index_rows.delays_off(of_calls, row),
        **index_rows.off(
            {
                "tool calls": (sum(turn.tool_calls for turn in turns), row["n_tool_calls"], 0),
                "compactions": (sum(turn.cut == "compaction" for turn in turns), row["compactions"], 0),
                "all input": (sum(turn.input_tokens for turn in turns), total["input_tokens"], 0),
                "all output": (sum(turn.output_tokens for turn in turns), total["output_tokens"], 0),
                "turn delays": (len(waits), len(of_answers), 0),
                "turn delay median": (statistics.median(waits), statistics.median(of_answers), 0.001),
                "turn delay sum": (sum(waits), sum(of_answers), 0.001),
            }
        ),
    }


def test_real_sessions_give_the_figures_of_their_index() -> None:
    found = {row["file"]: differences(row) for row in index_rows.rows("codex-rollout-jsonl")}
    assert len(found) == 48
    assert index_rows.unexpected(found, EXCEPTIONS) == []
