"""Where an endpoint may listen, which of several an agent speaks to, and what this host must hold for it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.agent import Agent
from openagentperf.client import sockets
from openagentperf.client.alive import gone
from openagentperf.client.clock import Clock
from openagentperf.client.connection import Connection
from openagentperf.client.endpoint import Address, request_head, resolve, split_unix
from openagentperf.client.exchange import exchange
from openagentperf.errors import EndpointError, InfrastructureError, PlanError
from openagentperf.load.budget import SPARE_FILES, Limits, Room, check_cores, cores_of, limits, widest
from openagentperf.load.dials import Dials
from openagentperf.load.requests import route
from openagentperf.records.tree import NONE, Line
from openagentperf.units import NS_PER_S
from small_runs import until
from test_agent import Set
from test_client import CHUNKED, END, Handler, Watcher, body_of, chunk, post


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers a request with its path, the Host header that it came with, and the length of its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    host = head.partition(b"Host: ")[2].partition(b"\r\n")[0]
    body = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    writer.write(CHUNKED + chunk(b"%s at %s: %d" % (head.split(b" ")[1], host, len(body))) + END)
    await writer.drain()


@asynccontextmanager
async def greeting(listen: Callable[[Handler], Awaitable[asyncio.Server]]) -> AsyncIterator[asyncio.Server]:
    """A server of `greet`, whose handlers have all ended when this does."""
    over: list[asyncio.Task[None]] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        over.append(task)
        with suppress(OSError, asyncio.IncompleteReadError):
            await greet(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with await listen(one) as server:
        yield server
        await asyncio.sleep(0)  # the loop has accepted whoever has connected and gone
        await asyncio.gather(*over)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


# -- IPv6 and unix sockets ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not has_ipv6(), reason="this host has no ::1")
async def test_an_ipv6_address_in_brackets_is_dialled_and_named_in_the_host_header():
    async with greeting(lambda handler: asyncio.start_server(handler, "::1", 0)) as server:
        port = server.sockets[0].getsockname()[1]
        address = resolve(f"http://[::1]:{port}/v1")
        raw = await exchange(address, None, post(address, b"{}"), 20)
    assert raw.failure == ""
    assert body_of(raw) == b"/v1/chat/completions at [::1]:%d: 2" % port


def test_the_zone_of_a_link_local_address_stays_on_this_host():
    address = resolve("http://[fe80::1%1]:8000/v1")
    assert (address.host, address.server_name) == ("[fe80::1]:8000", "fe80::1")
    assert address.sockaddr == ("fe80::1", 8000, 0, 1)  # the fourth is the interface


async def test_a_unix_socket_is_spoken_to_as_localhost(tmp_path: Path):
    path = tmp_path / "engine.sock"
    address = resolve(f"unix:{path}")
    async with greeting(lambda handler: asyncio.start_unix_server(handler, path)):
        assert gone(address, within_s=0) == ""
        raw = await exchange(address, None, post(address, b"x" * 500_000), 20)
    assert raw.failure == ""
    assert body_of(raw) == b"/v1/chat/completions at localhost: 500000"
    assert raw.lags_ns == b"", "no kernel stamps there: the times are our own"
    path.unlink(missing_ok=True)
    assert gone(address, within_s=0) == "No such file or directory"
    raw = await exchange(address, None, post(address, b"{}"), 20)
    assert (raw.failure, raw.detail) == ("connect", "No such file or directory")


@pytest.mark.parametrize(
    ("url", "path", "base"),
    [
        ("unix:/run/engine.sock", "/run/engine.sock", "/v1"),
        ("unix:/run/engine.sock:/v1", "/run/engine.sock", "/v1"),
        ("unix:/run/engine.sock:/api/v3/", "/run/engine.sock", "/api/v3"),
        ("unix:/run/engine.sock:/", "/run/engine.sock", ""),
        ("unix:/run/a:b.sock", "/run/a:b.sock", "/v1"),  # a colon of the path's own: no slash behind it
    ],
)
def test_a_unix_socket_and_its_base_path(url: str, path: str, base: str):
    assert split_unix(url) == (path, base)
    assert request_head(resolve(url), "GET", "/models", {}).startswith(f"GET {base}/models HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("unix:engine.sock", "is not a URL that can be called"),
        ("unix:", "is not a URL that can be called"),
        ("unix:/" + 107 * "x", "the socket's path is 108 bytes long, at most 107 were needed"),
        ("http://[::1:8000/v1", "is not a URL that can be called"),
    ],
)
def test_what_is_no_endpoint(url: str, said: str):
    with pytest.raises(EndpointError, match=said):
        resolve(url)


async def test_a_full_accept_queue_of_a_unix_socket_is_waited_for(tmp_path: Path):
    """Over TCP the kernel asks again by itself; a unix socket says EAGAIN, and a client that took it for an answer would fail the turn."""
    address = resolve(f"unix:{tmp_path / 'engine.sock'}")
    loop, owner, clock = asyncio.get_running_loop(), Watcher(), Clock()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address.sockaddr)
        listener.listen(0)
        listener.setblocking(False)
        queued = []
        while not queued or not (code := sockets.connect(queued[-1], address)):
            queued.append(sockets.stream(address, stamped=False))
        assert code == errno.EAGAIN
        conn = Connection(loop, address, clock, owner)
        conn.dial()
        assert owner.events.empty()
        taken = []
        while owner.events.empty():
            try:
                taken.append(listener.accept()[0])
            except BlockingIOError:
                await asyncio.sleep(0)
        assert await owner.events.get() == ("opened", "", "")
        conn.close()
        for sock in (*queued, *taken):
            sock.close()
    clock.close()


# -- several endpoints -------------------------------------------------------------------------------------------------------


@given(agents=st.integers(1, 300), endpoints=st.integers(1, 9))
def test_agents_are_spread_evenly_and_each_keeps_to_one(agents: int, endpoints: int):
    load = [sum(route(agent, endpoints) == k for agent in range(agents)) for k in range(endpoints)]
    assert sum(load) == agents
    assert max(load) - min(load) <= 1


# -- files, ports, cores -----------------------------------------------------------------------------------------------------

A, B = (
    Address(family=socket.AF_INET, sockaddr=(f"10.0.0.{k}", 80), host="", server_name="", tls=False, path="", url="")
    for k in (1, 2)
)
UNIX = resolve("unix:/run/engine.sock")


@pytest.mark.parametrize(
    ("agents", "width", "workers", "addresses", "files", "ports"),
    [
        (1000, 1, 1, [A], 1000, 1000),
        (1000, 3, 1, [A], 3000, 3000),  # trees of up to three requests at once
        (1001, 1, 4, [A], 251, 1001),  # agents 0, 4, ... 1000 on worker 0; ports are the host's
        (1001, 1, 1, [A, B], 1001, 501),  # agents 0, 2, ... 1000 at A
        (1000, 1, 1, [A, A], 1000, 1000),  # two paths of one server share its ports
        (1000, 1, 1, [UNIX], 1000, 0),
        (1000, 1, 1, [UNIX, A], 1000, 500),
    ],
)
def test_what_a_phase_needs(agents: int, width: int, workers: int, addresses: list[Address], files: int, ports: int):
    room = Room(width, workers, addresses, Limits(files=files + SPARE_FILES, ports=ports))
    assert room.needs(agents) == (files + SPARE_FILES, ports)
    room.check(agents)
    for less in (Limits(files=files + SPARE_FILES - 1, ports=ports), Limits(files=-1, ports=ports - 1)):
        short = Room(width, workers, addresses, less)
        if less.ports >= 0:
            with pytest.raises(InfrastructureError):
                short.check(agents)
            assert short.holds(agents) < agents
            short.check(short.holds(agents))


@pytest.mark.parametrize(
    ("of", "agents", "said"),
    [
        (Limits(files=1024, ports=28232), 2000,
         ("a phase of 2000 agents: a process of this host may open 1,024 files, 2,000 agents on 1 load worker need 2,064: raise the hard "
         "limit of this shell (sudo prlimit --pid $$ --nofile=4096:4096), or take more --workers")),
        (Limits(files=-1, ports=28232), 30_000,
         ("a phase of 30000 agents: this host has 28,232 local ports for connections to one address, 30,000 agents need 30,000: widen the "
         'range (sudo sysctl -w net.ipv4.ip_local_port_range="1024 65535")')),
        (Limits(files=-1, ports=64512), 70_000,
         ("a phase of 70000 agents: this host has 64,512 local ports for connections to one address, 70,000 agents need 70,000: spread the "
         "agents over several addresses of the system (repeat --endpoint)")),
    ],
)  # fmt: skip
def test_the_error_names_the_command(of: Limits, agents: int, said: str):
    room = Room(1, 1, [A], of)
    with pytest.raises(InfrastructureError) as caught:
        room.check(agents)
    assert str(caught.value) == said
    (check,) = room.warnings(agents)
    assert (check.status, f"phases of up to {room.holds(agents):,} agents" in check.found) == ("warning", True)
    assert room.warnings(100) == ()


def test_the_limits_are_those_of_this_host():
    of = limits()
    assert of.files == -1 or of.files >= 64
    assert 0 < of.ports <= 65536


TREES = [
    ([Line(0, 5)], 1),
    ([Line(0, 5), Line(5, 3, 0, 1, 4)], 2),  # beside turns 2 and 3; turn 4 waits for it
    ([Line(0, 5), Line(5, 3, 0, 1, 2)], 1),  # turn 2 joins it at once: the parent has nothing in flight meanwhile
    ([Line(0, 5), Line(5, 3, 0, 1, 2), Line(8, 3, 0, 1, 2)], 2),
    ([Line(0, 5), Line(5, 3, 0, 0, NONE), Line(8, 3, 0, 2, NONE)], 3),  # in the background
    ([Line(0, 1), Line(1, 3, 0, 0, NONE), Line(4, 1, 0, 0, NONE)], 2),  # after the end of their parent
    ([Line(0, 5), Line(5, 3, 0, 0, 1), Line(8, 3, 0, 1, 2)], 1),  # one after the other
    ([Line(0, 5), Line(5, 3, 0, 0, 4), Line(8, 2, 1, 5, NONE)], 3),  # a branch of a branch
]


@pytest.mark.parametrize(("lines", "most"), TREES)
def test_the_widest_place_of_a_tree(lines: list[Line], most: int):
    assert widest(lines) == most


@given(tree=st.integers(0, len(TREES) - 1), seed=st.integers(0, 2**32), data=st.data())
def test_no_agent_has_more_turns_in_hand_than_the_widest_place(tree: int, seed: int, data: st.DataObject):
    lines, most = TREES[tree]
    agent = Agent(0, Set([lines]), seed=seed)
    open_turns = agent.start(0)
    assert len(open_turns) <= most
    for now in range(1, 40):
        ended = open_turns.pop(data.draw(st.integers(0, len(open_turns) - 1)))
        open_turns += agent.drained(ended.line, now * NS_PER_S)
        assert len(open_turns) <= most


@pytest.mark.parametrize(
    ("cores", "workers", "shares"),
    [
        ((), 2, [(), ()]),
        ((4, 5), 2, [(4,), (5,)]),
        ((4, 5, 6, 7), 2, [(4, 6), (5, 7)]),
        ((4, 5), 3, [(4,), (5,), (4,)]),  # fewer cores than workers: shared
    ],
)
def test_cores_are_shared_out_in_turn(cores: tuple[int, ...], workers: int, shares: list[tuple[int, ...]]):
    assert [cores_of(cores, worker, workers) for worker in range(workers)] == shares


def test_a_core_that_is_not_there():
    check_cores(os.sched_getaffinity(0))
    with pytest.raises(PlanError, match=r"load\.cores names core 99999, which this process may not use"):
        check_cores([99999])


# -- how fast connections are opened -----------------------------------------------------------------------------------------


async def test_normal_load_dials_at_once():
    dials, begun = Dials(asyncio.get_running_loop(), 2000), []
    for k in range(200):
        dials.ask(k, lambda k=k: not begun.append(k))
    assert begun == list(range(200))
    assert len(dials) == 0


async def test_a_storm_is_spread_out_in_the_order_in_which_turns_are_due():
    loop = asyncio.get_running_loop()
    dials, begun = Dials(loop, 1000), []
    started = loop.time()
    for k in reversed(range(300)):
        dials.ask(k, lambda k=k: not begun.append((k, loop.time())))
    assert len(begun) == 100, "a tenth of a second's worth at once"
    await until(lambda: not dials, "all dials")
    assert [k for k, _ in begun[100:]] == list(range(200))
    for n, (_, at) in enumerate(begun[100:], 1):
        assert n <= (at - started) * 1000 + 2, "never more than the rate allows, however late the loop is"


async def test_a_dial_that_is_not_wanted_any_more_costs_nothing_and_a_phase_s_end_forgets_all():
    dials, begun = Dials(asyncio.get_running_loop(), 10), []
    for k in range(50):
        dials.ask(k, lambda: False)
    dials.ask(50, lambda: not begun.append(1))
    assert begun == [1]
    dials.ask(51, lambda: not begun.append(2))
    assert len(dials) == 1
    dials.clear()
    assert (len(dials), begun) == (0, [1])
