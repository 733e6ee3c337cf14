"""One request outside any load, awaited: what preflight asks with. The same Connection, so it sees what the load would see."""

from __future__ import annotations

import asyncio
import ssl
from array import array
from collections.abc import Sequence

from openagentperf.client.clock import Clock, now_ns
from openagentperf.client.connection import Connection, Piece
from openagentperf.client.endpoint import Address
from openagentperf.records.turns import Failure, RawTurn


class _Once:
    """Owner of a connection that carries one request."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self.sent_ns: int | None = None
        self.over: asyncio.Future[tuple[Failure, str]] = asyncio.get_running_loop().create_future()

    def opened(self, connection: Connection) -> None:
        self.sent_ns = now_ns()
        connection.send(self._pieces)

    def ended(self, _connection: Connection, failure: Failure, detail: str) -> None:
        if not self.over.done():
            self.over.set_result((failure, detail))

    def lost(self, connection: Connection, failure: Failure, detail: str) -> None:
        self.ended(connection, failure, detail)


async def exchange(
    address: Address,
    context: ssl.SSLContext | None,
    pieces: Sequence[Piece],
    timeout_s: float,
    *,
    first_read: bool = False,
) -> RawTurn:
    """Send one request on a fresh connection and keep what comes back, failures included (as rows, like the load).

    `first_read` hangs up at the first bytes of the answer, with failure `aborted`: enough to see a status.
    """
    loop = asyncio.get_running_loop()
    once = _Once(pieces)
    clock = Clock()
    due_ns = now_ns()
    conn = Connection(loop, address, clock, once, context)
    conn.dial()
    failure: Failure = "timeout"
    detail = f"no complete answer within {timeout_s:.0f} s"
    deadline = loop.time() + timeout_s
    while (left_s := deadline - loop.time()) > 0:
        done, _ = await asyncio.wait([once.over], timeout=min(left_s, 0.05 if first_read else left_s))
        if done:
            failure, detail = once.over.result()
            break
        if first_read and conn.chunks:
            failure, detail = "aborted", "hung up after the first bytes"
            break
    conn.close()
    clock.close()
    return RawTurn(
        worker=0,
        agent=0,
        replay=0,
        trajectory=0,
        turn=0,
        last=False,
        due_ns=due_ns,
        sent_ns=once.sent_ns,
        closed_ns=now_ns(),
        times_ns=conn.times.tobytes(),
        sizes=array("q", map(len, conn.chunks)).tobytes(),
        lags_ns=conn.lags.tobytes(),
        data=b"".join(conn.chunks),
        failure=failure,
        detail=detail,
        connection="new",
        request_bytes=sum(map(len, pieces)),
    )
