"""Run the benchmarks, one after another: `python -m benchmarks`, each with a short default; or one, `python -m benchmarks NAME [OPTIONS]`.

A benchmark is a module whose docstring says what its figures mean; a status other than 0 is a bar not kept. Each runs in a process of
its own, so that none measures the memory of the one before.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

BENCHMARKS = {
    "truth": ("--repeats", "1"),
    "client_cost": ("--repeats", "1"),
    "compare_coverage": ("--runs", "50"),
    "decode_cost": (),
    "dynosim": ("--repeats", "1"),
    "corpus_build": ("--count", "100"),
    "corpus_reuse": ("--count", "50"),
    "idle_agents": (),
    "import_speed": ("--repeats", "3"),
    "memory": ("--seconds", "30"),
    "peers": ("--repeats", "1", "--loads", "together", "bodies"),
    "power_cost": ("--seconds", "10", "--repeats", "1"),
    "ray_cost": ("--repeats", "1"),
    "record_cost": ("--repeats", "1"),
    "serve_speed": ("--repeats", "1"),
    "report_speed": (),
    "search_truth": ("40",),
    "sim_speed": ("--agents", "500", "2000", "--phase", "0"),
    "watch_cost": ("--pairs", "1"),
}
"""By name: the options of the short run."""


def run(name: str, options: Sequence[str]) -> int:
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=False).returncode


def main(argv: Sequence[str]) -> int:
    if argv and argv[0] in BENCHMARKS:
        return run(argv[0], argv[1:])
    if argv:
        print(
            f"python -m benchmarks {argv[0]}: no such benchmark, one of {', '.join(BENCHMARKS)} was needed",
            file=sys.stderr,
        )
        return 2
    missed = []
    for name, options in BENCHMARKS.items():
        print(f"\n== {' '.join((name, *options))} (load average {os.getloadavg()[0]:.2f})", flush=True)
        if run(name, options):
            missed.append(name)
    if missed:
        print(f"\nbars not kept: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
