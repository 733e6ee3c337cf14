"""How a model is laid out on a system for which nobody has disclosed a configuration (docs/catalog.md#the-default-deployment).

The rule, in order:
1. Latent and compressed attention (one KV head) is run with data parallel attention and the experts spread over the group; grouped and
   dense models with tensor parallelism, experts spread over the same ranks.
2. A group is the smallest power of two of accelerators in which weights, runtime and activations leave a fifth of the usable memory, and
   at least 8 GB, to the KV pool; if none does, the smallest in which one sequence of the context cap fits; never beyond the scale-up
   domain.
3. 16 accelerators or more in one scale-up domain: prefill and decode apart, a quarter of the groups (at least one) decodes. Fewer:
   aggregated.
4. 192 sequences a rank in decode, 64 a rank where aggregated; chunks of 8,192 tokens; 0.9 of the memory; FP8 KV; released weights, and
   where those are bf16 what the entry names as served; three drafted tokens where the model has a draft layer and a published acceptance
   length.
5. Contexts to 131,072 tokens, or the model's own limit.
"""

from __future__ import annotations

from openagentperf.errors import UsageError
from openagentperf.sim.cells import Ledger
from openagentperf.sim.deployment import Deployment, PoolPlan
from openagentperf.sim.entries import Model, SystemEntry
from openagentperf.sim.physics import Split, activation_bytes, generation_of, weights_of
from openagentperf.sim.shapes import Shape, shape_of
from openagentperf.sim.spec import Role

CONTEXT_CAP = 131_072
CHUNK_TOKENS = 8_192
MEMORY_SHARE = 0.9
_DRAFTS = 3
_APART = 16
_MIN_SHARE, _MIN_BYTES = 0.2, 8e9


def derive(system: SystemEntry, model: Model, name: str) -> Deployment:
    """The rule's deployment. UsageError where a cell that it needs is unknown, or nothing fits."""
    ledger = Ledger()
    shape = shape_of(model, name, ledger, *model.served, "fp8", "fp8")
    part = system.accelerator
    at = f"accelerator.{system.accelerator_name}"
    memory = ledger.read(f"{at}.memory", part.memory) * 1e9
    domain = ledger.read(f"{at}.scale_up_domain", part.scale_up_domain)
    there = ledger.read(f"system.{system.name}.accelerators", system.accelerators)
    generation = generation_of(part, system.accelerator_name)
    runtime = ledger.read(f"{at}.generation.runtime_memory", generation.runtime_memory) * 1e9
    ledger.refuse(f"{system.name} with {name}")
    drafts = _DRAFTS if model.draft_layers.value and str(_DRAFTS) in model.acceptance else 0
    longest = min(CONTEXT_CAP, shape.context)
    split = _group(shape, memory * MEMORY_SHARE - runtime, int(min(domain, there)), longest, bool(drafts))
    if split is None:
        size = int(min(domain, there))
        raise UsageError(
            f"{system.name} with {name}",
            f"the model does not fit into the {size} accelerators of one scale-up domain ({memory / 1e9:,.0f} GB each)",
            f"its weights are {(shape.expert_bytes + shape.dense_bytes) / 1e9:,.0f} GB",
            "name a larger system, or write a deployment of fewer bits (docs/catalog.md#deployments)",
        )
    groups = max(1, int(there) // split.accelerators)
    return Deployment(
        pools=_pools(split, groups, int(min(domain, there))), draft_tokens=drafts, max_model_len=longest, memory_share=MEMORY_SHARE,
        source="derived by the rule of docs/catalog.md#the-default-deployment",
    )  # fmt: skip


def _group(shape: Shape, room: float, most: int, longest: int, drafting: bool) -> Split | None:
    heads = min(part.kv_heads for part in shape.parts)
    tight: Split | None = None
    size = 1
    while size <= most:
        spread = size if shape.moe_layers else 1
        split = Split(dp=size, ep=spread) if heads == 1 and shape.moe_layers else Split(tp=size, ep=spread)
        free = room - weights_of(shape, split, drafting).total - activation_bytes(shape, split, CHUNK_TOKENS)
        fits = free * min(split.tp, heads) >= shape.kv_bytes(longest)
        if fits and free >= max(_MIN_BYTES, _MIN_SHARE * room):
            return split
        tight = tight or (split if fits else None)
        size *= 2
    return tight


def _pools(split: Split, groups: int, domain: int) -> tuple[PoolPlan, ...]:
    def plan(role: Role, count: int, batch: int) -> PoolPlan:
        return PoolPlan(
            role=role, groups=count, tp=split.tp, dp=split.dp, ep=split.ep, max_batch=batch, chunk_tokens=CHUNK_TOKENS
        )

    if domain < _APART or groups < 2:
        return (plan("aggregated", groups, 64),)
    decoding = max(1, groups // 4)
    return plan("prefill", groups - decoding, 192), plan("decode", decoding, 192)
