"""`codex exec --json`: requests told from the order of events, and a turn's usage spread over them."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

import index_rows
from event_logs import Row, begun, command, ended, text_of, turn_end
from event_logs import codex_exec as whole
from openagentperf.corpus.formats import codex_exec
from openagentperf.corpus.formats.exec_turns import OUTPUT_BYTES, RUNNING, inputs, spread
from openagentperf.corpus.tokens import estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, ToolCall, Trajectory, histories

EXAMPLES = Path(__file__).parent / "data" / "formats"
START: Row = {"type": "thread.started", "thread_id": "t1"}


def read(*rows: Row) -> Trajectory:
    skipped: list[Skipped] = []
    (session,) = codex_exec.read(text_of([START, *rows]), "f.jsonl", skipped)
    assert skipped == []
    return session


def contents(session: Trajectory) -> list[str]:
    """Role and text of every message of the last request, without the system prompt."""
    return [f"{message.role}:{message.content}" for message in list(histories(session))[-1] if message.role != "system"]


def answers(session: Trajectory) -> list[str]:
    """What each request but the last was answered with: its texts and calls."""
    sent = list(histories(session))[-1]
    return [
        " ".join([message.content, *(call.name for call in message.tool_calls)]).strip()
        for message in sent
        if message.role == "assistant"
    ]


def test_the_example_is_two_requests() -> None:
    (session,) = codex_exec.read((EXAMPLES / "06b_codex_exec_events.jsonl").read_bytes(), "06b", [])
    first, second = session.turns
    assert session.id == "019f0000-0000-7000-8000-000000000002"
    assert (first.tool_calls, second.tool_calls) == (1, 0)
    assert first.input_tokens + second.input_tokens == 52000
    # the text that the second has more: `shell` {"command":"/bin/bash -lc ls"} and `main.ts`: 2 + 9 + 4, 3 + 4; the total is even
    assert second.input_tokens - first.input_tokens == 22
    assert first.output_tokens + second.output_tokens == 700
    assert first.output_tokens == 700 * 11 // (11 + 2)  # 2 + 9 tokens of call against 2 of "Done."
    assert {turn.counted for turn in session.turns} == {"estimated"}
    assert [turn.cached_tokens for turn in session.turns] == [None, None]


def test_the_text_comes_to_the_counts() -> None:
    session = read(*whole()[1:])
    for messages, turn in zip(histories(session), session.turns[:6], strict=False):
        assert abs(sum(map(estimate_message, messages)) - turn.input_tokens) <= 1  # the rest of a division
    assert sum(turn.input_tokens for turn in session.turns) == 5000 + 2400
    assert sum(turn.output_tokens for turn in session.turns) == 300 + 30


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        # a thought, a call: one answer; what follows the result is the next
        ([ended("r", "reasoning", text="x"), *command("a"), ended("m", "agent_message", text="Done")], ["shell"]),
        # two calls at once, then one after both
        (
            [
                begun("a", "command_execution", command="a"),
                begun("b", "command_execution", command="b"),
                ended("a", "command_execution", command="a", aggregated_output="1"),
                ended("b", "command_execution", command="b", aggregated_output="2"),
                *command("c"),
                ended("m", "agent_message", text="Done"),
            ],
            ["shell shell", "shell"],
        ),
        # thoughts in a row are one answer as long as nothing runs
        ([*[ended(f"r{n}", "reasoning", text="x") for n in range(5)], *command("a"), *command("b")], ["shell"]),
        # and each is a poll while a command does
        (
            [
                begun("a", "command_execution", command="a"),
                *[ended(f"r{n}", "reasoning", text="x") for n in range(3)],
                ended("a", "command_execution", command="a", aggregated_output="1"),
                ended("m", "agent_message", text="Done"),
            ],
            ["shell", "write_stdin", "write_stdin", "write_stdin"],
        ),
        # a thought and the message after it are one answer, also while a command runs
        (
            [
                begun("a", "command_execution", command="a"),
                ended("r", "reasoning", text="x"),
                ended("m", "agent_message", text="Wait"),
                ended("a", "command_execution", command="a", aggregated_output="1"),
                ended("n", "agent_message", text="Done"),
            ],
            ["shell", "Wait write_stdin"],
        ),
        # a change of files is never announced
        ([ended("f", "file_change", changes=[]), ended("m", "agent_message", text="Done")], ["apply_patch"]),
        # a plan takes no time, and is written again under its id
        (
            [
                begun("p", "todo_list", items=[]),
                {"type": "item.updated", "item": {"id": "p", "type": "todo_list", "items": [{"text": "a"}]}},
                ended("m", "agent_message", text="Done"),
                ended("p", "todo_list", items=[]),
            ],
            ["update_plan", "update_plan"],
        ),
        ([ended("w", "web_search", query="q"), *command("a"), *command("b")], ["[web_search q] shell"]),
    ],
)
def test_which_events_are_one_answer(rows: list[Row], want: list[str]) -> None:
    session = read(*rows, turn_end(9000, 90))
    assert answers(session) == want
    assert len(session.turns) == len(want) + 1


def test_a_poll_is_told_that_the_command_runs_and_then_its_output() -> None:
    rows = [
        begun("a", "command_execution", command="make"),
        ended("r", "reasoning", text="x"),
        ended("s", "reasoning", text="y"),
        ended("a", "command_execution", command="make", aggregated_output="passed"),
        ended("m", "agent_message", text="Done"),
    ]
    session = read(*rows, turn_end(9000, 90))
    want = ["assistant:", f"tool:{RUNNING}", "assistant:", f"tool:{RUNNING}", "assistant:", "tool:passed"]
    assert contents(session)[1:] == want
    assert "2 polls of running commands put in as `write_stdin` calls" in session.notes


def test_what_the_tools_are_called_with() -> None:
    error = {"message": "no such node"}
    rows = [
        ended("m", "mcp_tool_call", server="s", tool="t", arguments={"a": 1}, result=None, error=error),
        ended("f", "file_change", changes=[{"path": "a.ts", "kind": "update"}]),
        ended("n", "agent_message", text="Done"),
    ]
    session = read(*rows, turn_end(9000, 90))
    sent = [message for message in list(histories(session))[-1] if message.role in ("assistant", "tool")]
    assert [call for message in sent for call in message.tool_calls] == [
        ToolCall("m", "mcp__s__t", '{"a": 1}'),
        ToolCall("f", "apply_patch", '{"changes":[{"path": "a.ts", "kind": "update"}]}'),
    ]
    assert sent[1] == Message("tool", "no such node", tool_call_id="m")
    assert session.language == "TypeScript"


def test_a_long_output_is_cut_from_its_middle() -> None:
    output = "a" * OUTPUT_BYTES + "z" * 100
    session = read(*command("a", output=output), ended("m", "agent_message", text="Done"), turn_end(90_000, 9))
    tool = contents(session)[-1].removeprefix("tool:")
    assert tool == "a" * 20_000 + "\n[100 bytes cut]\n" + "a" * 19_900 + "z" * 100


RESUMED = [*command("a", output="x" * 350), ended("m", "agent_message", text="Done")]


@pytest.mark.parametrize("cumulative", [False, True])
def test_a_resumed_thread_may_count_from_its_beginning(cumulative: bool) -> None:
    first, second = (10_000, 100), (10_600, 60)
    if cumulative:
        second = (first[0] + second[0], first[1] + second[1])
    session = read(*RESUMED, turn_end(*first), START, {"type": "turn.started"}, *RESUMED, turn_end(*second))
    assert sum(turn.input_tokens for turn in session.turns[2:]) == 10_600
    assert sum(turn.output_tokens for turn in session.turns[2:]) == 60


def test_a_failed_turn_has_no_usage() -> None:
    session = read(*command("a"), {"type": "turn.failed", "error": {"message": "x"}})
    assert "1 turns without a recorded usage estimated from their text" in session.notes
    assert session.turns[0].output_tokens == 2 + 5  # `shell` and {"command":"ls"}


def test_threads_appended_to_one_file() -> None:
    rows = [
        START,
        *command("a"),
        turn_end(900, 9),
        {"type": "thread.started", "thread_id": "t2"},
        *command("a"),
        turn_end(900, 9),
    ]
    found = list(codex_exec.read(text_of(rows), "f", []))
    assert [(session.id, len(session.turns)) for session in found] == [("t1", 1), ("t2", 1)]


def test_nothing_answered_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no answered request"):
        read({"type": "turn.started"})


@pytest.mark.parametrize(
    ("total", "sizes", "want"),
    [
        (100, [10, 20, 30], [10 + 14, 20 + 13, 30 + 13]),  # 40 over 3
        (60, [10, 20, 30], [10, 20, 30]),
        (30, [10, 20, 30], [5, 10, 15]),  # less than the text: by size
        (7, [0, 0], [4, 3]),
    ],
)
def test_inputs_add_up(total: int, sizes: list[int], want: list[int]) -> None:
    assert inputs(total, sizes) == want


@pytest.mark.parametrize(
    ("total", "weights", "want"),
    [
        (10, [1, 1, 2], [2, 3, 5]),
        (1, [1, 1, 1], [0, 0, 1]),
        (9, [0, 0, 0], [3, 3, 3]),
        (5, [0, 1], [0, 5]),
        (3, [0, 2, 1], [0, 2, 1]),
    ],
)
def test_parts_add_up(total: int, weights: list[int], want: list[int]) -> None:
    assert spread(total, weights) == want


# --- real sessions ------------------------------------------------------------------------------------------------


def test_real_turns_are_spread_to_the_token() -> None:
    """The index counts commands only; the usage of each turn is exact."""
    rows = index_rows.rows("codex-exec-json-events")
    assert len(rows) == 21
    unrecorded: list[int] = []
    for row in rows:
        (session,) = index_rows.imported(row, codex_exec.FORMAT)
        assert sum(turn.input_tokens for turn in session.turns) == row["usage_total"]["input_tokens"], row["file"]
        assert sum(turn.output_tokens for turn in session.turns) == row["usage_total"]["output_tokens"], row["file"]
        commands = [call.name for message in list(histories(session))[-1] for call in message.tool_calls].count("shell")
        assert commands == row["n_tool_calls"], row["file"]
        assert session.language == row["primary_language"], row["file"]
        unrecorded.append(session.turns[0].input_tokens)
    # All were recorded with one prompt and one set of tools: were requests told wrongly, this would scatter (see the module's docstring).
    assert statistics.mean(unrecorded) == pytest.approx(18_600, rel=0.01)
    assert statistics.stdev(unrecorded) < 4_400
