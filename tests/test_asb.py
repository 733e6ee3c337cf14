"""agentic-swarm-bench captures: lines of requests, side requests, delays; then the real ones."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

import index_rows
from openagentperf.corpus.detect import detect
from openagentperf.corpus.fit import fault
from openagentperf.corpus.formats import asb
from openagentperf.corpus.formats.prefix import prefix
from openagentperf.corpus.tokens import estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Skipped, Trajectory, histories
from openagentperf.units import NS_PER_MS
from openagentperf.wire.chat import encode_message

EXAMPLES = Path(__file__).parent / "data" / "formats"
SYSTEM = {"role": "system", "content": "x-anthropic-billing-header: cc_version=2.1.104.0a1; You are an agent."}
GO = {"role": "user", "content": "Go"}


def call(number: int) -> dict[str, Any]:
    function = {"name": "Bash", "arguments": '{"command": "go test"}'}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": f"t{number}", "type": "function", "function": function}],
    }


def result(number: int) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"t{number}", "content": f"ok {number}"}


def asked(at_s: float, messages: list[dict[str, Any]], took_s: object = 1.0, **more: Any) -> bytes:
    usual = {"timestamp": f"2026-01-01T10:00:{at_s:09.6f}+00:00", "messages": messages, "ttft_ms": 5.0}
    return json.dumps({"experiment_id": "e", "total_time_s": took_s, "completion_tokens": 7, **usual, **more}).encode()


def read(*rows: bytes, skipped: list[Skipped] | None = None) -> list[Trajectory]:
    sessions = list(asb.read(b"\n".join(rows), "f", [] if skipped is None else skipped))
    for session in sessions:
        assert fault(session) == ""
    return sessions


def contents(line: Trajectory | Branch) -> list[list[str]]:
    return [[f"{message.role}:{message.content}" for message in messages] for messages in histories(line)]


def delays_ms(line: Trajectory | Branch) -> list[int | None]:
    return [None if turn.tool_delay_ns is None else turn.tool_delay_ns // NS_PER_MS for turn in line.turns]


FIRST = [SYSTEM, GO]
SECOND = [*FIRST, call(1), result(1)]
THIRD = [*SECOND, call(2), result(2)]


def test_the_example() -> None:
    data = (EXAMPLES / "17_asb_scenario.jsonl").read_bytes()
    assert detect(data) == "asb"
    (session,) = asb.read(data, "17.jsonl", [])
    (turn,) = session.turns
    assert (session.id, session.model, turn.input_tokens, turn.output_tokens) == ("x", "demo-model", 150, 40)
    system, user = turn.appended
    # The provider counted 150, of which the text is 5 + 4 and 2 + 4: the tools that it was sent beside are filled in.
    assert estimate_message(system) + estimate_message(user) == 150
    assert user.content == "Fix bug"
    assert session.notes == (
        "135 tokens of system prompt and tools that were not recorded filled in with text of our own",
    )


def test_a_session_and_its_delays() -> None:
    (session,) = read(asked(0, FIRST, 2.0), asked(2.5, SECOND, 1.0), asked(10, [*SECOND, call(2), result(2), GO], 1.0))
    assert [turn.tool_calls for turn in session.turns] == [1, 1, 0]
    assert delays_ms(session) == [500, 6_500, None]
    assert [turn.keep for turn in session.turns] == [None, None, None]
    assert (session.harness, session.language, session.turns[1].output_tokens) == ("claude-code 2.1.104", "", 7)


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        (
            [asked(0, FIRST, 2.0), asked(9, [*FIRST, {"role": "assistant", "content": "Done"}, GO])],
            None,
        ),  # a person's pause
        ([asked(0, FIRST, None), asked(9, SECOND)], None),  # no end
        ([asked(0, FIRST, 2.0), asked(1, SECOND)], None),  # the clock ran backwards
        ([asked(0, FIRST, True), asked(9, SECOND)], None),
    ],
)
def test_what_is_no_tools_time(rows: list[bytes], want: int | None) -> None:
    (session,) = read(*rows)
    assert delays_ms(session) == [want, None]


def test_a_side_request_is_a_branch_and_its_wait_is_not_the_tools() -> None:
    search = [{"role": "system", "content": "Search the web."}, {"role": "user", "content": "llvm"}]
    (session,) = read(asked(0, FIRST, 2.0), asked(2.4, search, 5.0), asked(8, SECOND, 1.0), asked(9.5, THIRD, 1.0))
    (branch,) = session.branches
    assert contents(branch) == [["system:Search the web.", "user:llvm"]]
    assert (branch.name, branch.after, branch.join) == ("side-1", 0, 1)
    assert (branch.delay_ns or 0) == 400 * NS_PER_MS
    assert delays_ms(session) == [600, 500, None]  # 8.0 - (2.4 + 5.0)


@pytest.mark.parametrize("took_s", [None, 6.0])
def test_tools_beside_a_side_request_that_may_not_have_ended_have_no_time(took_s: float | None) -> None:
    """Whether it had is not recorded, or it had not: 2.4 + 6.0 is behind 8.0."""
    search = [{"role": "system", "content": "Search the web."}, {"role": "user", "content": "llvm"}]
    (session,) = read(asked(0, FIRST, 2.0), asked(2.4, search, took_s), asked(8, SECOND, 1.0), asked(9.5, THIRD, 1.0))
    assert [(branch.after, branch.join) for branch in session.branches] == [(0, 1)]
    assert delays_ms(session) == [None, 500, None]


def test_side_requests_that_come_back_are_branches_again_with_their_history() -> None:
    first = [{"role": "system", "content": "Name it."}, {"role": "user", "content": "?"}]
    more = [*first, {"role": "assistant", "content": "A name"}, {"role": "user", "content": "??"}]
    (session,) = read(
        asked(0, FIRST), asked(2, first), asked(4, SECOND), asked(6, more), asked(8, THIRD), asked(10, first)
    )
    assert [(branch.after, branch.join) for branch in session.branches] == [(0, 1), (1, 2), (2, None)]
    assert contents(session.branches[1]) == [["system:Name it.", "user:?", "assistant:A name", "user:??"]]


def test_what_ran_before_the_session_is_a_session_of_its_own() -> None:
    title = [{"role": "system", "content": "Make a title."}, GO]
    before, session = read(asked(0, title), asked(2, FIRST), asked(4, SECOND))
    assert (before.id, len(before.turns)) == ("e:before-1", 1)
    assert (session.id, len(session.turns), session.branches) == ("e", 2, ())


def test_a_history_begun_anew_under_the_same_prompt_is_the_session_still() -> None:
    anew = [SYSTEM, {"role": "user", "content": "So far: much"}]
    (session,) = read(asked(0, FIRST), asked(2, SECOND), asked(4, anew))
    assert [(turn.keep, turn.cut) for turn in session.turns] == [(None, ""), (None, ""), (1, "undeclared")]


def test_requests_are_ordered_by_their_start_and_failures_are_left_out() -> None:
    skipped: list[Skipped] = []
    (session,) = read(asked(4, SECOND), asked(2, FIRST, status_code=529), asked(3, FIRST), skipped=skipped)
    assert [len(messages) for messages in contents(session)] == [2, 4]
    assert skipped == [Skipped("f:2", "a request that failed (status 529)")]


def test_untranslated_requests_are_read_in_anthropics_dialect() -> None:
    system = [{"type": "text", "text": "You are an agent."}]
    use = [
        {"type": "text", "text": "I look"},
        {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}},
    ]
    back = [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a.rs"}]}]
    told = [GO, {"role": "assistant", "content": use}, {"role": "user", "content": back}]
    (session,) = read(asked(0, [GO], system=system), asked(2, told, system=system))
    assert contents(session)[1] == ["system:You are an agent.", "user:Go", "assistant:I look", "tool:a.rs"]
    assert delays_ms(session) == [1_000, None]


def test_sessions_of_one_version_share_what_is_filled_in() -> None:
    def system(user: str) -> str:
        (session,) = read(asked(0, [SYSTEM, {"role": "user", "content": user}], prompt_tokens=5_000))
        return session.turns[0].appended[0].content

    one, other = system("Go"), system("Go on, and on, and on")
    assert one[: len(other)] == other
    assert other.removeprefix(f"{SYSTEM['content']}\n") == prefix(
        "claude-code 2.1.104", len(other) - len(SYSTEM["content"]) - 1
    )


@pytest.mark.parametrize(
    "rows", [[b"{}"], [asked(0, [])], [asked(0, FIRST, status_code=500)], [asked(0, [{"role": 7}])]]
)
def test_nothing_usable_is_an_error(rows: list[bytes]) -> None:
    with pytest.raises(CorpusError, match="holds no usable request"):
        read(*rows)


# --- real captures ------------------------------------------------------------------------------------------------

SIDE = {"cpp-builds-gemma-4-31b__cpp-llvm-then-firefox.jsonl": [(0, 1), (2, 3)]}
"""Web searches: spawned by which turn, joined at which."""


def test_every_real_capture_agrees_with_the_index() -> None:
    chosen = index_rows.rows("asb-scenario-jsonl")
    assert len(chosen) == 3
    for row in chosen:
        (session,) = index_rows.imported(row, "asb")
        turns = index_rows.turns_of([session], row)
        assert {what for what in index_rows.counts_off(turns, row) if what.startswith("output")} == set()
        assert {turn.cut for turn in turns} == {""}
        assert [(branch.after, branch.join) for branch in session.branches] == SIDE.get(Path(row["file"]).name, [])
        # All tools answered within 3 s but the two that a person had to allow.
        waits = sorted(turn.tool_delay_ns or 0 for turn in session.turns[:-1])
        assert waits[len(waits) // 2] == pytest.approx(440 * NS_PER_MS, rel=0.1)


def test_real_inputs_counted_by_a_tokenizer_agree_with_the_index() -> None:
    """This model's server counted no input, so ours are estimates, which read the prose of Claude Code's prompt up to 25 % too long. The
    index counts the messages' JSON by DeepSeek's vocabulary; Qwen's counts the same within 5 %."""
    quicktok = pytest.importorskip("quicktok", reason="needs the `tokenizers` extra")
    count = quicktok.get_encoding("qwen3").count
    for row in index_rows.rows("asb-scenario-jsonl"):
        counted: list[int] = []
        for line in index_rows.lines(index_rows.imported(row, "asb")):
            for turn, messages in zip(line.turns, histories(line), strict=True):
                sent = [json.loads(encode_message(message)[0]) for message in messages]
                counted.append(count(json.dumps(sent)))
                assert turn.counted == "estimated"
        told = {"min": min(counted), "mean": statistics.mean(counted), "max": max(counted)}
        assert told == pytest.approx(row["input_tokens"], rel=0.05)
