"""The recorder's log as trajectories: which requests make a session, whose sub-agent is whose, and how long tools took."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from openagentperf.corpus.detect import detect
from openagentperf.corpus.fit import fault
from openagentperf.corpus.formats import capture
from openagentperf.corpus.prefix import prove
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory
from openagentperf.units import NS_PER_MS
from trajectories import encode

Json = dict[str, object]
STARTED = {"row": "started", "at": "2026-11-24T08:00:00Z", "upstream": "http://x", "version": "0", "scrubbed": True}
SYSTEM: Json = {"role": "system", "content": "You fix bugs."}
TOOL: Json = {"type": "function", "function": {"name": "bash", "parameters": {}}}


def user(text: str) -> Json:
    return {"role": "user", "content": text}


def said(text: str = "", *calls: str, name: str = "bash", **arguments: str) -> Json:
    """An answer with a call for each id."""
    given = json.dumps(arguments or {"command": "ls"})
    made = [{"id": call, "type": "function", "function": {"name": name, "arguments": given}} for call in calls]
    return {"role": "assistant", "content": text} | ({"tool_calls": made} if made else {})


def result(call: str, text: str = "ok") -> Json:
    return {"role": "tool", "tool_call_id": call, "content": text}


class Log:
    """Rows of a log, in the order in which they end."""

    def __init__(self) -> None:
        self.rows: list[Json] = [STARTED]
        self._numbers = itertools.count(1)

    def ask(self, messages: list[Json], answer: object, ms: tuple[int, int], **fields: object) -> None:
        """One exchange: what was asked, what came back, when it arrived and when it was answered."""
        row = {
            "row": "exchange", "number": next(self._numbers), "dialect": "chat", "at": f"t{ms[0]}", "status": 200,
            "arrived_ns": ms[0] * NS_PER_MS, "answered_ns": ms[1] * NS_PER_MS, "appended": messages, "tools": [TOOL],
            "answer": answer, "model": "m", "input_tokens": 100, "output_tokens": 10,
        }  # fmt: skip
        self.rows.append(row | fields)

    def read(self) -> list[Trajectory]:
        skipped: list[Skipped] = []
        found = list(capture.read(self.data(), "/home/u1/rec/capture.jsonl", skipped))
        assert skipped == []
        for trajectory in found:
            assert fault(trajectory) == ""
        return found

    def data(self) -> bytes:
        return b"".join(json.dumps(row).encode() + b"\n" for row in self.rows)


def delays_ms(trajectory: Trajectory) -> list[float | None]:
    return [None if turn.tool_delay_ns is None else turn.tool_delay_ns / NS_PER_MS for turn in trajectory.turns]


def session(log: Log, start: int, task: str, label: str = "", calls: str = "c") -> list[Json]:
    """Two turns: a tool of 300 ms between them. The second ends at start + 600."""
    first = [SYSTEM, user(task)]
    log.ask(first, said("", f"{calls}1"), (start, start + 100), session=label)
    second = [*first, said("", f"{calls}1"), result(f"{calls}1")]
    log.ask(second, said("Done."), (start + 400, start + 600), session=label)
    return second


def test_a_request_that_repeats_another_s_messages_goes_on_with_its_session() -> None:
    log = Log()
    before = session(log, 0, "Fix it.")
    log.ask([*before, said("Done."), user("And now the other one.")], said("Sure."), (9_000, 9_100))
    (found,) = log.read()
    # 100 -> 400 ms is the tool; 600 -> 9000 ms a person.
    assert delays_ms(found) == [300, None, None]
    assert [len(turn.appended) for turn in found.turns] == [2, 2, 2]
    assert [turn.tool_calls for turn in found.turns] == [1, 0, 0]
    assert {turn.counted for turn in found.turns} == {"recorded"}
    assert found.source == "rec/capture.jsonl", "no more of the path: what stands before is a person's home"
    assert len(found.tools) == 1
    assert prove(found, encode).breaks == ()
    assert detect(log.data()) == capture.FORMAT


def test_lines_that_go_on_from_earlier_ones_read_as_those_that_repeat_them() -> None:
    whole, deltas = Log(), Log()
    session(whole, 0, "Fix it.")
    session(deltas, 0, "Fix it.")
    deltas.rows[2]["appended"] = deltas.rows[2]["appended"][2:]  # type: ignore[index]
    deltas.rows[2] |= {"base": 1, "keep": 2}
    del deltas.rows[2]["tools"]  # those of its base
    assert deltas.read() == whole.read()


def test_parallel_sessions_are_told_apart_though_their_tasks_are_the_same() -> None:
    log = Log()
    for number in range(3):  # interleaved: each begins before the one before has its answer
        log.ask([SYSTEM, user("Fix it.")], said("", f"c{number}"), (number, 100 + number))
    for number in (2, 0, 1):
        log.ask(
            [SYSTEM, user("Fix it."), said("", f"c{number}"), result(f"c{number}")],
            said(f"{number}"),
            (200 + number, 300),
        )
    found = log.read()
    assert [len(trajectory.turns) for trajectory in found] == [2, 2, 2]
    # Answered at 100 + k, asked again at 200 + k.
    assert [delays_ms(trajectory) for trajectory in found] == [[100, None]] * 3
    assert [t.turns[1].appended[0].tool_calls[0].id for t in found] == ["c0", "c1", "c2"]


def test_other_ids_are_other_sessions_even_where_the_messages_fit() -> None:
    log = Log()
    log.ask([SYSTEM, user("Fix it.")], said("Done."), (0, 100), session="s1")
    log.ask([SYSTEM, user("Fix it."), said("Done."), user("More.")], said("Yes."), (200, 300), session="s2")
    assert len(log.read()) == 2


def test_a_request_cannot_go_on_from_an_answer_that_has_not_come() -> None:
    log = Log()
    log.ask([SYSTEM, user("Fix it.")], said("Done."), (0, 500))
    log.ask([SYSTEM, user("Fix it."), user("More.")], said("Yes."), (200, 300))
    assert len(log.read()) == 2


def test_a_failed_request_is_no_turn_and_its_tools_ended_when_it_was_first_sent() -> None:
    log = Log()
    first = [SYSTEM, user("Fix it.")]
    log.ask(first, said("", "c1"), (0, 100))
    second = [*first, said("", "c1"), result("c1")]
    log.ask(second, None, (400, 410), status=529, error="Overloaded")
    log.ask(second, None, (1_400, 1_410), status=0)
    log.ask(second, said("Done."), (3_400, 3_600))
    (found,) = log.read()
    assert delays_ms(found) == [300, None]
    assert any(note.startswith("2 requests that got no answer") for note in found.notes)


def test_an_answer_cut_off_and_asked_for_again_is_one_turn_else_it_is_kept() -> None:
    log = Log()
    first = [SYSTEM, user("Fix it.")]
    log.ask(first, said("I wi"), (0, 100), ending="client left", output_tokens=None, input_tokens=None)
    log.ask(first, said("I will."), (200, 300))
    log.ask(
        [*first, said("I will."), user("Go.")],
        said("Go"),
        (400, 500),
        ending="client left",
        output_tokens=None,
        input_tokens=None,
    )
    log.ask([*first, said("I will."), user("Go."), said("Go"), user("Stop.")], said("Yes."), (600, 700))
    (found,) = log.read()
    assert len(found.turns) == 3
    # "Go" is 2 characters: 1 token; the counts were never told, so the input is estimated too.
    assert (found.turns[1].output_tokens, found.turns[1].counted) == (1, "estimated")
    assert any("cut off kept" in note for note in found.notes)


def test_a_history_rewritten_around_the_last_answer_is_the_same_session_and_marked() -> None:
    log = Log()
    before = session(log, 0, "Fix it.")
    log.rows[-1]["answer"] = said("", "c2")
    old = {**before[3], "content": "[old result cleared]"}
    log.ask([*before[:3], old, said("", "c2"), result("c2")], said("Done."), (900, 1_000))
    (found,) = log.read()
    assert [turn.cut for turn in found.turns] == ["", "", "undeclared"]
    assert found.turns[2].keep == 3
    assert delays_ms(found) == [300, 300, None]


def test_a_history_begun_anew_under_the_same_id_is_a_compaction() -> None:
    log = Log()
    session(log, 0, "Fix it.", "s1")
    session(log, 1_000, "Summary: half fixed.", "s1", calls="d")
    session(log, 3_000, "Another task.", "s2", calls="e")
    first, second = log.read()
    assert [turn.cut for turn in first.turns] == ["", "", "compaction", ""]
    assert first.turns[2].keep == 1, "the instructions stay"
    assert len(second.turns) == 2
    assert delays_ms(first) == [300, None, 300, None]
    # Without ids nobody can tell: three sessions.
    for row in log.rows[1:]:
        row["session"] = ""
    assert len(log.read()) == 3


def test_a_history_begun_anew_with_the_summary_that_was_asked_for_is_a_compaction() -> None:
    log = Log()
    before = session(log, 0, "Fix it.")
    summary = "The parser is fixed; the tests are not. " * 6
    log.ask([*before, said("Done."), user("Sum up what was done.")], said(summary), (700, 900))
    log.ask([SYSTEM, user(f"Another agent began: {summary}")], said("Go on."), (950, 1_000))
    (found,) = log.read()
    assert [turn.cut for turn in found.turns] == ["", "", "", "compaction"]
    log.rows[-1]["appended"][0] = user("Other instructions.")  # type: ignore[index]
    assert len(log.read()) == 2


PROMPT = "Look for every use of the function and list them."


def delegating(log: Log, labels: tuple[str, str], tool: str = "Task") -> None:
    """A main line that hands PROMPT to a sub-agent at 100 ms, which works from 150 to 750 ms, and goes on at 800 ms."""
    first = [SYSTEM, user("Fix it.")]
    call = said("", "t1", name=tool, prompt=PROMPT)
    log.ask(first, call, (0, 100), session=labels[0])
    log.ask(
        [{"role": "system", "content": "You search."}, user(PROMPT)],
        said("", "x1"),
        (150, 250),
        session=labels[1],
        tools=[],
    )
    sub = [{"role": "system", "content": "You search."}, user(PROMPT), said("", "x1"), result("x1")]
    log.ask(sub, said("Two uses."), (450, 750), session=labels[1], tools=[])
    log.ask([*first, call, result("t1", "Two uses.")], said("Done."), (800, 900), session=labels[0])


@pytest.mark.parametrize("labels", [("s1", "s1"), ("", ""), ("s1", "s2")])
def test_a_sub_agent_is_a_branch_that_its_parent_waits_for(labels: tuple[str, str]) -> None:
    log = Log()
    delegating(log, labels)
    (found,) = log.read()
    (branch,) = found.branches
    assert (branch.parent, branch.after, branch.join) == ("", 0, 1)
    assert branch.delay_ns == 50 * NS_PER_MS
    assert [turn.tool_delay_ns for turn in branch.turns] == [200 * NS_PER_MS, None]
    assert branch.tools == ()
    # 750 -> 800 ms: how long the sub-agent takes is up to the system that answers it.
    assert delays_ms(found) == [50, None]


def test_the_same_session_id_alone_makes_a_sub_agent_of_what_runs_while_calls_are_open() -> None:
    log = Log()
    delegating(log, ("s1", "s1"))
    for row in log.rows[2:4]:
        row["appended"][1] = user("Instructions that no call holds word for word.")  # type: ignore[index]
    (found,) = log.read()
    assert len(found.branches) == 1
    for row in log.rows[1:]:
        row["session"] = ""
    assert len(log.read()) == 2, "without either it is a session that happened to run beside"


def test_a_sub_agent_that_outlives_its_parent_s_wait_runs_in_the_background() -> None:
    log = Log()
    delegating(log, ("s1", "s1"))
    log.rows[3]["answered_ns"] = 850 * NS_PER_MS
    (found,) = log.read()
    assert found.branches[0].join is None
    assert delays_ms(found) == [700, None]


def test_a_sub_agent_of_a_sub_agent_hangs_on_it() -> None:
    log = Log()
    delegating(log, ("s1", "s1"))
    inner = "Count the lines of every file that you have found."
    log.rows[2]["answer"] = said("", "x1", name="Task", prompt=inner)
    log.rows[3]["appended"][2] = log.rows[2]["answer"]  # type: ignore[index]
    log.ask([{"role": "system", "content": "You count."}, user(inner)], said("7"), (300, 400), session="s1")
    (found,) = log.read()
    assert [(b.name, b.parent, b.after, b.join) for b in found.branches] == [
        ("agent-1", "", 0, 1),
        ("agent-2", "agent-1", 0, 1),
    ]
    assert found.branches[0].turns[0].tool_delay_ns == 50 * NS_PER_MS


def test_two_runs_of_a_task_that_names_a_command_are_two_sessions() -> None:
    log = Log()
    task = "Make this pass: python -m pytest tests/test_parser.py"
    log.ask([SYSTEM, user(task)], said("", "c1", command="python -m pytest tests/test_parser.py"), (0, 100))
    log.ask([SYSTEM, user(task)], said("Done."), (150, 200))
    log.ask(
        [SYSTEM, user(task), said("", "c1", command="python -m pytest tests/test_parser.py"), result("c1")],
        said("Done."),
        (500, 600),
    )
    assert [len(trajectory.turns) for trajectory in log.read()] == [2, 1]


def test_runs_of_the_recorder_have_clocks_and_ids_of_their_own() -> None:
    log = Log()
    session(log, 50_000, "Fix it.", "s1")
    log.rows.append(STARTED)
    log._numbers = itertools.count(1)
    session(log, 0, "Fix it.", "s1")
    assert [delays_ms(trajectory) for trajectory in log.read()] == [[300, None], [300, None]]


def test_the_example_reads_as_three_sessions_one_with_a_sub_agent() -> None:
    skipped: list[Skipped] = []
    data = (Path(__file__).parent / "data/formats/21_openagentperf-record.jsonl").read_bytes()
    chat, messages, responses = capture.read(data, "log", skipped)
    assert skipped == []
    assert [(len(t.turns), len(t.branches), delays_ms(t)) for t in (chat, messages, responses)] == [
        (2, 1, [50, None]), (2, 0, [300, None]), (2, 0, [400, None]),
    ]  # fmt: skip
    assert messages.turns[1].cached_tokens == 90
    assert messages.harness == "agent/1"
    assert any(note.startswith("1 requests that got no answer") for note in chat.notes)


ANTHROPIC_TOOL: Json = {"name": "Bash", "input_schema": {"type": "object"}}


def test_cache_marks_that_move_from_turn_to_turn_are_no_rewrite() -> None:
    def block(text: str, marked: bool) -> Json:
        return {"type": "text", "text": text} | ({"cache_control": {"type": "ephemeral"}} if marked else {})

    call = {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}],
    }
    done = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a.py"}]}
    system = {"role": "system", "content": [block("You are an agent.", True)]}
    log = Log()
    log.ask(
        [system, {"role": "user", "content": [block("Fix it.", True)]}],
        call,
        (0, 100),
        dialect="messages",
        tools=[ANTHROPIC_TOOL],
    )
    # The mark has gone, and a text stands where a list of blocks was.
    log.ask([system, user("Fix it."), call, done], {"role": "assistant", "content": [block("Done.", False)]}, (400, 500),
            dialect="messages", tools=[ANTHROPIC_TOOL])  # fmt: skip
    (found,) = log.read()
    assert delays_ms(found) == [300, None]
    assert [turn.cut for turn in found.turns] == ["", ""]
    assert json.loads(found.tools[0])["function"]["name"] == "Bash"


def test_responses_that_name_their_predecessor_repeat_nothing() -> None:
    def asked(items: list[Json], answer: Json, ms: tuple[int, int], **fields: object) -> None:
        log.ask(items, [answer], ms, dialect="responses", **fields)

    system = {"type": "message", "role": "system", "content": "You fix bugs."}
    call = {"type": "function_call", "call_id": "c1", "name": "shell", "arguments": "{}"}
    text = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done."}]}
    log = Log()
    asked([system, {"role": "user", "content": "Fix it."}], call, (0, 100), answer_id="r1")
    asked(
        [system, {"type": "function_call_output", "call_id": "c1", "output": "ok"}],
        text,
        (400, 500),
        previous="r1",
        answer_id="r2",
    )
    asked([system, {"role": "user", "content": "Thanks."}], text, (900, 950), previous="r2", answer_id="r3")
    (found,) = log.read()
    assert delays_ms(found) == [300, None, None]
    assert [[message.role for message in turn.appended] for turn in found.turns] == [
        ["system", "user"], ["assistant", "tool"], ["assistant", "user"],
    ]  # fmt: skip


def test_what_cannot_be_used_is_named() -> None:
    log = Log()
    session(log, 0, "Fix it.")
    log.ask([], None, (700, 800), error="the request is compressed (zstd), which this program does not read")
    log.ask([], said("x"), (900, 1_000), base=77, keep=3)
    log.ask([{"role": 1}], said("x"), (1_100, 1_200))
    skipped: list[Skipped] = []
    data = log.data() + b'{"row":"exchange","numb'
    (found,) = capture.read(data, "capture.jsonl", skipped)
    assert len(found.turns) == 2
    assert [row.why.partition(":")[0] for row in skipped[:3]] == [
        "the request is compressed (zstd), which this program does not read",
        "goes on from exchange 77, which is not there",
        "Expected `str`, got `int` - at `$.role`",
    ]
    assert len(skipped) == 4


def test_a_log_without_an_answered_request_says_what_to_look_at() -> None:
    log = Log()
    log.ask([SYSTEM, user("Fix it.")], None, (0, 10), status=401)
    with pytest.raises(CorpusError, match="holds no request that was answered"):
        list(capture.read(log.data(), "capture.jsonl", []))
    assert detect(log.data()) == capture.FORMAT
