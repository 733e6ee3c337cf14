"""Request lengths as CSV."""

from __future__ import annotations

from pathlib import Path

import pytest

from openagentperf.corpus.detect import detect
from openagentperf.corpus.formats import azure_llm
from openagentperf.corpus.tokens import estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

EXAMPLES = Path(__file__).parent / "data" / "formats"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"


def read(*lines: str, skipped: list[Skipped] | None = None) -> list[Trajectory]:
    return list(azure_llm.read("\n".join(lines).encode(), "f.csv", [] if skipped is None else skipped))


def lengths(sessions: list[Trajectory]) -> list[tuple[int, int]]:
    return [(turn.input_tokens, turn.output_tokens) for session in sessions for turn in session.turns]


def test_the_example() -> None:
    data = (EXAMPLES / "12_azure_llm.csv").read_bytes()
    assert detect(data) == "azure-llm"
    skipped: list[Skipped] = []
    sessions = list(azure_llm.read(data, "12.csv", skipped))
    assert skipped == []
    assert lengths(sessions) == [(4808, 10), (3180, 8)]
    assert [session.id for session in sessions] == ["row-2", "row-3"]
    for session in sessions:
        (turn,) = session.turns
        (message,) = turn.appended
        assert (message.role, estimate_message(message)) == ("user", turn.input_tokens)
        assert (turn.tool_delay_ns, turn.counted) == (None, "recorded")
        assert "only the lengths are recorded" in session.notes[0]


def test_no_two_rows_share_text() -> None:
    one, other = read(AZURE, "t,900,5", "t,900,5")
    assert one.turns[0].appended[0].content[:50] != other.turns[0].appended[0].content[:50]


def test_burstgpt_is_told_by_its_header_and_its_failures_are_left_out() -> None:
    skipped: list[Skipped] = []
    sessions = read(BURST, "5,ChatGPT,472,18,490,Conversation log", "45,GPT-4,1087,0,1087,API log", skipped=skipped)
    assert lengths(sessions) == [(472, 18)]
    assert sessions[0].model == "ChatGPT"
    assert skipped == [Skipped("f.csv:3", "an answer of 0 tokens: the request failed, or its length is wrong")]


@pytest.mark.parametrize(
    ("lines", "want"),
    [
        (["\ufeff" + AZURE + "\r", "t,7,5\r", ""], [(7, 5)]),  # a BOM and CRLF, as spreadsheets write
        (["GeneratedTokens,TIMESTAMP,ContextTokens", "5,t,7"], [(7, 5)]),  # by name, not by place
        (["# exported", AZURE, "t,7,5"], [(7, 5)]),
        ([AZURE, '"a, quoted time",7,5'], [(7, 5)]),
        ([AZURE, "t,1,1"], [(1, 1)]),  # sent as five tokens: no message is shorter
    ],
)
def test_columns(lines: list[str], want: list[tuple[int, int]]) -> None:
    assert lengths(read(*lines)) == want


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("t,7", "a row of 2 fields"),
        ("t,seven,5", "a row whose lengths are no whole numbers"),
        ("t,7.5,5", "a row whose lengths are no whole numbers"),
        ("t,0,5", "a prompt of 0 tokens"),
        ("t,-7,5", "a prompt of -7 tokens"),
        ("t,99999999999,5", "a prompt of 99999999999 tokens"),
    ],
)
def test_bad_rows_are_named(row: str, why: str) -> None:
    skipped: list[Skipped] = []
    assert lengths(read(AZURE, "t,7,5", row, skipped=skipped)) == [(7, 5)]
    assert skipped == [Skipped("f.csv:3", why)]


@pytest.mark.parametrize("lines", [[AZURE], ["t,7,5"], ["a,b", "1,2"]])
def test_no_header_or_no_row_is_an_error(lines: list[str]) -> None:
    with pytest.raises(CorpusError, match="holds no usable row"):
        read(*lines)
