"""Which turns preflight sends to learn whether a corpus fits."""

from __future__ import annotations

import io

import pytest

from openagentperf.corpus.compiler import CompileOptions, compile_corpus
from openagentperf.corpus.layout import Compiled
from openagentperf.corpus.longest import candidates, size_bytes, size_tokens
from openagentperf.records.trajectory import Message, Trajectory, Turn
from openagentperf.wire.chat import encode_message


def corpus(*trajectories: list[tuple[int, int]]) -> Compiled:
    """One trajectory each: of every turn the bytes that it appends, and its input tokens as recorded; it answers with 10 tokens."""
    file = io.BytesIO()
    compile_corpus(
        (
            Trajectory(
                id=str(number),
                turns=tuple(
                    Turn(appended=(Message("user", "x" * size),), input_tokens=tokens, output_tokens=10)
                    for size, tokens in turns
                ),
            )
            for number, turns in enumerate(trajectories)
        ),
        encode_message,
        CompileOptions(),
        file.write,
    )
    return Compiled(file.getvalue())


# Trajectory 0 was counted by another tokenizer than 1 and 2: fewer bytes, more tokens.
SET = corpus([(100, 500), (100, 900)], [(3000, 300), (10, 310)], [(2000, 200), (10, 210), (10, 220)])


@pytest.mark.parametrize(
    ("count", "limit", "expected"),
    [
        (6, None, [(0, 1), (1, 1), (2, 2)]),  # most tokens first, then by bytes, a trajectory once
        (2, None, [(0, 1), (1, 1)]),
        (6, 910, [(0, 1), (1, 1), (2, 2)]),  # 900 in and 10 out are 910: inclusive
        (6, 909, [(0, 0), (1, 1), (2, 2)]),
        (6, 319, [(1, 0), (2, 2)]),  # 310 + 10 is too long, 300 + 10 is not
        (6, 225, [(2, 1)]),
        (6, 209, []),
    ],
)
def test_the_most_tokens_then_the_most_bytes(count: int, limit: int | None, expected: list[tuple[int, int]]):
    assert candidates(SET, count, limit) == expected


def test_a_trajectory_whose_widest_turn_is_not_its_longest_is_asked_for_both():
    """A compaction that the recording counts higher than what it cut away."""
    cut = Turn(appended=(Message("user", "y"),), input_tokens=800, output_tokens=10, keep=0, cut="compaction")
    wide = Turn(appended=(Message("user", "x" * 4000),), input_tokens=700, output_tokens=10)
    file = io.BytesIO()
    compile_corpus([Trajectory(id="t", turns=(wide, cut))], encode_message, CompileOptions(), file.write)
    assert candidates(Compiled(file.getvalue()), 6) == [(0, 1), (0, 0)]


def test_sizes():
    assert size_tokens(SET, (0, 1)) == 910
    assert size_bytes(SET, (1, 0)) > 3000 > size_bytes(SET, (2, 2)) > 2000
