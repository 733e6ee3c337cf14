"""What load workers on Ray cost beside the same workers without it: `python -m benchmarks.ray_cost`.

Phases of the real load path against sim.null, in pairs: so many workers of this host, then as many on two nodes of a Ray cluster that this
host plays. More workers than cores, and nodes that share them: the worst case of it. CPU microseconds per streamed token:

    workers   the load workers, from their own samples
    run       this process: it decodes the rows, and on Ray fetches them
    relay     on Ray, the process on each node that starts the workers and hands their rows on
    daemons   on Ray, its own processes

Of the last three what they take without load, a cluster joined and its hosts open, is no cost of a token: `standing`, milliseconds of CPU a
second.

Bar: workers + run + relay + daemons on Ray at most 1.10 times the same without, median of the pairs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from benchmarks.cpu import cpu_s
from benchmarks.ray_nodes import Started, cluster
from openagentperf.load.collect import Collector
from openagentperf.load.drill import Drill, compiled, drilled, sessions
from openagentperf.load.ray import RayCluster
from openagentperf.load.remote import Remote
from openagentperf.records.phase import PhaseFacts, PhaseOrder
from openagentperf.records.turncolumns import TurnColumns
from openagentperf.sim.spawn import spawned
from openagentperf.units import NS_PER_S

BAR = 1.10
NODES = 2


class Cost(Struct, frozen=True, kw_only=True):
    """CPU microseconds per token."""

    tokens_per_s: float
    workers: float
    run: float
    relay: float = 0.0
    daemons: float = 0.0
    standing_ms: float = 0.0
    """A second."""

    @property
    def all(self) -> float:
        return self.workers + self.run + self.relay + self.daemons


def tokens_between(rows: TurnColumns, start_ns: int, end_ns: int) -> float:
    """Each answer's tokens taken as evenly spread from its first output to its last."""
    total = 0.0
    for row in rows:
        if row.first_output_ns is not None and row.last_output_ns is not None and row.output_tokens:
            span = max(row.last_output_ns - row.first_output_ns, 1)
            inside = min(row.last_output_ns, end_ns) - max(row.first_output_ns, start_ns)
            total += row.output_tokens * min(max(inside / span, 0.0), 1.0)
    return total


def spent_s(pids: Sequence[int]) -> float:
    total = 0.0
    for pid in pids:
        with suppress(OSError):
            total += cpu_s(pid)
    return total


def measure(given: argparse.Namespace, nodes: Started | None) -> Cost:
    drill = Drill(agents=given.agents, workers=given.workers, settle_s=3, measure_s=given.seconds)
    daemons = nodes.processes("ray") if nodes else []
    seen: list[Spent] = []

    def look() -> Spent:
        its = nodes.processes("ray::Node") if nodes else []
        spent = (time.process_time(), spent_s(its), spent_s([pid for pid in daemons if pid not in its]))
        return Spent(time.perf_counter_ns(), *spent)

    def tick(_collector: Collector, _order: PhaseOrder, stage: str) -> None:
        if stage == "measure":
            seen.append(look())

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="openagentperf-")))
        url = stack.enter_context(spawned("openagentperf.sim.null", "--count", "number"))
        hosts = None
        standing = Spent(NS_PER_S, 0.0, 0.0, 0.0)
        if nodes:
            hosts = stack.enter_context(closing(Remote(RayCluster(nodes.address), given.workers)))
            time.sleep(2)
            before = look()
            time.sleep(given.seconds)
            standing = look().since(before)
        corpus = compiled(sessions(tokens=100, first_bytes=8_000), folder)
        facts, collector = drilled(drill, url, corpus, folder, tick, hosts)
    return _cost(facts, collector, seen[-1].since(seen[0]), standing, (seen[0].at_ns, seen[-1].at_ns))


class Spent(NamedTuple):
    """CPU seconds so far, and when that was."""

    at_ns: int
    run: float
    relay: float
    daemons: float

    def since(self, other: Spent) -> Spent:
        return Spent(*(now - then for now, then in zip(self, other, strict=True)))

    def a_second(self) -> list[float]:
        return [part / self.at_ns * NS_PER_S for part in self[1:]]


def _cost(facts: PhaseFacts, collector: Collector, spent: Spent, standing: Spent, span: tuple[int, int]) -> Cost:
    assert not facts.faults, facts.faults
    start_ns, end_ns = span
    seconds = spent.at_ns / NS_PER_S
    tokens = tokens_between(collector.rows, start_ns, end_ns)
    inside = [s for s in collector.samples if start_ns + NS_PER_S < s.t_ns <= end_ns]
    workers_s = sum(s.cpu_ns for s in inside) / len(inside) * facts.workers * seconds / NS_PER_S
    run, relay, daemons = (
        (a - b) * seconds * 1e6 / tokens for a, b in zip(spent.a_second(), standing.a_second(), strict=True)
    )
    return Cost(
        tokens_per_s=tokens / seconds, workers=workers_s * 1e6 / tokens, run=run, relay=relay, daemons=daemons,
        standing_ms=sum(standing.a_second()) * 1e3,
    )  # fmt: skip


def line(name: str, cost: Cost) -> str:
    return (
        f"{name:>8} {cost.tokens_per_s:9.0f} {cost.workers:8.2f} {cost.run:8.2f} {cost.relay:8.2f} {cost.daemons:8.2f} {cost.all:8.2f}"
        f" {cost.standing_ms:9.1f} {os.getloadavg()[0]:6.1f}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=300)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(argv)
    print(
        f"{'':>8} {'tokens/s':>9} {'workers':>8} {'run':>8} {'relay':>8} {'daemons':>8} {'all':>8}   load  (us a token)"
    )
    ratios = []
    with cluster(NODES, given.workers) as nodes:
        for _ in range(given.repeats):
            here, there = measure(given, None), measure(given, nodes)
            ratios.append(there.all / here.all)
            print(line("without", here), line("on Ray", there), f"{'':>8} ratio {ratios[-1]:.3f}", sep="\n", flush=True)
    ratio = statistics.median(ratios)
    print(
        f"{given.workers} workers on {len(os.sched_getaffinity(0))} cores: {ratio:.3f} times the CPU a token (bar {BAR:.2f})"
    )
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
