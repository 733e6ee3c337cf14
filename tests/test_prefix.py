"""The prefix proof on sessions small enough to count by hand."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from openagentperf.corpus.prefix import Break, Encoded, prove
from openagentperf.records.trajectory import Message, Trajectory, Turn
from trajectories import Cut, branch, encode, rewritten, session


def test_an_append_only_session_has_no_break() -> None:
    proof = prove(session(turns=20), encode)
    assert (proof.turns, proof.breaks) == (20, ())


@pytest.mark.parametrize("cut", ["compaction", "microcompaction", "undeclared"])
def test_a_cut_is_listed_with_what_survives(cut: Cut) -> None:
    # Turn 2 has 6 messages; turn 3 keeps the system prompt and appends two others.
    proof = prove(rewritten(session(turns=4), 3, cut, keep=1), encode)
    system = b'[{"role":"system","content":"You fix bugs."}'
    # The comma after it survives, and `{"role":"` of the next message, which is now an assistant's and was a user's.
    (found,) = proof.breaks
    assert (found.turn, found.cause) == (3, cut)
    assert found.kept_bytes == len(system + b',{"role":"')
    assert bool(proof.undeclared) == (cut == "undeclared")
    assert not proof.encoder


def test_a_cut_to_less_than_was_sent_keeps_no_comma() -> None:
    turns = (
        Turn(appended=(Message("user", "a"), Message("user", "b")), input_tokens=1, output_tokens=1),
        Turn(appended=(), keep=1, cut="compaction", input_tokens=1, output_tokens=1),
    )
    size = len(b'[{"role":"user","content":"a"}')
    want = Break(
        turn=1, cause="compaction", kept_bytes=size, of_bytes=2 * size
    )  # the second: one comma for one bracket
    assert prove(Trajectory(id="t", turns=turns), encode).breaks == (want,)


def test_a_cut_that_changes_nothing_is_no_break() -> None:
    whole = session(turns=4)
    assert prove(rewritten(whole, 3, "compaction", keep=6), encode).breaks == ()


@pytest.mark.parametrize("turns", [2, 3, 5, 9, 30])
def test_an_encoder_that_numbers_its_messages_is_caught_at_the_next_turn(turns: int) -> None:
    calls = itertools.count()

    def numbered(message: Message) -> Encoded:
        body, at = encode(message)
        return Encoded(body[:-1] + b',"id":%d}' % next(calls), at)

    proof = prove(session(turns=turns), numbered)
    assert proof.encoder[0].turn == 1
    assert proof.encoder[0].kept_bytes == len(b'[{"role":"system","content":"You fix bugs.","id":')


def test_an_encoder_that_changes_its_mind_late_is_caught_at_the_last_turn() -> None:
    changed = False

    def late(message: Message) -> Encoded:
        nonlocal changed
        changed = (
            changed or message.content == "file17.py"
        )  # turn 17; the whole history is next encoded anew at turn 29, the last
        body, at = encode(message)
        return Encoded(body.replace(b"You fix", b"You mend") if changed else body, at)

    (found,) = prove(session(turns=30), late).breaks
    assert (found.turn, found.cause) == (29, "encoder")


def test_a_long_session_costs_its_length_times_a_logarithm_not_its_square() -> None:
    calls = itertools.count()

    def counting(message: Message) -> Encoded:
        next(calls)
        return encode(message)

    prove(session(turns=512), counting)
    # 1,024 messages; anew at turns 1, 2, 4, ... 256: 2 (2 + 3 + 5 + ... + 257) = 1,040, and at the last 1,024. The square: 262,656.
    assert next(calls) < 3 * 1_024 + 16


def test_every_line_is_proven() -> None:
    sub_agent = msgspec.structs.replace(
        branch("a", after=0), turns=rewritten(session(turns=4), 3, "undeclared", 1).turns
    )
    proof = prove(msgspec.structs.replace(session(turns=3), branches=(branch("b", after=0), sub_agent)), encode)
    (found,) = proof.undeclared
    assert (found.branch, found.turn) == ("a", 3)
    assert proof.turns == 3 + 2 + 4
