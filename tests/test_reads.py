"""Shared reads: whose socket is read by whom, and that nothing is lost, read twice or called after its end."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Iterator

import pytest

from openagentperf.client.clock import Clock
from openagentperf.client.connection import EAGER_READS, Connection
from openagentperf.client.endpoint import resolve
from openagentperf.client.reads import SharedReads

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shared reads are built on epoll, which only Linux has")


class Pair:
    """Two ends of a stream; what comes out of the near one is kept."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.got: list[bytes] = []

    @property
    def fd(self) -> int:
        return self.near.fileno()

    def read(self) -> None:
        self.got.append(self.near.recv(100))

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [Pair(), Pair(), Pair()]
    yield made
    for pair in made:
        pair.close()


async def until(true: Callable[[], bool]) -> None:
    """Let the loop turn until `true`; a test that waits in vain ends here."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0)


async def test_each_socket_is_read_by_its_own_callback_and_again_after_silence(pairs: list[Pair]):
    shared = SharedReads(asyncio.get_running_loop())
    for pair in pairs:
        shared.add_reader(pair.fd, pair.read)
    for text in (b"a", b"b"):
        for k, pair in enumerate(pairs):
            pair.far.send(text + b"%d" % k)
        await until(lambda text=text: all(pair.got[-1:] == [text + b"%d" % k] for k, pair in enumerate(pairs)))
        await until(lambda: not shared.resting)  # quiet again: the next round begins with a wake-up of its own
    assert [pair.got for pair in pairs] == [[b"a%d" % k, b"b%d" % k] for k in range(3)]
    shared.close()


async def test_what_arrives_in_a_pause_is_read_in_one_go(pairs: list[Pair]):
    shared = SharedReads(asyncio.get_running_loop())
    first, second, _ = pairs
    shared.add_reader(first.fd, first.read)
    shared.add_reader(second.fd, second.read)
    second.far.send(b"x")
    await until(lambda: shared.resting)
    first.far.send(b"1")
    first.far.send(b"2")
    await until(lambda: bool(first.got))
    assert first.got == [b"12"]
    shared.close()


async def test_a_socket_closed_by_another_ones_callback_is_not_read(pairs: list[Pair]):
    """Both are ready in one round; whichever comes first takes the other out, as a worker's stop does."""
    shared = SharedReads(asyncio.get_running_loop())
    first, second, _ = pairs

    def reads_and_removes(own: Pair, other: Pair) -> Callable[[], None]:
        def read() -> None:
            own.read()
            shared.remove_reader(other.fd)

        return read

    shared.add_reader(first.fd, reads_and_removes(first, second))
    shared.add_reader(second.fd, reads_and_removes(second, first))
    first.far.send(b"1")
    second.far.send(b"2")
    await until(lambda: bool(first.got or second.got))
    await until(lambda: not shared.resting)
    assert sorted([first.got, second.got]) in ([[], [b"1"]], [[], [b"2"]])
    assert len(shared) == 1
    shared.remove_reader(first.fd)
    shared.remove_reader(first.fd)  # nothing to do is no error: a connection closes whatever its state
    shared.close()


class Quiet:
    """An owner that remembers how its connection ended."""

    over = ""

    def opened(self, connection: Connection) -> None:
        self.over = "opened"

    def ended(self, connection: Connection, failure: str, detail: str) -> None:
        self.over = f"ended {failure}"

    def lost(self, connection: Connection, failure: str, detail: str) -> None:
        self.over = f"lost {failure}"


async def test_the_first_reads_of_every_answer_are_the_loops_the_rest_are_shared():
    """So that the first output is never merged with what follows it; between answers the loop watches for a close."""
    loop = asyncio.get_running_loop()
    shared, clock, owner = SharedReads(loop), Clock(), Quiet()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = resolve(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        conn = Connection(loop, address, clock, owner, shared=shared)
        conn.dial()
        server, _ = listener.accept()
        with server:
            await until(lambda: owner.over == "opened")
            for _ in range(2):
                conn.send([b"GET / HTTP/1.1\r\n\r\n"])
                parts = [
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                    *[b"2\r\nhi\r\n"] * (EAGER_READS + 2),
                ]
                for k, part in enumerate(parts, 1):
                    server.send(part)
                    await until(lambda k=k: len(conn.times) == k)
                    assert len(shared) == (k >= EAGER_READS)
                owner.over = ""
                server.send(b"0\r\n\r\n")
                await until(lambda: owner.over == "ended ")
                assert len(shared) == 0
                assert conn.chunks[:-1] == parts
        await until(lambda: owner.over == "lost reset")
    shared.close()
    clock.close()


async def test_a_connection_that_dies_in_the_middle_leaves_nothing_behind():
    loop = asyncio.get_running_loop()
    shared, clock, owner = SharedReads(loop), Clock(), Quiet()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        conn = Connection(
            loop, resolve(f"http://127.0.0.1:{listener.getsockname()[1]}/v1"), clock, owner, shared=shared
        )
        conn.dial()
        server, _ = listener.accept()
        await until(lambda: owner.over == "opened")
        conn.send([b"GET / HTTP/1.1\r\n\r\n"])
        server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for k in range(1, EAGER_READS + 1):
            await until(lambda k=k: len(conn.times) == k)
            server.send(b"2\r\nhi\r\n")
        await until(lambda: len(shared) == 1)
        server.close()
        await until(lambda: owner.over == "ended reset")
    assert len(shared) == 0
    shared.close()
    clock.close()
