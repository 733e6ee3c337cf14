"""CPU time per streamed token: the load worker alone, the collector that decodes its rows, and a bare reader in C beside them.

    python -m benchmarks.client_cost [--agents 500] [--repeats 3] [--jitter-ms 500]

500 streams of 50 tokens/s, one token an event of about 200 bytes. The worker's own figure is ClientSample.cpu_ns over the measure
window, the collector's is the CPU time of the parent process, tokens are those of the server's send log. The reader
(raw_reader.c: epoll, recv, count events) does the least that any client must, in the same minute and on the same core: on a shared
machine only the ratio to it says anything.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from benchmarks.loadpath import Phase, Shape, measure
from benchmarks.mock import compiled, pinned, running
from openagentperf.units import NS_PER_S, NS_PER_US

WORKER_CORE, SERVER_CORE = 1, 0


class Cost(Struct, frozen=True, kw_only=True):
    """CPU microseconds per token, tokens/s, and the share of one core that the worker used."""

    worker: float
    collector: float
    reader: float
    tokens_per_s: float
    worker_load: float

    @property
    def total(self) -> float:
        return self.worker + self.collector


def of_phase(phase: Phase, reader_us: float) -> Cost:
    """Over the whole seconds that health samples tell of, inside the measure window."""
    facts = phase.facts
    inside = [s for s in phase.samples if facts.window_start_ns < s.t_ns <= facts.window_end_ns]
    start_ns, end_ns = inside[0].t_ns, inside[-1].t_ns
    cpu_ns = sum(s.cpu_ns for s in inside[1:])  # the first sample's second began before the window
    tokens = phase.log.tokens_between(start_ns, end_ns)
    window_tokens = phase.log.tokens_between(facts.window_start_ns, facts.window_end_ns)
    return Cost(
        worker=cpu_ns / NS_PER_US / tokens,
        collector=phase.collector_cpu_ns / NS_PER_US / window_tokens,
        reader=reader_us,
        tokens_per_s=tokens / (end_ns - start_ns) * NS_PER_S,
        worker_load=cpu_ns / (end_ns - start_ns),
    )


def reader_us(agents: int, seconds: float, request_bytes: int, *options: str) -> float:
    """CPU microseconds per event of the reader in C, on the worker's core."""
    with running(*options, core=SERVER_CORE) as mock, pinned(WORKER_CORE):
        command = [str(compiled("raw_reader.c")), str(mock.port), str(agents), f"{seconds:g}", str(request_bytes)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0])


def line(name: str, cost: Cost) -> str:
    ratio = cost.worker / cost.reader
    return (
        f"{name:>6} {cost.tokens_per_s:9.0f} {100 * cost.worker_load:7.1f} % {cost.worker:8.2f} {cost.collector:10.2f} "
        f"{cost.total:7.2f} {cost.reader:9.2f} {ratio:9.2f}x {cost.total / cost.reader:8.2f}x {os.getloadavg()[0]:5.1f}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.client_cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--agents", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure-s", type=float, default=8)
    parser.add_argument("--jitter-ms", type=float, default=500)
    given = parser.parse_args(argv)
    jitter = ("--jitter-ms", str(given.jitter_ms))
    shape = Shape(agents=given.agents, measure_s=given.measure_s, worker_core=WORKER_CORE, delay_ms=(0, 50))
    print(
        f"{given.agents} streams; server: TTFT 200..{200 + given.jitter_ms:g} ms, 20 ms, 100 tokens; CPU us per token"
    )
    print(f"{'':>6} {'tokens/s':>9} {'worker at':>9} {'worker':>8} {'collector':>10} {'total':>7} {'C reader':>9} "
          f"{'worker/C':>10} {'total/C':>9} {'load':>5}")  # fmt: skip
    costs = []
    for number in range(given.repeats):
        bare = reader_us(given.agents, given.measure_s, shape.first_bytes, *jitter)
        costs.append(of_phase(measure(shape, *jitter, server_core=SERVER_CORE), bare))
        print(line(f"{number + 1}", costs[-1]), flush=True)
    names = Cost.__struct_fields__
    print(line("median", Cost(**{name: float(np.median([getattr(c, name) for c in costs])) for name in names})))
    return 0


if __name__ == "__main__":
    sys.exit(main())
