"""`python -m openagentperf.sim.serve`: the embedded target, a simulated node on a loopback port.

    --port 0             0: any free one
    --config demo        a preset of openagentperf.sim.cost
    --cluster FILE       one aggregated worker of a simulated cluster instead: a ClusterSpec as JSON (openagentperf.sim.spec)
    --model NAME         the served model
    --until-stdin-closes end when standard input does: a child that outlives a killed parent would keep its port

The one line on standard output is `listening on http://127.0.0.1:PORT/v1`. SIGTERM and SIGINT end it with status 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from openagentperf.sim.cost import PRESETS, NodeSizes
from openagentperf.sim.http import Connection, Handler
from openagentperf.sim.node import Node
from openagentperf.sim.power import PowerModel
from openagentperf.sim.spec import ClusterSpec
from openagentperf.sim.workernode import node_of, power_of

DEFAULT_MODEL = "openagentperf-sim"


def arguments(description: str, *, names_a_model: bool = True) -> argparse.ArgumentParser:
    """The options that every server of this package has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0)
    if names_a_model:
        parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--until-stdin-closes", action="store_true")
    return parser


def when_stdin_closes(call: Callable[[], object]) -> None:
    """`call`, from a thread of its own. A thread, because epoll refuses files and /dev/null; os.read, because one inside sys.stdin would
    hold its lock at exit."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        call()

    threading.Thread(target=wait, daemon=True).start()


async def listen(handler: Handler, port: int, until_stdin_closes: bool) -> None:
    """Serve on 127.0.0.1 until told to stop, then cut all connections."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if until_stdin_closes:
        when_stdin_closes(partial(_stop_from_outside, loop, stop))
    connections: set[Connection] = set()
    server = await loop.create_server(lambda: Connection(handler, connections), "127.0.0.1", port, backlog=4096)
    bound = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"listening on http://127.0.0.1:{bound}/v1\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()
    for connection in list(connections):
        connection.transport.abort()
    await asyncio.sleep(0)  # one turn of the loop, in which the connections learn of it


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def _stop_from_outside(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop ended first
        loop.call_soon_threadsafe(stop.set)


async def serve(
    sizes: NodeSizes, model: str, port: int, until_stdin_closes: bool, power: PowerModel | None = None
) -> None:
    """Serve a node until told to stop; `power`: its watts, where they are not those of the made-up accelerator."""
    node = Node(sizes, model, power)
    gc.collect()
    gc.freeze()  # a full collection over the imports would stop all streams for some 10 ms
    await listen(node.handle, port, until_stdin_closes)


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments("A simulated serving node behind an OpenAI chat API on loopback.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--config", choices=sorted(PRESETS), default="demo")
    what.add_argument("--cluster", type=Path, metavar="FILE")
    given = parser.parse_args(argv)
    sizes: NodeSizes = PRESETS[given.config]
    power = None
    if given.cluster is not None:
        spec = msgspec.json.decode(given.cluster.read_bytes(), type=ClusterSpec)
        sizes, power = node_of(spec), power_of(spec)
    run(serve(sizes, given.model, given.port, given.until_stdin_closes, power))


if __name__ == "__main__":
    main()
