"""The mock server (mock_server.c) as a child process: compiled at first use, its log read back as columns.

Truth for a benchmark is what the server did, by its own clock, which is the client's clock too (CLOCK_MONOTONIC): a schedule
alone proves nothing on a machine where the server itself may run late.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from openagentperf.errors import InfrastructureError

HERE = Path(__file__).parent
_COLUMNS = 7


@dataclass(frozen=True, eq=False)
class SendLog:
    """What the server sent: one entry for each request, in the order in which they were read. Times in ns; 0: not sent."""

    read_ns: NDArray[np.int64]
    """The request was fully read."""
    first_ns: NDArray[np.int64]
    """The clock just before the send() of the first token."""
    last_ns: NDArray[np.int64]
    late_ns: NDArray[np.int64]
    """Worst lateness of the answer's events against the server's own schedule."""
    tokens: NDArray[np.int64]
    first_tokens: NDArray[np.int64]
    """Of them, in the first event."""
    body_bytes: NDArray[np.int64]
    """Of the request."""

    def __len__(self) -> int:
        return len(self.read_ns)

    def of(self, numbers: NDArray[np.int64]) -> SendLog:
        """The entries of these requests, in this order."""
        return SendLog(**{name: column[numbers] for name, column in vars(self).items()})

    @property
    def ttft_ns(self) -> NDArray[np.int64]:
        return self.first_ns - self.read_ns

    @property
    def speed(self) -> NDArray[np.float64]:
        """Tokens/s after the first event; only where the answer had at least two."""
        return (self.tokens - self.first_tokens) / (self.last_ns - self.first_ns) * 1e9

    @property
    def end_ns(self) -> NDArray[np.int64]:
        """The last sign of the request: its last token so far, or that it was read."""
        return np.maximum(self.last_ns, self.read_ns)

    def load(self) -> SendLog:
        """Without the lone requests before the load: clients that first ask whether anybody is there send one and wait for its end."""
        overlaps = np.flatnonzero(self.read_ns[1:] < np.maximum.accumulate(self.end_ns)[:-1])
        return self.of(np.arange(overlaps[0] if len(overlaps) else 0, len(self)))

    def most_open(self) -> int:
        """How many requests were open at once, at the most."""
        times = np.concatenate((self.read_ns, self.end_ns))
        steps = np.concatenate((np.ones(len(self), dtype=np.int64), -np.ones(len(self), dtype=np.int64)))
        order = np.lexsort((steps, times))  # an end before a begin at the same instant
        return int(np.cumsum(steps[order]).max(initial=0))

    def tokens_between(self, start_ns: int, end_ns: int) -> float:
        """Tokens sent in a span of time, each answer's taken as evenly spread."""
        span = np.maximum(self.last_ns - self.first_ns, 1)
        inside = np.minimum(self.last_ns, end_ns) - np.maximum(self.first_ns, start_ns)
        return float((self.tokens * np.clip(inside / span, 0, 1)).sum())


@dataclass(frozen=True)
class Mock:
    """A running mock server."""

    url: str
    """Up to and with /v1."""
    pid: int
    ahead: bool = False
    """It runs ahead of other programs (SCHED_RR); else it is late where the machine is busy, and its log says so."""

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def log(self) -> SendLog:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", "/log")
            rows = np.frombuffer(connection.getresponse().read(), dtype=np.int64).reshape(-1, _COLUMNS)
        finally:
            connection.close()
        return SendLog(*rows.T)


def compiled(source: str) -> Path:
    """The program made from a C file of this folder, kept under the hash of its text. InfrastructureError without a C compiler."""
    text = (HERE / source).read_bytes()
    program = HERE / "__pycache__" / f"{Path(source).stem}-{hashlib.sha256(text).hexdigest()[:12]}"
    if program.exists():
        return program
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise InfrastructureError(
            f"benchmarks/{source}", "there is no C compiler", "it is compiled at first use", "install gcc"
        )
    program.parent.mkdir(exist_ok=True)
    half = program.with_suffix(f".{os.getpid()}")
    command = [compiler, "-O2", "-o", str(half), str(HERE / source)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise InfrastructureError(f"benchmarks/{source}", "does not compile", "", made.stderr[-2000:])
    half.rename(program)
    return program


@contextmanager
def running(*options: str, core: int | None = None) -> Iterator[Mock]:
    """Run the server with `options`, on one core where asked and allowed, ahead of other processes where allowed.

    It ends with its standard input, so even a killed benchmark leaves none behind.
    """
    with subprocess.Popen(
        [compiled("mock_server.c"), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            line = child.stdout.readline().decode()
            if not line.startswith("listening on "):
                raise InfrastructureError(
                    "benchmarks/mock_server.c", f"ended at once ({' '.join(options)})", "", "see above"
                )
            pin(child.pid, core)
            yield Mock(url=line.removeprefix("listening on ").strip(), pid=child.pid, ahead=ahead(child.pid))
        finally:
            child.stdin.close()
            child.wait(10)


def ahead(pid: int) -> bool:
    """Run a process ahead of others; whether it could be done. It needs a privilege."""
    with suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))
        return True
    return False


def pin(pid: int, core: int | None) -> None:
    """Keep a process on one core; nothing where the platform or the number of cores does not allow it."""
    if cores := usable(core):
        os.sched_setaffinity(pid, cores)


def usable(core: int | None) -> tuple[int, ...]:
    """The core, where there is one to keep to and this process may use it."""
    return (core,) if core is not None and hasattr(os, "sched_setaffinity") and core in os.sched_getaffinity(0) else ()


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Keep this process, and those it starts meanwhile, on one core; afterwards it may move again, and they may not."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    pin(0, core)
    try:
        yield
    finally:
        if before:
            os.sched_setaffinity(0, before)
