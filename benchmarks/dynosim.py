"""Simulated turns per CPU-second beside NVIDIA's DynoSim (`python -m dynamo.replay`), on the same requests, in the same run.

    python -m venv ENV && ENV/bin/pip install 'ai-dynamo==1.4.*'
    python -m benchmarks.dynosim --python ENV/bin/python [--sessions 1000] [--turns 20] [--concurrency 200] [--workers 8] [--repeats 3]

The workload: sessions whose prompts grow from 6K to 48K tokens (mean 27K), 500 output tokens a turn, 1 s between a turn's end and the
next one's start, `--concurrency` sessions at a time, each followed at once by the next in order. DynoSim reads it as a Mooncake trace
with sessions: each row carries the hashes of its prompt's 512-token blocks, so that a turn repeats its session's prefix and the cache
code is at work (its synthetic multi-turn mode shares nothing). Here the same sessions go through sim.cluster, by the same rule.

Both simulate `--workers` aggregated workers of 4.2 million KV tokens each in blocks of 64, 256 sequences, chunks of 8,192 tokens, and
route by where the prefix lies (kv_router; affinity). Both pay by DynoSim's default timing, read off its own reports:

    prefill pass   16.5 ms + 15.18 us x n + 0.421 ns x n^2     here 16.5 ms a prompt, 16.15 us a token: the slope at 2,300 tokens
    decode step    5.74 ms + 54.0 ms x p - 25.7 ms x p^2       here 5.74 ms + 48.9 ms x p; p: share of the pool that the batch reads

What still differs: DynoSim makes an event of every engine iteration, and its router weighs overlap against load anew for each request;
here there are events where turns begin and end, and a conversation keeps its home. Its pass of several prompts pays the 16.5 ms once.

Printed for both: CPU seconds of the whole process (imports, reading the trace, all), turns per CPU-second of that, the same less what a
process costs that simulates one request, the share of prompt tokens found in the cache, mean TTFT, mean time per output token, and the
simulated time to the last answer. The ratio is of the medians.

Without --python, or with one that has no ai-dynamo, it says how to make one and ends with status 0.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from openagentperf.sim.cluster import Cluster, Conversation
from openagentperf.sim.jobs import Job, Timers
from openagentperf.sim.spec import ClusterSpec, KvGroup, PowerDraw, StepCosts, WorkerSpec
from openagentperf.units import NS_PER_MS, NS_PER_S, Ns

BLOCK_TOKENS = 64
POOL_BLOCKS = 65_536
MAX_BATCH = 256
CHUNK_TOKENS = 8_192
TRACE_BLOCK_TOKENS = 512
FIRST_TOKENS, LAST_TOKENS = 6_144, 47_856
OUTPUT_TOKENS = 500
DELAY_MS = 1_000


class Load(NamedTuple):
    sessions: int
    turns: int
    concurrency: int
    workers: int

    @property
    def requests(self) -> int:
        return self.sessions * self.turns

    def input_tokens(self, turn: int) -> int:
        return FIRST_TOKENS + (LAST_TOKENS - FIRST_TOKENS) * turn // max(1, self.turns - 1)


class Figures(NamedTuple):
    """Of one simulator over the whole load."""

    cpu_s: float
    """Of the process."""
    hit: float
    ttft_s: float
    tpot_s: float
    end_s: float
    """Simulated time until the last answer."""


def write_trace(load: Load, path: Path) -> None:
    """As Mooncake has it: `hash_ids` of all blocks of the prompt, the last one perhaps in part; `delay` after the turn before."""
    blocks = -(-LAST_TOKENS // TRACE_BLOCK_TOKENS)
    with path.open("w") as out:
        for session in range(load.sessions):
            for turn in range(load.turns):
                tokens = load.input_tokens(turn)
                first = session * blocks
                row = {
                    "session_id": f"s{session}",
                    "input_length": tokens,
                    "output_length": OUTPUT_TOKENS,
                    "hash_ids": list(range(first, first - -tokens // TRACE_BLOCK_TOKENS)),
                } | ({"delay": DELAY_MS} if turn else {"timestamp": 0})
                out.write(json.dumps(row) + "\n")


def usage_of(command: Sequence[str], env: dict[str, str], folder: Path) -> tuple[float, str]:
    """CPU seconds of a child, threads and all, and what it said. RuntimeError with its last words where it failed."""
    with (
        (folder / "err").open("w+") as err,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=err, cwd=folder, text=True) as child,
    ):
        assert child.stdout is not None
        said = child.stdout.read()
        _, status, spent = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            err.seek(0)
            raise RuntimeError(f"{command[0]} ended with status {child.returncode}: {err.read()[-800:]}")
    return spent.ru_utime + spent.ru_stime, said


def by_dynosim(python: str, load: Load, folder: Path) -> Figures:
    trace, report = folder / "trace.jsonl", folder / "report.json"
    engine = {
        "num_gpu_blocks": POOL_BLOCKS, "block_size": BLOCK_TOKENS, "max_num_seqs": MAX_BATCH,
        "max_num_batched_tokens": CHUNK_TOKENS, "enable_prefix_caching": True,
    }  # fmt: skip
    command = [
        python, "-m", "dynamo.replay", str(trace), "--trace-format", "mooncake", "--num-workers", str(load.workers),
        "--replay-concurrency", str(load.concurrency), "--router-mode", "kv_router", "--extra-engine-args", json.dumps(engine),
        "--report-json", str(report),
    ]  # fmt: skip
    cpu_s, _ = usage_of(
        command, os.environ | {"DYN_LOG": "error"}, folder
    )  # else it writes a line for each routed request
    found = json.loads(report.read_text())
    if found["completed_requests"] != load.requests:
        raise RuntimeError(f"DynoSim completed {found['completed_requests']} of {load.requests} requests")
    return Figures(
        cpu_s=cpu_s,
        hit=found["prefix_cache_reused_ratio"],
        ttft_s=found["mean_ttft_ms"] / 1e3,
        tpot_s=found["mean_tpot_ms"] / 1e3,
        end_s=found["duration_ms"] / 1e3,
    )


def has_dynosim(python: str) -> bool:
    """Whether that interpreter can import it."""
    if shutil.which(python) is None:
        return False
    return subprocess.run([python, "-c", "import dynamo.replay"], capture_output=True, check=False).returncode == 0


def cluster_of(load: Load) -> ClusterSpec:
    """As much alike as the two models are; KV counted in tokens."""
    pool_tokens = POOL_BLOCKS * BLOCK_TOKENS
    costs = StepCosts(
        step_s=(0.0, *([0.00574] * MAX_BATCH)),
        per_kv_token_s=0.0489 / pool_tokens,
        prefill_start_s=0.0165,
        prefill_token_s=16.15e-6,
    )
    worker = WorkerSpec(
        pool="all", role="aggregated", workers=load.workers, accelerators_per_worker=1, costs=costs,
        power=PowerDraw(idle_w=0, decode_w=0, prefill_w=0), max_batch=MAX_BATCH, chunk_tokens=CHUNK_TOKENS,
        kv=(KvGroup(name="kv", kind="full", bytes_per_token=1),), kv_pool_bytes=pool_tokens, block_tokens=BLOCK_TOKENS,
    )  # fmt: skip
    return ClusterSpec(name="as DynoSim", workers=(worker,), max_model_len=1 << 20)


class Replay:
    """Sessions in order, so many at a time, through a cluster."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.timers = Timers(0)
        self.cluster = Cluster(cluster_of(load), self.timers, self.ended, self.lost)
        self.started = self.sent = 0
        self.done: list[Job] = []
        self.end_ns: list[Ns] = []

    def run(self) -> None:
        for _ in range(min(self.load.concurrency, self.load.sessions)):
            self.start(0)
        self.timers.run()

    def start(self, now: Ns) -> None:
        if self.started < self.load.sessions:
            self.started += 1
            self.send((Conversation(self.started), 0), now)

    def send(self, what: tuple[Conversation, int], now: Ns) -> None:
        conversation, turn = what
        path = ((conversation.number, 1 << 40),)
        self.sent += 1
        job = Job(self.sent, what, self.load.input_tokens(turn), OUTPUT_TOKENS, path, now)
        self.cluster.submit(job, conversation, now)

    def ended(self, job: Job, now: Ns) -> None:
        conversation, turn = job.owner
        self.done.append(job)
        self.end_ns.append(now)
        if turn + 1 < self.load.turns:
            self.timers.at(now + DELAY_MS * NS_PER_MS, self.send, (conversation, turn + 1))
        else:
            self.cluster.close(conversation)
            self.start(now)

    def lost(self, job: Job, now: Ns) -> None:
        raise RuntimeError(f"request {job.number} was lost at {now} ns")


