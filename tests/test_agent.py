"""The closed loop, told the time: what is sent next, and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.agent import FAILURE_PAUSE_NS, Agent, Send
from openagentperf.records.tree import Line


class Set:
    """A corpus of which only lines and delays are known: one number is a trajectory of so many turns without sub-agents."""

    def __init__(self, trees: Sequence[int | list[Line]], delay_ns: int = 5) -> None:
        self._trees = [[Line(0, tree)] if isinstance(tree, int) else tree for tree in trees]
        self._sizes = [sum(line.turns for line in tree) for tree in self._trees]
        self._delay_ns = delay_ns
        self.trajectories, self.total_turns = len(trees), sum(self._sizes)

    def lines(self, trajectory: int) -> list[Line]:
        return self._trees[trajectory]

    def locate(self, number: int) -> tuple[int, int]:
        for trajectory, n in enumerate(self._sizes):
            if number < n:
                return trajectory, number
            number -= n
        raise IndexError

    def delay_ns(self, trajectory: int, turn: int) -> int:
        return self._delay_ns + turn


def one(sends: list[Send]) -> Send:
    (send,) = sends
    return send


def test_a_turn_is_due_one_tool_delay_after_the_answer_drained():
    agent = Agent(0, Set([4], delay_ns=100), seed=1)
    first = one(agent.start(1_000))
    assert first.due_ns == 1_000
    second = one(agent.drained(0, 5_000))
    assert second.due_ns == 5_000 + 100 + first.turn  # the delay recorded behind the turn just drained


def test_a_failed_turn_is_followed_by_a_pause_and_the_trajectory_goes_on():
    agent = Agent(0, Set([50], delay_ns=100), seed=2)
    first = one(agent.start(0))
    assert first.turn < 49
    after = one(agent.drained(0, 1_000, failed=True))
    assert after.due_ns == 1_000 + FAILURE_PAUSE_NS
    assert after.turn == first.turn + 1


def test_a_drain_of_what_is_not_in_flight_is_a_bug():
    with pytest.raises(ValueError, match="agent 7: line 0"):
        Agent(7, Set([1]), seed=1).drained(0, 0)
    agent = Agent(7, Set([1]), seed=1)
    agent.start(0)
    with pytest.raises(ValueError, match="agent 7: line 1"):
        agent.drained(1, 0)


@given(turns=st.lists(st.integers(1, 9), min_size=1, max_size=12), seed=st.integers(0, 50), index=st.integers(0, 50))
def test_after_the_partial_first_trajectory_every_pass_replays_the_whole_set_in_order(turns, seed, index):
    agent = Agent(index, Set(turns), seed)
    send = one(agent.start(0))
    for _ in range(send.turn, turns[send.trajectory]):
        assert send.replay == 0
        send = one(agent.drained(0, 0))
    for number in range(2):
        seen = []
        for _ in turns:
            trajectory, replay = send.trajectory, send.replay
            seen.append(trajectory)
            for turn in range(turns[trajectory]):
                assert (send.trajectory, send.turn, send.replay) == (trajectory, turn, replay)
                send = one(agent.drained(0, 0))
        assert sorted(seen) == list(range(len(turns)))
        assert replay == (number + 1) * len(turns)


def test_starts_are_uniform_over_turns_not_over_trajectories():
    """A trajectory of 9 turns in a set of 10 turns is where nine of ten agents are found: 1,000 draws, 5 standard errors of 9.5."""
    starts = Counter(one(Agent(i, Set([1, 9]), seed=4).start(0)).trajectory for i in range(1000))
    assert abs(starts[1] - 900) < 48


def life(index: int, seed: int, sizes: list[int], sends: int) -> list[tuple[int, int, int, int]]:
    """Sends of an agent whose every answer takes 7 ns from its due time; every fifth fails."""
    agent = Agent(index, Set(sizes, delay_ns=10), seed)
    send = one(agent.start(1_000))
    seen = []
    for number in range(sends):
        seen.append((send.trajectory, send.turn, send.replay, send.due_ns))
        send = one(agent.drained(0, send.due_ns + 7, failed=number % 5 == 4))
    return seen


def test_the_same_seed_gives_the_same_life_and_another_index_another():
    sizes = [3, 5, 2, 7, 4]
    assert life(3, 1, sizes, 40) == life(3, 1, sizes, 40)
    assert life(3, 1, sizes, 40) != life(4, 1, sizes, 40)
    assert life(3, 1, sizes, 40) != life(3, 2, sizes, 40)


def test_the_life_of_a_seed_stays_what_it_was():
    """A run is named by its seed: these are the sends of the first version, before there were sub-agents."""
    assert life(3, 1, [3, 1, 4, 2], 26) == [
        (3, 1, 0, 1000), (2, 0, 1, 1018), (2, 1, 1, 1035), (2, 2, 1, 1053), (2, 3, 1, 1072), (1, 0, 2, 1000001079),
        (3, 0, 3, 1000001096), (3, 1, 3, 1000001113), (0, 0, 4, 1000001131), (0, 1, 4, 1000001148), (0, 2, 4, 2000001155),
        (3, 0, 5, 2000001174), (3, 1, 5, 2000001191), (0, 0, 6, 2000001209), (0, 1, 6, 2000001226), (0, 2, 6, 3000001233),
        (2, 0, 7, 3000001252), (2, 1, 7, 3000001269), (2, 2, 7, 3000001287), (2, 3, 7, 3000001306), (1, 0, 8, 4000001313),
        (1, 0, 9, 4000001330), (0, 0, 10, 4000001347), (0, 1, 10, 4000001364), (0, 2, 10, 4000001382), (3, 0, 11, 5000001389),
    ]  # fmt: skip


# --- trees ----------------------------------------------------------------------------------------------------------

BLOCKING = [Line(0, 3), Line(3, 2, parent=0, after=0, join=1, delay_ns=40)]
"""Turn 0 spawns turns 3, 4; turn 1 waits for them."""
BACKGROUND = [Line(0, 3), Line(3, 2, parent=0, after=0)]
LATER = [Line(0, 4), Line(4, 1, parent=0, after=0, join=2)]
"""Turn 1 runs beside the branch, turn 2 waits for it."""
NESTED = [
    Line(0, 2),
    Line(2, 2, parent=0, after=0, join=1),
    Line(4, 1, parent=1, after=2, join=3),
    Line(5, 1, parent=1, after=2),
]
"""The branch has one of its own that it waits for, and another that it does not."""
DELAY = 100


def whole(tree: list[Line]) -> Agent:
    """An agent at the beginning of a full replay of the tree, its turn 0 in flight."""
    agent = Agent(0, Set([tree], delay_ns=DELAY), seed=0)
    sends = agent.start(0)
    while sends[0].replay == 0:
        send = sends.pop(0)
        sends += agent.drained(send.line, 0)
    assert [(s.turn, s.replay) for s in sends] == [(0, 1)]
    return agent


def dues(sends: list[Send]) -> dict[int, int]:
    return {send.turn: send.due_ns for send in sends}


def test_a_blocking_branch_holds_its_parent_until_it_has_ended():
    agent = whole(BLOCKING)
    assert dues(agent.drained(0, 1_000)) == {3: 1_040}, "the parent's own turn 1 waits"
    assert dues(agent.drained(1, 2_000)) == {4: 2_000 + DELAY + 3}
    assert dues(agent.drained(1, 3_000)) == {1: 3_000 + DELAY + 4}, "the branch's last calls end with it"
    assert dues(agent.drained(0, 4_000)) == {2: 4_000 + DELAY + 1}
    (after,) = agent.drained(0, 5_000)
    assert (after.turn, after.replay, after.due_ns) == (0, 2, 5_000 + DELAY + 2)


def test_a_join_waits_for_its_own_tool_delay_too():
    agent = whole([Line(0, 2), Line(2, 1, parent=0, after=0, join=1)])
    agent.drained(0, 1_000)
    assert dues(agent.drained(1, 1_001)) == {1: 1_001 + DELAY + 2}, (
        "the branch took longer: 1,103 ns, turn 0's calls 1,100"
    )
    slow = whole([Line(0, 2), Line(2, 1, parent=0, after=0, join=1)])
    slow.drained(0, 1_000, failed=True)
    assert dues(slow.drained(1, 1_001)) == {1: 1_000 + FAILURE_PAUSE_NS}


def test_a_branch_in_the_background_runs_beside_its_parent_and_holds_the_tree():
    agent = whole(BACKGROUND)
    assert dues(agent.drained(0, 1_000)) == {3: 1_000, 1: 1_000 + DELAY}
    assert dues(agent.drained(0, 2_000)) == {2: 2_000 + DELAY + 1}
    assert agent.drained(0, 3_000) == [], "the main line has ended, its slot is still held"
    assert dues(agent.drained(1, 4_000)) == {4: 4_000 + DELAY + 3}
    (after,) = agent.drained(1, 5_000)
    assert (after.turn, after.replay, after.due_ns) == (0, 2, 5_000 + DELAY + 4)


def test_the_next_trajectory_waits_for_the_longest_delay_behind_any_line():
    agent = whole([Line(0, 1), Line(1, 1, parent=0, after=0)])
    agent.drained(0, 1_000, failed=True)
    (after,) = agent.drained(1, 2_000)
    assert (after.replay, after.due_ns) == (2, 1_000 + FAILURE_PAUSE_NS)


def test_a_parent_goes_on_to_its_join():
    agent = whole(LATER)
    assert dues(agent.drained(0, 1_000)) == {4: 1_000, 1: 1_000 + DELAY}
    assert agent.drained(0, 2_000) == []
    assert dues(agent.drained(1, 9_000)) == {2: 9_000 + DELAY + 4}


def test_a_branch_that_ends_before_the_join_is_reached_sends_nothing():
    agent = whole(LATER)
    agent.drained(0, 1_000)
    assert agent.drained(1, 1_001) == []
    assert dues(agent.drained(0, 2_000)) == {2: 2_000 + DELAY + 1}


def test_a_failed_turn_spawns_after_the_pause():
    assert dues(whole(BLOCKING).drained(0, 1_000, failed=True)) == {3: 1_000 + FAILURE_PAUSE_NS}


def test_a_branch_of_a_branch():
    agent = whole(NESTED)
    assert dues(agent.drained(0, 1_000)) == {2: 1_000}
    assert dues(agent.drained(1, 2_000)) == {4: 2_000, 5: 2_000}
    assert dues(agent.drained(2, 3_000)) == {3: 3_000 + DELAY + 4}
    assert dues(agent.drained(1, 4_000)) == {1: 4_000 + DELAY + 3}, "turn 1 joins the branch, not what that left behind"
    assert agent.drained(0, 5_000) == []
    (after,) = agent.drained(3, 6_000)
    assert after.replay == 2


@pytest.mark.parametrize(
    ("tree", "drawn", "sends", "then"),
    [
        # Brothers that were spawned before have ended: turn 1 does not wait for turns 3 and 4.
        (BLOCKING, 1, {1}, {2}),
        (BLOCKING, 3, {3}, {4}),
        (BLOCKING, 4, {4}, {1}),  # the parent stands before the join
        (BACKGROUND, 3, {3, 1}, {4}),  # the parent is at its next turn
        (LATER, 4, {4}, {2}),
        (NESTED, 4, {4}, {3}),  # two ancestors, each at its join
        (NESTED, 5, {5, 3}, set()),
        ([Line(0, 1), Line(1, 2, parent=0, after=0)], 1, {1}, {2}),  # spawned by the last answer: the parent has ended
        # So has the middle one of these three, which the main line would have waited for: it is at the turn behind that join.
        ([Line(0, 2), Line(2, 1, parent=0, after=0, join=1), Line(3, 1, parent=1, after=2)], 3, {3, 1}, set()),
    ],
)
def test_a_start_inside_a_tree_is_what_a_snapshot_would_find(
    tree: list[Line], drawn: int, sends: set[int], then: set[int]
):
    corpus = Set([tree], delay_ns=DELAY)
    for seed in range(200):
        agent = Agent(0, corpus, seed)
        first = agent.start(70)
        if first[0].turn == drawn:
            break
    assert {send.due_ns for send in first} == {70}
    assert {send.turn for send in first} == sends
    assert {send.turn for send in agent.drained(first[0].line, 80)} == then
