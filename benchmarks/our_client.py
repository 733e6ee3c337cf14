"""The product's own load path as one client among others (benchmarks.peers): one phase against a mock server that runs already.

    python -m benchmarks.our_client http://127.0.0.1:PORT [--agents 500] [--body-bytes 300] [--tokens 100]

All of it: a compiled corpus, the fleet and its worker, the collector that decodes, the tables on disk, the judge's columns. The last line
is JSON: what is reported, what the server sent of the same turns, and why the judge calls the phase invalid for every tier, if it does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.loadpath import Phase, Shape, phase
from benchmarks.mock import Mock
from benchmarks.peer_clients import Said
from openagentperf.score.quantile import quantile
from openagentperf.units import NS_PER_MS

TURNS = 12
"""Of a session where there are tool delays, which lie between its turns; else one, so that a body is as long as was asked for."""


def said(seen: Phase) -> Said:
    truth = seen.truth
    true_ttft_ms = truth.ttft_ns / NS_PER_MS
    answered = ~seen.measured.failed
    ttft_ms = seen.view.ttft_s[answered] * 1e3
    verdicts = seen.judged.verdicts
    invalid = all(v.verdict == "invalid" and not v.short for v in verdicts)
    return Said(
        ttft_p50=quantile(ttft_ms, 0.5),
        ttft_p95=quantile(ttft_ms, 0.95),
        speed_p50=quantile(seen.view.pace.speed[answered], 0.5),
        true_ttft_p50=quantile(true_ttft_ms, 0.5),
        true_ttft_p95=quantile(true_ttft_ms, 0.95),
        true_speed_p50=quantile(truth.speed, 0.5),
        invalid=verdicts[0].reasons if invalid else (),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.our_client", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--agents", type=int, default=500)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--body-bytes", type=int, default=300)
    parser.add_argument("--ramp-s", type=float, default=0, help="agents start evenly over so long")
    parser.add_argument("--settle-s", type=float, default=1)
    parser.add_argument("--measure-s", type=float, default=7)
    parser.add_argument("--tool-ms", type=int, nargs=2, default=[0, 0], help="tool delays, evenly drawn")
    given = parser.parse_args(argv)
    low, high = given.tool_ms
    shape = Shape(
        agents=given.agents, spawn_per_s=given.agents / max(given.ramp_s, 1e-3), settle_s=given.settle_s, measure_s=given.measure_s,
        least_turns=1, delay_ms=(low, high), first_bytes=given.body_bytes, turns=TURNS if high else 1, tokens=given.tokens,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="openagentperf-") as scratch:
        url = f"{given.url}/v1"
        seen = phase(shape, Mock(url=url, pid=0), url, Path(scratch))
    print(msgspec.json.encode(said(seen)).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
