"""Cut to the context, delays drawn, nonsense told."""

from __future__ import annotations

import statistics

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.corpus.fit import (
    DELAY_CAP_NS,
    DELAY_FLOOR_NS,
    cut,
    fault,
    missing_delays,
    recorded_delays,
    shorten_delays,
    turns_of,
    with_delays,
)
from openagentperf.records.trajectory import Branch, Message, Trajectory, Turn, lines
from openagentperf.units import NS_PER_S
from trajectories import branch, forests, session


@pytest.mark.parametrize(
    ("limit", "turns"),
    [
        (1_000, 4),
        (260, 4),  # the last turn has 250 + 10 tokens: inclusive
        (259, 3),
        (110, 1),  # the first has 100 + 10
        (109, None),
    ],
)
def test_cut_keeps_the_turns_before_the_first_that_is_too_long(limit: int, turns: int | None) -> None:
    found = cut(session(turns=4), limit)
    assert (found and len(found.turns)) == turns


def test_turns_behind_a_compaction_are_not_reached() -> None:
    whole = session(turns=4)
    long = msgspec.structs.replace(whole.turns[2], input_tokens=5_000)
    found = cut(msgspec.structs.replace(whole, turns=(*whole.turns[:2], long, whole.turns[3])), 1_000)
    assert found is not None
    assert found.turns == whole.turns[:2]


def test_recorded_delays_stay_and_the_last_turn_waits_for_nothing() -> None:
    whole = session(turns=4)
    recorded = msgspec.structs.replace(whole.turns[1], tool_delay_ns=90 * NS_PER_S)
    whole = msgspec.structs.replace(whole, turns=(whole.turns[0], recorded, *whole.turns[2:]))
    first, second, third, last = (turn.tool_delay_ns for turn in with_delays(whole, seed=1).turns)
    assert second == 90 * NS_PER_S
    assert last is None
    assert first != third
    assert missing_delays(whole) == 2
    assert missing_delays(with_delays(whole, seed=1)) == 0


@given(forests(), st.integers(0, 1 << 50))
def test_shortened_delays_are_the_smaller_of_delay_and_limit(whole: Trajectory, limit_ns: int) -> None:
    shortened, number = shorten_delays(whole, limit_ns)
    assert list(recorded_delays(shortened)) == [min(delay, limit_ns) for delay in recorded_delays(whole)]
    assert number == sum(delay > limit_ns for delay in recorded_delays(whole))
    assert without_delays(shortened) == without_delays(whole)


