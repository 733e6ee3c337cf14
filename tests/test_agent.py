"""The closed loop, told the time: what is sent next, and when."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.agent import FAILURE_PAUSE_NS, Agent


class Set:
    """A corpus of which only lengths and delays are known."""

    def __init__(self, turns: list[int], delay_ns: int = 5) -> None:
        self._turns, self._delay_ns = turns, delay_ns
        self.trajectories, self.total_turns = len(turns), sum(turns)

    def turns(self, trajectory: int) -> int:
        return self._turns[trajectory]

    def locate(self, number: int) -> tuple[int, int]:
        for trajectory, n in enumerate(self._turns):
            if number < n:
                return trajectory, number
            number -= n
        raise IndexError

    def delay_ns(self, trajectory: int, turn: int) -> int:
        return self._delay_ns + turn


def test_a_turn_is_due_one_tool_delay_after_the_answer_drained():
    agent = Agent(0, Set([4], delay_ns=100), seed=1)
    first = agent.start(1_000)
    assert first.due_ns == 1_000
    second = agent.drained(5_000)
    assert second.due_ns == 5_000 + 100 + first.turn  # the delay recorded behind the turn just drained


def test_a_failed_turn_is_followed_by_a_pause_and_the_trajectory_goes_on():
    agent = Agent(0, Set([50], delay_ns=100), seed=2)
    first = agent.start(0)
    after = agent.drained(1_000, failed=True)
    assert after.due_ns == 1_000 + FAILURE_PAUSE_NS
    assert after.turn == first.turn + 1 or first.last


def test_a_drain_before_the_start_is_a_bug():
    with pytest.raises(ValueError, match="agent 7"):
        Agent(7, Set([1]), seed=1).drained(0)


@given(turns=st.lists(st.integers(1, 9), min_size=1, max_size=12), seed=st.integers(0, 50), index=st.integers(0, 50))
def test_after_the_partial_first_trajectory_every_pass_replays_the_whole_set_in_order(turns, seed, index):
    agent = Agent(index, Set(turns), seed)
    send = agent.start(0)
    while not send.last:
        send = agent.drained(0)
    assert send.replay == 0
    for _ in range(2):
        seen = []
        for _ in turns:
            send = agent.drained(0)
            assert send.turn == 0
            seen.append(send.trajectory)
            for turn in range(1, turns[send.trajectory]):
                send = agent.drained(0)
                assert send.turn == turn
            assert send.last
        assert sorted(seen) == list(range(len(turns)))


def test_starts_are_uniform_over_turns_not_over_trajectories():
    """A trajectory of 9 turns in a set of 10 turns is where nine of ten agents are found: 1,000 draws, 5 standard errors of 9.5."""
    starts = Counter(Agent(i, Set([1, 9]), seed=4).start(0).trajectory for i in range(1000))
    assert abs(starts[1] - 900) < 48


def test_the_same_seed_gives_the_same_life_and_another_index_another():
    def life(index: int, seed: int) -> list[tuple[int, int]]:
        agent = Agent(index, Set([3, 5, 2, 7, 4]), seed)
        send = agent.start(0)
        out = []
        for _ in range(40):
            out.append((send.trajectory, send.turn))
            send = agent.drained(0)
        return out

    assert life(3, 1) == life(3, 1)
    assert life(3, 1) != life(4, 1)
    assert life(3, 1) != life(3, 2)
