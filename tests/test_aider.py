"""Aider's two logs: Markdown that may hold Markdown, and prompts as they were sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from openagentperf.corpus.detect import detect
from openagentperf.corpus.formats import aider
from openagentperf.corpus.tokens import estimate_message
from openagentperf.corpusjobs.recordings import read_recordings
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory, histories

EXAMPLES = Path(__file__).parent / "data" / "formats"
OPENING = (
    "\n# aider chat started at 2026-01-01 10:00:00\n\n> Aider v0.86.2  \n> Main model: m with diff edit format  \n"
)


def read(text: str, skipped: list[Skipped] | None = None) -> list[Trajectory]:
    data = text.encode()
    assert detect(data) == "aider"
    return list(aider.read(data, "a.md", [] if skipped is None else skipped))


def contents(session: Trajectory) -> list[list[str]]:
    return [[message.content for message in messages] for messages in histories(session)]


def test_the_chat_history_example() -> None:
    skipped: list[Skipped] = []
    (session,) = aider.read((EXAMPLES / "07a_aider.chat.history.md").read_bytes(), "07a.md", skipped)
    (turn,) = session.turns
    assert skipped == []
    assert (session.id, session.harness, session.model) == ("07a.md:2", "aider 0.86.2", "demo/model")
    assert session.language == "Python"
    # 2.6k sent, 412 cache hit, 96 received
    assert (turn.input_tokens, turn.cached_tokens, turn.output_tokens, turn.counted) == (2600, 412, 96, "recorded")
    assert turn.tool_delay_ns is None
    system, user = turn.appended
    assert user == Message("user", "fix the off-by-one in loop.py")
    assert estimate_message(system) + estimate_message(user) == 2600
    assert f"1 {aider.ROUNDED}" in session.notes


def test_the_prompt_log_example() -> None:
    skipped: list[Skipped] = []
    (session,) = aider.read((EXAMPLES / "07b_aider_llm_history.txt").read_bytes(), "07b.txt", skipped)
    (turn,) = session.turns
    assert skipped == []
    assert turn.appended == (
        Message("system", "Act as an expert software developer."),
        Message("user", "fix the off-by-one in loop.py"),
    )
    assert (turn.output_tokens, turn.counted) == (6, "estimated")  # "Here is the change:", 19 bytes at 3.5
    assert turn.tool_delay_ns is None


@pytest.mark.parametrize(
    ("body", "want"),
    [
        # two lines of one question
        ("\n#### one  \n#### two  \n\nA.\n", [["one\ntwo"]]),
        # two questions, the first broken off
        ("\n#### one  \n\n#### two  \n\nA.\n", [["one", "two"]]),
        # commands are not sent, what they take as a question is
        ("\n#### /add a.py  \n\n> Added a.py  \n\n#### /ask why?  \n\nA.\n", [["why?"]]),
        (
            "\n#### one  \n\nA.\n\n> Tokens: 9 sent, 2 received.  \n\n#### two  \n\nB.\n",
            [["one"], ["one", "A.", "two"]],
        ),
        # the program asks again by itself
        ("\n#### one  \n\nA.\n\n> No such file b.py  \n\nB.\n", [["one"], ["one", "A.", "No such file b.py"]]),
        # a code block of an answer may hold lines that look like the program's
        ("\n#### one  \n\n```md\n#### x\n> y\n```\n\n> Applied edit to a.md  \n", [["one"]]),
        # a line of the program that goes on, as with both cache counts
        ("\n#### one  \n\nA.\n\n> Tokens: 9 sent, 2 received.\nCost: $0.01 message, $0.01 session.  \n", [["one"]]),
        # the history is cleared
        ("\n#### one  \n\nA.\n\n#### /clear  \n\n#### two  \n\nB.\n", [["one"], ["two"]]),
        # trailing spaces stripped by an editor
        ("\n#### one\n\nA.\n\n> Tokens: 9 sent, 2 received.\n\n#### two\n\nB.\n", [["one"], ["one", "A.", "two"]]),
    ],
)
def test_what_was_sent(body: str, want: list[list[str]]) -> None:
    opening = OPENING if "  \n" in body else OPENING.replace("  \n", "\n")
    (session,) = read(opening + body)
    sent = [
        [text for text in texts if not text.startswith("- ")] for texts in contents(session)
    ]  # without what was filled in
    assert sent == want


@pytest.mark.parametrize(
    ("report", "want"),
    [
        ("Tokens: 412 sent, 96 received.", (412, 96, None)),
        ("Tokens: 2.6k sent, 96 received. Cost: $0.01 message, $0.01 session.", (2600, 96, None)),
        ("Tokens: 12k sent, 1.1k cache write, 2k cache hit, 1.5k received.", (12_000, 1500, 2000)),
        ("Tokens: 100 sent, 2k cache hit, 9 received.", (2100, 9, 2000)),  # what the cache served is counted apart
        ("Tokens: 1.2.3k sent, 9 received.", (None, 9, None)),
    ],
)
def test_counts(report: str, want: tuple[int | None, int, int | None]) -> None:
    (session,) = read(f"{OPENING}\n#### Go  \n\nA.\n\n> {report}  \n")
    (turn,) = session.turns
    assert (turn.input_tokens if turn.counted == "recorded" else None, turn.output_tokens, turn.cached_tokens) == want


def test_sessions_without_an_answer_are_named() -> None:
    skipped: list[Skipped] = []
    sessions = read(f"{OPENING}\n#### /exit  \n{OPENING}\n#### Go  \n\nA.\n{OPENING}", skipped)
    assert [session.id for session in sessions] == ["a.md:9"]
    assert [row.where for row in skipped] == ["a.md:2", "a.md:18"]


def prompt(*messages: str) -> str:
    return "TO LLM 2026-01-01T10:00:05\n" + "".join(f"-------\n{message}\n" for message in messages)


def answer(text: str) -> str:
    return f"LLM RESPONSE 2026-01-01T10:00:09\nASSISTANT {text}\n"


def test_prompts_of_one_session_and_the_next() -> None:
    first = prompt("SYSTEM s\nSYSTEM \nSYSTEM t", "USER one") + answer("A.")
    second = prompt("SYSTEM s\nSYSTEM \nSYSTEM t", "USER one", "ASSISTANT A.", "USER two\nUSER -------") + answer("B.")
    third = prompt("SYSTEM s", "USER other") + answer("C.")
    one, other = read(first + second + third)
    assert contents(one) == [["s\n\nt", "one"], ["s\n\nt", "one", "A.", "two\n-------"]]
    assert contents(other) == [["s", "other"]]
    assert (one.id, other.id) == ("a.md:1", "a.md:24")
    assert one.turns[1].keep is None


def test_a_prompt_that_rewrites_is_marked() -> None:
    first = prompt("USER files v1", "USER one") + answer("A.")
    second = prompt("USER files v2", "USER one", "ASSISTANT A.", "USER two") + answer("B.")
    (session,) = read(first + second)
    assert (session.turns[1].keep, session.turns[1].cut) == (0, "undeclared")


def test_prompts_without_an_answer_are_left_out() -> None:
    failed = prompt("USER one") + "LLM RESPONSE 2026-01-01T10:00:09\n\n"
    (session,) = read(failed + prompt("USER one") + answer("A.") + prompt("USER two"))
    assert contents(session) == [["one"]]
    assert session.notes == ("2 prompts without an answer left out",)


def test_logs_are_found_in_a_folder_though_hidden(tmp_path: Path) -> None:
    (tmp_path / ".aider.tags.cache.v4").mkdir()
    (tmp_path / ".aider.tags.cache.v4" / ".aider.chat.history.md").write_text("not looked at")
    (tmp_path / ".aider.input.history").write_text("not looked at")
    (tmp_path / ".aider.chat.history.md").write_text(f"{OPENING}\n#### Go  \n\nA.\n")
    skipped: list[Skipped] = []
    (session,) = read_recordings(tmp_path, skipped)
    assert session.format == "aider"
    assert skipped == []


@pytest.mark.parametrize("text", ["# aider chat started at noon", " TO LLM 2026-01-01T10:00:05", '{"a": "TO LLM"}'])
def test_other_text_is_not_taken(text: str) -> None:
    assert detect(text.encode()) is None


def test_nothing_answered_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no session with an answer"):
        read(OPENING)
