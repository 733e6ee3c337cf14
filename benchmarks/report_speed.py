"""How long a report of a million turns takes, and how much memory.

    python -m benchmarks.report_speed [--turns 1000000] [--phases 16] [--format html] [--keep DIR]

A made run folder (benchmarks.runfolder: a real search over drawn rows), reported by a process of its own as `openagentperf report` does:
wall and CPU seconds, peak resident memory, size of the page. `--phases 1` puts all rows into one phase, which is the most that has to lie
in memory at once. The bars: 30 s and 2 GB; a page below 3 MB. The making of the folder is not timed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from benchmarks.runfolder import make_run, plan_of

BAR_S, BAR_BYTES, BAR_PAGE_BYTES = 30.0, 2_000_000_000, 3_000_000


def made(folder: Path, turns: int, phases: int) -> int:
    """A run of about `turns` rows; returns how many there are. It is broken off after `phases` phases where its search wants more."""
    start = (
        64 if phases == 1 else 1
    )  # one agent would take a month for a million turns, and leave more health samples than turns
    make_run(folder, plan_of(limit=256, start=start), turns=turns // phases, knee=64.0, phases=phases)
    return sum(
        pl.scan_parquet(path).select(pl.len()).collect().item() for path in folder.glob("phases/*/turns.parquet")
    )


def reported(folder: Path, format: str) -> tuple[float, float, int]:
    """(wall seconds, CPU seconds, peak resident bytes) of `openagentperf report` in a process of its own."""
    began = time.perf_counter()
    pid = os.spawnv(
        os.P_NOWAIT, sys.executable, [sys.executable, "-m", "openagentperf", "report", str(folder), "--format", format]
    )
    _, status, used = os.wait4(pid, 0)
    wall_s = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"openagentperf report ended with status {os.waitstatus_to_exitcode(status)}")
    return wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024  # fmt: skip


def main(argv: Sequence[str]) -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.report_speed")
    options.add_argument("--turns", type=int, default=1_000_000)
    options.add_argument("--phases", type=int, default=16)
    options.add_argument("--format", default="html")
    options.add_argument("--keep", type=Path, help="make the folder here and leave it")
    chosen = options.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.keep or Path(name) / "run"
        turns = made(folder, chosen.turns, chosen.phases)
        wall_s, cpu_s, peak = reported(folder, chosen.format)
        page = folder / "report.html"
        size = page.stat().st_size if page.exists() else 0
    busy = f"load average {os.getloadavg()[0]:.1f}"
    print(f"{turns:,} turns: {wall_s:.1f} s wall, {cpu_s:.1f} s CPU ({busy})")
    print(f"peak {peak / 1e6:,.0f} MB, page {size / 1e6:.2f} MB")
    return 0 if wall_s < BAR_S and peak < BAR_BYTES and size < BAR_PAGE_BYTES else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
