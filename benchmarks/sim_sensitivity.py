"""Which assumption decides a prediction: two systems whose capacity is known, with one thing changed at a time (docs/simulate.md).

    python -m benchmarks.sim_sensitivity --system hgx-h200            1 minute of CPU
    python -m benchmarks.sim_sensitivity --system gb300-nvl72         10 minutes

DeepSeek V4 Pro at 20 tokens/s and 10 s, the catalogue's deployment, 500 sessions of the `agentperf` profile, seed 1; each number by search
phases of full length, to 2 or 3 %. Prints a line a change: agents, agents an accelerator, hit rate, watts an accelerator, what binds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from openagentperf import planfile
from openagentperf.cli.simulate import wished
from openagentperf.corpusfile import open_corpus
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.plan import Plan, Search, Simulate
from openagentperf.sim.binding import binding
from openagentperf.sim.physics import slowed
from openagentperf.sim.spec import ClusterSpec, WorkerSpec
from openagentperf.sim.workload import Workload
from openagentperf.simulation.explore import Load, explore, exploring
from openagentperf.simulation.wish import simulation_of

Change = Callable[[ClusterSpec], ClusterSpec]


def workers(change: Callable[[WorkerSpec], WorkerSpec]) -> Change:
    return lambda spec: replace(spec, workers=tuple(map(change, spec.workers)))


def pool(factor: float) -> Change:
    return workers(lambda w: replace(w, kv_pool_bytes=w.kv_pool_bytes * factor))


def prefill(factor: float) -> Change:
    return workers(lambda w: replace(w, costs=slowed(w.costs, factor, 1.0)))


def decode(factor: float) -> Change:
    return workers(lambda w: replace(w, costs=slowed(w.costs, 1.0, factor)))


def accepted(factor: float) -> Change:
    return workers(lambda w: replace(w, costs=replace(w.costs, tokens_per_step=w.costs.tokens_per_step * factor)))


def by_prefill(spec: ClusterSpec) -> ClusterSpec:
    return replace(spec, first_token="prefill")


def no_chance(w: WorkerSpec) -> WorkerSpec:
    return replace(w, costs=replace(w.costs, tokens_per_step_spread=0.0))


ALONE = workers(lambda w: replace(w, lockstep=1))
HOST = workers(lambda w: replace(w, host_cache_bytes=100e9, host_bytes_per_s=64e9))

CHANGES: dict[str, dict[str, tuple[Change, str]]] = {
    "hgx-h200": {
        "as it is": (lambda spec: spec, "default"),
        "ranks step for themselves": (ALONE, "default"),
        "KV pool x 0.775": (pool(0.775), "default"),  # the smallest that holds one context of 131,072 tokens
        "KV pool x 0.8": (pool(0.8), "default"),
        "KV pool x 1.5": (pool(1.5), "default"),
        "KV pool x 2": (pool(2), "default"),
        "host tier of 100 GB a GPU": (HOST, "default"),
        "prefill 20 % slower": (prefill(1.2), "default"),
        "accepted tokens a step -10 %": (accepted(0.9), "default"),
        "tensor-parallel attention": (lambda spec: spec, "tp8"),
    },
    "gb300-nvl72": {
        "as it is": (lambda spec: spec, "default"),
        "first token by prefill": (by_prefill, "default"),
        "accepted tokens a step -10 %": (accepted(0.9), "default"),
        "decode steps 5 % longer": (decode(1.05), "default"),
        "decode steps as their kernels": (decode(1 / 1.08), "default"),
        "accepted by no chance": (workers(no_chance), "default"),
        "prefill 50 % slower": (prefill(1.5), "default"),
        "accepted -10 %, first token by prefill": (lambda spec: by_prefill(accepted(0.9)(spec)), "default"),
        "answers x 0.618": (lambda spec: spec, "default"),
        "answers x 0.618, first token by prefill": (by_prefill, "default"),
    },
}
SHORTER = 0.618
"""From the corpus's mean of 494 tokens an answer to the 305 that NVIDIA measured on its own agents; for the changes named so."""
SEARCH = {"hgx-h200": Search(start=6, resolution=0.02), "gb300-nvl72": Search(start=1300, limit=6000, resolution=0.03)}


def shorter_answers(load: Load) -> Load:
    work = Workload()
    work.__dict__.update(load.work.__dict__)
    work.output_tokens = array("q", [max(1, round(tokens * SHORTER)) for tokens in load.work.output_tokens])
    return replace(load, work=work)


def plan_of(system: str, deployment: str) -> Plan:
    wish = {"system": system, "model": "deepseek-v4-pro", "deployment": deployment}
    plan = wished(None, planfile.Overrides(tiers="aa-deepseek-v4-pro"), wish)
    return replace(plan, tiers=replace(plan.tiers, tier=plan.tiers.tier[:1]), search=SEARCH[system])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=sorted(CHANGES), default="hgx-h200")
    parser.add_argument("--seed", type=int, default=1, help="of the agents' order, not of the corpus")
    parser.add_argument("--only", default="", help="part of a change's name")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for label, (change, deployment) in CHANGES[arguments.system].items():
            if arguments.only not in label:
                continue
            plan = plan_of(arguments.system, deployment)
            spec = change(simulation_of(plan.simulate or Simulate()).compiled.spec)
            load = Load.of(plan, open_corpus(prepare(plan.workload, plan.seed, Path(folder)).path))
            if "answers" in label:
                load = shorter_answers(load)
            began = time.process_time()
            (found,) = explore(
                replace(plan, seed=arguments.seed, rigor=exploring(plan.rigor, spec.accelerators)), spec, load
            )
            lower, upper = (None if level is None else level.seen for level in (found.at, found.above))
            resource = binding(plan.tiers.tier[0], spec, load.endless_hit_rate, lower, upper).resource
            agents = found.agents or 0
            hit, watts = (lower.usage.hit_rate or 0.0, found.at.mean_w) if lower and found.at else (0.0, 0.0)
            print(
                f"{arguments.system:<12} {label:<30} {agents:>5}  {agents / spec.accelerators:>6.2f} an accelerator  "
                f"hit {hit:.1%}  {watts / spec.accelerators:>5.0f} W  {resource:<8} {time.process_time() - began:.0f} s CPU",
                flush=True,
            )


if __name__ == "__main__":
    main()
