"""What the load path reports beside what the server truly sent: TTFT, output speed, and the client's own error.

    python -m benchmarks.truth [--agents 300] [--repeats 5] [--jitter-ms 0 500]

The whole of the product's path, from a compiled corpus to the judge's columns, against mock_server.c (200 ms, 20 ms, 100 tokens), each on
a core of its own where there are two. Truth is the server's send log of the same turns: TTFT from "request fully read" to the first
token's send(), speed over the sends. What is reported starts at `due`: lateness in sending and the loopback are in its error.
The bars (medians of the repeats): P50 TTFT within 3 ms, P25 speed within 1 %, at 300 agents.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from benchmarks.loadpath import Phase, Shape, measure
from openagentperf.score.quantile import quantile
from openagentperf.units import NS_PER_MS

TTFT_BAR_MS = 3.0
SPEED_BAR_PERCENT = 1.0


class Reading(Struct, frozen=True, kw_only=True):
    """One phase: what was reported, the truth, and how much of the difference the client owns up to. Times in ms."""

    turns: int
    failed: int
    in_flight: float
    ttft_p50: float
    ttft_p50_error: float
    ttft_p95: float
    ttft_p95_error: float
    turn_error_p99: float
    """P99 over turns of |reported - true| TTFT."""
    speed_p25: float
    speed_p25_error_percent: float
    lateness_p99: float
    read_lag_p99: float
    loop_lag_max: float
    server_late_p99: float
    verdicts: str


def read(phase: Phase) -> Reading:
    turns, truth, view = phase.answered, phase.truth, phase.view
    answered = ~phase.measured.failed
    ttft_ms, true_ttft_ms = view.ttft_s[answered] * 1e3, truth.ttft_ns / NS_PER_MS
    speed, true_speed = view.pace.speed[answered], truth.speed
    window = [s for s in phase.samples if phase.facts.window_start_ns < s.t_ns <= phase.facts.window_end_ns]
    true_p25 = quantile(true_speed, 0.25)
    p50, p95 = quantile(ttft_ms, 0.5), quantile(ttft_ms, 0.95)
    return Reading(
        turns=len(turns),
        failed=phase.judged.failed_turns,
        in_flight=float(np.mean([s.in_flight for s in window])),
        ttft_p50=p50,
        ttft_p50_error=p50 - quantile(true_ttft_ms, 0.5),
        ttft_p95=p95,
        ttft_p95_error=p95 - quantile(true_ttft_ms, 0.95),
        turn_error_p99=quantile(np.abs(ttft_ms - true_ttft_ms), 0.99),
        speed_p25=quantile(speed, 0.25),
        speed_p25_error_percent=100 * (quantile(speed, 0.25) / true_p25 - 1),
        lateness_p99=quantile(view.late_s, 0.99) * 1e3,
        read_lag_p99=quantile(view.read_lag_s, 0.99) * 1e3,
        loop_lag_max=max(s.loop_lag_max_ns for s in window) / NS_PER_MS,
        server_late_p99=quantile(truth.late_ns / NS_PER_MS, 0.99),
        verdicts=" ".join(v.verdict for v in phase.judged.verdicts),
    )


COLUMNS = (
    ("turns", "turns", "{:6.0f}"),
    ("failed", "failed", "{:6.0f}"),
    ("open", "in_flight", "{:6.1f}"),
    ("TTFT P50", "ttft_p50", "{:9.2f}"),
    ("error", "ttft_p50_error", "{:+7.2f}"),
    ("P95", "ttft_p95", "{:9.2f}"),
    ("error", "ttft_p95_error", "{:+7.2f}"),
    ("turn P99", "turn_error_p99", "{:8.2f}"),
    ("speed P25", "speed_p25", "{:9.3f}"),
    ("error %", "speed_p25_error_percent", "{:+8.3f}"),
    ("late P99", "lateness_p99", "{:8.2f}"),
    ("read P99", "read_lag_p99", "{:8.2f}"),
    ("loop max", "loop_lag_max", "{:8.2f}"),
    ("server late P99", "server_late_p99", "{:15.2f}"),
)


def head() -> str:
    cells = (title.rjust(len(form.format(0.0))) for title, _, form in COLUMNS)
    return f"{'':>6} " + "  ".join(cells) + "  load  verdicts"


def line(name: str, reading: Reading) -> str:
    cells = (form.format(getattr(reading, field)) for _, field, form in COLUMNS)
    return f"{name:>6} " + "  ".join(cells) + f"  {os.getloadavg()[0]:4.1f}  {reading.verdicts}"


def median(readings: Sequence[Reading]) -> Reading:
    numbers = {
        name: float(np.median([getattr(r, name) for r in readings]))
        for name in Reading.__struct_fields__
        if name != "verdicts"
    }
    return Reading(verdicts="", **numbers)  # type: ignore[arg-type]


def main(argv: Sequence[str] | None = None) -> int:
    """0 where every median keeps to the bars, else 1."""
    parser = argparse.ArgumentParser(prog="benchmarks.truth", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--agents", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure-s", type=float, default=8)
    parser.add_argument("--jitter-ms", type=float, nargs="+", default=[0, 500])
    given = parser.parse_args(argv)
    shape = Shape(agents=given.agents, measure_s=given.measure_s, worker_core=1)
    kept = True
    for jitter_ms in given.jitter_ms:
        print(f"{given.agents} agents; server: TTFT 200..{200 + jitter_ms:g} ms, 20 ms, 100 tokens; ms and tokens/s")
        print(head())
        readings = []
        for number in range(given.repeats):
            readings.append(read(measure(shape, "--jitter-ms", str(jitter_ms), server_core=0)))
            print(line(f"{number + 1}", readings[-1]), flush=True)
        middle = median(readings)
        print(line("median", middle))
        held = abs(middle.ttft_p50_error) <= TTFT_BAR_MS and abs(middle.speed_p25_error_percent) <= SPEED_BAR_PERCENT
        kept &= held
        print(
            f"P50 TTFT off by {middle.ttft_p50_error:+.2f} ms (bar {TTFT_BAR_MS:g}), P25 speed by "
            f"{middle.speed_p25_error_percent:+.3f} % (bar {SPEED_BAR_PERCENT:g}): {'kept' if held else 'NOT KEPT'}\n"
        )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
