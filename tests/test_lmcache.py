"""LMCache agent traces: the messages behind joined texts; then the real ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import index_rows
from openagentperf.corpus.detect import detect
from openagentperf.corpus.fit import fault
from openagentperf.corpus.formats import lmcache
from openagentperf.corpus.tokens import estimate
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Skipped, Trajectory, histories
from shared_data import real

EXAMPLES = Path(__file__).parent / "data" / "formats"


def asked(at_us: object, text: object, output: str = "reply", session: object = "s") -> bytes:
    return json.dumps({"timestamp": at_us, "input": text, "output": output, "session_id": session}).encode()


def read(*rows: bytes, skipped: list[Skipped] | None = None) -> list[Trajectory]:
    sessions = list(lmcache.read(b"\n".join(rows), "f", [] if skipped is None else skipped))
    for session in sessions:
        assert fault(session) == ""
    return sessions


def contents(line: Trajectory | Branch) -> list[list[str]]:
    return [[f"{message.role}:{message.content}" for message in messages] for messages in histories(line)]


def test_the_example() -> None:
    data = (EXAMPLES / "18_lmcache_io.jsonl").read_bytes()
    assert detect(data) == "lmcache"
    (session,) = lmcache.read(data, "18.jsonl", [])
    (turn,) = session.turns
    assert (session.id, turn.tool_delay_ns, turn.counted) == ("0" * 32, None, "estimated")
    assert contents(session) == [["user:system + user text"]]
    assert (turn.input_tokens, turn.output_tokens) == (6 + 4, 2)  # 20 bytes: 5.7; "reply": 1.4


def test_answers_that_the_texts_leave_out_are_put_back() -> None:
    first, second = "Task", "Task\n\n<output>\na.py\n</output>"
    (session,) = read(
        asked(3, second + "\n\n<output>\n3 passed\n</output>", "Done."),
        asked(1, first, "I look"),
        asked(2, second, "I test"),
    )
    assert contents(session)[-1] == [
        "user:Task",
        "assistant:I look",
        "user:<output>\na.py\n</output>",
        "assistant:I test",
        "user:<output>\n3 passed\n</output>",
    ]
    assert [turn.keep for turn in session.turns] == [None, None, None]
    assert [turn.tool_delay_ns for turn in session.turns] == [None, None, None]  # the gaps hold the answers
    assert session.notes == ("4 tokens of answers that the recording leaves out of the requests behind them put back",)


def test_the_same_request_again_appends_nothing() -> None:
    (session,) = read(asked(1, "Task", "a"), asked(2, "Task", "b"), asked(3, "Task\n\nOn", "c"))
    assert contents(session) == [["user:Task"], ["user:Task"], ["user:Task", "assistant:b", "user:On"]]


def test_roles_that_open_a_paragraph_are_messages() -> None:
    text = "system: Be brief.\n\nuser: Go\n\nassistant: I look\nuser: no role here\n\nuser: On"
    (session,) = read(asked(1, text))
    assert contents(session) == [
        ["system:Be brief.", "user:Go", "assistant:I look\nuser: no role here", "user:On"],
    ]


def test_requests_of_another_member_of_a_team_are_branches() -> None:
    ledger = "assistant: We work on it.\n\nassistant: step 1"
    coder = "system: You code.\n\nuser: Write it"
    survey, session = read(
        asked(1, "user: What do you know?"),
        asked(2, ledger),
        asked(3, coder),
        asked(4, ledger + "\n\nuser: done\n\nuser: next?"),
        asked(5, coder),
        asked(6, ledger + "\n\nuser: done\n\nassistant: step 2"),
    )
    assert survey.id == "s:before-1"
    assert [(branch.after, branch.join, contents(branch)) for branch in session.branches] == [
        (0, 1, [["system:You code.", "user:Write it"]]),
        (1, 2, [["system:You code.", "user:Write it"]]),
    ]
    # The ledger's last question is not sent again: the team's program rewrites it.
    assert [turn.cut for turn in session.turns] == ["", "", "undeclared"]


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_request_without_text_is_named(text: str) -> None:
    skipped: list[Skipped] = []
    (session,) = read(asked(1, "Task"), asked(2, text), skipped=skipped)
    assert len(session.turns) == 1
    assert skipped == [Skipped("f:2", "a request without text")]


@pytest.mark.parametrize("row", [asked(1, ""), asked(1, 7), b"{}"])
def test_nothing_usable_is_an_error(row: bytes) -> None:
    with pytest.raises(CorpusError, match="holds no usable request"):
        read(row)


def test_sessions_are_told_by_their_ids() -> None:
    assert [session.id for session in read(asked(1, "A", session="a"), asked(2, "B", session=None))] == ["a", "f"]


# --- real traces --------------------------------------------------------------------------------------------------


def test_real_sessions_are_one_line_and_have_no_delays() -> None:
    chosen = index_rows.rows("lmcache-io-jsonl")
    assert len(chosen) == 17
    for row in chosen:
        sessions = index_rows.imported(row, "lmcache")
        turns = index_rows.turns_of(sessions, row)
        assert all(turn.tool_delay_ns is None for turn in turns)
        if row["source"] == "lmcache_miniswe":
            assert len(sessions) == 1
            assert {turn.cut for turn in turns} == {""}


def test_real_texts_are_those_recorded_with_the_answers_between() -> None:
    """The index's counts are of the recorded text, by DeepSeek's vocabulary: ours are estimates of it and of the answers. So texts are
    compared instead, to the byte."""
    for row in index_rows.rows("lmcache-io-jsonl"):
        if row["source"] != "lmcache_miniswe":
            continue
        data = real(row["file"]).read_bytes()
        (session,) = lmcache.read(data, row["file"], [])
        recorded = sorted(map(json.loads, data.splitlines()), key=lambda line: line["timestamp"])
        for turn, messages, line in zip(session.turns, histories(session), recorded, strict=True):
            assert "\n\n".join(message.content for message in messages if message.role == "user") == line["input"]
            assert turn.output_tokens == estimate(line["output"])
        answers = [message.content for message in messages if message.role == "assistant"]
        assert answers == [line["output"] for line in recorded[:-1]]
