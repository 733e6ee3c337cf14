"""What agents in a tool delay cost, and how exactly their delays end: `python -m benchmarks.idle_agents`.

Two phases of the real load path against sim.null, with answers of two tokens.

    idle     10,000 agents that have all had one answer and wait a quarter of an hour: CPU of the load worker meanwhile, as a share of a
             core. Bar: 2 %.
    delays   2,000 agents with tool delays of 1 to 3 s: sent - due of turns on a connection that was open. Bar: P99 of 2 ms; where this
             machine's own timers are later than that, measured meanwhile by a process that only sleeps for 1 ms, as much as those.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from openagentperf.load.collect import Collector
from openagentperf.load.drill import Drill, compiled, drilled, sessions
from openagentperf.records.phase import PhaseFacts, PhaseOrder
from openagentperf.score.quantile import quantile
from openagentperf.sim.spawn import spawned
from openagentperf.units import NS_PER_MS, NS_PER_S

IDLE_BAR, DELAY_BAR_MS = 0.02, 2.0
_SLEEPER = """
import sys, time
late = []
end = time.perf_counter() + float(sys.argv[1])
while time.perf_counter() < end:
    began = time.perf_counter_ns()
    time.sleep(0.001)
    late.append(time.perf_counter_ns() - began - 1_000_000)
late.sort()
print(late[len(late) * 99 // 100])
"""


def phase(
    agents: int,
    delay_s: tuple[float, float],
    seconds: float,
    at_start: Callable[[], object] = lambda: None,
) -> tuple[PhaseFacts, Collector]:
    """One phase; `at_start` is called once when its window opens."""
    drill = Drill(agents=agents, spawn_per_s=500, settle_s=5, measure_s=seconds)
    began: list[object] = []

    def tick(_collector: Collector, _order: PhaseOrder, stage: str) -> None:
        if stage == "measure" and not began:
            began.append(at_start())

    with (
        tempfile.TemporaryDirectory(prefix="openagentperf-") as scratch,
        spawned("openagentperf.sim.null", "--ttft-ms", "20", "--jitter-ms", "20") as url,
    ):
        folder = Path(scratch)
        corpus = compiled(sessions(tokens=2, first_bytes=2_000, turns=8, delay_s=delay_s), folder)
        return drilled(drill, url, corpus, folder, tick)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--busy", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args(argv)

    facts, collector = phase(given.idle, (900.0, 900.0), given.seconds)
    start_ns = facts.window_start_ns + NS_PER_S
    inside = [sample for sample in collector.samples if start_ns <= sample.t_ns <= facts.window_end_ns]
    cost = sum(sample.cpu_ns for sample in inside) / len(inside) / NS_PER_S
    active, open_requests = min(s.active_agents for s in inside), max(s.in_flight for s in inside)
    print(f"idle: {active} agents, at most {open_requests} requests open, {cost:.2%} of a core (bar {IDLE_BAR:.0%})")

    sleepers: list[subprocess.Popen[str]] = []

    def sleep_beside() -> None:
        command = [sys.executable, "-c", _SLEEPER, str(given.seconds)]
        sleepers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    facts, collector = phase(given.busy, (1.0, 3.0), given.seconds, at_start=sleep_beside)
    jitter_ms = int(sleepers[0].communicate()[0]) / NS_PER_MS
    late_ms = np.array([
        (row.sent_ns - row.due_ns) / NS_PER_MS
        for row in collector.rows
        if facts.window_start_ns <= row.due_ns < facts.window_end_ns and row.connection == "reused" and row.sent_ns is not None
    ])  # fmt: skip
    late = {p: quantile(late_ms, p / 100) for p in (50, 99)}
    rate = len(late_ms) / given.seconds
    print(
        f"delays: {given.busy} agents, {len(late_ms)} delays ended ({rate:.0f} a second), late by P50 {late[50]:.2f} ms, "
        f"P99 {late[99]:.2f} ms; "
        f"a timer of this machine alone: P99 {jitter_ms:.2f} ms, ratio {late[99] / jitter_ms:.1f} (bar {DELAY_BAR_MS:g} ms, or ratio 1)"
    )
    kept = cost < IDLE_BAR and late[99] <= max(DELAY_BAR_MS, jitter_ms)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
