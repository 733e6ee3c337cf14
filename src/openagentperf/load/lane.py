"""A lane: one connection of an agent, and the turn it has in hand.

    schedule -> [dial ahead of time, paced] -> due -> send -> ... reads ... -> ended -> seat.drained (which schedules the next) -> row

At most one turn in hand: waiting for its due time, or in flight. The connection is dialled up to a second before the turn is
due (so that TTFT does not hold a handshake that a real agent's client would not pay), and used again only while it is younger
than the server's idle limit.
"""

from __future__ import annotations

import asyncio
from array import array
from typing import Literal, Protocol

from openagentperf.agent import Send
from openagentperf.client.clock import now_ns
from openagentperf.client.connection import Connection
from openagentperf.load.dials import Dials
from openagentperf.load.requests import Request
from openagentperf.records.turns import Failure, RawTurn
from openagentperf.units import NS_PER_S, Ns

DIAL_AHEAD_NS = 1 * NS_PER_S
_NONE = array("q")


class Host(Protocol):
    """What a lane and its seat need of their phase."""

    loop: asyncio.AbstractEventLoop
    dials: Dials
    worker: int
    idle_reuse_ns: Ns
    stopping: bool
    due: dict[Lane, None]
    """Lanes whose turn is due and has not ended, in the order in which they fell due."""
    active_agents: int

    def connection(self, lane: Lane) -> Connection: ...
    def request(self, send: Send, agent: int) -> Request: ...
    def turn_scheduled(self, due_ns: Ns) -> None: ...
    def turn_ended(self, row: RawTurn) -> None: ...


class Owner(Protocol):
    """Whose lane it is (load.seat.Seat)."""

    index: int
    """The agent's."""

    def drained(self, lane: Lane, turn: Send, now_ns: Ns, failed: bool) -> bool: ...


