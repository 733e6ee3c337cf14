"""How fast the event simulation is: turns a CPU-second, by the number of agents, and what one full phase of 2,000 agents takes.

    python -m benchmarks.sim_speed [--agents 100 500 1000 2000 4000] [--phase 2000] [--repeats 3]

The workload is planned sessions of the `agentperf` profile (27K tokens in, on average), with KV blocks, prefix trees and affinity routing
on; the cluster is 24 prefill and 8 decode workers, and for `aggregated` 32 of one kind, with step costs of the size of a rack's. The bar
is 20,000 turns a CPU-second on one core at every level. `phase` is one certifying phase of the `standard` rigor: an agent a second,
60 s to settle, at least 600 s and N completed trajectories.

CPU time, the best of the repeats: whoever shares the core's caches makes even CPU seconds dearer, by half on a busy machine of two cores.
Memory is the largest of the process so far.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

from openagentperf.corpus.profiles import PROFILES
from openagentperf.corpus.shape import plan_session
from openagentperf.records.phase import PhaseOrder, Quota
from openagentperf.seeds import Stream
from openagentperf.sim.spec import ClusterSpec, KvGroup, PowerDraw, StepCosts, WorkerSpec
from openagentperf.sim.virtual import SimPhase, run_phase
from openagentperf.sim.workload import PlainTurn, Workload

BAR = 20_000
"""Turns a CPU-second."""
BATCH = 256

_COSTS = StepCosts(
    step_s=tuple(0.012 + 0.0001 * batch for batch in range(BATCH + 1)),
    per_kv_token_s=2e-9,
    tokens_per_step=2.49,
    prefill_token_s=1 / 12_000,
    prefill_context_s=2e-10,
    prefill_start_s=0.005,
)
_KV = (
    KvGroup(name="compressed", kind="compressed", bytes_per_token=5_031),
    KvGroup(name="window", kind="window", bytes_per_token=4.6e6 / 128, window_tokens=128),
)


def pool(name: str, role: str, workers: int) -> WorkerSpec:
    return WorkerSpec(
        pool=name, role=role, workers=workers, accelerators_per_worker=1, costs=_COSTS,  # type: ignore[arg-type]
        power=PowerDraw(idle_w=200, decode_w=700, prefill_w=1_100), max_batch=BATCH, chunk_tokens=16_384, kv=_KV,
        kv_pool_bytes=60e9,
    )  # fmt: skip


CLUSTERS = {
    "split": ClusterSpec(
        name="split",
        workers=(pool("prefill", "prefill", 24), pool("decode", "decode", 8)),
        max_model_len=131_072,
        transfer_bytes_per_s=50e9,
        transfer_start_s=0.001,
    ),
    "aggregated": ClusterSpec(name="aggregated", workers=(pool("all", "aggregated", 32),), max_model_len=131_072),
}


def workload(sessions: int) -> Workload:
    profile = PROFILES["agentperf"]
    shapes = (plan_session(profile, Stream(1, "session", i)) for i in range(sessions))
    return Workload.plain(
        ([PlainTurn(t.input_tokens, t.output_tokens, t.delay_ns) for t in shape.turns] for shape in shapes),
        profile.shared_tokens,
    )


def phase(
    cluster: str, work: Workload, agents: int, spawn_per_s: float, measure_s: float, quota: Quota, repeats: int = 1
) -> tuple[SimPhase, float]:
    """And its CPU seconds."""
    order = PhaseOrder(
        index=0, agents=agents, kind="certify", seed=agents, phase_nonce="", nonce_key=b"", start_ns=0,
        spawn_per_s=spawn_per_s, settle_s=60.0, measure_s=measure_s, limit_s=7_200.0, turn_timeout_s=1_200.0,
    )  # fmt: skip
    spent_s = []
    for _ in range(repeats):
        began = time.process_time()
        made = run_phase(CLUSTERS[cluster], work, order, quota)
        spent_s.append(time.process_time() - began)
    return made, min(spent_s)


def report(cluster: str, agents: int, made: SimPhase, spent_s: float) -> float:
    turns = len(made.columns["due_ns"])
    rate = turns / spent_s
    virtual_s = (made.facts.ended_ns - made.facts.order.start_ns) / 1e9
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{cluster:>10} {agents:6} {turns:9,} {spent_s:8.2f} {rate:10,.0f} {virtual_s:9,.0f} "
        f"{made.usage.hit_rate or 0:7.3f} {memory:7,.0f}",
        flush=True,
    )
    return rate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--agents", type=int, nargs="*", default=[100, 500, 1_000, 2_000, 4_000])
    parser.add_argument("--phase", type=int, default=2_000, help="agents of the full phase; 0: none")
    parser.add_argument("--measure-s", type=float, default=120.0, help="window of the other phases")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    began = time.process_time()
    work = workload(500)
    print(
        f"workload: {work.trajectories} sessions, {work.total_turns:,} turns, {time.process_time() - began:.2f} CPU-s"
    )
    print(
        f"{'cluster':>10} {'agents':>6} {'turns':>9} {'CPU-s':>8} {'turns/s':>10} {'virtual s':>9} {'hits':>7} {'MB':>7}"
    )
    rates = [
        report(cluster, agents, *phase(cluster, work, agents, 20.0, options.measure_s, Quota(200, 0), options.repeats))
        for cluster in CLUSTERS
        for agents in options.agents
    ]
    if options.phase:
        print(f"one certifying phase of {options.phase} agents:")
        quota = Quota(67, options.phase)
        rates += [report("split", options.phase, *phase("split", work, options.phase, 1.0, 600.0, quota))]
    slow = [rate for rate in rates if rate < BAR]
    if slow:
        print(f"{len(slow)} of {len(rates)} levels below {BAR:,} turns a CPU-second")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
