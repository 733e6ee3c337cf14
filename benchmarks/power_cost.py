"""What reading power costs: 72 devices at 10 Hz, and whether the load loop notices.

    sampler    CPU of the sampler process / wall time, start-up left out: user and system time of its threads. Bar: 5 % of one core.
    read lag   P99 of the time between a read of the load path and the kernel's stamp on it, with the sampler and without, in turn, medians
               of the same run. Bar: the difference is below 0.5 ms (a truth benchmark's whole error is 0.8 ms on these machines).

The exporter is a process of its own on loopback with one page of 72 GPUs, power and energy, as the DCGM exporter writes it; its own CPU is
not the sampler's. `python -m benchmarks.power_cost [--seconds 20] [--repeats 3]`
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.cpu import cpu_s
from benchmarks.loadpath import Shape, measure
from openagentperf.client.clock import now_ns
from openagentperf.meters.sampling import Sampling
from openagentperf.system import Prometheus

DEVICES = 72
PERIOD_S = 0.1
BAR_SHARE = 0.05
BAR_LAG_MS = 0.5
_EXPORTER = r"""
import http.server, sys, time
began = time.monotonic()
class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_GET(self):
        t = time.monotonic() - began
        rows = ["# TYPE DCGM_FI_DEV_POWER_USAGE gauge", "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter"]
        for n in range(int(sys.argv[1])):
            labels = f'{{gpu="{n}",UUID="GPU-{n:04d}",device="nvidia{n}",modelName="NVIDIA GB300",Hostname="node{n // 4}"}}'
            rows.append(f"DCGM_FI_DEV_POWER_USAGE{labels} {930 + n + t % 1:.3f}")
            rows.append(f"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{labels} {t * 1000 * (930 + n):.0f}")
        body = "\n".join(rows).encode() + b"\n"
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@contextmanager
def exporter() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", _EXPORTER, str(DEVICES)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(child.stdout.readline())}/metrics"
        finally:
            child.kill()


@contextmanager
def sampled(url: str, folder: Path) -> Iterator[Sampling]:
    spec = Prometheus(name="rack", boundary="accelerator", url=url, period_s=PERIOD_S)
    with Sampling([spec], folder / "power.frames") as sampling:
        yield sampling


def sampler_share(seconds: float) -> tuple[float, float]:
    """CPU of the sampler over wall time, and readings a second."""
    with tempfile.TemporaryDirectory() as scratch, exporter() as url, sampled(url, Path(scratch)) as sampling:
        time.sleep(1.0)  # its imports are behind it
        start, cpu = now_ns(), cpu_s(sampling.pid)
        time.sleep(seconds)
        wall_s, spent_s = (now_ns() - start) / 1e9, cpu_s(sampling.pid) - cpu
        rows = sampling.between(start, now_ns())
    return spent_s / wall_s, len(rows) / wall_s


def lag_p99_ms(shape: Shape, metered: bool) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        if not metered:
            return _lag(shape)
        with exporter() as url, sampled(url, Path(scratch)):
            return _lag(shape)


def _lag(shape: Shape) -> float:
    lags = measure(shape).measured.read_lag_ns
    return float(np.quantile(lags[lags >= 0], 0.99)) / 1e6


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(argv)
    shares = [sampler_share(given.seconds) for _ in range(given.repeats)]
    share, rate = statistics.median(share for share, _ in shares), statistics.median(rate for _, rate in shares)
    shape = Shape(agents=100, measure_s=6)
    lags = [(lag_p99_ms(shape, False), lag_p99_ms(shape, True)) for _ in range(given.repeats)]
    without, with_it = (statistics.median(side) for side in zip(*lags, strict=True))
    print(
        f"sampler, {DEVICES} devices every {PERIOD_S:g} s: {share:.1%} of one core, {rate:,.0f} readings/s (bar {BAR_SHARE:.0%})"
    )
    print(
        f"P99 read lag of the load path: {without:.3f} ms without, {with_it:.3f} ms with it (bar: {BAR_LAG_MS} ms more)"
    )
    return 1 if share > BAR_SHARE or with_it - without > BAR_LAG_MS else 0


if __name__ == "__main__":
    sys.exit(main())
