"""OpenHands completion logs: which request goes on with which is told from the messages alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import agent_exports as ex
from imported import counts, sent
from openagentperf.corpus.formats import openhands_completions
from openagentperf.corpus.formats.files import File
from openagentperf.corpusjobs.recordings import read_recordings
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory

EXAMPLES = Path(__file__).parent / "data" / "formats"
S = 1_000_000_000


def test_the_completion_example() -> None:
    skipped: list[Skipped] = []
    data = (EXAMPLES / "03c_openhands_completion.json").read_bytes()
    (session,) = openhands_completions.read(data, "03c", skipped)
    assert skipped == []
    assert session.model == "demo/model"
    assert counts(session) == [(900, 40, 0, "recorded")]
    assert session.turns[0].appended == (Message("system", "You are an agent."), Message("user", "Fix it"))
    assert session.notes == ("1 request read without the other files of its session: import their folder",)


def as_files(records: list[dict[str, Any]], folder: str = "log") -> dict[str, Any]:
    """As OpenHands names them; the timestamp in the name is the answer's."""
    return {f"{folder}/m-{record['timestamp']:.3f}-{index:04}.json": record for index, record in enumerate(records)}


def completions(records: list[dict[str, Any]], skipped: list[Skipped] | None = None) -> list[Trajectory]:
    contents = {name: json.dumps(record).encode() for name, record in as_files(records).items()}
    files = [File(name, lambda data=data: data) for name, data in sorted(contents.items())]  # type: ignore[misc]
    return list(openhands_completions.read_group(files, [] if skipped is None else skipped))


def test_completions_of_a_folder_become_a_session() -> None:
    skipped: list[Skipped] = []
    (session,) = completions(ex.completions(), skipped)
    assert skipped == []
    assert (session.id, session.source, session.language) == ("log-1", "log", "Rust")
    assert counts(session) == [(102, 7, 64, "recorded"), (105, 7, 64, "recorded"), (112, 7, 64, "recorded")]
    # first: answered at 2, the next sent at 5 - 2 = 3; second: 5 .. 10, less the 1 s of the summary
    assert [turn.tool_delay_ns for turn in session.turns] == [1 * S, 4 * S, None]
    assert [turn.cut for turn in session.turns] == ["", "", "compaction"]
    (summary,) = session.branches
    assert (summary.name, summary.after, summary.join, summary.delay_ns) == ("summary", 1, 2, 3 * S)  # sent at 8
    assert sent(summary) == [Message("user", "Sum it up.")]


def test_completions_are_the_same_from_one_file_and_from_a_folder(tmp_path: Path) -> None:
    for name, record in as_files(ex.completions(), "x").items():
        (tmp_path / "x").mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(record))
    (session,) = read_recordings(tmp_path, [])
    (other,) = openhands_completions.read(ex.lines_of(ex.completions()), "f", [])
    assert (session.turns, session.branches) == (other.turns, other.branches)


def task(text: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": "S"}, {"role": "user", "content": text}]


def answered(call: str, result: str = "ok") -> list[dict[str, Any]]:
    return [{"role": "assistant", **ex.chat_call(call)}, {"role": "tool", "tool_call_id": call, "content": result}]


def test_completions_of_sessions_that_ran_at_once_are_told_apart() -> None:
    """Two runs of one task and one of another, interleaved: what each was answered tells them apart."""
    records = [
        ex.completion(2, 1, task("Same"), ex.chat_call("a1")),
        ex.completion(3, 1, task("Same"), ex.chat_call("b1")),
        ex.completion(4, 1, task("Other"), ex.chat_call("c1")),
        ex.completion(6, 1, task("Same") + answered("b1"), ex.chat_call("b2")),
        ex.completion(7, 1, task("Same") + answered("a1"), ex.chat_call("a2")),
        ex.completion(8, 1, task("Other") + answered("c1"), {"content": "Done."}),
        ex.completion(9, 1, task("Same") + answered("b1") + answered("b2"), {"content": "Done."}),
    ]
    calls = [[call.id for message in sent(session) for call in message.tool_calls] for session in completions(records)]
    assert calls == [["a1"], ["b1", "b2"], ["c1"]]


def test_completions_of_a_sub_agent_are_a_branch() -> None:
    prompt = "Search the whole tree for the word."
    ask = ex.chat_call("a1", json.dumps({"prompt": prompt}), "task")
    told = [{"role": "assistant", **ask}, {"role": "tool", "tool_call_id": "a1", "content": "Found."}]
    helper = [{"role": "system", "content": "You search."}, {"role": "user", "content": prompt}]
    records = [
        ex.completion(2, 1, task("Fix it"), ask),
        ex.completion(4, 1, helper, ex.chat_call("h1")),
        ex.completion(7, 1, helper + answered("h1"), {"content": "Found."}),
        ex.completion(10, 1, task("Fix it") + told, {"content": "Done."}),
    ]
    (session,) = completions(records)
    assert len(session.turns) == 2
    # answered at 2, the next sent at 9: 7 s, less the sub-agent's 3 .. 7
    assert session.turns[0].tool_delay_ns == 3 * S
    (branch,) = session.branches
    assert (branch.name, branch.after, branch.join, branch.delay_ns, len(branch.turns)) == ("subagent", 0, 1, 1 * S, 2)
    assert branch.turns[0].tool_delay_ns == 2 * S  # 4 .. 6


@pytest.mark.parametrize(
    ("messages", "answer", "delay"),
    [
        (answered("a1"), ex.chat_call("a1"), 2 * S),  # 2 .. 4
        ([*answered("a1"), {"role": "user", "content": "Go on"}], ex.chat_call("a1"), None),  # a person spoke
        ([{"role": "assistant", "content": "Done."}, {"role": "user", "content": "And?"}], {"content": "Done."}, None),
        (
            [
                {"role": "assistant", "content": "<function=bash>"},
                {"role": "user", "content": "EXECUTION RESULT of [bash]:"},
            ],
            {"content": "<function=bash>"},
            2 * S,
        ),
    ],
)
def test_completions_delays(messages: list[dict[str, Any]], answer: dict[str, Any], delay: int | None) -> None:
    records = [ex.completion(2, 1, task("Go"), answer), ex.completion(5, 1, task("Go") + messages, {"content": "x"})]
    (session,) = completions(records)
    assert session.turns[0].tool_delay_ns == delay


def test_completions_of_v0_have_no_latency_and_no_delay() -> None:
    records = [
        ex.completion(2, 1, task("Go"), ex.chat_call("a1")),
        ex.completion(5, 1, task("Go") + answered("a1"), {"content": "x"}),
    ]
    for record in records:
        del record["latency_sec"], record["usage_summary"]
        record["kwargs"] = {"tools": record.pop("tools")}
        record["response"]["usage"] = {
            "prompt_tokens": 300,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 7},
        }
    (session,) = completions(records)
    assert session.turns[0].tool_delay_ns is None
    assert counts(session) == [(300, 4, 7, "recorded")] * 2
    assert len(session.tools) == 1


