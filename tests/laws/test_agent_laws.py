"""Laws of the closed loop over any trees, answered in any order: every turn once, none early, one in flight a line, the slot held."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from openagentperf.agent import FAILURE_PAUSE_NS, Agent, Send
from openagentperf.records.tree import NONE, Line
from test_agent import Set


@st.composite
def trees(draw: st.DrawFn) -> list[Line]:
    """A main line and up to five branches, each on any line before it."""
    lines = [Line(0, draw(st.integers(1, 4)))]
    for _ in range(draw(st.integers(0, 5))):
        parent = draw(st.integers(0, len(lines) - 1))
        its = lines[parent]
        after = draw(st.integers(its.first, its.first + its.turns - 1))
        joins = [NONE, *range(after + 1, its.first + its.turns)]
        first = lines[-1].first + lines[-1].turns
        lines.append(
            Line(first, draw(st.integers(1, 3)), parent, after, draw(st.sampled_from(joins)), draw(st.integers(0, 30)))
        )
    return lines


class Told:
    """An agent whose answers come in any order, and what it did."""

    def __init__(self, corpus: Set, seed: int, data: st.DataObject) -> None:
        self.corpus, self._data = corpus, data
        self.agent = Agent(0, corpus, seed)
        self.now = 0
        self.open: list[Send] = self.agent.start(0)
        self.drained: dict[tuple[int, int], tuple[int, bool]] = {}
        """(replay, turn) -> when it was answered, and whether it failed."""

    def step(self) -> tuple[Send, list[Send]]:
        """One answer: of any request in flight, at any time after it was due."""
        send = self.open.pop(self._data.draw(st.integers(0, len(self.open) - 1)))
        self.now = max(self.now, send.due_ns) + self._data.draw(st.integers(1, 200))
        failed = self._data.draw(st.booleans())
        self.drained[send.replay, send.turn] = self.now, failed
        sends = self.agent.drained(send.line, self.now, failed)
        self.open += sends
        return send, sends


@given(st.lists(trees(), min_size=1, max_size=3), st.integers(0, 1000), st.data())
def test_any_order_of_answers(forest: list[list[Line]], seed: int, data: st.DataObject) -> None:
    corpus = Set(forest, delay_ns=20)
    told = Told(corpus, seed, data)
    sent: dict[int, list[Send]] = {0: list(told.open)}
    for _ in range(60):
        answered, sends = told.step()
        for send in sends:
            sent.setdefault(send.replay, []).append(send)
        assert len({send.line for send in told.open}) == len(told.open), "at most one in flight on a line"
        assert len({send.replay for send in told.open}) == 1, "one tree at a time"
        assert all(send.trajectory == told.open[0].trajectory for send in told.open)
        assert told.open, "an agent is never without a request"
        if sends and sends[0].replay > answered.replay:
            (send,) = sends
            assert (send.turn, send.line, send.replay) == (0, 0, answered.replay + 1)
            if answered.replay:
                ends = [line.first + line.turns - 1 for line in forest[answered.trajectory]]
                assert send.due_ns == max(_ready_ns(told, answered, turn) for turn in ends), (
                    "after the longest of the last delays"
                )
    for replay, of_replay in sent.items():
        lines = forest[of_replay[0].trajectory]
        turns = [send.turn for send in of_replay]
        assert len(set(turns)) == len(turns), "no turn twice"
        if replay and replay + 1 in sent:
            assert sorted(turns) == list(range(sum(line.turns for line in lines))), (
                "every turn of a tree that has ended"
            )
        for send in of_replay:
            assert lines[send.line].first <= send.turn < lines[send.line].first + lines[send.line].turns
            if replay:
                _waited_for_its_causes(told, send, lines)


def _waited_for_its_causes(told: Told, send: Send, lines: list[Line]) -> None:
    its = lines[send.line]
    ready = []
    """For each cause: when what must have been answered before was, and the delay after it was over."""
    if send.turn > its.first:
        ready.append(_ready_ns(told, send, send.turn - 1))
    elif its.parent != NONE:
        ready.append(_ready_ns(told, send, its.after, its.delay_ns))
    joined = [branch for branch in lines if branch.parent == send.line and branch.join == send.turn]
    ready += [_ready_ns(told, send, branch.first + branch.turns - 1) for branch in joined]
    assert not ready or send.due_ns == max(ready), "due as soon as nothing keeps it, and never sooner"


def _ready_ns(told: Told, of: Send, turn: int, delay_ns: int | None = None) -> int:
    """End of the delay after the answer to `turn` of the same replay; the turn's own delay by default."""
    at_ns, failed = told.drained[of.replay, turn]
    if delay_ns is None:
        delay_ns = told.corpus.delay_ns(of.trajectory, turn)
    return at_ns + max(delay_ns, FAILURE_PAUSE_NS if failed else 0)


@given(trees(), st.integers(0, 1000), st.data())
def test_a_partial_first_tree_ends_and_sends_no_turn_twice(tree: list[Line], seed: int, data: st.DataObject) -> None:
    told = Told(Set([tree]), seed, data)
    drawn = told.open[0]
    seen = {send.turn for send in told.open}
    number = len(told.open)
    while told.open[0].replay == 0:
        _, sends = told.step()
        of_first = [send for send in sends if send.replay == 0]
        number += len(of_first)
        seen |= {send.turn for send in of_first}
    assert number == len(seen)
    ends = tree[drawn.line].first + tree[drawn.line].turns
    assert set(range(drawn.turn, ends)) <= seen, "the line it starts on is walked to its end"
    assert not set(range(tree[drawn.line].first, drawn.turn)) & seen
