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
    shorten_delays,
    with_delays,
)
from openagentperf.records.trajectory import Message, Trajectory, Turn
from openagentperf.units import NS_PER_S
from trajectories import session, trajectories


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


@given(trajectories(), st.integers(0, 1 << 50))
def test_shortened_delays_are_the_smaller_of_delay_and_limit(whole: Trajectory, limit_ns: int) -> None:
    shortened, number = shorten_delays(whole, limit_ns)
    before, after = ([turn.tool_delay_ns for turn in t.turns] for t in (whole, shortened))
    assert after == [None if delay is None else min(delay, limit_ns) for delay in before]
    assert number == sum(a != b for a, b in zip(before, after, strict=True))
    assert msgspec.structs.replace(shortened, turns=whole.turns) == whole


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


@given(trajectories(), st.integers(0, 1 << 41))
def test_what_fits_is_sound_and_within_the_limit(trajectory: Trajectory, limit: int) -> None:
    assert fault(trajectory) == ""
    found = cut(trajectory, limit)
    if found is not None:
        assert fault(with_delays(found, 1)) == ""
        assert all(turn.input_tokens + turn.output_tokens <= limit for turn in found.turns)