def test_completions_in_the_responses_dialect() -> None:
    record = ex.completion(2, 1, [], {"content": ""})
    del record["messages"]
    record |= {
        "llm_path": "responses",
        "instructions": "Be brief.",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Go"}]}],
        "response": {"id": "r", "output": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]},
    }
    (session,) = completions([record])
    assert session.turns[0].appended == (Message("system", "Be brief."), Message("user", "Go"))
    assert session.turns[0].tool_calls == 1


def test_completions_that_move_their_cache_marks_are_no_rewrite() -> None:
    def marked(text: str) -> dict[str, Any]:
        return {"role": "user", "content": [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]}

    system = task("")[:1]
    records = [
        ex.completion(2, 1, [*system, marked("Go")], ex.chat_call("a1")),
        ex.completion(5, 1, [*task("Go"), *answered("a1")], {"content": "x"}),
    ]
    (session,) = completions(records)
    assert [turn.keep for turn in session.turns] == [None, None]


def test_completions_rewritten_without_a_summary_are_undeclared() -> None:
    masked = [answered("a1")[0], {**answered("a1")[1], "content": "<MASKED>"}]
    records = [
        ex.completion(2, 1, task("Go"), ex.chat_call("a1")),
        ex.completion(5, 1, task("Go") + answered("a1"), ex.chat_call("a2")),
        ex.completion(8, 1, task("Go") + masked + answered("a2"), {"content": "x"}),
    ]
    (session,) = completions(records)
    assert [(turn.cut, turn.keep) for turn in session.turns] == [("", None), ("", None), ("undeclared", 3)]


def test_completions_silent_for_a_day_are_given_out_and_failures_are_told() -> None:
    day = 24 * 3600
    again = [ex.completion(2 * day + 10 * k, 1, task(f"T{k}"), {"content": "x"}) for k in range(300)]
    failed = ex.completion(9, 1, task("Go"), {"content": "x"}, error={"type": "Timeout"})
    del failed["response"]
    skipped: list[Skipped] = []
    late = ex.completion(3 * day + 9000, 1, task("Go") + answered("a1"), {"content": "x"})
    sessions = completions([ex.completion(2, 1, task("Go"), ex.chat_call("a1")), failed, *again, late], skipped)
    assert len(sessions) == 302  # the first and the last are a session each: what is kept in memory is a day's
    assert [row.why for row in skipped] == ["a request that failed"]
    with pytest.raises(CorpusError, match="holds no answered request"):
        list(openhands_completions.read(json.dumps(failed).encode(), "f", []))


def test_tools_without_parameters_are_made_up_for_by_text_of_our_own() -> None:
    kind = {"kind": "TerminalTool", "description": "Runs.", "action_type": "TerminalAction"}
    records = [
        ex.completion(2, 1, task("Go"), ex.chat_call("a1")),
        ex.completion(5, 1, task("Go") + answered("a1"), {"content": "x"}),
    ]
    for record in records:
        record["tools"] = [kind]
        record["usage_summary"]["prompt_tokens"] = 1000
    (session,) = completions(records)
    system = session.turns[0].appended[0]
    assert len(session.tools[0]) == 119  # / 3.5 = 34
    # 1000 tokens less 4 + 1 (system), 4 + 1 (user) and 34 (tool): 956, at 3.5 bytes
    assert len(system.content) == len("S\n") + 956 * 7 // 2
    assert session.turns[1].keep is None, "the same text at every turn"
