"""The OpenHands SDK: events, rows and conversation folders; condensations, abandoned branches, sub-agents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import agent_exports as ex
from imported import counts, sent
from openagentperf.corpus.formats import openhands_v1
from openagentperf.corpus.formats.files import File
from openagentperf.corpusjobs.recordings import read_recordings
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory

EXAMPLES = Path(__file__).parent / "data" / "formats"
S = 1_000_000_000


def v1(*events: Any, skipped: list[Skipped] | None = None) -> Trajectory:
    (session,) = openhands_v1.read(ex.lines_of(list(events)), "f", [] if skipped is None else skipped)
    return session


def test_the_v1_example() -> None:
    skipped: list[Skipped] = []
    (session,) = openhands_v1.read((EXAMPLES / "03b_openhands_v1_events.jsonl").read_bytes(), "03b", skipped)
    (turn,) = session.turns
    assert skipped == []
    assert turn.appended == (Message("system", "You are an agent."), Message("user", "Fix it"))
    assert turn.tool_delay_ns == 400_000_000  # 10:00:02.4 - 10:00:02
    assert turn.counted == "estimated"
    # system 17 / 3.5 -> 5, user 6 / 3.5 -> 2, 4 a message; answer "Look." 2, terminal 3, {"command":"ls"} 16 / 3.5 -> 5
    assert (turn.input_tokens, turn.output_tokens) == (15, 10)


def test_v1_calls_of_one_response_are_one_request() -> None:
    session = v1(*ex.v1_events())
    first, second, third = session.turns
    assert (first.tool_calls, second.tool_calls, third.tool_calls) == (2, 1, 0)
    assert first.tool_delay_ns == 2 * S  # 3 .. 5, the last result
    assert second.tool_delay_ns == 500_000_000
    assert third.tool_delay_ns is None
    answer = second.appended[0]
    assert (answer.content, answer.reasoning) == ("Look.", "Hm.")
    assert [call.id for call in answer.tool_calls] == ["c1", "c2"]
    result = "x\n[Current working directory: /w]\n[Command finished with exit code 1]"
    assert second.appended[1] == Message("tool", result, tool_call_id="c1")
    assert session.language == "Go"


def test_v1_a_condensation_keeps_what_it_does_not_forget() -> None:
    session = v1(*ex.v1_events())
    assert [turn.cut for turn in session.turns] == ["", "", "compaction"]
    assert session.turns[2].keep == 2
    roles = [(message.role, message.content[:15]) for message in sent(session)]
    assert roles == [
        ("system", "You are an agen"),
        ("user", "Fix it"),
        ("user", "Nothing so far."),
        ("assistant", ""),
        ("tool", "z\n[Current work"),
    ]
    (summary,) = session.branches
    assert (summary.name, summary.after, summary.join, summary.delay_ns) == ("summary", 1, 2, 500_000_000)


def test_v1_a_condensation_without_a_summary_asks_nobody() -> None:
    events = ex.v1_events()
    events[8] = ex.v1_condensed("e8", 10, ["e2", "e3", "e4", "e5"], None, None)
    session = v1(*events)
    assert session.branches == ()
    assert session.turns[2].cut == "compaction"


def test_v1_tools_come_without_their_parameters() -> None:
    mcp = {
        "kind": "MCPToolDefinition",
        "mcp_tool": {"name": "fetch", "description": "F", "inputSchema": {"type": "object"}},
    }
    openai = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}
    system = ex.v1_system()
    system["tools"] += [mcp, openai]
    session = v1(system, *ex.v1_events()[1:])
    tools = [json.loads(tool)["function"] for tool in session.tools]
    assert [tool["name"] for tool in tools] == ["file_editor", "fetch", "bash"]
    assert tools[0]["parameters"] == {"type": "object", "properties": {}}
    assert "1 tool definitions whose parameters were not recorded offered without" in session.notes


def test_v1_going_back_leaves_a_branch() -> None:
    """e4 was answered, then the user went back to e1 and said something else: the first answer is in no later request."""
    events = [
        ex.v1_system(),
        {**ex.v1_user("e1", 1), "parent_id": "e0"},
        {**ex.v1_said("e2", 2, "One.", "r1"), "parent_id": "e1"},
        {**ex.v1_user("e3", 3, "No, the other"), "parent_id": "e1"},
        {**ex.v1_said("e4", 4, "Two.", "r2"), "parent_id": "e3"},
        ex.v1_event("ConversationStateUpdateEvent", "e5", 5, "environment", key="k", value=1),
    ]
    session = v1(*events)
    assert [message.content for message in sent(session)] == ["You are an agent.", "Fix it", "No, the other"]
    assert len(session.turns) == 1
    assert "1 requests on abandoned branches left out" in session.notes


@pytest.mark.parametrize(
    ("kind", "more", "text"),
    [
        ("AgentErrorEvent", {"error": "Bad call"}, "Bad call"),
        ("UserRejectObservation", {"rejection_reason": "No"}, "Action rejected: No"),
        ("ObservationEvent", {"observation": {"kind": "X", "content": [], "output": "old"}}, "old"),
        (
            "ObservationEvent",
            {"observation": {"kind": "X", "content": ex.v1_text("x"), "is_error": True}},
            "[An error occurred during execution.]\nx",
        ),
        (
            "ObservationEvent",
            {
                "observation": {"content": [{"type": "image", "image_urls": ["data:"]}]},
                "extended_content": ex.v1_text("Rule"),
            },
            "[image]\nRule",
        ),
    ],
)
def test_v1_what_answers_a_call(kind: str, more: dict[str, Any], text: str) -> None:
    result = ex.v1_event(kind, "e3", 4, "environment", tool_call_id="c1", tool_name="t", **more)
    call = ex.v1_call("e2", 3, "r1", "c1")
    session = v1(ex.v1_system(), ex.v1_user("e1", 1), call, result, ex.v1_said("e4", 6, "Done.", "r2"))
    assert sent(session)[-1] == Message("tool", text, tool_call_id="c1")
    assert session.turns[0].tool_delay_ns == (None if kind == "UserRejectObservation" else 1 * S)


def v1_with(*more: dict[str, Any]) -> list[dict[str, Any]]:
    return [ex.v1_system(), ex.v1_user("e1", 1), ex.v1_said("e2", 3, "Done.", "r1"), *more]


@pytest.mark.parametrize(
    "event",
    [
        ex.v1_event("TokenEvent", "x", 3, prompt_token_ids=list(range(700)), response_token_ids=[1, 2, 3]),
        ex.v1_event(
            "ConversationStateUpdateEvent", "x", 3, "environment", key="stats",
            value={"usage_to_metrics": {"agent": {"token_usages": [ex.v0_usage("r1", 700, 3)]}}},
        ),
        ex.v1_event(
            "LLMCompletionLogEvent", "x", 3, "environment", filename="f", log_data=json.dumps(
                {"response": {"id": "r1"}, "usage_summary": {"prompt_tokens": 700, "completion_tokens": 3}}),
        ),
    ],
)  # fmt: skip
def test_v1_counts_that_stand_among_the_events(event: dict[str, Any]) -> None:
    session = v1(*v1_with(event))
    assert [(turn.input_tokens, turn.output_tokens, turn.counted) for turn in session.turns] == [(700, 3, "recorded")]


def test_v1_rows_of_an_evaluation() -> None:
    row = ex.v0_row(ex.v1_events(), [ex.v0_usage(name, 1000, 10) for name in ("r1", "r2", "r3", "s1")])
    skipped: list[Skipped] = []
    (session,) = openhands_v1.read(ex.lines_of([row]), "f", skipped)
    assert skipped == []
    assert (session.id, session.task, session.model) == ("demo-1", "demo-1", "demo/m")
    assert {count[3] for count in counts(session)} == {"recorded"}
    assert counts(session.branches[0]) == [(1000, 10, 0, "recorded")]


def write_conversation(folder: Path, events: list[dict[str, Any]], usages: list[dict[str, Any]]) -> None:
    (folder / "events").mkdir(parents=True)
    (folder / "base_state.json").write_text(json.dumps(ex.v1_state(usages)))
    for index, event in enumerate(events):
        (folder / "events" / f"event-{index:05}-{event['id']}.json").write_text(json.dumps(event))


def test_v1_a_conversation_s_folder_is_one_trajectory_with_its_sub_agents(tmp_path: Path) -> None:
    """Two sub-agents at once, 4 .. 6 and 5 .. 7.5 s, inside calls that ran from 3 to 8: the tools themselves took 5 - 3.5 s."""
    main = [
        ex.v1_system(),
        ex.v1_user("e1", 1),
        ex.v1_call("e2", 3, "r1", "c1"),
        ex.v1_result("e3", 8, "c1", "e2", "both done"),
        ex.v1_said("e4", 9, "Done.", "r2"),
    ]
    write_conversation(tmp_path / "conv", main, [ex.v0_usage("r1", 500, 5), ex.v0_usage("r2", 600, 6)])
    for name, began, ended in (("aa", 4, 6), ("bb", 5, 7.5)):
        events = [
            ex.v1_system(at=0.5),
            ex.v1_user("f1", began, "Search"),
            ex.v1_said("f2", ended, "Found.", f"r-{name}"),
        ]
        write_conversation(tmp_path / "conv" / "subagents" / name, events, [ex.v0_usage(f"r-{name}", 300, 3)])
    skipped: list[Skipped] = []
    (session,) = read_recordings(tmp_path, skipped)
    assert skipped == []
    assert (session.id, session.model) == ("conv", "demo/m")
    assert [turn.tool_delay_ns for turn in session.turns] == [1_500_000_000, None]
    assert [(b.name, b.after, b.join, b.delay_ns) for b in session.branches] == [
        ("aa", 0, 1, 1 * S),
        ("bb", 0, 1, 2 * S),
    ]
    assert [turn.input_tokens for turn in session.turns] == [500, 600]
    assert counts(session.branches[0]) == [(300, 3, 0, "recorded")]


def test_v1_event_100000_comes_after_event_99999() -> None:
    events = [*v1_with(), ex.v1_user("e3", 4, "And?"), ex.v1_said("e4", 5, "Yes.", "r2")]
    names = [f"c/events/event-{index:05}-0.json" for index in (0, 1, 99_998, 99_999, 100_000)]
    contents = [json.dumps(event).encode() for event in events]
    files = [File(name, lambda data=data: data) for name, data in zip(names, contents, strict=True)]  # type: ignore[misc]
    (session,) = openhands_v1.read_group(sorted(files), [])
    assert [message.content for message in sent(session)][1:] == ["Fix it", "Done.", "And?"]


def test_v1_two_system_prompts_are_two_conversations() -> None:
    data = ex.lines_of([*v1_with(), ex.v1_system("g0", 50), ex.v1_user("g1", 51), ex.v1_said("g2", 52, "Too.", "r9")])
    assert [session.id for session in openhands_v1.read(data, "f", [])] == ["f[1]", "f[2]"]


def test_v1_a_state_alone_is_no_recording() -> None:
    with pytest.raises(CorpusError, match="import the conversation's whole folder"):
        list(openhands_v1.read(json.dumps(ex.v1_state([])).encode(), "f", []))
