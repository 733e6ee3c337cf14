"""The cause of an undeclared rewrite, from what is lost and what stands in its place."""

from __future__ import annotations

import pytest
from hypothesis import given

from openagentperf.corpus import rewrites
from openagentperf.corpus.prefix import prove
from openagentperf.corpus.rewrites import cause, causes
from openagentperf.records.trajectory import Branch, Message, Trajectory, Turn, lines
from trajectories import encode, forests, rewritten, session

SAID, ASKED = Message("assistant", "I look."), Message("user", "Look.")
LONG, CUT = Message("tool", "a.c\n" * 50, tool_call_id="c1"), Message("tool", "(50 lines omitted)", tool_call_id="c1")
NEXT = [Message("assistant", "Now this."), Message("user", "ok")]


@pytest.mark.parametrize(
    ("lost", "appended", "want"),
    [
        ([Message("user", "Turn 3 of 100")], [*NEXT, Message("user", "Turn 4 of 100")], rewrites.ENDED),
        ([Message("user", "Mind."), Message("user", "Turn 3")], NEXT, rewrites.ENDED),
        ([Message("user", "The task")], [SAID, Message("user", "The task")], rewrites.MOVED),
        ([Message("user", "Files: a.c")], [Message("user", "Files: a.c, b.c"), *NEXT], rewrites.EDITED),
        ([Message("user", "Files: a.c")], [Message("user", "Another task"), *NEXT], rewrites.REPLACED),
        ([Message("system", "It is 9:01."), ASKED], [Message("system", "It is 9:02."), ASKED, *NEXT], rewrites.SYSTEM),
        ([Message("system", "It is 9:01.")], [Message("system", "It is 9:02."), *NEXT], rewrites.SYSTEM),
        ([LONG, SAID, ASKED], [CUT, SAID, ASKED, *NEXT], rewrites.SHORTENED),
        ([LONG, SAID, LONG, ASKED], [CUT, SAID, CUT, ASKED, *NEXT], rewrites.SHORTENED),
        ([LONG, SAID, CUT, ASKED], [CUT, SAID, LONG, ASKED, *NEXT], rewrites.CHANGED),
        ([CUT, SAID, ASKED], [LONG, SAID, ASKED, *NEXT], rewrites.CHANGED),
        ([LONG, SAID, ASKED], [SAID, ASKED, *NEXT], rewrites.DROPPED),
        ([LONG, SAID, LONG, SAID, ASKED], [Message("user", "(left out)"), SAID, ASKED, *NEXT], rewrites.SHORTENED),
        ([SAID, ASKED], [LONG, SAID, ASKED, *NEXT], rewrites.INSERTED),
        ([SAID, ASKED], [Message("user", "No: do that"), *NEXT], rewrites.REPLACED),
        ([LONG], [], rewrites.REPLACED),
        (
            [Message("user", "")],
            [Message("user", "\ud800")],
            rewrites.REPLACED,
        ),  # half of a surrogate pair raises nothing
    ],
)
def test_causes(lost: list[Message], appended: list[Message], want: str) -> None:
    assert cause(lost, appended) == want
    assert want in rewrites.CAUSES


def test_only_undeclared_rewrites_have_one() -> None:
    assert list(causes(rewritten(session(turns=4), 3, "compaction", 1))) == []
    assert [turn for turn, _ in causes(rewritten(session(turns=4), 3, "undeclared", 1))] == [3]


def test_a_cut_behind_which_the_same_is_sent_is_none() -> None:
    turns = (
        Turn(appended=(ASKED, SAID), input_tokens=1, output_tokens=1),
        Turn(appended=(SAID, ASKED), keep=1, cut="undeclared", input_tokens=1, output_tokens=1),
    )
    assert list(causes(Trajectory(id="a", turns=turns))) == []


def test_two_rewrites_are_each_told_from_the_request_before() -> None:
    turns = (
        Turn(appended=(ASKED, Message("user", "Turn 1")), input_tokens=1, output_tokens=1),
        Turn(appended=(SAID, LONG), keep=1, cut="undeclared", input_tokens=1, output_tokens=1),
        Turn(appended=(SAID, CUT), keep=1, cut="compaction", input_tokens=1, output_tokens=1),
        Turn(appended=(SAID, Message("user", "Turn 4")), input_tokens=1, output_tokens=1),
        Turn(appended=(SAID,), keep=4, cut="undeclared", input_tokens=1, output_tokens=1),
    )
    assert list(causes(Trajectory(id="a", turns=turns))) == [(1, rewrites.ENDED), (4, rewrites.ENDED)]


@given(forests())
def test_what_the_proof_finds_undeclared_has_a_cause_and_nothing_else_has(made: Trajectory) -> None:
    found = {(line.name if isinstance(line, Branch) else "", turn) for line in lines(made) for turn, _ in causes(line)}
    assert found == {(broken.branch, broken.turn) for broken in prove(made, encode).undeclared}
