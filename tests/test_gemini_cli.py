"""Gemini CLI sessions, in the JSON form and as JSONL that takes back, writes again and replaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from event_logs import Row, gemini, gemini_call, gemini_message, gemini_tokens, text_of
from openagentperf.corpus.detect import detect
from openagentperf.corpus.formats import gemini_cli
from openagentperf.corpus.formats.prefix import prefix
from openagentperf.corpus.tokens import estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, ToolCall, Trajectory, histories

EXAMPLES = Path(__file__).parent / "data" / "formats"
START: Row = {"sessionId": "s1", "projectHash": "0"}


def read(data: bytes) -> Trajectory:
    skipped: list[Skipped] = []
    (session,) = gemini_cli.read(data, "f", skipped)
    assert skipped == []
    return session


def lines(*rows: Row) -> Trajectory:
    return read(text_of([START, *rows]))


def contents(session: Trajectory) -> list[list[str]]:
    """Role and text of every message of every request, without the system prompt."""
    return [
        [f"{message.role}:{message.content}" for message in messages if message.role != "system"]
        for messages in histories(session)
    ]


def user(name: str, at_s: float = 0, content: object = "Go") -> Row:
    return gemini_message(name, at_s, "user", content)


def answer(name: str, at_s: float, prompt: int, content: object = "Yes", **more: Any) -> Row:
    return gemini_message(name, at_s, "gemini", content, model="m", tokens=gemini_tokens(prompt, 5), **more)


def test_the_example_is_one_request() -> None:
    data = (EXAMPLES / "16_gemini-cli_session.json").read_bytes()
    assert detect(data) == "gemini-cli"
    session = read(data)
    (turn,) = session.turns
    assert (session.id, session.model, session.harness) == ("s1", "demo", "gemini-cli")
    assert (turn.input_tokens, turn.cached_tokens) == (12350, 11820)
    assert turn.output_tokens == 51 + 51  # thoughts count
    assert turn.tool_delay_ns == 300_000_000  # 04.300 - 04.000
    assert turn.tool_calls == 1
    system, task = turn.appended
    assert task.content == "Fix bug"
    assert system.content == prefix("gemini-cli", len(system.content))
    assert estimate_message(system) + estimate_message(task) == 12350


def test_jsonl_the_last_version_of_a_message_counts_and_what_was_taken_back_does_not() -> None:
    session = read(text_of(gemini()))
    assert contents(session) == [["user:Go"], ["user:Go", "assistant:Looking.", "tool:a.py"]]
    first, second = session.turns
    assert (first.input_tokens, first.output_tokens, first.cached_tokens) == (900, 50, 800)
    assert (first.tool_delay_ns, second.tool_delay_ns) == (500_000_000, None)
    assert session.turns[1].appended[0].tool_calls == (ToolCall("c1", "run_shell_command", '{"command": "ls"}'),)
    assert (second.input_tokens, second.keep) == (960, None)
    assert "1 requests that the user took back left out" in session.notes


def test_both_forms_give_the_same() -> None:
    messages = [user("1"), answer("2", 2, 900, toolCalls=[gemini_call("c1", 3)]), answer("3", 5, 950, "Done")]
    whole = json.dumps({**START, "messages": messages}, indent=1).encode()
    assert read(whole).turns == lines(*messages).turns


def test_parallel_calls_wait_for_the_last() -> None:
    calls = [gemini_call("c1", 6, "one"), gemini_call("c2", 4, "two")]
    session = lines(user("1"), answer("2", 3, 900, toolCalls=calls), answer("3", 9, 950))
    assert session.turns[0].tool_delay_ns == 3_000_000_000  # 6 - 3
    assert contents(session)[1][-2:] == ["tool:one", "tool:two"]


@pytest.mark.parametrize(
    ("content", "call_s", "want"),
    [("Looking.", 3.001, 1_000_000), ("", 3.001, None), ("", 3.2, 200_000_000), ("", 2.0, None)],
)
def test_an_answer_without_text_may_be_written_down_late(content: str, call_s: float, want: int | None) -> None:
    session = lines(user("1"), answer("2", 3, 900, content, toolCalls=[gemini_call("c1", call_s)]), answer("3", 5, 950))
    assert session.turns[0].tool_delay_ns == want


@pytest.mark.parametrize(
    ("result", "want"),
    [
        ([{"functionResponse": {"response": {"output": "o"}}}], "o"),
        ([{"functionResponse": {"response": {"error": "no"}}}], "no"),
        ([{"functionResponse": {"response": {"rows": [1]}}}], '{"rows": [1]}'),
        (
            [{"functionResponse": {"response": {"output": "o"}}}, {"text": "more"}, {"inlineData": {}}],
            "o\nmore\n[part]",
        ),
        ("plain", "plain"),
    ],
)
def test_results(result: object, want: str) -> None:
    call = {**gemini_call("c1", 4), "result": result}
    session = lines(user("1"), answer("2", 3, 900, toolCalls=[call]), answer("3", 5, 950))
    assert contents(session)[1][-1] == f"tool:{want}"


def test_tokens_of_the_providers_own_tools_are_input() -> None:
    tokens = gemini_tokens(900, 5, tool=60)
    session = lines(user("1"), gemini_message("2", 3, "gemini", "Yes", model="m", tokens=tokens))
    assert session.turns[0].input_tokens == 960


def test_without_counts_the_text_is_estimated() -> None:
    session = lines(user("1"), gemini_message("2", 3, "gemini", "Yes.", model="m", tokens=None))
    assert [(turn.counted, turn.input_tokens, turn.output_tokens) for turn in session.turns] == [("estimated", 5, 2)]


def test_a_replaced_history_is_a_compaction() -> None:
    changes = [user("s", content=[{"text": "Summary"}]), gemini_message("g", 9, "gemini", [{"text": "Got it."}])]
    session = lines(
        user("1"), answer("2", 3, 5000), {"$set": {"messages": changes}}, user("4", 10, "On"), answer("5", 11, 1000)
    )
    assert contents(session) == [["user:Go"], ["user:Summary", "assistant:Got it.", "user:On"]]
    assert [turn.cut for turn in session.turns] == ["", "compaction"]
    assert [turn.keep for turn in session.turns] == [None, 1]


def test_a_history_that_is_written_anew_as_it_was_is_none() -> None:
    call = gemini_call("c1", 3.5)
    parts = [{"text": "Yes"}, {"functionCall": {"id": "c1", "name": "run_shell_command", "args": {}}}]
    changes = [
        user("1", content=[{"text": "Go"}]),
        answer("2", 3, 900, parts, toolCalls=[call]),
        user("r", content=call["result"]),  # the call's result again, as the user's
    ]
    session = lines(
        user("1"), answer("2", 3, 900, toolCalls=[call]), {"$set": {"messages": changes}}, answer("3", 5, 950, "Done")
    )
    assert [turn.cut for turn in session.turns] == ["", ""]
    assert contents(session)[1] == ["user:Go", "assistant:Yes", "tool:a.py"]


def test_a_rewind_behind_a_replaced_history() -> None:
    changes = [user("s", content="Summary"), gemini_message("g", 9, "gemini", "Got it.")]
    session = lines(
        user("1"), answer("2", 3, 5000), {"$set": {"messages": changes}}, {"$rewindTo": "g"}, answer("5", 11, 1000)
    )
    assert contents(session)[1] == ["user:Summary"]


def test_an_input_that_falls_shows_a_compression() -> None:
    session = lines(
        user("1"), answer("2", 3, 5000), user("3", 4, "On"), answer("4", 5, 2900), user("5", 6), answer("6", 7, 2950)
    )
    assert [turn.cut for turn in session.turns] == ["", "compaction", ""]
    _, summed, after = map(list, histories(session))
    assert summed[1].content.startswith(gemini_cli.SUMMARY)
    assert [message.content for message in after][-3:] == ["On", "Yes", "Go"]
    assert "1 compressions told by an input below 0.6 of the one before" in session.notes


def test_a_small_fall_shows_none() -> None:
    session = lines(user("1"), answer("2", 3, 5000), user("3", 4, "On"), answer("4", 5, 3100))
    assert [turn.cut for turn in session.turns] == ["", ""]


def test_a_sub_agents_file_has_a_prompt_of_its_own() -> None:
    session = read(text_of([{**START, "kind": "subagent"}, user("1"), answer("2", 3, 900)]))
    assert session.harness == "gemini-cli sub-agent"


def test_language_is_that_of_the_edited_files() -> None:
    calls = [gemini_call("c1", 4, path="a.py"), {**gemini_call("c2", 4, file_path="b.go"), "name": "write_file"}]
    assert lines(user("1"), answer("2", 3, 900, toolCalls=calls)).language == "Go"


@pytest.mark.parametrize(
    "bad", [b"{}", b'{"id": 7}', b'{"id": "9", "type": "user", "content": 7}', b'{"$set": {"messages": [7]}}', b"{"]
)
def test_a_bad_line_is_named_and_changes_nothing(bad: bytes) -> None:
    skipped: list[Skipped] = []
    rows = text_of(gemini()).splitlines()
    (session,) = gemini_cli.read(b"\n".join([*rows[:4], bad, *rows[4:]]), "f", skipped)
    assert [row.where for row in skipped] == ["f:5"]
    assert session.turns == read(text_of(gemini())).turns


def test_a_bad_message_of_the_json_form_is_named() -> None:
    skipped: list[Skipped] = []
    data = json.dumps({**START, "messages": [user("1"), 7, answer("2", 3, 900)]}).encode()
    (session,) = gemini_cli.read(data, "f", skipped)
    assert [row.where for row in skipped] == ["f message 2"]
    assert len(session.turns) == 1


def test_nothing_answered_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no answered request"):
        lines(user("1"))
