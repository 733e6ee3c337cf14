"""One closed-loop agent: told the time, it says what to send next and when. It sees turn numbers and delays, never text.

An agent works through trajectories one after another. Of a trajectory without sub-agents it has one request in flight; of a tree one on
each line (records.tree), and the tree holds the agent until its last line has ended:

    SPAWN  when turn `after` of a line has been answered, the branch's first turn is due `delay_ns` later
    JOIN   turn `join` of a line is due when the tool delay before it is over and every branch that joins there has ended

Its first turn is drawn uniformly over all turns of the set: that is what a snapshot of a running fleet looks like (long trajectories are
in it more often, and in their middle). Afterwards it walks its own seeded permutation of the set, each trajectory from turn 0.
asyncio and the simulator's event heap drive this same class.

Source: docs/methodology.md#subagents
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from openagentperf.records.tree import NONE, Line
from openagentperf.seeds import Permutation, Stream
from openagentperf.units import NS_PER_S, Ns

FAILURE_PAUSE_NS = 1 * NS_PER_S
"""After a failed turn the next one is due no sooner than this: a server that refuses in 1 ms would otherwise be asked 1,000 times
a second by each agent, and the storm, not the refusal, would be measured. Failed turns count against the SLO as they are."""


class Shape(Protocol):
    """What an agent may know of a corpus (corpus.layout.Compiled is one)."""

    @property
    def trajectories(self) -> int: ...
    @property
    def total_turns(self) -> int: ...
    def lines(self, trajectory: int) -> Sequence[Line]: ...
    def locate(self, number: int) -> tuple[int, int]: ...
    def delay_ns(self, trajectory: int, turn: int) -> Ns: ...


class Send(NamedTuple):
    """Send this turn at `due_ns`."""

    trajectory: int
    turn: int
    replay: int
    """Ordinal of the trajectory in this agent's life; 0 is the partial first one, which never counts as completed."""
    due_ns: Ns
    line: int = 0
    """Index of the turn's line in its tree."""


class _Standing:
    """Where one line stands. The turn at `at` is in flight, or the next to be sent; `at` is past the last one where the line has ended."""

    __slots__ = ("at", "free_ns", "in_flight")

    def __init__(self, at: int) -> None:
        self.at = at
        self.in_flight = False
        self.free_ns: Ns = 0
        """While it is not in flight: when the tool delay before `at` is over; of an ended line, that after its last answer."""