class Lane:
    """See the module's docstring. Implements client.connection.Owner."""

    __slots__ = (
        "_asked_ns",
        "_conn",
        "_dial_timer",
        "_due_passed",
        "_host",
        "_how",
        "_paced_ns",
        "_request",
        "_seat",
        "_sent_ns",
        "_timer",
        "in_flight",
        "turn",
    )

    def __init__(self, host: Host, seat: Owner) -> None:
        self._host = host
        self._seat = seat
        self.turn: Send | None = None
        self.in_flight = False
        self._conn: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._dial_timer: asyncio.TimerHandle | None = None
        self._due_passed = False
        self._how: Literal["", "new", "reused", "redialled"] = ""
        self._request: Request | None = None
        self._sent_ns: Ns | None = None
        self._asked_ns: Ns | None = None
        """Since when a dial waits its turn, 0 while it is asked for; None where none does."""
        self._paced_ns: Ns = 0

    @property
    def agent(self) -> int:
        """Whose turns it carries."""
        return self._seat.index

    # -- before a turn -----------------------------------------------------------------------------------------------------

    def schedule(self, send: Send) -> None:
        """Take this turn in hand. The lane has none."""
        host = self._host
        self.turn = send
        self._due_passed = False
        self._how = ""
        self._sent_ns = None
        self._paced_ns = 0
        host.turn_scheduled(send.due_ns)
        # Spliced ahead: nothing is left to do at `due`.
        self._request = host.request(send, self._seat.index)
        conn = self._conn
        if conn is not None and conn.open and send.due_ns - conn.idle_since_ns > host.idle_reuse_ns:
            conn.close()
            conn = self._conn = None
        if conn is None:
            self._dial_for(send.due_ns)
        self._timer = host.loop.call_later(_seconds_until(send.due_ns), self._due)

    def _dial_for(self, due_ns: Ns) -> None:
        ahead_s = _seconds_until(due_ns - DIAL_AHEAD_NS)
        if ahead_s > 0:
            self._dial_timer = self._host.loop.call_later(ahead_s, self._dial)
        else:
            self._dial()

    def _dial(self) -> None:
        self._dial_timer = None
        turn = self.turn
        if turn is not None and self._conn is None and self._asked_ns is None and not self._host.stopping:
            self._asked_ns = 0
            self._host.dials.ask(turn.due_ns, self._dial_now)
            if self._asked_ns is not None:
                self._asked_ns = now_ns()

    def _dial_now(self) -> bool:
        asked_ns, self._asked_ns = self._asked_ns, None
        if asked_ns is None or self.turn is None or self._conn is not None or self._host.stopping:
            return False
        if asked_ns:
            self._paced_ns += max(0, now_ns() - max(asked_ns, self.turn.due_ns))
        self._conn = self._host.connection(self)
        self._conn.dial()
        return True

    def _due(self) -> None:
        self._timer = None
        turn = self.turn
        if turn is not None and now_ns() < turn.due_ns:
            # The loop computes a delay from a clock that is up to 1 ms behind.
            self._timer = self._host.loop.call_later(_seconds_until(turn.due_ns), self._due)
            return
        self._due_passed = True
        self._host.due[self] = None
        if self._conn is None:
            self._dial()
        elif self._conn.open:
            self._fire(self._conn)

    def _fire(self, conn: Connection) -> None:
        self._due_passed = False
        self.in_flight = True
        if not self._how:
            self._how = "reused" if conn.requests else "new"
        if self._sent_ns is None:  # stamped before the send, which may end the turn (a dead socket) before it returns
            self._sent_ns = now_ns()
        assert self._request is not None
        conn.send(self._request.pieces)

    # -- client.connection.Owner -------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        if connection is self._conn and self._due_passed:
            self._fire(connection)

    def ended(self, connection: Connection, failure: Failure, detail: str) -> None:
        if failure == "reset" and self._how == "reused" and not connection.chunks and not self._host.stopping:
            self._how = "redialled"  # the keep-alive race: once, counted, and the clock of the turn runs on
            self.in_flight = False
            self._due_passed = True
            self._conn = None
            self._dial()
            return
        self._finish(connection, failure, detail)

    def lost(self, connection: Connection, failure: Failure, detail: str) -> None:
        if connection is not self._conn:
            return
        self._conn = None
        if self.turn is None or self._host.stopping:
            return
        if not self._due_passed:
            if connection.requests:  # closed by the server while idle
                self._dial_for(self.turn.due_ns)
            # A dial ahead of time that failed, or was closed at once, is tried once more when the turn is due: tried
            # again at once, a balancer without a backend would be dialled thousands of times a second.
            return
        self._finish(connection, failure, detail)

    # -- after a turn ------------------------------------------------------------------------------------------------------

    def give_up(self, failure: Failure, detail: str) -> None:
        """The turn in hand took too long, or the phase ends. A turn that is not yet due is only forgotten."""
        if self.in_flight and self._conn is not None:
            self._conn.abort(failure, detail)
        elif self._due_passed:
            conn, self._conn = self._conn, None
            if conn is not None:
                conn.close()
            self._finish(conn, failure, detail)

    def stop(self) -> None:
        """Forget what is waiting and close the connection."""
        for timer in (self._timer, self._dial_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._dial_timer = None
        if self._conn is not None:
            self._conn.close()
            self._conn = None
        self._asked_ns = None
        self._host.due.pop(self, None)
        self.turn = None

    def waited_ns(self, now: Ns) -> Ns:
        """How long ago the turn in hand was due, if it is in flight or held up by a dial; 0 where none is."""
        return now - self.turn.due_ns if self.turn is not None and (self.in_flight or self._due_passed) else 0

    def _finish(self, conn: Connection | None, failure: Failure, detail: str) -> None:
        """`conn` is None where the turn was given up while its dial waited."""
        turn = self.turn
        assert turn is not None
        self._host.due.pop(self, None)
        if self._asked_ns is not None:
            self._paced_ns += max(0, now_ns() - max(self._asked_ns, turn.due_ns))
            self._asked_ns = None
        paced_ns = self._paced_ns
        self.turn = None
        self.in_flight = False
        self._due_passed = False
        times, lags, chunks = (conn.times, conn.lags, conn.chunks) if conn is not None else (_NONE, _NONE, [])
        sent_ns, how, request = self._sent_ns, self._how, self._request
        assert request is not None
        closed_ns = times[-1] if times and not failure else now_ns()
        if conn is None or not conn.open:
            self._conn = None
        failed = bool(failure) or conn is None or conn.status != 200
        # First: the clock of what comes next is already running.
        last = self._seat.drained(self, turn, closed_ns, failed)
        row = RawTurn(
            worker=self._host.worker,
            agent=self._seat.index,
            replay=turn.replay,
            trajectory=turn.trajectory,
            turn=turn.turn,
            last=last,
            due_ns=turn.due_ns,
            sent_ns=sent_ns,
            closed_ns=closed_ns,
            times_ns=times.tobytes(),
            sizes=array("q", map(len, chunks)).tobytes(),
            lags_ns=lags.tobytes(),
            data=b"".join(chunks),
            failure=failure,
            detail=detail,
            connection=how,
            request_bytes=request.size_bytes,
            exact_tokens=request.exact_tokens,
            corpus_tokens=request.corpus_tokens,
            line=turn.line,
            paced_ns=paced_ns,
        )
        self._host.turn_ended(row)


def _seconds_until(at_ns: Ns) -> float:
    """For call_later, which rounds to whole ms: rounded up. At most 1 ms late by design; `_due` sees to it that nothing is early."""
    return max(0, -(-(at_ns - now_ns()) // 1_000_000)) / 1000
