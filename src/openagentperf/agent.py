"""One closed-loop agent: told the time, it says what to send next and when. It sees indices and delays, never text.

An agent works through trajectories one after another with one request in flight. Its first (trajectory, turn) is drawn
uniformly over all turns of the set: that is what a snapshot of a running fleet looks like (long trajectories are in it more
often, and in their middle). Afterwards it walks its own seeded permutation of the set, each trajectory from turn 0.
asyncio and the simulator's event heap drive this same class.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

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
    def turns(self, trajectory: int) -> int: ...
    def locate(self, number: int) -> tuple[int, int]: ...
    def delay_ns(self, trajectory: int, turn: int) -> Ns: ...


class Send(NamedTuple):
    """Send this turn at `due_ns`."""

    trajectory: int
    turn: int
    replay: int
    """Ordinal of the trajectory in this agent's life; 0 is the partial first one, which never counts as completed."""
    last: bool
    due_ns: Ns


class Agent:
    """One agent's life in one phase."""

    __slots__ = ("_at", "_order", "_passes", "_seed", "_shape", "index")

    def __init__(self, index: int, shape: Shape, seed: int) -> None:
        self.index = index
        self._shape = shape
        self._seed = seed
        self._passes = 0
        self._order = Permutation(shape.trajectories, seed, "order", index, 0)
        self._at: Send | None = None

    def start(self, now_ns: Ns) -> Send:
        """The first turn, due at once."""
        number = Stream(self._seed, "start", self.index).below(self._shape.total_turns)
        trajectory, turn = self._shape.locate(number)
        return self._send(trajectory, turn, 0, now_ns)

    def drained(self, now_ns: Ns, failed: bool = False) -> Send:
        """The answer to the turn in flight ended at `now_ns`: what to send next, after the recorded tool delay."""
        at = self._at
        if at is None:
            raise ValueError(f"agent {self.index}: drained before it started")
        delay_ns = self._shape.delay_ns(at.trajectory, at.turn)
        if failed:
            delay_ns = max(delay_ns, FAILURE_PAUSE_NS)
        due_ns = now_ns + delay_ns
        if not at.last:
            return self._send(at.trajectory, at.turn + 1, at.replay, due_ns)
        position = at.replay % self._shape.trajectories  # replay 0 was the partial one: replay 1 is order[0]
        if position == 0 and at.replay > 0:  # every trajectory done once: a fresh order, so that no pair stays together
            self._passes += 1
            self._order = Permutation(self._shape.trajectories, self._seed, "order", self.index, self._passes)
        return self._send(self._order[position], 0, at.replay + 1, due_ns)

    def _send(self, trajectory: int, turn: int, replay: int, due_ns: Ns) -> Send:
        last = turn + 1 == self._shape.turns(trajectory)
        self._at = Send(trajectory, turn, replay, last, due_ns)
        return self._at
