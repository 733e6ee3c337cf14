"""SWE-agent trajectories: what was really sent where it is recorded, the uncut history where it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from index_rows import imported, recounted, rows, unexpected
from openagentperf.corpus.detect import detect
from openagentperf.corpus.formats import swe_agent
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Message, Skipped, ToolCall, Trajectory, histories

EXAMPLES = Path(__file__).parent / "data" / "formats"
SYSTEM = {"role": "system", "content": "Be brief.", "agent": "main", "message_type": "system_prompt"}
TASK = {"role": "user", "content": "Fix it", "agent": "main", "message_type": "observation"}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "action": "ls", "agent": "main", "message_type": "action", **more}


def seen(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, "agent": "main", "message_type": "observation", **more}


def step(response: str, **more: Any) -> dict[str, Any]:
    return {"action": "ls", "observation": "x", "response": response, "thought": response, "state": "{}", **more}


def read(session: dict[str, Any], skipped: list[Skipped] | None = None) -> list[Trajectory]:
    data = json.dumps(session).encode()
    assert detect(data) == "swe-agent"
    return list(swe_agent.read(data, "s.traj", [] if skipped is None else skipped))


def contents(session: Trajectory | Branch) -> list[list[str]]:
    return [[message.content for message in messages] for messages in histories(session)]


def test_the_example_has_one_request_with_its_prompt() -> None:
    skipped: list[Skipped] = []
    (session,) = swe_agent.read((EXAMPLES / "01_swe-agent.traj").read_bytes(), "01.traj", skipped)
    (turn,) = session.turns
    assert skipped == []
    assert (session.id, session.harness, session.language) == ("01.traj", "swe-agent", "")
    assert turn.appended == (Message("system", "You fix bugs."), Message("user", "Fix app.rb"))
    assert turn.tool_delay_ns == 210_000_000  # execution_time 0.21
    assert turn.tool_calls == 1
    # ceil(13 / 3.5) + 4 and ceil(10 / 3.5) + 4; "Look around first." ceil(18 / 3.5), "bash" 2, {"command": "ls -F"} ceil(20 / 3.5)
    assert (turn.input_tokens, turn.output_tokens, turn.counted) == (8 + 7, 6 + 2 + 6, "estimated")


def test_history_is_taken_where_no_prompt_is_recorded() -> None:
    history = [SYSTEM, TASK, said("one"), seen("1"), said("two"), seen("2")]
    steps = [step("one", execution_time=0.5), step("two", execution_time=1.5)]
    (session,) = read({"environment": "main", "trajectory": steps, "history": history, "info": {}})
    assert contents(session) == [["Be brief.", "Fix it"], ["Be brief.", "Fix it", "one", "1"]]
    assert [turn.tool_delay_ns for turn in session.turns] == [500_000_000, 1_500_000_000]


def test_a_file_without_steps_has_no_delays() -> None:
    (session,) = read({"history": [SYSTEM, TASK, said("one"), seen("1"), said("two")]})
    assert [turn.tool_delay_ns for turn in session.turns] == [None, None]


def test_steps_without_a_history_are_enough_with_their_prompts() -> None:
    steps = [step("one", query=[SYSTEM, TASK]), step("two", query=[SYSTEM, TASK, said("one"), seen("1")])]
    (session,) = read({"trajectory": steps})
    assert [len(messages) for messages in contents(session)] == [2, 4]
    assert session.turns[0].output_tokens == 2  # "one" and the action, "one\nls": ceil(6 / 3.5)


def test_prompts_win_over_history_and_rewrites_are_marked() -> None:
    cut = seen("Old output omitted")
    first, second = [SYSTEM, TASK], [SYSTEM, TASK, said("one"), seen("long")]
    third = [SYSTEM, TASK, said("one"), cut, said("two"), seen("2")]
    steps = [step("one", query=first), step("two", query=second), step("three", query=third)]
    history = [*second, said("two"), seen("2"), said("three")]
    (session,) = read({"trajectory": steps, "history": history})
    assert contents(session)[2][3] == "Old output omitted"
    assert [turn.cut for turn in session.turns] == ["", "", "undeclared"]
    assert session.turns[2].keep == 3  # up to the first answer


def test_marks_for_the_cache_are_no_rewrite() -> None:
    marked = {**TASK, "content": [{"type": "text", "text": "Fix it", "cache_control": {"type": "ephemeral"}}]}
    steps = [step("one", query=[SYSTEM, marked]), step("two", query=[SYSTEM, TASK, said("one"), seen("1")])]
    (session,) = read({"trajectory": steps})
    assert [turn.keep for turn in session.turns] == [None, None]


def test_lists_written_after_a_step_are_the_next_ones_prompt() -> None:
    after_one = [SYSTEM, TASK, said("one"), seen("1")]
    after_two = [*after_one, said("two"), seen("2")]
    steps = [step("one", messages=after_one), step("two", messages=after_two)]
    (session,) = read({"trajectory": steps, "history": after_two})
    assert [len(messages) for messages in contents(session)] == [2, 4]


def test_a_step_of_the_program_itself_is_no_request() -> None:
    steps = [step("one", query=[SYSTEM, TASK]), step("Exit due to cost limit", query=[{}])]
    (session,) = read(
        {"trajectory": steps, "history": [SYSTEM, TASK, said("one")], "info": {"model_stats": {"api_calls": 3}}}
    )
    assert len(session.turns) == 1
    assert session.notes == ("1 steps that asked the model nothing left out", f"2 {swe_agent.REFUSED}")


def test_demonstrations_are_history() -> None:
    demo = [seen("Demo", is_demo=True), said("shown", is_demo=True), seen("shown too", is_demo=True)]
    (session,) = read({"history": [SYSTEM, *demo, TASK, said("one")]})
    assert contents(session) == [["Be brief.", "Demo", "shown", "shown too", "Fix it"]]


def test_results_name_their_call_in_a_list() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command":"ls a.rb"}'}}]
    result = {"role": "tool", "content": "ok", "agent": "main", "tool_call_ids": ["c1"]}
    thinking = [{"type": "thinking", "thinking": "Hm.", "signature": "x"}]
    asked = said("one", tool_calls=calls, thinking_blocks=thinking, action="ls a.rb")
    (session,) = read({"history": [SYSTEM, TASK, asked, result, said("two")]})
    assert session.turns[1].appended == (
        Message("assistant", "one", "Hm.", (ToolCall("c1", "bash", '{"command":"ls a.rb"}'),)),
        Message("tool", "ok", tool_call_id="c1"),
    )
    assert session.language == "Ruby"


def test_an_agent_called_by_the_main_one_is_a_branch() -> None:
    other = {"agent": "helper"}
    history = [
        SYSTEM, TASK, said("one"), {**SYSTEM, **other}, seen("Look", **other), said("found", **other), seen("1"), said("two"),
    ]  # fmt: skip
    (session,) = read({"history": history})
    assert contents(session)[1] == ["Be brief.", "Fix it", "one", "1"]
    (branch,) = session.branches
    assert (branch.name, branch.after, branch.join) == ("helper", 0, 1)
    assert contents(branch) == [["Be brief.", "Look"]]


def test_attempts_are_sessions_of_their_own() -> None:
    attempt = {"history": [SYSTEM, TASK, said("one")]}
    sessions = read({**attempt, "attempts": [attempt, attempt]})
    assert [session.id for session in sessions] == ["s.traj:attempt-1", "s.traj:attempt-2"]


@pytest.mark.parametrize("as_text", [True, False])
def test_the_configuration_names_model_and_task(as_text: bool) -> None:
    config = {"agent": {"model": {"name": "m"}}, "problem_statement": {"id": "org__repo-1"}}
    recorded = json.dumps(config) if as_text else config
    (session,) = read(
        {"history": [SYSTEM, TASK, said("one")], "replay_config": recorded, "info": {"swe_agent_version": "1.1.0"}}
    )
    assert (session.model, session.task, session.harness) == ("m", "org__repo-1", "swe-agent 1.1.0")


def test_an_uncut_history_of_a_program_that_cuts_says_so() -> None:
    config = {"agent": {"history_processors": [{"type": "last_n_observations", "n": 5}]}}
    (session,) = read({"history": [SYSTEM, TASK, said("one")], "replay_config": json.dumps(config)})
    assert session.notes == (f"1 {swe_agent.SHORTENED}",)


def test_bad_items_are_named_and_the_rest_is_used() -> None:
    skipped: list[Skipped] = []
    (session,) = read({"trajectory": [7], "history": [SYSTEM, TASK, {"role": 5}, said("one")]}, skipped)
    assert len(session.turns) == 1
    assert [row.where for row in skipped] == ["s.traj: history 3", "s.traj: step 1"]


def test_nothing_answered_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no session with an answer"):
        read({"history": [SYSTEM, TASK]})


@pytest.mark.parametrize(
    "record",
    [
        {"history": [{"id": 0, "source": "user", "action": "message", "args": {}}], "instance_id": "x"},  # OpenHands
        {"trajectory": [{"role": "ai", "text": "x"}]},  # Nebius
        {"history": []},
        {"history": 7},
    ],
)
def test_neighbours_are_not_taken(record: dict[str, Any]) -> None:
    assert detect(json.dumps(record).encode()) != "swe-agent"


SENT = "the index counts the uncut history; the file holds what was sent, with old observations cut"
CUT_FILE = (
    "replay__marshmallow-code__marshmallow-1867__function_calling__marshmallow-code__marshmallow-1867_ab7432.traj"
)
EXCEPTIONS = {(CUT_FILE, "input mean"): SENT, (CUT_FILE, "input max"): SENT}


def test_real_files_give_the_figures_of_their_index() -> None:
    found = {row["file"]: recounted(imported(row, "swe-agent"), row) for row in rows("swe-agent-traj")}
    assert len(found) >= 18
    assert unexpected(found, EXCEPTIONS) == []
