"""The load worker's process: `python -m openagentperf.load.worker`, orders on stdin, answers on stdout (load.protocol).

It imports nothing heavy: its memory is what its agents need, its start-up is a tenth of a second. When stdin closes (the parent died, or
Ctrl-C), it stops at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import uvloop

from openagentperf.agent import Agent
from openagentperf.client.clock import Clock
from openagentperf.client.connection import Connection
from openagentperf.client.endpoint import request_head, resolve, tls_context
from openagentperf.client.reads import SharedReads
from openagentperf.corpusfile import open_corpus
from openagentperf.errors import CorpusError, EndpointError, OpenAgentPerfError, StorageError
from openagentperf.load.budget import raise_file_limit
from openagentperf.load.dials import Dials
from openagentperf.load.lane import Lane
from openagentperf.load.phase import WorkerPhase
from openagentperf.load.protocol import (
    Begin,
    Broken,
    Close,
    Drained,
    FromWorker,
    Inbox,
    Ready,
    Setup,
    Stop,
    Stopped,
    ToWorker,
    pack,
)
from openagentperf.load.requests import RequestMaker, route
from openagentperf.rundir import FrameWriter, frames_path
from openagentperf.seeds import share
from openagentperf.units import s_to_ns


class Worker:
    """Set up once, then one phase after another."""

    def __init__(self, loop: asyncio.AbstractEventLoop, setup: Setup) -> None:
        self._loop, self._setup = loop, setup
        if setup.cores:
            os.sched_setaffinity(0, setup.cores)
        self._addresses = [resolve(url) for url in setup.urls]
        self._contexts = [tls_context(setup.ca_file) if address.tls else None for address in self._addresses]
        self._clock = Clock()
        self._shared = SharedReads(loop) if self._clock.kernel else None
        # The parent has verified it: 1.2 s a GB, not once more in each worker.
        self._corpus = open_corpus(Path(setup.corpus), verify=False)
        self._heads = [request_head(a, "POST", "/chat/completions", setup.headers) for a in self._addresses]
        self._dials = Dials(loop, setup.dials_per_s / setup.workers)
        self._phase: WorkerPhase | None = None

    def begin(self, message: Begin) -> None:
        setup, order = self._setup, message.order
        self._clock.sample()
        requests = RequestMaker(self._corpus, order, self._heads, setup)

        def connect(lane: Lane) -> Connection:
            k = route(lane.agent, len(self._addresses))
            return Connection(self._loop, self._addresses[k], self._clock, lane, self._contexts[k], self._shared)

        self._phase = WorkerPhase(
            self._loop,
            order,
            [Agent(i, self._corpus, order.seed) for i in share(order.agents, setup.worker, setup.workers)],
            requests,
            connect,
            self._dials,
            self._clock,
            FrameWriter(frames_path(Path(message.folder), setup.worker)),
            worker=setup.worker,
            idle_reuse_ns=s_to_ns(setup.idle_reuse_s),
            drained=lambda: say(Drained()),
            broken=broken,
        )
        self._phase.begin()

    def close_window(self, message: Close) -> None:
        if self._phase is not None:
            self._phase.close_window(message.window_end_ns)

    def stop(self) -> None:
        if self._phase is not None:
            self._phase.stop()
            self._phase = None
        say(Stopped())


def say(message: FromWorker) -> None:
    """A few bytes into a pipe that the fleet drains: never blocks."""
    data = memoryview(pack(message))
    while data:
        data = data[os.write(1, data) :]


def broken(error: OpenAgentPerfError) -> None:
    kinds = {StorageError: "storage", EndpointError: "endpoint", CorpusError: "corpus"}
    kind = kinds.get(type(error), "internal")
    say(Broken(kind=kind, where=error.where, found=error.found, needed=error.needed, fix=error.fix))


async def serve() -> None:
    """Read orders until stdin closes."""
    loop = asyncio.get_running_loop()
    inbox = Inbox(ToWorker)
    over = asyncio.Event()
    workers: list[Worker] = []

    def crashed(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        print(context.get("message"), "".join(traceback.format_exception(error)) if error else "", file=sys.stderr)  # noqa: T201
        say(Broken(kind="internal", where="load worker", found=f"{error or context.get('message')!r}"))
        over.set()

    loop.set_exception_handler(crashed)

    def readable() -> None:
        data = os.read(0, 1 << 16)
        if not data:
            over.set()
            return
        for message in inbox.feed(data):
            try:
                match message:
                    case Setup():
                        workers.append(Worker(loop, message))
                        say(Ready())
                    case Begin():
                        workers[0].begin(message)
                    case Close():
                        workers[0].close_window(message)
                    case Stop():
                        workers[0].stop()
                    case _:
                        raise AssertionError(message)
            except OpenAgentPerfError as error:
                broken(error)

    loop.add_reader(0, readable)
    await over.wait()
    loop.remove_reader(0)


def step_forward() -> None:
    """Ahead of the decoder and of whatever else shares the host, where we may: a reader that waits for a core reads late.

    Where Linux groups processes by session for scheduling, `nice` only counts inside a session, and the fleet gives each worker one of its
    own: the group has a niceness too. Two busy neighbours on the worker's core made P99 lateness 7.0 ms at 300 agents, and 3.6 with this.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-10")


if __name__ == "__main__":
    raise_file_limit()
    step_forward()
    with contextlib.suppress(BrokenPipeError):
        uvloop.run(serve())
