"""Memory of a host that drives 4,000 agents on 500 trajectories of 131K tokens each: `python -m benchmarks.memory [--agents 4000]`.

A phase of the real load path against sim.null. After the ramp, PSS (shared pages counted once) of every load worker and of this process,
which collects and decodes, is read from /proc, at two times of the window; what the collecting process grew by between them, over the
turns that came meanwhile, is what a longer phase costs. `--context 1048576` takes contexts of a million tokens, fewer of them.

    host GiB         workers and this process together, the corpus's mapped pages included, at the end of the window; bar: 4
    growth B/turn    of this process; an hour of this rate on top: GiB/hour
    raw GB/hour      what the workers write into the phase's folder (the frames), at this rate; it goes when the phase is closed
    kept MB          what stays of it: the tables and the sample of raw answers
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from openagentperf.client.clock import now_ns
from openagentperf.load.collect import Collector
from openagentperf.load.drill import Drill, closed, compiled, drilled
from openagentperf.records.phase import PhaseOrder
from openagentperf.records.trajectory import Message, ToolCall, Trajectory, Turn
from openagentperf.rundir import frame_files
from openagentperf.seeds import Stream
from openagentperf.sim.spawn import spawned
from openagentperf.units import NS_PER_S

BAR_GIB = 4.0
GIB = 1 << 30
BYTES_PER_TOKEN = 3.5
TURNS, TOKENS = 40, 50


def sessions(count: int, context_tokens: int) -> Iterator[Trajectory]:
    """Each grows evenly to `context_tokens`; tool delays of 15 to 45 s. Text of different letters: nothing is shared by accident."""
    piece = int(context_tokens * BYTES_PER_TOKEN / TURNS)
    for number in range(count):
        stream = Stream(1, "memory", number)
        turns = []
        for k in range(TURNS):
            letter = chr(97 + (number + k) % 26)
            call = ToolCall(f"call_{k}", "bash", '{"command":"ls"}')
            appended: Sequence[Message] = (
                Message("assistant", "", tool_calls=(call,)), Message("tool", letter * piece, tool_call_id=call.id),
            )  # fmt: skip
            if not k:
                appended = (Message("system", "You fix bugs."), Message("user", letter * piece))
            delay_ns = round((15 + 30 * stream.uniform()) * NS_PER_S)
            turns.append(
                Turn(appended=tuple(appended), input_tokens=(k + 1) * context_tokens // TURNS, output_tokens=TOKENS, tool_delay_ns=delay_ns)
            )  # fmt: skip
        yield Trajectory(id=f"session {number}", turns=tuple(turns))


def pss_bytes(pid: int) -> int:
    """Proportional set size: each page divided by how many map it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def children(of: int) -> list[int]:
    """Load workers among the children of a process."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                command = (folder / "cmdline").read_bytes()
            except OSError:  # gone meanwhile
                continue
            if parent == of and b"openagentperf.load.worker" in command:
                found.append(int(folder.name))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=4000)
    parser.add_argument("--trajectories", type=int, default=500)
    parser.add_argument("--context", type=int, default=131_072, metavar="TOKENS")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args(argv)
    with (
        tempfile.TemporaryDirectory(prefix="openagentperf-") as scratch,
        spawned("openagentperf.sim.null", "--ttft-ms", "3000", "--jitter-ms", "1000", "--interval-ms", "100") as url,
    ):
        folder = Path(scratch)
        corpus = compiled(sessions(given.trajectories, given.context), folder)
        drill = Drill(
            agents=given.agents, workers=given.workers, spawn_per_s=given.agents / 20, settle_s=5, measure_s=given.seconds,
            least_turns=1,
        )  # fmt: skip
        marks: list[tuple[int, int, int, int]] = []

        def tick(collector: Collector, order: PhaseOrder, stage: str) -> None:
            """Time, turns so far, PSS of this process and of the workers: at each tenth of the window."""
            due_ns = order.window_opens_ns + len(marks) * given.seconds / 10 * NS_PER_S
            if stage == "measure" and now_ns() >= due_ns:
                workers = sum(map(pss_bytes, children(os.getpid())))
                marks.append((now_ns(), len(collector.rows), pss_bytes(os.getpid()), workers))

        facts, collector = drilled(drill, url, corpus, folder, tick)
        raw = sum(path.stat().st_size for path in frame_files(folder))
        closed(folder, facts, collector)
        kept = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path != corpus)
        failed = sum(row.failure not in ("", "aborted") for row in collector.rows)
        size = corpus.stat().st_size
    (_, turns_before, parent_before, _), (_, turns_after, parent, workers) = marks[1], marks[-1]
    seconds = (marks[-1][0] - marks[1][0]) / NS_PER_S
    rate = (turns_after - turns_before) / seconds
    growth = (parent - parent_before) / max(1, turns_after - turns_before)
    host = (parent + workers) / GIB
    whole_s = (facts.ended_ns - facts.order.start_ns) / NS_PER_S
    print(
        f"{given.agents} agents, {given.trajectories} trajectories of {given.context:,} tokens (corpus {size / GIB:.2f} GiB), "
        f"{given.workers} workers"
    )
    print(f"{rate:.0f} turns/s, {len(collector.rows)} turns, {failed} failed")
    print(
        f"{'host GiB':>10} {'workers':>8} {'this':>6} {'growth B/turn':>14} {'GiB/hour':>9} {'raw GB/hour':>12} {'kept MB':>8}"
    )
    print(
        f"{host:10.2f} {workers / GIB:8.2f} {parent / GIB:6.2f} {growth:14.0f} {growth * rate * 3600 / GIB:9.2f} "
        f"{raw / whole_s * 3600 / 1e9:12.1f} {kept / 1e6:8.1f}"
    )
    return 0 if host < BAR_GIB and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
