"""What the recording proxy adds to the time to first token: the same load through it and past it, in turn.

    python -m benchmarks.record_cost [--agents 100] [--repeats 3] [--first-bytes 8000]

The product's load path against mock_server.c, as in benchmarks.truth. A turn's overhead is the TTFT that the client saw less the server's
own, from its send log; what the proxy adds is the difference between the two runs' quantiles of it, so that neither the server's schedule
nor the client's own error is in it. Scrubbing and writing run meanwhile, as they do in use.
The proxy runs ahead of other processes where that is allowed, as the server does: on a shared machine the neighbours are measured otherwise
(--as-is does: it waits for a core like anybody).
The bar (median of the repeats): P99 not more than 2 ms above, at 100 streams of 50 tokens/s.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import numpy as np
from msgspec import Struct

from benchmarks.loadpath import Phase, Shape, measure
from benchmarks.mock import ahead
from openagentperf.errors import InfrastructureError
from openagentperf.score.quantile import quantile
from openagentperf.units import NS_PER_MS

BAR_MS = 2.0


class Overhead(Struct, frozen=True, kw_only=True):
    """One phase. Times in ms: TTFT as the client saw it, and what of it was not the server's."""

    turns: int
    failed: int
    ttft_p50: float
    ttft_p99: float
    over_p50: float
    over_p99: float
    speed_p25: float


@contextmanager
def recording(url: str, *, as_is: bool = False) -> Iterator[str]:
    """A recorder in front of `url`; yields its own base URL, and ends it as Ctrl-C would."""
    with (
        tempfile.TemporaryDirectory(prefix="openagentperf-") as folder,
        subprocess.Popen(
            [sys.executable, "-m", "openagentperf", "record", "--upstream", url, "--out", folder, "--listen", "127.0.0.1:0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ) as child,
    ):  # fmt: skip
        assert child.stderr is not None
        found = re.search(r"http://\S+", child.stderr.readline())
        if found is None:
            raise InfrastructureError("openagentperf record", "did not listen", "", "see above")
        if not as_is:
            ahead(child.pid)
        try:
            yield f"{found[0]}/v1"
        finally:
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=120)


def overhead(phase: Phase) -> Overhead:
    answered = ~phase.measured.failed
    ttft_ms = phase.view.ttft_s[answered] * 1e3
    over_ms = ttft_ms - phase.truth.ttft_ns / NS_PER_MS
    return Overhead(
        turns=len(phase.answered),
        failed=phase.judged.failed_turns,
        ttft_p50=quantile(ttft_ms, 0.5),
        ttft_p99=quantile(ttft_ms, 0.99),
        over_p50=quantile(over_ms, 0.5),
        over_p99=quantile(over_ms, 0.99),
        speed_p25=quantile(phase.view.pace.speed[answered], 0.25),
    )


def line(name: str, seen: Overhead) -> str:
    return (
        f"{name:>12} {seen.turns:6} {seen.failed:6} {seen.ttft_p50:9.2f} {seen.ttft_p99:9.2f} {seen.over_p50:9.3f} {seen.over_p99:9.3f} "
        f"{seen.speed_p25:10.2f} {os.getloadavg()[0]:5.1f}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """0 where the median keeps to the bar, else 1."""
    parser = argparse.ArgumentParser(prog="benchmarks.record_cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure-s", type=float, default=8)
    parser.add_argument("--first-bytes", type=int, default=8_000)
    parser.add_argument("--as-is", action="store_true")
    given = parser.parse_args(argv)
    shape = Shape(agents=given.agents, measure_s=given.measure_s, first_bytes=given.first_bytes)
    print(
        f"{given.agents} streams, requests from {given.first_bytes:,} bytes; server: TTFT 200 ms, 20 ms, 100 tokens; ms and tokens/s"
    )
    print(
        f"{'':>12} {'turns':>6} {'failed':>6} {'TTFT P50':>9} {'P99':>9} {'over P50':>9} {'P99':>9} {'speed P25':>10} {'load':>5}"
    )
    added: list[tuple[float, float, float]] = []
    for number in range(given.repeats):
        pair = []
        for name, through in (("direct", nullcontext), ("recorded", partial(recording, as_is=given.as_is))):
            pair.append(overhead(measure(shape, through=through)))
            print(line(f"{number + 1} {name}", pair[-1]), flush=True)
        direct, recorded = pair
        added.append(
            (
                recorded.over_p50 - direct.over_p50,
                recorded.over_p99 - direct.over_p99,
                recorded.ttft_p99 / direct.ttft_p99,
            )
        )
    p50, p99, ratio = np.median(np.asarray(added), axis=0)
    held = bool(p99 <= BAR_MS)
    print(
        f"added TTFT: P50 {p50:+.3f} ms, P99 {p99:+.3f} ms (bar {BAR_MS:g}: {'kept' if held else 'NOT KEPT'}); P99 TTFT x {ratio:.4f}"
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
