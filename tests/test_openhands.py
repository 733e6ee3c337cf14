"""OpenHands V0: one request a response, delays of tools alone, condensations declared, delegates as branches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import agent_exports as ex
from imported import counts, sent
from openagentperf.corpus.formats import openhands_v0
from openagentperf.corpus.formats.openhands_usage import Usages
from openagentperf.corpus.formats.usage import UNKNOWN, Counts
from openagentperf.corpusjobs.recordings import read_recordings
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, ToolCall, Trajectory

EXAMPLES = Path(__file__).parent / "data" / "formats"
S = 1_000_000_000


def v0(*records: Any, skipped: list[Skipped] | None = None) -> list[Trajectory]:
    return list(openhands_v0.read(ex.lines_of(list(records)), "f", [] if skipped is None else skipped))


def v0_one(history: list[Any], usages: list[dict[str, Any]] | None = None, **metadata: Any) -> Trajectory:
    (session,) = v0(ex.v0_row(history, usages, **metadata))
    return session


def test_the_v0_example() -> None:
    skipped: list[Skipped] = []
    (session,) = openhands_v0.read((EXAMPLES / "03a_openhands_v0_output.jsonl").read_bytes(), "03a", skipped)
    (turn,) = session.turns
    assert skipped == []
    assert (session.id, session.task, session.model) == ("demo__demo-1", "demo__demo-1", "demo/model")
    assert counts(session) == [(900, 40, 0, "recorded")]
    assert turn.tool_delay_ns == 400_000_000  # 10:00:02.4 - 10:00:02.0
    assert turn.tool_calls == 1
    assert [message.role for message in turn.appended] == ["system", "user"]  # the prompt was not recorded: filled in
    assert turn.appended[1] == Message("user", "Fix it")


def test_v0_calls_of_one_response_are_one_request() -> None:
    usages = [ex.v0_usage("r1", 700, 21, 300), ex.v0_usage("r2", 800, 22), ex.v0_usage("r3", 900, 23)]
    session = v0_one(ex.v0_history(), usages)
    assert len(session.turns) == 4
    first, second, third, fourth = session.turns
    assert (first.input_tokens, first.output_tokens, first.cached_tokens, first.tool_calls) == (700, 21, 300, 2)
    assert (
        first.tool_delay_ns == 1_250_000_000
    )  # first action 3.0 s, last observation 4.25 s: the calls ran one after the other
    assert second.tool_delay_ns == 1 * S  # 6 .. 7
    assert third.tool_delay_ns == 0  # 9 .. 13, less the delegate's 9 .. 13
    assert fourth.tool_delay_ns is None
    assert fourth.counted == "estimated"
    assert session.harness == "openhands 0.59.0"
    assert session.language == "Python"


def test_v0_observations_say_what_the_agent_is_shown() -> None:
    history = [*ex.v0_history()[:8], ex.v0_said(20, 20, "Done.", "agent")]
    assert sent(v0_one(history))[2:] == [
        Message(
            "assistant",
            "Look.",
            tool_calls=(
                ToolCall("c1", "bash", '{"command": "ls main.py"}'),
                ToolCall("c2", "bash", '{"command": "ls main.py"}'),
            ),
        ),
        Message(
            "tool", "a.py\n[Current working directory: /w]\n[Command finished with exit code 0]", tool_call_id="c1"
        ),
        Message("tool", "b.py", tool_call_id="c2"),
        Message("assistant", "Look.", tool_calls=(ToolCall("c3", "bash", '{"command": "ls main.py"}'),)),
        Message("tool", "no such file\n[Error occurred in processing last action]", tool_call_id="c3"),
    ]


def test_v0_a_condensation_is_declared_and_its_request_is_a_branch() -> None:
    session = v0_one(ex.v0_history())
    assert [turn.cut for turn in session.turns] == ["", "", "", "compaction"]
    assert session.turns[3].keep == 2  # system and task stay
    assert sent(session)[2:] == [
        Message("user", "So far: nothing."),
        Message("assistant", "Look.", tool_calls=(ToolCall("c4", "bash", '{"command": "ls main.py"}'),)),
        Message("tool", "It is there.", tool_call_id="c4"),
    ]
    summary, _ = session.branches
    assert (summary.name, summary.parent, summary.after, summary.join) == ("main-summary-1", "", 2, 3)
    (turn,) = summary.turns
    assert turn.appended[0].content.startswith("[assistant]\nLook.\nbash(")
    assert turn.output_tokens == 5  # "So far: nothing." 16 bytes / 3.5


def test_v0_a_delegate_is_a_branch() -> None:
    session = v0_one(ex.v0_history())
    _, delegate = session.branches
    assert (delegate.name, delegate.parent, delegate.after, delegate.join) == ("BrowsingAgent-1", "", 2, 3)
    assert sent(delegate) == [Message("user", "TASK: Search")]
    assert all("Search" not in message.content for message in sent(session))


def test_v0_a_delegate_whose_events_are_not_there_leaves_its_whole_delay() -> None:
    history = [event for event in ex.v0_history() if event["id"] not in (9, 10)]
    session = v0_one(history)
    assert session.turns[2].tool_delay_ns == 4 * S  # 9 .. 13
    assert [branch.name for branch in session.branches] == ["main-summary-1"]


@pytest.mark.parametrize(
    ("events", "delay"),
    [
        ([ex.v0_seen(3, 5, 2, "x")], 2 * S),  # 3 .. 5
        ([ex.v0_seen(3, 2, 2, "x")], None),  # the clock ran backwards
        ([ex.v0_seen(3, 900, 2, "no", "user_rejected")], None),  # a person pondered
        ([ex.v0_seen(3, 5, 99, "x")], None),  # the cause of it is not known
        ([ex.v0_seen(3, 4, None, "", "agent_state_changed"), ex.v0_seen(4, 5, 2, "x")], 2 * S),
        ([{**ex.v0_seen(3, 5, 2, "x"), "timestamp": "yesterday"}], None),
    ],
)
def test_v0_delays(events: list[dict[str, Any]], delay: int | None) -> None:
    history = [
        ex.v0_said(1, 1, "Fix it"),
        ex.v0_call(2, 3, "r1", "c1", ["c1"]),
        *events,
        ex.v0_said(9, 999, "Done.", "agent"),
    ]
    assert v0_one(history).turns[0].tool_delay_ns == delay


def test_v0_answers_without_a_recorded_response_are_rebuilt() -> None:
    call = ex.v0_call(2, 3, "r1", "c1", ["c1"], thought="List it.")
    del call["tool_call_metadata"]
    session = v0_one([ex.v0_said(1, 1, "Fix it"), call, ex.v0_seen(3, 4, 2, "x"), ex.v0_said(4, 5, "Done.", "agent")])
    assert sent(session)[1:] == [
        Message("assistant", "List it.", tool_calls=(ToolCall("call_2", "run", '{"command":"ls"}'),)),
        Message("tool", "x", tool_call_id="call_2"),
    ]
    assert session.turns[0].tool_delay_ns == 1 * S
    assert "1 answers whose text was not recorded rebuilt from the action" in session.notes


def test_v0_pairs_of_old_versions() -> None:
    call = {**ex.v0_call(2, 3, "r1", "c1", ["c1"])}
    history = [[ex.v0_said(1, 1, "Fix it"), ex.v0_seen(0, 1, None, "", "null")], [call, ex.v0_seen(3, 4, 2, "x")]]
    session = v0_one(history)
    assert len(session.turns) == 1
    assert session.turns[0].tool_delay_ns == 1 * S


def test_v0_finish_and_user_commands() -> None:
    finish = ex.v0_call(4, 6, "r2", "c9", ["c9"], "finish", final_thought="All done.")
    run = {**ex.v0_call(5, 9, "x", "c", []), "source": "user"}
    del run["tool_call_metadata"]
    session = v0_one(
        [
            ex.v0_said(1, 1, "Fix it"),
            finish,
            run,
            ex.v0_seen(6, 9, 5, "a.py"),
            ex.v0_said(7, 10, "Yes.", "agent"),
        ]
    )
    assert sent(session)[2:] == [
        Message("assistant", "Look."),  # its call is not sent back: nothing answers it
        Message("user", "User executed the command:\nls"),
        Message("user", "\nObserved result of command executed by user:\na.py"),
    ]


def test_v0_recalled_knowledge_is_said() -> None:
    known = [{"name": "py", "trigger": "python", "content": "Use pytest."}]
    recall = ex.v0_seen(2, 1, 1, "Added", "recall", recall_type="knowledge", microagent_knowledge=known, date="")
    session = v0_one([ex.v0_said(1, 1, "Fix it"), recall, ex.v0_said(3, 2, "Done.", "agent")])
    assert sent(session) == [Message("user", "Fix it"), Message("user", "Use pytest.")]


def test_v0_long_observations_are_cut_as_the_agent_saw_them() -> None:
    history = [
        ex.v0_said(1, 1, "Go"),
        ex.v0_call(2, 3, "r1", "c1", ["c1"]),
        ex.v0_seen(3, 4, 2, "x" * 30 + "y" * 30),
        ex.v0_said(4, 5, "Done.", "agent"),
    ]
    session = v0_one(history, llm_config={"model": "m", "max_message_chars": 20})
    assert sent(session)[-1].content == "x" * 10 + "\n[... Observation truncated due to length ...]\n" + "y" * 10


def test_v0_condensers_that_leave_no_trace_are_noted() -> None:
    history = [ex.v0_said(1, 1, "Go"), ex.v0_said(2, 2, "Done.", "agent")]
    session = v0_one(history, condenser_config={"type": "observation_masking", "attention_window": 5})
    assert any("condenser (`observation_masking`)" in note for note in session.notes)


def test_v0_event_files_are_one_session_in_the_order_of_their_ids(tmp_path: Path) -> None:
    folder = tmp_path / "sessions" / "abc" / "events"
    folder.mkdir(parents=True)
    for event in ex.v0_history():
        (folder / f"{event['id']}.json").write_text(json.dumps(event))  # "10.json" stands before "2.json"
    copies = folder.parent / "event_cache"
    copies.mkdir()
    (copies / "0-25.json").write_text(json.dumps(ex.v0_history()))
    skipped: list[Skipped] = []
    (session,) = read_recordings(tmp_path, skipped)
    assert skipped == [Skipped(str(copies), "holds copies of the events that lie beside it")]
    assert (session.id, session.source, len(session.turns)) == ("abc", str(folder), 4)
    assert session.turns == v0(*ex.v0_history())[0].turns


def test_v0_rows_without_an_answer_and_bad_events_are_told() -> None:
    skipped: list[Skipped] = []
    good = ex.v0_row(ex.v0_history())
    good["history"].insert(1, {"action": 7})
    assert len(v0(ex.v0_row([ex.v0_said(1, 1, "Go")]), good, skipped=skipped)) == 1
    assert [row.where for row in skipped] == ["f:1", "f:2, event 2"]
    assert skipped[0].why == "a row without an answer"
    with pytest.raises(CorpusError, match="holds no answered request"):
        v0(ex.v0_row([]))


@pytest.mark.parametrize(
    ("recorded", "responses", "want"),
    [
        (["a", "b"], ["a", "b"], ["a", "b"]),
        (["a", "x", "b"], ["a", "", "b"], ["a", "x", "b"]),  # one between two
        (["x", "a"], ["", "a"], ["x", "a"]),  # in front
        (["a", "x", "y"], ["a", "", ""], ["a", "x", "y"]),  # behind
        (["a", "x", "y", "b"], ["a", "", "b"], ["a", "", "b"]),  # two for one: nobody can tell
        (["a", "b"], ["a", "", "b"], ["a", "", "b"]),
        (["a", "x", "b"], ["a", "?", "b"], ["a", "", "b"]),  # an id that has no entry is no answer without an id
        (["x"], [""], ["x"]),
        ([], ["", "a"], ["", ""]),
    ],
)
def test_answers_without_an_id_get_the_counts_between(
    recorded: list[str], responses: list[str], want: list[str]
) -> None:
    usages = Usages()
    for name in recorded:
        usages.add(name, Counts(ord(name), 1, None))
    assert usages.aligned(responses) == [Counts(ord(name), 1, None) if name else UNKNOWN for name in want]


def test_v0_prompts_that_leave_the_cache_out_are_added_up() -> None:
    """What a cache served cannot be more than the whole: there it is counted beside."""
    history = [ex.v0_said(1, 1, "Go"), ex.v0_call(2, 3, "r1", "c1", ["c1"])]
    usage = {**ex.v0_usage("r1", 40, 9, 1000), "cache_write_tokens": 60}
    assert counts(v0_one(history, [usage])) == [(1100, 9, 1000, "recorded")]
