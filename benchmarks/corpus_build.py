"""Time and memory of generating trajectories: text alone, then written as a set with its card, then compiled as a run does it.

    python -m benchmarks.corpus_build [--profile agentperf] [--count 1000] [--tokenizer estimate]

Prints MB of text (contents and call arguments) per second, by the wall clock and by CPU time (a shared machine slows the first), the
peak resident size of this process, and what 10,000 trajectories would take at that rate: the pools of source text are made once, so that
a small count overstates it.
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
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.plan import Workload
from openagentperf.records.trajectory import Trajectory, lines


def text_bytes(trajectory: Trajectory) -> int:
    """UTF-8 bytes of all contents and call arguments, each counted once."""
    messages = (message for line in lines(trajectory) for turn in line.turns for message in turn.appended)
    return sum(len(m.content.encode()) + sum(len(call.arguments.encode()) for call in m.tool_calls) for m in messages)


class Watch:
    """Times one step, and says what it made."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def said(self, size: int, count: int) -> str:
        wall_s, cpu_s = time.perf_counter() - self._wall_s, time.process_time() - self._cpu_s
        mb, all_ = size / 1e6, 10_000 / count
        return (
            f"{mb:.1f} MB in {wall_s:.2f} s: {mb / wall_s:.1f} MB/s, {mb / cpu_s:.1f} MB per CPU second, peak {peak_mb():.0f} MB; "
            f"10,000 trajectories: {mb * all_ / 1e3:.2f} GB, {cpu_s * all_:.0f} s of CPU"
        )


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.corpus_build", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", choices=sorted(PROFILES), default="agentperf")
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--tokenizer", choices=["estimate", *VOCABULARIES], default="estimate")
    given = parser.parse_args(argv)
    profile, count_tokens = PROFILES[given.profile], counter(given.tokenizer)
    print(f"{given.count} trajectories of {given.profile}, tokens by {given.tokenizer}")
    print(f"before: peak {peak_mb():.0f} MB")

    turns = size = 0
    watch = Watch()
    for trajectory in generate(profile, given.count, 1, count_tokens, given.tokenizer):
        turns += sum(len(line.turns) for line in lines(trajectory))
        size += text_bytes(trajectory)
    print(f"generate: {turns:,} turns, {watch.said(size, given.count)}")

    with tempfile.TemporaryDirectory() as folder:
        watch = Watch()
        build(given.profile, given.count, 1, Path(folder), given.tokenizer)
        written = sum(file.stat().st_size for file in Path(folder).iterdir())
        print(f"build, on disk: {watch.said(written, given.count)}")

    with tempfile.TemporaryDirectory() as folder:
        watch = Watch()
        workload = Workload(
            corpus=given.profile, trajectories=given.count, max_context_tokens=profile.max_context_tokens
        )
        made = prepare(workload, 1, Path(folder))
        print(f"compile, on disk: {watch.said(made.path.stat().st_size, given.count)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
