"""OpenCode exports: one request a step, counts as each version meant them, compaction, pruning, sub-agents' sessions as branches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import agent_exports as ex
from openagentperf.corpus.formats import opencode
from openagentperf.corpus.formats.opencode_parts import CLEARED
from openagentperf.corpusjobs.recordings import read_recordings
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Message, Skipped, ToolCall, Trajectory, histories

EXAMPLES = Path(__file__).parent / "data" / "formats"
S = 1_000_000_000


def read(*exports: dict[str, Any], skipped: list[Skipped] | None = None) -> list[Trajectory]:
    return list(opencode.read(ex.lines_of(list(exports)), "f", [] if skipped is None else skipped))


def one(*messages: dict[str, Any], **info: Any) -> Trajectory:
    (session,) = read(ex.oc_export("ses_1", list(messages), **info))
    return session


def sent(line: Trajectory | Branch, turn: int = -1) -> list[Message]:
    """The messages of one request, without a filled system prompt."""
    messages = [list(messages) for messages in histories(line)][turn]
    return [message for message in messages if message.role != "system"]


def test_the_example() -> None:
    skipped: list[Skipped] = []
    (session,) = opencode.read((EXAMPLES / "04_opencode_export.json").read_bytes(), "04", skipped)
    (turn,) = session.turns
    assert skipped == []
    assert (session.id, session.model, session.harness) == ("ses_1", "m", "opencode 1.19.3")
    # 500 + 9000 + 0; 42 + 10: this version counts reasoning beside the output
    assert (turn.input_tokens, turn.output_tokens, turn.cached_tokens, turn.counted) == (9500, 52, 9000, "recorded")
    assert (turn.tool_calls, turn.tool_delay_ns) == (1, 350_000_000)  # 2000 .. 2350 ms
    assert [message.role for message in turn.appended] == ["system", "user"]
    assert turn.appended[1] == Message("user", "Fix bug")


@pytest.mark.parametrize(
    ("version", "tokens", "want"),
    [
        ("1.0.142", {"reasoning": 30}, 40),  # no total: a version that counts reasoning inside
        ("1.3.2", {"reasoning": 30, "total": 540}, 40),  # 500 + 40
        ("1.14.34", {"reasoning": 30}, 70),
        ("1.14.34", {"reasoning": 30, "total": 570}, 70),  # 500 + 40 + 30
        ("1.9.0", {"reasoning": 30, "total": 570}, 70),  # the total decides, whatever the version
        ("1.0.142", {"reasoning": 60}, 100),  # more than the output cannot be inside
        ("local", {"reasoning": 30}, 40),
        ("1.14.34-beta.1", {"reasoning": 30}, 70),
        ("1.2.12", {}, 40),
    ],
)
def test_output_counts_hold_the_reasoning_once(version: str, tokens: dict[str, int], want: int) -> None:
    answer = ex.oc_answer("m2", "m1", 1, ex.oc_text("x"), ex.oc_finish({**ex.oc_tokens(500, 40), **tokens}))
    assert one(ex.oc_user("m1", 0), answer, version=version).turns[0].output_tokens == want


def test_an_answer_may_hold_several_requests() -> None:
    answer = ex.oc_answer(
        "m2", "m1", 1,
        ex.oc_text("Look."), ex.oc_tool("t1", 2, 3), ex.oc_tool("t2", 2.5, 4), ex.oc_finish(ex.oc_tokens(500, 40)),
        {"type": "step-start"}, ex.oc_tool("t3", 6, 6.25), ex.oc_finish(ex.oc_tokens(600, 20, 500)),
        {"type": "step-start"}, ex.oc_text("Done."), ex.oc_finish(ex.oc_tokens(700, 10, 600), "stop"),
    )  # fmt: skip
    session = one(ex.oc_user("m1", 0), answer)
    assert [(turn.input_tokens, turn.cached_tokens) for turn in session.turns] == [(500, 0), (1100, 500), (1300, 600)]
    # two at once, 2 .. 3 and 2.5 .. 4, lasted 2 s together
    assert [turn.tool_delay_ns for turn in session.turns] == [2 * S, 250_000_000, None]
    assert [turn.tool_calls for turn in session.turns] == [2, 1, 0]
    assert sent(session)[:4] == [
        Message("user", "Fix it"),
        Message(
            "assistant",
            "Look.",
            tool_calls=(
                ToolCall("t1", "bash", '{"command":"ls a.ts"}'),
                ToolCall("t2", "bash", '{"command":"ls a.ts"}'),
            ),
        ),
        Message("tool", "ok", tool_call_id="t1"),
        Message("tool", "ok", tool_call_id="t2"),
    ]
    assert session.language == "TypeScript"


def test_a_sub_agent_s_session_is_a_branch() -> None:
    skipped: list[Skipped] = []
    (session,) = read(*ex.opencode(), skipped=skipped)
    assert skipped == []
    child, summary = session.branches
    assert (child.name, child.parent, child.after, child.join) == ("ses_child", "", 1, 2)
    assert [turn.input_tokens for turn in child.turns] == [700, 800]
    assert child.delay_ns == 500_000_000  # the call's start, 10, to the child's first message, 10.5
    # the call ran 10 .. 20, the child 10.5 .. 15
    assert [turn.tool_delay_ns for turn in session.turns] == [500_000_000, 5_500_000_000, None]
    assert (summary.name, summary.after, summary.join) == ("summary", 1, 2)
    assert [(turn.input_tokens, turn.output_tokens) for turn in summary.turns] == [(8000, 50)]


def test_exports_of_one_folder_are_joined_by_their_parents(tmp_path: Path) -> None:
    main, child = ex.opencode()
    orphan = ex.oc_export("ses_lost", child["messages"], parentID="ses_gone")
    for name, export in (("a", child), ("b", main), ("c", orphan)):
        (tmp_path / f"{name}.json").write_text(json.dumps(export, indent=1))
    skipped: list[Skipped] = []
    joined, lost = read_recordings(tmp_path, skipped)
    assert skipped == []
    assert (joined.id, joined.source) == ("ses_main", f"{tmp_path}/b.json")
    assert [branch.name for branch in joined.branches] == ["ses_child", "summary"]
    assert [lost.id, lost.branches] == ["ses_lost", ()]
    assert "1 sub-agent kept as a trajectory of its own: its parent's session was not imported with it" in lost.notes
    assert joined.turns == read(main, child)[0].turns
    shares = [[note for note in tree.notes if "are there as text" in note] for tree in (joined, *read(main))]
    assert shares[0] == shares[1] != [], "the main line's share, not the sum of two"


def test_sessions_that_name_each_other_or_come_twice_are_read_once() -> None:
    def session(name: str, parent: str) -> dict[str, Any]:
        answer = ex.oc_answer("m2", "m1", 1, ex.oc_text("x"), ex.oc_finish(ex.oc_tokens(500, 40)))
        return ex.oc_export(name, [ex.oc_user("m1", 0), answer], parentID=parent)

    skipped: list[Skipped] = []
    found = read(session("a", "b"), session("b", "a"), session("c", "c"), session("a", ""), skipped=skipped)
    assert [(tree.id, [branch.name for branch in tree.branches]) for tree in found] == [("a", ["b"]), ("c", [])]
    assert [row.why for row in skipped] == ["session a again"]


def test_a_compaction_keeps_the_summary_and_the_tail() -> None:
    (session,) = read(*ex.opencode())
    assert [(turn.cut, turn.keep) for turn in session.turns] == [("", None), ("", None), ("compaction", 1)]
    assert sent(session) == [
        Message("user", "Go on\nWhat did we do so far?"),
        Message("assistant", "Summary."),
        Message("assistant", "", tool_calls=(ToolCall("t2", "task", '{"command":"ls a.ts"}'),)),
        Message("tool", "<task_result>Found</task_result>", tool_call_id="t2"),
    ]


@pytest.mark.parametrize(
    ("parts", "info", "cut"),
    [
        ([{"type": "compaction", "auto": False}], {}, "compaction"),
        ([], {}, "compaction"),  # before version 1.0: the summary alone
        ([{"type": "compaction", "auto": False}], {"finish": None}, ""),  # not finished: the history stays
        ([{"type": "compaction", "auto": False}], {"error": {"name": "UnknownError", "data": {}}}, ""),
    ],
)
def test_what_a_compaction_needs(parts: list[dict[str, Any]], info: dict[str, Any], cut: str) -> None:
    session = one(
        ex.oc_user("m1", 0),
        ex.oc_answer("m2", "m1", 1, ex.oc_text("One."), ex.oc_finish(ex.oc_tokens(500, 40))),
        ex.oc_user("m3", 3, "And?", *parts),
        ex.oc_answer("m4", "m3", 4, ex.oc_text("Sum."), ex.oc_finish(ex.oc_tokens(400, 9)), summary=True, **info),
        ex.oc_answer("m5", "m3", 6, ex.oc_text("Two."), ex.oc_finish(ex.oc_tokens(300, 8))),
    )
    assert session.turns[1].cut == cut
    assert any(message.content == "One." for message in sent(session)) == (not cut)
    assert [len(branch.turns) for branch in session.branches] == [1], "the request was sent, whatever came of it"


def test_pruned_results_are_cleared_from_the_time_on_that_they_carry() -> None:
    pruned = ex.oc_tool("t1", 2, 3, "a long text", time={"start": ex.ms(2), "end": ex.ms(3), "compacted": ex.ms(8)})
    session = one(
        ex.oc_user("m1", 0),
        ex.oc_answer("m2", "m1", 1, pruned, ex.oc_finish(ex.oc_tokens(500, 40))),
        ex.oc_answer("m3", "m1", 5, ex.oc_tool("t2", 6, 7), ex.oc_finish(ex.oc_tokens(600, 30))),
        ex.oc_answer("m4", "m1", 9, ex.oc_text("Done."), ex.oc_finish(ex.oc_tokens(550, 20), "stop")),
    )
    results = [[message.content for message in sent(session, turn) if message.role == "tool"] for turn in range(3)]
    assert results == [[], ["a long text"], [CLEARED, "ok"]]
    assert [turn.cut for turn in session.turns] == ["", "", "microcompaction"]
    assert session.turns[2].keep == 3  # system, user, the call


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"status": "error", "error": "No such file"}, "No such file"),
        ({"status": "error", "error": "Aborted", "metadata": {"interrupted": True, "output": "half"}}, "half"),
        ({"status": "running"}, "[Tool execution was interrupted]"),
        ({"status": "pending", "input": {}}, "[Tool execution was interrupted]"),
    ],
)
def test_what_answers_a_call(state: dict[str, Any], text: str) -> None:
    session = one(
        ex.oc_user("m1", 0),
        ex.oc_answer("m2", "m1", 1, ex.oc_tool("t1", 2, 3, **state), ex.oc_finish(ex.oc_tokens(500, 40))),
        ex.oc_answer("m3", "m1", 5, ex.oc_text("Done."), ex.oc_finish(ex.oc_tokens(600, 30))),
    )
    assert sent(session)[-1] == Message("tool", text, tool_call_id="t1")


def test_user_parts() -> None:
    user = ex.oc_user(
        "m1", 0, "Fix it",
        {"type": "text", "text": "hidden", "ignored": True},
        {"type": "text", "text": "Called the Read tool", "synthetic": True},
        {"type": "file", "mime": "text/plain", "filename": "a.ts", "url": "file:"},
        {"type": "file", "mime": "image/png", "filename": "b.png", "url": "data:"},
        {"type": "subtask", "prompt": "p", "description": "d", "agent": "a"},
        {"type": "agent", "name": "x"},
    )  # fmt: skip
    user["info"]["system"] = "Speak French."
    session = one(user, ex.oc_answer("m2", "m1", 1, ex.oc_text("x"), ex.oc_finish(ex.oc_tokens(5, 4))))
    said = "Fix it\nCalled the Read tool\n[Attached image/png: b.png]\nThe following tool was executed by the user"
    assert session.turns[0].appended == (Message("system", "Speak French."), Message("user", said))


def test_failed_requests_are_left_out_and_stopped_ones_kept() -> None:
    failed = {"error": {"name": "APIError", "data": {}}}
    stopped = {"error": {"name": "MessageAbortedError", "data": {}}, "tokens": ex.oc_tokens(0, 0)}
    session = one(
        ex.oc_user("m1", 0),
        ex.oc_answer("m2", "m1", 1, ex.oc_text("half"), **failed),
        ex.oc_answer("m3", "m1", 2, **stopped),
        ex.oc_answer("m4", "m1", 3, ex.oc_text("This is"), **stopped),
        ex.oc_answer("m5", "m1", 4, ex.oc_text("Done."), ex.oc_finish(ex.oc_tokens(500, 4))),
    )
    assert sent(session) == [Message("user", "Fix it"), Message("assistant", "This is")]
    assert [turn.counted for turn in session.turns] == ["estimated", "recorded"]
    assert {"2 requests that failed left out", "1 answers whose end was not recorded"} <= set(session.notes)


def test_counts_of_the_message_where_no_step_has_any() -> None:
    session = one(ex.oc_user("m1", 0), ex.oc_answer("m2", "m1", 1, ex.oc_text("x"), tokens=ex.oc_tokens(70, 6, 30)))
    assert [(turn.input_tokens, turn.output_tokens, turn.cached_tokens) for turn in session.turns] == [(100, 6, 30)]


def test_bad_messages_are_told_and_a_session_without_an_answer_is_an_error() -> None:
    skipped: list[Skipped] = []
    export = ex.oc_export("s", [ex.oc_user("m1", 0), ex.oc_answer("m2", "m1", 1, ex.oc_text("x"))])
    export["messages"].insert(1, {"info": 7})
    assert len(read(export, skipped=skipped)) == 1
    assert [row.where for row in skipped] == ["f, message 2"]
    with pytest.raises(CorpusError, match="holds no answered request"):
        read(ex.oc_export("s", [ex.oc_user("m1", 0)]))