def simulate(load: Load) -> Figures:
    """Here, in this process; the caller counts its CPU time."""
    replay = Replay(load)
    gc.disable()  # as sim.virtual does
    replay.run()
    jobs = replay.done
    if len(jobs) != load.requests:
        raise RuntimeError(f"{len(jobs)} of {load.requests} requests were completed")
    first, end = np.array([job.first_ns for job in jobs]), np.array(replay.end_ns)
    due = np.array([job.due_ns for job in jobs])
    return Figures(
        cpu_s=0.0,
        hit=sum(job.cached_tokens for job in jobs) / sum(job.prompt for job in jobs),
        ttft_s=float((first - due).mean()) / NS_PER_S,
        tpot_s=float((end - first).mean()) / NS_PER_S / (OUTPUT_TOKENS - 1),
        end_s=float(end.max()) / NS_PER_S,
    )


def by_ours(load: Load, folder: Path) -> Figures:
    command = [sys.executable, "-m", "benchmarks.dynosim", "--simulate", *(str(value) for value in load)]
    paths = os.pathsep.join((os.getcwd(), os.environ.get("PYTHONPATH", "")))
    cpu_s, said = usage_of(command, os.environ | {"PYTHONPATH": paths}, folder)
    return msgspec.json.decode(said, type=Figures)._replace(cpu_s=cpu_s)


