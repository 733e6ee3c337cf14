"""Exporters beside a run, in a process of their own: they read the run's folder as `watch` does, and neither the load workers nor the run
wait for them.

    python -m openagentperf.live.attached RUN [--fd N] [--otlp]      ends when standard input does
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from openagentperf import children
from openagentperf.listening import url
from openagentperf.live.exporters import Exporters, taken
from openagentperf.live.watch import RunWatch
from openagentperf.rundir import storage_errors

_NICE = 5
"""Where cores are short the load loop comes first."""
_PERIOD_S = 1.0
_STOP_S = 5.0
"""For the last push: a receiver that is away must not hold the end of a run up for longer."""


class Attached:
    """The port is taken at once, so that one that cannot be had ends the command before anything is measured; who scrapes before the run
    has a folder waits for it. Use as a context manager; does nothing where nothing is wished."""

    def __init__(self, port: int | None, host: str, otlp: bool) -> None:
        self._otlp = otlp
        self._bound = taken(port, host, otlp)
        self._child: subprocess.Popen[bytes] | None = None
        self.url = "" if self._bound is None else f"{url(*self._bound.getsockname()[:2])}/metrics"

    def follow(self, folder: Path) -> None:
        """Start exporting the run of this folder; only the first call counts."""
        if self._child is not None or (self._bound is None and not self._otlp):
            return
        command = [sys.executable, "-m", "openagentperf.live.attached", str(folder)]
        handles = () if self._bound is None else (self._bound.fileno(),)
        command += [f"--fd={number}" for number in handles] + (["--otlp"] if self._otlp else [])
        log = folder / "exporter.log"
        with storage_errors(log), log.open("ab") as file:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=file,
                pass_fds=handles,
                start_new_session=True,  # Ctrl-C reaches the run, which ends this by closing its standard input
            )
        if self._bound is not None:
            self._bound.close()
            self._bound = None

    def __enter__(self) -> Attached:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bound is not None:
            self._bound.close()
        if self._child is not None:
            children.end(self._child, _STOP_S)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Export the live figures of one run.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--fd", type=int, help="listening socket of the Prometheus page, inherited")
    parser.add_argument("--otlp", action="store_true")
    given = parser.parse_args(argv)
    with suppress(OSError):
        os.nice(_NICE)
    over = threading.Event()
    threading.Thread(target=_await_end, args=(over,), daemon=True).start()
    bound = None if given.fd is None else socket.socket(fileno=given.fd)
    with Exporters(bound, given.otlp) as exporters:
        watched = RunWatch(given.run)
        ended = False
        while not ended:
            ended = over.is_set()  # one more look after the end: the result is the last thing that is pushed
            exporters.show((watched.poll(),))
            over.wait(_PERIOD_S)


def _await_end(over: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    over.set()


if __name__ == "__main__":
    main()
