"""Load workers as processes of this host, each on a pipe."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from pathlib import Path

from openagentperf import children
from openagentperf.load.hostfacts import host_facts
from openagentperf.load.link import Link, Placed
from openagentperf.load.protocol import Setup, ToWorker, pack
from openagentperf.records.hosts import LoadHost
from openagentperf.records.preflight import Check
from openagentperf.rundir import storage_errors
from openagentperf.units import Ns

THIS_HOST = "this host"
_END_S = 2.0


class Process(Link):
    """One worker and the pipe to it."""

    def __init__(self, setup: Setup, log: Path) -> None:
        super().__init__(setup, log)
        with storage_errors(log), log.open("ab") as file:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "openagentperf.load.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,  # Ctrl-C reaches us first; the workers stop when their stdin closes
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self.send(setup)

    def send(self, message: ToWorker) -> None:
        assert self.popen.stdin is not None
        try:
            self.popen.stdin.write(pack(message))
            self.popen.stdin.flush()
        except OSError:
            self.dead = True

    def read(self) -> None:
        assert self.popen.stdout is not None
        data = os.read(self.popen.stdout.fileno(), 1 << 16)
        if data:
            self.hear(data)
        else:
            self.dead = True

    def end(self) -> None:
        children.end(self.popen, _END_S)


class ThisHost:
    """Implements load.link.Hosts."""

    tick_s = 0.1
    ahead_ns: Ns = 0

    def __init__(self) -> None:
        self._selector = selectors.PollSelector()  # no descriptor of its own: nothing to close

    def placed(self, workers: int) -> tuple[Placed, ...]:
        return (Placed(host_facts(THIS_HOST, workers), tuple(range(workers))),)

    def checks(self) -> tuple[Check, ...]:
        return ()

    def start(self, setup: Setup, log: Path) -> Process:
        process = Process(setup, log)
        assert process.popen.stdout is not None
        self._selector.register(process.popen.stdout, selectors.EVENT_READ, process)
        return process

    def listen(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            process: Process = key.data
            process.read()
            if process.dead:  # a closed pipe stays readable: left registered, this would spin
                self._selector.unregister(key.fileobj)

    def late(self, start_ns: Ns) -> str:  # noqa: ARG002
        return ""  # a pipe of this host takes no time

    def clocks(self, before: tuple[LoadHost, ...] | None = None) -> tuple[LoadHost, ...]:  # noqa: ARG002
        return ()  # one clock a host

    def end(self, link: Link) -> None:
        assert isinstance(link, Process)
        if link.popen.stdout in self._selector.get_map():  # not where its pipe was seen to close
            self._selector.unregister(link.popen.stdout)  # type: ignore[arg-type]
        link.end()
