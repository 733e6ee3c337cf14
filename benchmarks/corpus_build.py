"""Time and memory of generating trajectories: text alone, then with writing, re-reading and counting the set.

    python -m benchmarks.corpus_build [--profile agentperf] [--count 1000] [--tokenizer estimate]

Prints MB of text (contents and call arguments) per second, by the wall clock and by CPU time (a shared machine slows the first), and the
peak resident size of this process.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from openagentperf.corpus.profiles import PROFILES
from openagentperf.corpus.shape import generate
from openagentperf.corpusjobs.build import VOCABULARIES, build, counter
from openagentperf.records.trajectory import Trajectory


def text_bytes(trajectory: Trajectory) -> int:
    """UTF-8 bytes of all contents and call arguments, each counted once."""
    messages = (message for turn in trajectory.turns for message in turn.appended)
    return sum(len(m.content.encode()) + sum(len(call.arguments.encode()) for call in m.tool_calls) for m in messages)


def rates(size: int, wall_s: float, cpu_s: float) -> str:
    mb = size / 1e6
    return f"{mb:.1f} MB in {wall_s:.2f} s: {mb / wall_s:.1f} MB/s, {mb / cpu_s:.1f} MB per CPU second, peak {peak_mb():.0f} MB"


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.corpus_build", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", choices=sorted(PROFILES), default="agentperf")
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--tokenizer", choices=["estimate", *VOCABULARIES], default="estimate")
    given = parser.parse_args(argv)
    count_tokens = counter(given.tokenizer)
    print(f"{given.count} trajectories of {given.profile}, tokens by {given.tokenizer}")
    print(f"before: peak {peak_mb():.0f} MB")

    turns = size = 0
    start, cpu = time.perf_counter(), time.process_time()
    for trajectory in generate(PROFILES[given.profile], given.count, 1, count_tokens, given.tokenizer):
        turns += len(trajectory.turns)
        size += text_bytes(trajectory)
    print(f"generate: {turns:,} turns, {rates(size, time.perf_counter() - start, time.process_time() - cpu)}")

    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), time.process_time()
        build(given.profile, given.count, 1, Path(folder), given.tokenizer)
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
        written = sum(file.stat().st_size for file in Path(folder).iterdir())
    print(f"build, on disk: {rates(written, wall_s, cpu_s)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
