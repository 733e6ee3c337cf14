"""ATIF trajectories: which steps are requests, and where their sub-agents hang."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openagentperf.corpus.detect import detect
from openagentperf.corpus.fit import fault
from openagentperf.corpus.formats import atif, atif_steps
from openagentperf.corpus.tokens import estimate, estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Message, Skipped, ToolCall, Trajectory, histories

EXAMPLES = Path(__file__).parent / "data" / "formats"
SYSTEM = {"source": "system", "message": "Be brief."}
TASK = {"source": "user", "message": "Fix it"}
DONE = {"source": "agent", "message": "Done."}


def step(message: str = "", *results: dict[str, Any], calls: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """An answer with its calls (by id) and their results."""
    tools = [{"tool_call_id": call, "function_name": "bash", "arguments": {"command": "ls a.py"}} for call in calls]
    return {
        "source": "agent",
        "message": message,
        "tool_calls": tools or None,
        "observation": {"results": list(results)} if results else None,
        **more,
    }


def result(content: object, call: str | None = None, **more: Any) -> dict[str, Any]:
    return {"source_call_id": call, "content": content, **more}


def document(*steps: dict[str, Any], version: str = "ATIF-v1.8", **more: Any) -> dict[str, Any]:
    numbered = [{"step_id": number, **one} for number, one in enumerate(steps, 1)]
    return {"schema_version": version, "agent": {"name": "a", "version": "1"}, "steps": numbered, **more}


def read(recorded: object, skipped: list[Skipped] | None = None) -> list[Trajectory]:
    data = json.dumps(recorded).encode()
    assert detect(data) == "atif"
    found = list(atif.read(data, "t.json", [] if skipped is None else skipped))
    assert [fault(session) for session in found] == [""] * len(found)
    return found


def contents(line: Trajectory | Branch) -> list[list[str]]:
    return [[message.content for message in messages] for messages in histories(line)]


def test_the_example_has_one_request() -> None:
    skipped: list[Skipped] = []
    (session,) = atif.read((EXAMPLES / "08_atif_v1.8.json").read_bytes(), "08.json", skipped)
    (turn,) = session.turns
    assert skipped == []
    assert (session.id, session.harness, session.model) == ("t1", "demo-agent 1.0", "demo/model")
    assert (turn.input_tokens, turn.output_tokens, turn.cached_tokens, turn.counted) == (900, 40, 512, "recorded")
    assert (turn.tool_calls, turn.tool_delay_ns) == (1, None)  # its one time holds model and tool
    assert f"1 {atif_steps.MIXED}" in session.notes
    assert [json.loads(tool)["function"]["name"] for tool in session.tools] == ["bash"]
    # what the file does not hold of the recorded 900 is filled in
    assert sum(map(estimate_message, turn.appended)) + sum(map(estimate, session.tools)) == 900


@pytest.mark.parametrize("version", [f"ATIF-v1.{minor}" for minor in range(9)])
def test_every_version(version: str) -> None:
    (session,) = read(document(TASK, DONE, version=version))
    assert len(session.turns) == 1


def test_calls_and_results() -> None:
    parts = [{"type": "text", "text": "See"}, {"type": "image", "source": {"media_type": "image/png", "path": "p"}}]
    first = step("Look", result("two", "c2"), result(parts, "c1"), calls=("c1", "c2"), reasoning_content="Hm.")
    (session,) = read(document(SYSTEM, TASK, first, DONE))
    assert session.turns[0].tool_calls == 2
    assert session.turns[1].appended == (
        Message(
            "assistant",
            "Look",
            "Hm.",
            (ToolCall("c1", "bash", '{"command": "ls a.py"}'), ToolCall("c2", "bash", '{"command": "ls a.py"}')),
        ),
        Message("tool", "two", tool_call_id="c2"),
        Message("tool", "See\n[image]", tool_call_id="c1"),
    )
    assert session.language == "Python"


@pytest.mark.parametrize(
    ("first", "want"),
    [
        (
            step("ls", result("a.py")),
            [Message("user", "a.py")],
        ),  # an action that is text: its result is the next message
        (step("", result("a.py"), calls=("c1",)), [Message("tool", "a.py", tool_call_id="c1")]),
        # one terminal for a batch of commands
        (
            step("", result("a.py"), calls=("c1", "c2")),
            [Message("tool", "a.py", tool_call_id="c1"), Message("tool", "(no result recorded)", tool_call_id="c2")],
        ),
    ],
)
def test_results_without_a_calls_id(first: dict[str, Any], want: list[Message]) -> None:
    (session,) = read(document(TASK, first, DONE))
    assert list(session.turns[1].appended[1:]) == want


def test_durations_of_results_are_the_delay() -> None:
    timed = [result("1", "c1", extra={"duration_ms": 120}), result("2", "c2", extra={"duration_ms": 80})]
    (session,) = read(document(TASK, step("", *timed, calls=("c1", "c2"), timestamp="2026-01-01T00:00:00Z"), DONE))
    assert session.turns[0].tool_delay_ns == 120_000_000  # both at once: the longer
    assert session.notes == ()


@pytest.mark.parametrize(
    ("marks", "asked"),
    [
        ({"llm_call_count": 0}, False),
        ({"is_copied_context": True}, False),
        ({"llm_call_count": 1, "is_copied_context": False}, True),
        ({"llm_call_count": None}, True),
    ],
)
def test_which_steps_are_requests(marks: dict[str, Any], asked: bool) -> None:
    first = step("", result("1", "c1"), calls=("c1",))
    middle = step("", result("2", "c2"), calls=("c2",), **marks)
    (session,) = read(document(TASK, first, middle, DONE))
    assert len(session.turns) == 2 + asked
    assert contents(session)[-1] == ["Fix it", "", "1", "", "2"]


def test_a_step_of_several_requests_has_no_counts_of_one() -> None:
    metrics = {"prompt_tokens": 5000, "completion_tokens": 700}
    (session,) = read(document(TASK, {**DONE, "llm_call_count": 3, "metrics": metrics}))
    assert session.turns[0].counted == "estimated"
    assert f"1 {atif_steps.SUMMED}" in session.notes


def test_a_declared_compaction_starts_anew() -> None:
    marker = {
        "source": "system",
        "message": "Performed context summarization and handoff to continue task.",
        "extra": {"context_management": {"type": "compaction", "boundary": "replace"}},
    }
    handoff = {"source": "user", "message": "So far: nothing"}
    (session,) = read(document(SYSTEM, TASK, step("one"), marker, handoff, step("two")))
    assert contents(session) == [["Be brief.", "Fix it"], ["Be brief.", "So far: nothing"]]
    assert (session.turns[1].keep, session.turns[1].cut) == (1, "compaction")


def ref(*names: str) -> list[dict[str, str]]:
    return [{"trajectory_id": name} for name in names]


def test_sub_agents_are_branches_that_the_next_turn_waits_for() -> None:
    below = document(TASK, DONE, trajectory_id="below")
    sub = document(
        TASK,
        step("", result("x", "c9", subagent_trajectory_ref=ref("below")), calls=("c9",)),
        trajectory_id="sub",
        subagent_trajectories=[below],
    )
    calling = step("", result(None, "c1", subagent_trajectory_ref=ref("sub")), calls=("c1",))
    (session,) = read(document(TASK, DONE, calling, DONE, trajectory_id="main", subagent_trajectories=[sub]))
    assert [(b.name, b.parent, b.after, b.join) for b in session.branches] == [
        ("sub", "", 1, 2),
        ("below", "sub", 0, None),
    ]
    assert contents(session.branches[0]) == [["Fix it"]]
    assert [len(line.turns) for line in (session, *session.branches)] == [3, 1, 1]


def test_sub_agents_inside_may_be_listed_at_the_top() -> None:
    sub = document(
        TASK, step("", result("x", "c9", subagent_trajectory_ref=ref("below")), calls=("c9",)), trajectory_id="sub"
    )
    calling = step("", result("y", "c1", subagent_trajectory_ref=ref("sub")), calls=("c1",))
    inside = [sub, document(TASK, DONE, trajectory_id="below")]
    (session,) = read(document(TASK, calling, subagent_trajectories=inside))
    assert [(branch.name, branch.parent) for branch in session.branches] == [("sub", ""), ("below", "sub")]


def test_a_sub_agent_in_another_file_is_noted() -> None:
    elsewhere = [{"trajectory_path": "trajectory.summarization-1.json", "session_id": "s"}]
    calling = step("", result("y", "c1", subagent_trajectory_ref=elsewhere), calls=("c1",))
    (session,) = read(document(TASK, calling, DONE, continued_trajectory_ref="cont-1.json"))
    assert session.branches == ()
    assert session.notes == (f"1 {atif.ELSEWHERE}", f"1 {atif.CONTINUED}")


def test_a_sub_agent_that_nothing_called_is_a_session() -> None:
    loose = document(TASK, DONE, trajectory_id="loose")
    main, other = read(document(TASK, DONE, trajectory_id="main", subagent_trajectories=[loose, 7]))
    assert (main.id, other.id) == ("main", "loose")
    assert main.notes == (f"1 {atif.UNCALLED}",)


def test_a_sub_agent_called_twice_stands_once() -> None:
    calling = step("", result("y", "c1", subagent_trajectory_ref=ref("sub")), calls=("c1",))
    inside = [document(TASK, DONE, trajectory_id="sub")]
    (session,) = read(document(TASK, calling, calling, subagent_trajectories=inside))
    assert [(branch.name, branch.after) for branch in session.branches] == [("sub", 0)]
    assert f"1 {atif.AGAIN}" in session.notes


def test_a_program_that_asks_nothing_itself_leaves_its_sub_agents() -> None:
    calling = step("", result("y", "c1", subagent_trajectory_ref=ref("sub")), calls=("c1",), llm_call_count=0)
    (session,) = read(document(TASK, calling, subagent_trajectories=[document(TASK, DONE, trajectory_id="sub")]))
    assert session.id == "sub"


def test_depth_is_bounded() -> None:
    inside = document(TASK, DONE, trajectory_id="s")
    for _ in range(40):
        inside = document(TASK, DONE, trajectory_id="s", subagent_trajectories=[inside])
    skipped: list[Skipped] = []
    assert len(read(inside, skipped)) == 1 + atif.DEPTH
    (row,) = skipped
    assert row.why == f"a sub-agent below {atif.DEPTH} others"


def test_bad_steps_are_named_and_the_rest_is_used() -> None:
    skipped: list[Skipped] = []
    recorded = document(TASK, DONE)
    recorded["steps"].insert(1, {"source": 7})
    (session,) = read(recorded, skipped)
    assert len(session.turns) == 1
    assert [row.where for row in skipped] == ["t.json: step 2"]


def test_nothing_answered_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no session with an answer"):
        read(document(TASK))