class Agent:
    """One agent's life in one phase."""

    __slots__ = (
        "_lines",
        "_open",
        "_order",
        "_passes",
        "_replay",
        "_seed",
        "_shape",
        "_standing",
        "_trajectory",
        "index",
    )

    def __init__(self, index: int, shape: Shape, seed: int) -> None:
        self.index = index
        self._shape = shape
        self._seed = seed
        self._passes = 0
        self._order = Permutation(shape.trajectories, seed, "order", index, 0)
        self._trajectory = self._replay = 0
        self._lines: Sequence[Line] = ()
        self._standing: dict[int, _Standing] = {}
        """Of every line that has begun."""
        self._open = 0
        """Lines that have begun and not ended."""

    def start(self, now_ns: Ns) -> list[Send]:
        """The first turn, due at once; where it lies on a branch, with what its ancestors have to send.

        An ancestor stands where a snapshot would find it: waiting at the turn that joins the line below it; or, where that line runs in the
        background, at the turn after the one that spawned it, due at once too, past its end if there is none. What else was spawned before
        has ended.
        """
        number = Stream(self._seed, "start", self.index).below(self._shape.total_turns)
        trajectory, turn = self._shape.locate(number)
        self._enter(trajectory, 0)
        lines = self._lines
        line = next(i for i, its in enumerate(lines) if its.first <= turn < its.first + its.turns)
        sends = [self._begin(line, turn, now_ns)]
        runs = True
        while (below := lines[line]).parent != NONE:
            line, its = below.parent, lines[below.parent]
            at = below.after + 1 if below.join == NONE else below.join
            if at == its.first + its.turns:
                self._stand(line, at, now_ns)
                self._open -= 1
            elif runs and below.join != NONE:
                self._stand(line, at, now_ns)
            else:
                sends.append(self._begin(line, at, now_ns))
            runs = at < its.first + its.turns
        return sends

    def drained(self, line: int, now_ns: Ns, failed: bool = False) -> list[Send]:
        """The answer to the line's turn in flight ended at `now_ns`: what to send next, over all lines; nothing while others are awaited.

        A Send of the next replay says that the trajectory has ended with this answer.
        """
        standing = self._standing.get(line)
        if standing is None or not standing.in_flight:
            raise ValueError(f"agent {self.index}: line {line} drained, and has no turn in flight")
        lines, its, turn = self._lines, self._lines[line], standing.at
        pause_ns = FAILURE_PAUSE_NS if failed else 0
        if len(lines) == 1 and turn + 1 < its.first + its.turns:  # nobody to spawn or to wait for
            standing.at = turn + 1
            standing.free_ns = due_ns = now_ns + max(pause_ns, self._shape.delay_ns(self._trajectory, turn))
            return [Send(self._trajectory, turn + 1, self._replay, due_ns, line)]
        standing.in_flight = False
        standing.at = turn + 1
        standing.free_ns = now_ns + max(pause_ns, self._shape.delay_ns(self._trajectory, turn))
        sends = [
            self._begin(index, branch.first, now_ns + max(pause_ns, branch.delay_ns))
            for index, branch in enumerate(lines)
            if branch.parent == line and branch.after == turn
        ]
        if standing.at < its.first + its.turns:
            sends += self._joined(line)
        else:
            self._open -= 1
            if its.join != NONE:
                sends += self._joined(its.parent)
        return sends if self._open else self._next()

    # -- one tree ----------------------------------------------------------------------------------------------------------

    def _enter(self, trajectory: int, replay: int) -> None:
        self._trajectory, self._replay = trajectory, replay
        self._lines = self._shape.lines(trajectory)
        self._standing = {}

    def _stand(self, line: int, at: int, free_ns: Ns) -> _Standing:
        """The line begins, at turn `at`."""
        self._open += 1
        standing = self._standing[line] = _Standing(at)
        standing.free_ns = free_ns
        return standing

    def _begin(self, line: int, turn: int, due_ns: Ns) -> Send:
        self._stand(line, turn, due_ns).in_flight = True
        return Send(self._trajectory, turn, self._replay, due_ns, line)

    def _joined(self, line: int) -> list[Send]:
        """The line's next turn, if nothing keeps it: neither that it stands before a join whose branches run, nor that it is elsewhere."""
        standing = self._standing[line]
        if standing.in_flight:
            return []
        due_ns = standing.free_ns
        for index, branch in enumerate(self._lines):
            # One that has not begun was over before the snapshot.
            if branch.parent == line and branch.join == standing.at and (other := self._standing.get(index)):
                if other.at < branch.first + branch.turns:
                    return []
                due_ns = max(due_ns, other.free_ns)
        standing.in_flight = True
        return [Send(self._trajectory, standing.at, self._replay, due_ns, line)]

    def _next(self) -> list[Send]:
        """The tree has ended: the next one's first turn, after the longest of the delays behind its lines' last answers."""
        due_ns = max(standing.free_ns for standing in self._standing.values())
        position = self._replay % self._shape.trajectories  # replay 0 was the partial one: replay 1 is order[0]
        if position == 0 and self._replay > 0:
            # Every trajectory done once: a fresh order, so that no pair stays together.
            self._passes += 1
            self._order = Permutation(self._shape.trajectories, self._seed, "order", self.index, self._passes)
        self._enter(self._order[position], self._replay + 1)
        return [self._begin(0, 0, due_ns)]
