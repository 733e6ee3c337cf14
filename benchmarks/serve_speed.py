"""Streamed tokens a second of the embedded target on one core, beside a mock server in C that does the least any server must.

    python -m benchmarks.serve_speed [--connections 400] [--seconds 6] [--tokens 300] [--repeats 3]

Closed loop: each connection asks for an answer of `--tokens` tokens as soon as it has the one before. The client is raw_reader.c, and the
mock (mock_server.c: one send() a token on a schedule) is given the target's own pace: 10 ms a token and no queue. Each sits on a core of
its own where there are two. The target's figures are its process's CPU time (user and system) over the answers, tokens are events
counted by the client less the three of each answer that hold none (role, finish, usage) and its [DONE]. `could do` is tokens per
CPU-second: what one core would stream if the steps came faster, and that is what the bar is about; `tokens/s` is what was streamed.

The bar: 10,000 tokens/s of one core, streamed and not only promised.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

from benchmarks.cpu import cpu_s
from benchmarks.mock import compiled, pin, pinned, running

SERVER_CORE, CLIENT_CORE = 1, 0
BAR_TOKENS_PER_S = 10_000
FRAMES = 4
"""Events of an answer that hold no token: role, finish, usage, [DONE]."""
MOCK_FRAMES = 3
"""The mock's first token comes with the role."""


class Speed(NamedTuple):
    """Of one server over one load."""

    tokens_per_s: float
    cpu_us: float
    """Of the server, per token."""
    client_us: float
    """Of the reader, per event."""

    @property
    def could_do(self) -> float:
        return 1e6 / self.cpu_us


class Load(NamedTuple):
    connections: int
    seconds: float
    tokens: int
    request_bytes: int = 2_000


def read(port: int, pid: int, load: Load, frames: int) -> Speed:
    """Load a server, and take the CPU time it spent meanwhile."""
    began = cpu_s(pid)
    with pinned(CLIENT_CORE):
        words = (port, load.connections, f"{load.seconds:g}", load.request_bytes, load.tokens)
        command = [str(compiled("raw_reader.c")), *(str(word) for word in words)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    spent = cpu_s(pid) - began
    events = int(out[1])
    tokens = events * load.tokens / (load.tokens + frames)
    return Speed(tokens / float(out[2]), spent * 1e6 / tokens, float(out[0]))


@contextmanager
def target() -> Iterator[tuple[int, int]]:
    """Port and process of an embedded target with the `fast` preset, 10 ms a token whatever the load."""
    command = [sys.executable, "-m", "openagentperf.sim.serve", "--config", "fast", "--model", "mock"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        try:
            port = urlsplit(child.stdout.readline().decode().removeprefix("listening on ").strip()).port
            assert port is not None
            pin(child.pid, SERVER_CORE)
            yield port, child.pid
        finally:
            child.send_signal(signal.SIGTERM)


def of_target(load: Load) -> Speed:
    with target() as (port, pid):
        return read(port, pid, load, FRAMES)


def of_mock(load: Load) -> Speed:
    options = ("--ttft-ms", "10", "--interval-ms", "10", "--tokens", str(load.tokens))
    with running(*options, core=SERVER_CORE) as mock:
        return read(mock.port, mock.pid, load, MOCK_FRAMES)


def line(name: str, speed: Speed, bare: Speed) -> str:
    return (
        f"{name:>6} {speed.tokens_per_s:9.0f} {speed.cpu_us:8.2f} {speed.could_do:9.0f} {bare.cpu_us:8.2f} "
        f"{speed.cpu_us / bare.cpu_us:8.2f}x {speed.client_us:8.2f} {speed.cpu_us / speed.client_us:8.2f}x {os.getloadavg()[0]:5.1f}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """0 where the median keeps to the bar, else 1."""
    parser = argparse.ArgumentParser(prog="benchmarks.serve_speed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(argv)
    load = Load(given.connections, given.seconds, given.tokens)
    print(
        f"{load.connections} streams of {load.tokens} tokens, one a step of 10 ms; CPU us per token (C reader: per event)"
    )
    print(
        f"{'':>6} {'tokens/s':>9} {'target':>8} {'could do':>9} {'C mock':>8} {'target/C':>9} {'C reader':>8} {'target/r':>9} {'load':>5}"
    )
    pairs = []
    for number in range(given.repeats):
        pairs.append((of_target(load), of_mock(load)))
        print(line(f"{number + 1}", *pairs[-1]), flush=True)
    middle = [
        Speed(*(float(np.median(column)) for column in zip(*speeds, strict=True)))
        for speeds in zip(*pairs, strict=True)
    ]
    print(line("median", *middle))
    held = min(middle[0].tokens_per_s, middle[0].could_do) >= BAR_TOKENS_PER_S
    print(f"the bar of {BAR_TOKENS_PER_S:,} streamed tokens/s on one core: {'kept' if held else 'NOT KEPT'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
