"""One aggregated worker of a simulated cluster as a node: the step-by-step replica with a catalogue entry's step costs.

    step_ns = decode step + the chunk in it (sim.spec.StepCosts)

What the replica's pool of alike blocks cannot say is said on the safe side: what a sequence holds besides its tokens (windows) is set
aside for `max_batch` sequences, and there is no host tier.
"""

from __future__ import annotations

from openagentperf.errors import UsageError
from openagentperf.sim.cost import NodeSizes, Price, Step
from openagentperf.sim.kvbytes import KvBytes
from openagentperf.sim.power import PowerModel
from openagentperf.sim.spec import ClusterSpec, StepCosts, WorkerSpec
from openagentperf.units import NS_PER_S


class WorkerNode(NodeSizes, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One simulated node whose steps cost what a worker of a cluster pays."""

    costs: StepCosts

    def price(self, step: Step) -> Price:
        costs = self.costs
        prefill_s = costs.chunk_start_s if step.chunks else 0.0
        decode_s = costs.step_s[step.decoding] + costs.per_kv_token_s * step.decode_kv_tokens
        for before, new, starts in step.chunks:
            prefill_s += new * (costs.prefill_token_s + costs.prefill_context_s * (before + new / 2))
            if starts:
                prefill_s += costs.prefill_start_s
        length_s = decode_s + prefill_s
        return Price(max(1, round(length_s * NS_PER_S)), prefill_s / length_s if length_s else 0.0)


def worker_of(spec: ClusterSpec) -> WorkerSpec:
    """The pool whose worker a node can be: one that has its prompts, its batch and its blocks to itself. UsageError for others."""
    worker = spec.workers[0]
    if len(spec.workers) > 1 or worker.role != "aggregated":
        found = f"has the pools {', '.join(f'{w.pool} ({w.role})' for w in spec.workers)}"
    elif worker.lockstep > 1:
        found = f"has workers that step together, {worker.lockstep} of them"
    elif worker.slots:
        found = f"keeps its cache in {worker.slots} slots"
    else:
        return worker
    raise UsageError(
        spec.name, found, "the embedded target is one aggregated worker by itself",
        "name a deployment that is not split and without data parallelism; `openagentperf simulate` runs the others",
    )  # fmt: skip


def node_of(spec: ClusterSpec) -> WorkerNode:
    """One worker of the cluster as a node."""
    worker = worker_of(spec)
    return WorkerNode(
        block_tokens=worker.block_tokens,
        blocks=pool_blocks(worker),
        max_batch=worker.max_batch,
        max_model_len=spec.max_model_len,
        chunk_tokens=worker.chunk_tokens,
        tokens_per_step=worker.costs.tokens_per_step,
        costs=worker.costs,
    )


def power_of(spec: ClusterSpec) -> PowerModel:
    """Of the worker's accelerators together."""
    worker = worker_of(spec)
    count, draw = worker.accelerators_per_worker, worker.power
    return PowerModel(idle_w=count * draw.idle_w, decode_w=count * draw.decode_w, prefill_w=count * draw.prefill_w)


def pool_blocks(worker: WorkerSpec) -> int:
    """Blocks of the pool that are left when the fixed part of a full batch is set aside."""
    weight = KvBytes(worker.kv)
    block_bytes = worker.block_tokens * weight.per_token
    if not block_bytes:
        raise UsageError(
            f"pool {worker.pool}", "no KV group grows with the context", "a paged pool needs one that does"
        )
    reserved = worker.max_batch * weight.windows
    blocks = int((worker.kv_pool_bytes - reserved) // block_bytes)
    if blocks < 1:
        raise UsageError(
            f"pool {worker.pool}",
            f"{worker.kv_pool_bytes:.3g} bytes of KV hold no block beside {reserved:.3g} for {worker.max_batch} sequences",
            "at least one was needed",
            "lower max_batch or use more accelerators per worker",
        )
    return blocks
