"""mini-swe-agent trajectories of versions 1 and 2, and what they hold that is no plain chat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from index_rows import imported, recounted, rows, unexpected
from openagentperf.corpus.detect import detect
from openagentperf.corpus.formats import mini_swe_agent
from openagentperf.corpus.tokens import estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory, histories

EXAMPLES = Path(__file__).parent / "data" / "formats"
SYSTEM = {"role": "system", "content": "Be brief."}
TASK = {"role": "user", "content": "Fix it"}
EXIT = {"role": "exit", "content": "diff", "extra": {"exit_status": "Submitted", "submission": "diff"}}


def usage(prompt: int, output: int, **more: Any) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": output, **more}}


def said(text: str, at_s: float | None = None, response: Any = None) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "extra": {"timestamp": at_s, "response": response, "actions": []}}


def seen(text: str, at_s: float | None = None, **extra: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, "extra": {"returncode": 0, "timestamp": at_s, **extra}}


def session_of(*messages: dict[str, Any], **info: Any) -> dict[str, Any]:
    return {
        "info": {"mini_version": "2.4.6", **info},
        "messages": list(messages),
        "trajectory_format": "mini-swe-agent-1.1",
    }


def read(recorded: Any, skipped: list[Skipped] | None = None) -> list[Trajectory]:
    data = json.dumps(recorded).encode()
    assert detect(data) == "mini-swe-agent"
    return list(mini_swe_agent.read(data, "m.traj.json", [] if skipped is None else skipped))


def contents(session: Trajectory) -> list[list[str]]:
    return [[message.content for message in messages] for messages in histories(session)]


def test_the_example_has_one_request_with_its_delay() -> None:
    skipped: list[Skipped] = []
    (session,) = mini_swe_agent.read((EXAMPLES / "02_mini-swe-agent.traj.json").read_bytes(), "02.json", skipped)
    (turn,) = session.turns
    assert skipped == []
    assert (session.harness, session.model) == ("mini-swe-agent 2.4.6", "demo/model")
    assert (turn.input_tokens, turn.output_tokens, turn.counted) == (120, 14, "recorded")
    assert turn.tool_delay_ns == 800_000_000  # .8 - .0
    # The tool's definition is not recorded: the text is filled up to the recorded count.
    assert sum(map(estimate_message, turn.appended)) == 120


@pytest.mark.parametrize(
    ("after", "want_s"),
    [
        ([seen("1", 100.5)], 0.5),
        ([seen("1", 100.5), seen("2", 102.0)], 2.0),  # two calls: the last result
        ([seen("1", 100.5), seen("Stop", 900.0, interrupt_type="UserInterruption")], 0.5),  # a person is no tool
        ([seen("Stop", 900.0, interrupt_type="UserInterruption")], None),
        ([seen("1", 99.0)], None),  # a clock that ran backwards
        ([seen("1")], None),
        ([{"role": "user", "content": "1", "timestamp": 103.0}], 3.0),  # version 1.x: beside the content
    ],
)
def test_delays(after: list[dict[str, Any]], want_s: float | None) -> None:
    (session,) = read(session_of(SYSTEM, TASK, said("one", 100.0), *after, said("two", 1000.0), EXIT))
    assert session.turns[0].tool_delay_ns == (None if want_s is None else want_s * 1e9)
    assert len(session.turns) == 2


def test_a_refused_answer_is_a_request_that_leaves_no_answer_behind() -> None:
    refused = {
        "role": "user",
        "content": "No tool call found",
        "extra": {
            "interrupt_type": "FormatError",
            "response": {"choices": [{"message": {"role": "assistant", "content": "Hm"}}], **usage(60, 9)},
        },
    }
    answers = said("one", response=usage(70, 5)), said("two", response=usage(80, 5))
    (session,) = read(session_of(SYSTEM, TASK, refused, answers[0], seen("1"), answers[1]))
    assert [turn.output_tokens for turn in session.turns] == [9, 5, 5]
    # what the harness sent: the refused answer is not in it
    assert contents(session)[1][1:] == ["Fix it", "No tool call found"]
    assert contents(session)[2][1:] == ["Fix it", "No tool call found", "one", "1"]
    assert all(turn.keep is None for turn in session.turns)


def test_a_refused_answer_that_is_not_recorded_counts_too() -> None:
    refused = {"role": "user", "content": "No", "extra": {"interrupt_type": "FormatError"}}
    (session,) = read(session_of(SYSTEM, TASK, refused, said("one")))
    assert [turn.output_tokens for turn in session.turns] == [1, 1]


def test_tool_calls_and_reasoning() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "cat a.go"}'}}
    asked = {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [call], "extra": {}}
    result = {"role": "tool", "tool_call_id": "c1", "content": "ok", "extra": {"returncode": 0}}
    (session,) = read(session_of(SYSTEM, TASK, asked, result, said("two")))
    assert session.turns[0].tool_calls == 1
    assert session.turns[1].appended[1] == Message("tool", "ok", tool_call_id="c1")
    assert session.language == "Go"


def test_responses_objects_stand_in_place_of_messages() -> None:
    answer = {
        "object": "response",
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"type": "function_call", "call_id": "c1", "name": "bash", "arguments": '{"command": "ls"}'},
        ],
        "usage": {"input_tokens": 90, "output_tokens": 11, "input_tokens_details": {"cached_tokens": 64}},
        "extra": {"timestamp": 10.0},
    }
    result = {"type": "function_call_output", "call_id": "c1", "output": "ok", "extra": {"timestamp": 10.25}}
    (session,) = read(session_of(SYSTEM, TASK, answer, result, said("two")))
    first, second = session.turns
    assert (first.input_tokens, first.cached_tokens, first.output_tokens) == (90, 64, 11)
    assert (first.tool_calls, first.tool_delay_ns) == (1, 250_000_000)
    assert second.appended[1] == Message("tool", "ok", tool_call_id="c1")


@pytest.mark.parametrize(
    ("named", "want"), [({"instance_id": "org__repo-1"}, "org__repo-1"), ({"instance_id": 7}, ""), ({}, "")]
)
def test_a_run_over_a_benchmark_names_the_task(named: dict[str, object], want: str) -> None:
    (session,) = read(session_of(SYSTEM, TASK, said("one")) | named)
    assert session.task == want


def test_the_last_message_is_never_sent() -> None:
    (session,) = read(session_of(SYSTEM, TASK, said("one"), EXIT, said("never")))
    assert contents(session)[-1] == ["Be brief.", "Fix it", "one"]
    assert session.notes == ()


def test_a_bare_list_is_told_by_what_the_prompt_asks_for() -> None:
    asks = {"role": "system", "content": "To finish: `echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT`."}
    (session,) = read([asks, TASK, {"role": "assistant", "content": "```bash\ncat a.rs\n```"}])
    assert (session.id, session.harness, session.language) == ("m.traj.json", "mini-swe-agent", "Rust")
    assert detect(json.dumps([SYSTEM, TASK]).encode()) == "openai-chat"


def test_bad_messages_are_named_and_the_rest_is_used() -> None:
    skipped: list[Skipped] = []
    (session,) = read(session_of(SYSTEM, TASK, {"role": 7}, said("one", response="repr(...)")), skipped)
    assert len(session.turns) == 1
    assert [row.where for row in skipped] == ["m.traj.json: message 3"]


def test_nothing_answered_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no session with an answer"):
        read(session_of(SYSTEM, TASK))


def test_real_files_give_the_figures_of_their_index() -> None:
    chosen = rows("mini-swe-agent-v1 (bare message list)")
    found = {row["file"]: recounted(imported(row, "mini-swe-agent"), row) for row in chosen}
    assert len(found) >= 2
    assert unexpected(found, {}) == []
