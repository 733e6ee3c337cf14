"""How often a 90 % interval of `compare` holds the truth, where all agents share one queue.

    python -m benchmarks.compare_coverage [--runs 100]

Two systems that are the same, so that the true ratio is 1: closed loops of 8, 20 and 30 agents that walk random trajectories over one
first-come-first-served server; log-normal work, trajectories that are heavy or light as a whole, cold first turns, 90 s a phase. For each
unit of the interval: the share of pairs of runs whose interval holds 1, half its mean width in logarithms, and that width as a share of the
one that would hold 1 in 90 % of the pairs (the 90 % quantile of the distance); of blocks before they are widened. With requests as units,
what the method is there to avoid, for comparison. Bars, for 100 pairs or more: phases 84 % (a true 90 % interval misses that once in 50),
blocks 90 %.
"""

from __future__ import annotations

import argparse
import heapq
import math
import sys
from collections.abc import Sequence

import numpy as np

from openagentperf.report.comparepaired import WIDEN, Observed, Ratio, matched

TRAJECTORIES, TURNS, WINDOW_S, WARM_S = 40, 20, 90.0, 20.0
BARS = {"phase": 0.84, "block": 0.90}
Z95 = 1.645


class System:
    """What a pair of runs replays, drawn anew for each pair."""

    def __init__(self, draw: np.random.Generator) -> None:
        heavy = np.exp(draw.normal(0, 0.5, (TRAJECTORIES, 1)))
        self.work_s = 0.05 * heavy * np.exp(draw.normal(0, 1, (TRAJECTORIES, TURNS)))
        self.work_s[:, 0] *= 6
        self.delay_s = np.exp(draw.normal(0, 0.8, (TRAJECTORIES, TURNS)))

    def phase(self, draw: np.random.Generator, agents: int) -> Observed:
        """Time to first token of every turn that is due in the window."""
        waiting = [
            (draw.random() * 5, agent, int(draw.integers(TRAJECTORIES)), int(draw.integers(TURNS))) for agent in range(agents)
        ]  # fmt: skip
        heapq.heapify(waiting)
        free_s = 0.0
        seen: list[tuple[int, float, float]] = []
        while (next_turn := heapq.heappop(waiting))[0] < WARM_S + WINDOW_S:
            due_s, agent, trajectory, turn = next_turn
            free_s = max(free_s, due_s) + self.work_s[trajectory, turn]
            if due_s >= WARM_S:
                seen.append((trajectory * TURNS + turn, (due_s - WARM_S) / WINDOW_S, math.log(free_s - due_s)))
            following = (trajectory, turn + 1) if turn + 1 < TURNS else (int(draw.integers(TRAJECTORIES)), 0)
            heapq.heappush(waiting, (free_s + 0.5 + self.delay_s[trajectory, turn], agent, *following))
        keys, due, values = zip(*seen, strict=True)
        return Observed(np.array(keys), np.array(due), np.array(values))


def intervals(phases_a: int, phases_b: int, runs: int, agents: int) -> list[Ratio]:
    found = []
    for run in range(runs):
        draw = np.random.default_rng([run, phases_a, phases_b])
        system = System(draw)
        paired = matched(*([system.phase(draw, agents) for _ in range(count)] for count in (phases_a, phases_b)))
        assert paired is not None
        found.append(paired.ratio)
    return found


def by_requests(runs: int, agents: int) -> int:
    """Of so many pairs of single phases, those whose interval holds 1 where every matched turn counts as a draw of its own."""
    held = 0
    for run in range(runs):
        draw = np.random.default_rng([run, 9])
        system = System(draw)
        a, b = (system.phase(draw, agents) for _ in range(2))
        common = np.intersect1d(a.key, b.key)
        apart = np.array([b.log_value[b.key == key].mean() - a.log_value[a.key == key].mean() for key in common])
        held += bool(abs(apart.mean()) <= Z95 * apart.std(ddof=1) / math.sqrt(len(common)))
    return held


def holding(found: Sequence[Ratio]) -> int:
    return sum((ratio.low or math.inf) <= 1 <= (ratio.high or 0) for ratio in found)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare_coverage")
    parser.add_argument("--runs", type=int, default=100, help="pairs of runs for each line")
    runs: int = parser.parse_args(argv).runs
    missed = False
    print("unit      phases  agents  holds 1  half width  of what 90 % need")
    for phases_a, phases_b in ((3, 3), (2, 2), (3, 1), (1, 1)):
        for agents in (8, 20, 30):
            found = intervals(phases_a, phases_b, runs, agents)
            share = holding(found) / runs
            half = sum(math.log((r.high or 1) / (r.low or 1)) / 2 for r in found) / runs
            needed = float(np.quantile([abs(math.log(r.ratio)) for r in found], 0.9))
            of_needed = half / needed / (WIDEN if found[0].unit == "block" else 1.0)
            print(
                f"{found[0].unit:<9} {phases_a}, {phases_b}    {agents:>6}  {share:>7.1%}  {half:>10.2f}  {of_needed:>17.0%}"
            )
            missed |= share < BARS[found[0].unit]
    for agents in (8, 20, 30):
        print(f"requests  1, 1    {agents:>6}  {by_requests(runs, agents) / runs:>7.1%}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
