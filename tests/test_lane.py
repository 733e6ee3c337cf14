"""One agent and its connections against a server that answers, closes, or dies as a script says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TypeAlias

import pytest

from openagentperf.agent import FAILURE_PAUSE_NS, Agent, Send
from openagentperf.client.clock import Clock
from openagentperf.client.connection import Connection
from openagentperf.client.endpoint import Address, request_head, resolve
from openagentperf.load.dials import Dials
from openagentperf.load.lane import Lane
from openagentperf.load.requests import Request
from openagentperf.load.seat import Seat
from openagentperf.records.tree import Line
from openagentperf.records.turns import RawTurn
from openagentperf.units import NS_PER_MS, NS_PER_S
from small_runs import until
from test_agent import Set

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def ok(writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    await writer.drain()


async def refuse(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def die(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def begin_and_die(writer: asyncio.StreamWriter) -> None:
    writer.write(OK[:-1])
    await writer.drain()
    writer.close()


async def begin_and_hang(writer: asyncio.StreamWriter) -> None:
    writer.write(OK[:-1])
    await writer.drain()


async def ok_and_close(writer: asyncio.StreamWriter) -> None:
    await ok(writer)
    writer.close()


class Scripted:
    """A server: the n-th request it gets, over all connections, is answered by the n-th of `answers`, later ones by the last."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = answers
        self.connections = self.requests = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def ended(self) -> None:
        """Every connection has been seen to close: a handler that the end of the loop cancels is an error to asyncio."""
        await asyncio.gather(*self._tasks)

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                answer = self._answers[min(self.requests, len(self._answers) - 1)]
                self.requests += 1
                await answer(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class OnePhase:
    """Implements load.lane.Host for one seat; rows come out of a queue."""

    def __init__(
        self,
        address: Address,
        idle_reuse_ns: int,
        delay_ns: int,
        trajectory: int | list[Line] = 1000,
        dials_per_s: float = 1000.0,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.worker, self.idle_reuse_ns, self.stopping = 0, idle_reuse_ns, False
        self.dials = Dials(self.loop, dials_per_s)
        self.due: dict[Lane, None] = {}
        self.active_agents = 0
        self.rows: asyncio.Queue[RawTurn] = asyncio.Queue()
        self.scheduled: list[int] = []
        self._address, self._clock = address, Clock()
        self._head = request_head(address, "POST", "/chat/completions", {})
        self.seat = Seat(self, Agent(0, Set([trajectory], delay_ns=delay_ns), seed=1))

    @property
    def lane(self) -> Lane:
        """The one of an agent without sub-agents."""
        (lane,) = self.seat.lanes
        return lane

    def connection(self, lane: Lane) -> Connection:
        return Connection(self.loop, self._address, self._clock, lane)

    def request(self, send: Send, agent: int) -> Request:
        request = self._head + b"2\r\n\r\n{}"
        return Request([request], len(request), exact_tokens=0, corpus_tokens=0)

    def turn_scheduled(self, due_ns: int) -> None:
        self.scheduled.append(due_ns)

    def turn_ended(self, row: RawTurn) -> None:
        self.rows.put_nowait(row)

    def end(self) -> None:
        self.stopping = True
        for lane in self.seat.lanes:
            lane.give_up("aborted", "the phase ended while the turn was open")
            lane.stop()
        self.dials.clear()
        self._clock.close()


@asynccontextmanager
async def phase(
    server: Scripted, idle_reuse_s: float = 4.0, delay_ms: int = 5, trajectory: int | list[Line] = 1000
) -> AsyncIterator[OnePhase]:
    listening = await asyncio.start_server(server.one, "127.0.0.1", 0)
    async with listening:
        address = resolve(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1")
        made = OnePhase(address, round(idle_reuse_s * NS_PER_S), delay_ms * NS_PER_MS, trajectory)
        made.seat.start()
        try:
            yield made
        finally:
            made.end()
            await server.ended()


async def rows(of: OnePhase, count: int) -> list[RawTurn]:
    return [await asyncio.wait_for(of.rows.get(), 20) for _ in range(count)]


async def test_a_healthy_connection_carries_one_turn_after_the_other_and_none_is_early():
    server = Scripted(ok)
    async with phase(server) as going:
        seen = await rows(going, 5)
    assert [row.failure for row in seen] == [""] * 5
    assert [row.connection for row in seen] == ["new", *["reused"] * 4]
    assert server.connections == 1
    assert all(row.sent_ns >= row.due_ns for row in seen)
    assert [row.due_ns for row in seen] == going.scheduled[:5]
    assert all(later.due_ns >= row.closed_ns + 5 * NS_PER_MS for row, later in pairwise(seen))
    assert all(row.data == OK for row in seen)


async def test_a_connection_that_will_be_idle_too_long_is_not_used_again():
    """Servers close after 5 s of silence; a request that crosses that would meet a dead socket."""
    server = Scripted(ok)
    # Idleness counts from when the loop saw the end, the delay from when the kernel had it: a loop may be 200 ms behind here.
    async with phase(server, delay_ms=200, idle_reuse_s=0.0) as going:
        seen = await rows(going, 4)
    assert [row.connection for row in seen] == ["new"] * 4
    assert [row.failure for row in seen] == [""] * 4
    assert server.connections >= 4


async def test_a_connection_that_the_server_closes_while_idle_costs_nothing():
    server = Scripted(ok_and_close)
    async with phase(server, delay_ms=60) as going:
        seen = await rows(going, 3)
    assert {row.failure for row in seen} == {""}
    assert {row.connection for row in seen} <= {"new", "redialled"}, "redialled where the goodbye was late"


async def test_a_reused_connection_that_dies_unanswered_is_dialled_again_once_and_the_clock_runs_on():
    server = Scripted(ok, die, ok)
    async with phase(server) as going:
        first, second = await rows(going, 2)
    assert (first.connection, second.connection) == ("new", "redialled")
    assert (first.failure, second.failure) == ("", "")
    assert server.requests == 3
    assert second.sent_ns - second.due_ns < second.closed_ns - second.due_ns, "sent is that of the first try"
    assert second.data == OK


@pytest.mark.parametrize(
    ("answers", "failing", "requests", "how"),
    [
        ([die], 0, 1, "new"),  # a fresh connection: nothing explains it but the server
        ([ok, die, die], 1, 3, "redialled"),  # once, not for ever
        ([ok, begin_and_die], 1, 2, "reused"),  # it had begun to answer: asking again would be a second answer
        ([ok, die, begin_and_die], 1, 3, "redialled"),
    ],
)
async def test_what_is_not_redialled(answers: list[Answer], failing: int, requests: int, how: str):
    server = Scripted(*answers)
    async with phase(server) as going:
        row = (await rows(going, failing + 1))[failing]
        assert (row.failure, row.connection) == ("reset", how)
        assert server.requests == requests
        assert going.lane.turn is not None
        assert going.lane.turn.due_ns >= row.closed_ns + FAILURE_PAUSE_NS, "after a failure the agent pauses"


async def test_a_refusal_is_an_answer_and_the_agent_pauses_after_it():
    async with phase(Scripted(refuse)) as going:
        (row,) = await rows(going, 1)
        assert row.failure == ""  # judged by status where rows are decoded
        assert row.data.startswith(b"HTTP/1.1 500")
        assert going.lane.turn is not None
        assert going.lane.turn.due_ns >= row.closed_ns + FAILURE_PAUSE_NS


async def test_nobody_listens():
    listening = await asyncio.start_server(Scripted(ok).one, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    listening.close()
    await listening.wait_closed()
    going = OnePhase(resolve(f"http://127.0.0.1:{port}/v1"), NS_PER_S, NS_PER_MS)
    going.seat.start()
    (row,) = await rows(going, 1)
    going.end()
    assert (row.failure, row.detail, row.sent_ns, row.connection) == ("connect", "Connection refused", None, "")
    assert going.scheduled[1] >= row.closed_ns + FAILURE_PAUSE_NS
    assert going.rows.empty(), "the turn that waits for its time is forgotten, not failed"


@pytest.mark.parametrize("failure", ["timeout", "aborted"])
async def test_a_turn_in_flight_that_is_given_up_keeps_what_came(failure: str):
    async with phase(Scripted(ok, begin_and_hang)) as going:
        await rows(going, 1)
        lane = going.lane
        while not (lane.in_flight and lane._conn is not None and lane._conn.chunks):
            await asyncio.sleep(0)
        assert list(going.due) == [lane]
        assert lane.waited_ns(lane.turn.due_ns + 7) == 7
        if failure == "aborted":
            going.end()
        else:
            lane.give_up("timeout", "too long")
        (row,) = await rows(going, 1)
        assert row.failure == failure
        assert row.data == OK[:-1]
        assert (lane.turn is None) == (failure == "aborted"), "after a timeout the agent goes on"
        assert (going.due, going.active_agents) == ({}, int(failure == "timeout"))
        if failure == "timeout":
            assert lane.turn.due_ns >= row.closed_ns + FAILURE_PAUSE_NS
            assert lane.waited_ns(lane.turn.due_ns + 7) == 0


async def test_the_end_of_a_phase_forgets_a_turn_that_is_not_due():
    async with phase(Scripted(ok), delay_ms=60_000) as going:
        await rows(going, 1)
        going.end()
        assert going.rows.empty()
        assert going.lane.turn is None


# --- trees ----------------------------------------------------------------------------------------------------------

TREE = [Line(0, 2), Line(2, 1, parent=0, after=0, join=1), Line(3, 1, parent=0, after=0), Line(4, 1, parent=0, after=0)]
"""Turn 0 spawns three sub-agents of one turn each: turn 1 waits for the first of them."""


async def test_a_tree_has_a_lane_for_each_request_in_flight_and_holds_its_seat():
    server = Scripted(ok)
    async with phase(server, trajectory=TREE) as going:
        seen: list[RawTurn] = []
        while not (seen and seen[-1].replay == 3):
            seen += await rows(going, 1)
        assert going.seat.active
        lanes = len(going.seat.lanes)
    for replay in (1, 2):
        of_replay = [row for row in seen if row.replay == replay]
        assert sorted((row.line, row.turn) for row in of_replay) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4)]
        assert [row.last for row in of_replay] == [False] * 4 + [True], "the last to end is the trajectory's end"
        by_turn = {row.turn: row for row in of_replay}
        assert all(by_turn[turn].due_ns == by_turn[0].closed_ns for turn in (2, 3, 4)), "spawned at once, side by side"
        assert by_turn[1].due_ns >= max(by_turn[0].closed_ns, by_turn[2].closed_ns) + 5 * NS_PER_MS, "joined"
        nexts = [row.due_ns for row in seen if row.replay == replay + 1 and row.turn == 0]
        assert all(due >= max(row.closed_ns for row in of_replay) for due in nexts), "one tree at a time"
    # At most three in hand at once: connections are kept, and used again by whichever line has something to send.
    assert lanes == 3
    assert {row.connection for row in seen if row.replay == 2} == {"reused"}
    assert server.connections == 3


async def test_a_sub_agent_that_hangs_is_given_up_and_its_parent_goes_on():
    hung = [Line(0, 2), Line(2, 1, parent=0, after=0, join=1)]
    # Seed 1 starts in the middle: let that tree end first.
    async with phase(Scripted(ok), trajectory=hung) as probe:
        first = await rows(probe, 4)
    before = sum(row.replay == 0 for row in first)
    async with phase(Scripted(*[ok] * (before + 1), begin_and_hang), trajectory=hung) as going:
        await rows(going, before + 1)
        lane = going.lane
        while not (lane.in_flight and lane._conn is not None and lane._conn.chunks):
            await asyncio.sleep(0)
        assert lane.turn is not None
        assert lane.turn.line == 1, "the parent waits, so its connection serves the sub-agent"
        lane.give_up("timeout", "too long")
        (row,) = await rows(going, 1)
        assert (row.failure, row.turn, row.line, row.last) == ("timeout", 2, 1, False)
        assert going.lane.turn is not None
        assert (going.lane.turn.line, going.lane.turn.turn) == (0, 1)
        assert going.lane.turn.due_ns >= row.closed_ns + FAILURE_PAUSE_NS


async def test_a_dial_that_must_wait_its_turn_is_the_client_s_own_and_stands_in_the_row():
    server = Scripted(ok_and_close)
    listening = await asyncio.start_server(server.one, "127.0.0.1", 0)
    async with listening:
        address = resolve(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1")
        going = OnePhase(address, 0, 300 * NS_PER_MS, dials_per_s=2)  # a new connection each turn, and one in 0.5 s
        going.seat.start()
        first, second, third = await rows(going, 3)
        going.end()
        await server.ended()
    assert (first.paced_ns, first.failure) == (0, ""), "the first finds the bucket full"
    for row in (second, third):
        assert row.failure == ""
        assert row.sent_ns is not None
        assert row.paced_ns <= row.sent_ns - row.due_ns
    assert second.paced_ns + third.paced_ns > 0, "turns 0.3 s apart, dials 0.5 s apart"


@pytest.mark.parametrize("failure", ["timeout", "aborted"])
async def test_a_turn_whose_dial_still_waits_can_be_given_up(failure: str):
    async with phase(Scripted(ok_and_close), delay_ms=1, idle_reuse_s=0) as going:
        await rows(going, 1)
        going.dials = Dials(going.loop, 0.001)
        going.dials.ask(0, lambda: True)  # the one dial of the next quarter of an hour
        lane = going.lane
        await until(lambda: lane._due_passed and lane._conn is None, "a turn that waits for its dial")
        while not going.rows.empty():  # of turns whose dials were in time
            going.rows.get_nowait()
        if failure == "aborted":
            going.end()
        else:
            lane.give_up("timeout", "too long")
        (row,) = await rows(going, 1)
        assert (row.failure, row.sent_ns, row.data) == (failure, None, b"")
        assert 0 < row.paced_ns <= row.closed_ns - row.due_ns
        going.dials.clear()