def line(name: str, load: Load, figures: Figures, start_s: float) -> str:
    alone = load.requests / max(1e-3, figures.cpu_s - start_s)
    return (
        f"{name:>14} {figures.cpu_s:7.2f} {load.requests / figures.cpu_s:11.0f} {alone:10.0f} "
        f"{figures.hit:7.4f} {figures.ttft_s * 1e3:8.1f} {figures.tpot_s * 1e3:8.2f} {figures.end_s:9.1f} {os.getloadavg()[0]:5.1f}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.dynosim", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default="", metavar="PATH", help="interpreter of an environment that has ai-dynamo")
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--concurrency", type=int, default=200)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--simulate", nargs=len(Load._fields), type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.simulate:
        print(msgspec.json.encode(simulate(Load(*given.simulate))).decode())
        return 0
    load = Load(given.sessions, given.turns, given.concurrency, given.workers)
    dynosim = has_dynosim(given.python)
    if not dynosim:
        print(f"{given.python or '--python'}: has no ai-dynamo, so that only this simulator runs. To compare:")
        print("    python -m venv ENV && ENV/bin/pip install 'ai-dynamo==1.4.*', then --python ENV/bin/python")
    print(f"{load.sessions} sessions x {load.turns} turns, {load.concurrency} at a time on {load.workers} workers")
    print(
        f"{'':>14} {'CPU s':>7} {'turns/CPU s':>11} {'alone':>10} {'hit':>7} {'TTFT ms':>8} {'TPOT ms':>8} {'end s':>9} {'load':>5}"
    )
    one = Load(1, 1, 1, load.workers)
    ours: list[Figures] = []
    theirs: list[Figures] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_trace(one, folder / "trace.jsonl")
        start_s = by_ours(one, folder).cpu_s
        dynosim_start_s = by_dynosim(given.python, one, folder).cpu_s if dynosim else 0.0
        write_trace(load, folder / "trace.jsonl")
        for _ in range(given.repeats):
            if dynosim:
                theirs.append(by_dynosim(given.python, load, folder))
                print(line("DynoSim", load, theirs[-1], dynosim_start_s), flush=True)
            ours.append(by_ours(load, folder))
            print(line("openagentperf", load, ours[-1], start_s), flush=True)
    if dynosim:
        here, there = (float(np.median([figures.cpu_s for figures in of])) for of in (ours, theirs))
        alone = (there - dynosim_start_s) / max(1e-3, here - start_s)
        print(
            f"turns per CPU-second, openagentperf / DynoSim: {there / here:.1f} (without the start of either: {alone:.1f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