def without_delays(whole: Trajectory) -> Trajectory:
    def bare(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        return tuple(msgspec.structs.replace(turn, tool_delay_ns=None) for turn in turns)

    branches = tuple(msgspec.structs.replace(b, turns=bare(b.turns), delay_ns=None) for b in whole.branches)
    return msgspec.structs.replace(whole, turns=bare(whole.turns), branches=branches)


def test_a_cap_holds_for_drawn_delays_too() -> None:
    free, capped, tiny = (
        [turn.tool_delay_ns or 0 for turn in with_delays(session("a", turns=101), 1, cap_ns).turns[:-1]]
        for cap_ns in (DELAY_CAP_NS, NS_PER_S, NS_PER_S // 100)
    )
    assert capped == [min(delay, NS_PER_S) for delay in free]
    assert 20 < capped.count(NS_PER_S) < 80, "half of all draws are above the median of 1 s"
    assert set(tiny) == {NS_PER_S // 100}, "a cap below the floor wins"


def test_drawn_delays_have_the_median_and_sigma_of_the_methodology() -> None:
    drawn = [
        turn.tool_delay_ns or 0
        for n in range(100)
        for turn in with_delays(session(str(n), turns=41), seed=7).turns[:-1]
    ]
    assert len(drawn) == 4_000
    # Standard error of the median of a log-normal: 1.25 x sigma / sqrt(n) = 2.6 %; five of them.
    assert 0.87 < statistics.median(drawn) / NS_PER_S < 1.13
    # P(delay > e^1.3 s) = P(z > 1) = 15.9 %, standard error 0.58 %
    assert 0.13 < sum(delay > 3.669 * NS_PER_S for delay in drawn) / 4_000 < 0.19
    assert DELAY_FLOOR_NS == min(drawn) <= max(drawn) <= DELAY_CAP_NS


def test_a_draw_depends_on_seed_id_and_turn_alone() -> None:
    long, short = session("a", turns=9), session("a", turns=3)
    assert with_delays(long, 1).turns[:2] == with_delays(short, 1).turns[:2]
    assert with_delays(long, 1) != with_delays(long, 2)
    assert [t.tool_delay_ns for t in with_delays(session("b", turns=9), 1).turns] != [
        t.tool_delay_ns for t in with_delays(long, 1).turns
    ]


@pytest.mark.parametrize(
    ("turns", "why"),
    [
        ((), "it has no turns"),
        ((Turn(appended=(), input_tokens=1, output_tokens=1),), "turn 0 has no message"),
        ((Turn(appended=(Message("user"),), input_tokens=1, output_tokens=0),), "turn 0 has 1 input and 0 output tokens"),
        ((Turn(appended=(Message("user"),), input_tokens=1, output_tokens=1, keep=1),), "turn 0 keeps 1 messages of 0"),
        ((Turn(appended=(Message("user"),), input_tokens=1, output_tokens=1, keep=-1),), "turn 0 keeps -1 messages of 0"),
        (
            (Turn(appended=(Message("user"),), input_tokens=1, output_tokens=1, tool_delay_ns=-5),),
            "turn 0 has a tool delay of -5 ns",
        ),
    ],
)  # fmt: skip
def test_nonsense_is_told(turns: tuple[Turn, ...], why: str) -> None:
    assert fault(Trajectory(id="t", turns=turns)) == why


TREE = msgspec.structs.replace(
    session(turns=4),
    branches=(
        branch("a", after=0, join=1),
        branch("a1", after=1, parent="a"),
        branch("b", after=1, join=3),
        branch("c", after=3),
    ),
)
"""Of each line turn k has 100 + 50 k tokens in and 10 out."""


def test_a_tree_is_sound() -> None:
    assert fault(TREE) == ""
    assert turns_of(TREE) == 4 + 4 * 2


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"name": ""}, "branch '' has no name of its own"),
        ({"name": "a"}, "branch 'a' has no name of its own"),
        ({"parent": "c"}, "branch 'b': its parent 'c' does not stand before it"),
        ({"parent": "b"}, "branch 'b': its parent 'b' does not stand before it"),
        ({"after": 4}, "branch 'b': it is spawned by turn 4 of a line with 4 turns"),
        ({"after": -1}, "branch 'b': it is spawned by turn -1 of a line with 4 turns"),
        ({"after": 3}, "branch 'b': spawned by turn 3, it is joined at turn 3 of a line with 4 turns"),
        ({"join": 4}, "branch 'b': spawned by turn 1, it is joined at turn 4 of a line with 4 turns"),
        ({"parent": "a"}, "branch 'b': spawned by turn 1, it is joined at turn 3 of a line with 2 turns"),
        ({"delay_ns": -1}, "branch 'b': it is spawned after -1 ns"),
        ({"turns": ()}, "branch 'b': it has no turns"),
        ({"turns": (Turn(appended=(), input_tokens=1, output_tokens=1),)}, "branch 'b': turn 0 has no message"),
    ],
)  # fmt: skip
def test_a_branch_that_hangs_nowhere_is_told(made: dict[str, object], why: str) -> None:
    a, a1, b, c = TREE.branches
    broken = msgspec.structs.replace(b, **made)
    assert fault(msgspec.structs.replace(TREE, branches=(a, a1, broken, c))) == why


def cut_to(limit: int) -> list[tuple[str, int, int | None]]:
    """What is left of TREE: name, turns and join of each line."""
    found = cut(TREE, limit)
    assert found is not None
    return [
        (line.name, len(line.turns), line.join) if isinstance(line, Branch) else ("", len(line.turns), None)
        for line in lines(found)
    ]


def test_cut_goes_through_the_tree() -> None:
    assert cut(TREE, 1_000) is TREE
    # The main line's last turn has 260 tokens: with it goes `c`, which it spawned, and the join of `b`.
    assert cut_to(259) == [("", 3, None), ("a", 2, 1), ("a1", 2, None), ("b", 2, None)]
    # One turn a line: nothing is left that would join, and what a second turn spawned is gone, its own branches with it.
    assert cut_to(110) == [("", 1, None), ("a", 1, None)]
    long = msgspec.structs.replace(TREE.turns[0], input_tokens=5_000)
    first_too_long = msgspec.structs.replace(TREE.branches[0], turns=(long,))
    found = cut(msgspec.structs.replace(TREE, branches=(first_too_long, *TREE.branches[1:])), 1_000)
    assert found is not None
    assert [b.name for b in found.branches] == ["b", "c"], "a branch of which no turn fits, and what it spawned"
    assert found.turns is TREE.turns


def test_delays_are_drawn_for_every_line_and_not_twice_the_same() -> None:
    drawn = with_delays(TREE, seed=1)
    assert missing_delays(TREE) == 3 + 4
    assert missing_delays(drawn) == 0
    firsts = [line.turns[0].tool_delay_ns for line in lines(drawn)]
    assert len(set(firsts)) == len(firsts)
    assert [b.turns[-1].tool_delay_ns for b in drawn.branches] == [None] * 4
    assert drawn.turns == with_delays(session(turns=4), seed=1).turns, "sub-agents do not change the main line's draws"


@given(forests(), st.integers(0, 1 << 41))
def test_what_fits_is_sound_and_within_the_limit(trajectory: Trajectory, limit: int) -> None:
    assert fault(trajectory) == ""
    found = cut(trajectory, limit)
    if found is not None:
        assert fault(with_delays(found, 1)) == ""
        assert all(turn.input_tokens + turn.output_tokens <= limit for line in lines(found) for turn in line.turns)
