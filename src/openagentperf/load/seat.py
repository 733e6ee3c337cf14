"""A seat: one agent's place in the load, from its start to the end of the phase.

It asks the agent what to send and gives each turn to a lane that has none in hand: the one that was free last, whose connection is the
youngest, as a client's connection pool would. A trajectory without sub-agents needs one lane; a tree as many as it has requests waiting
or in flight at once. Lanes stay with their seat, and idle connections with their lanes until the server or the reuse limit closes them.
"""

from __future__ import annotations

from collections.abc import Iterable

from openagentperf.agent import Agent, Send
from openagentperf.client.clock import now_ns
from openagentperf.load.lane import Host, Lane
from openagentperf.units import Ns


class Seat:
    """See the module's docstring. Implements load.lane.Owner."""

    __slots__ = ("_agent", "_counted", "_free", "_host", "index", "lanes")

    def __init__(self, host: Host, agent: Agent) -> None:
        self._host, self._agent = host, agent
        self.index = agent.index
        self.lanes: list[Lane] = []
        self._free: list[Lane] = []
        self._counted = False
        """It is among its host's active agents."""

    def start(self) -> None:
        self._give(self._agent.start(now_ns()))
        self._count()

    @property
    def active(self) -> bool:
        """The agent is at work: a turn of it is in flight or waits for its time."""
        return len(self._free) < len(self.lanes)

    def drained(self, lane: Lane, turn: Send, now_ns: Ns, failed: bool) -> bool:
        """The lane's turn has ended; whether its whole trajectory has with it."""
        self._free.append(lane)
        if self._host.stopping:
            self._count()
            return False
        sends = self._agent.drained(turn.line, now_ns, failed)
        self._give(sends)
        self._count()
        return bool(sends) and sends[0].replay > turn.replay

    def _count(self) -> None:
        """Told as it changes: to ask 10,000 idle agents once a second costs more than all else that they do."""
        if self.active is not self._counted:
            self._counted = self.active
            self._host.active_agents += 1 if self._counted else -1

    def _give(self, sends: Iterable[Send]) -> None:
        for send in sends:
            if self._free:
                lane = self._free.pop()
            else:
                lane = Lane(self._host, self)
                self.lanes.append(lane)
            lane.schedule(send)
