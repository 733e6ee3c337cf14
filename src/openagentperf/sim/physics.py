"""From a model's quantities and a machine's rates to what a worker's steps cost and what its memory holds.

    prefill, a token        arithmetic at its context / (accelerators x MFU x peak) + streams / bandwidth + its bytes between ranks
    prefill, a chunk        layers x prefill start, once for all prompts in it
    decode step, batch b    layers x layer start + collectives
                            + longer of: routed experts touched / bandwidth, decode_compute x their arithmetic
                            + longer of: other weights and streams / bandwidth, decode_compute x their arithmetic
                            + attention: KV / bandwidth + arithmetic
                            + the draft layer once for each drafted token, as a step of its own
    tokens a step           acceptance length of so many drafted tokens

Every batch position counts 1 + drafted tokens. Bandwidth is efficiency x peak. Ranks of one data-parallel group step together
(spec.WorkerSpec.lockstep): the experts that a step reads are those that the tokens of all ranks hit, each rank's batch taken as equal, and
routed experts are computed by all ranks wherever the prompt lies (`prefill_spread`). tests/test_physics.py holds the formula against
published silicon tables. Left out: experts that are hit more often than others.

A pool is counted in bytes of one copy. A tensor-parallel group of `tp` ranks holds tp / min(tp, KV heads) copies, so its pool
is that of min(tp, KV heads) ranks: latent caches have one head, and a group of 8 then caches no more than one accelerator.
"""

from __future__ import annotations

import math

from msgspec import Struct
from msgspec.structs import replace

from openagentperf.errors import UsageError
from openagentperf.sim.cells import Ledger
from openagentperf.sim.entries import Accelerator, Generation
from openagentperf.sim.shapes import Shape
from openagentperf.sim.spec import StepCosts

TYPICAL_CONTEXT = 27_000
"""Mean input of AgentPerf's corpus: where the parts of a prompt's time are weighed against each other."""
_TFLOPS, _TB, _GB, _US = 1e12, 1e12, 1e9, 1e-6
_DISPATCH_BYTES, _COMBINE_BYTES, _REDUCE_BYTES = 1.0, 2.0, 2.0
"""A number of the hidden state on its way to its experts (fp8), back (bf16), and through an all-reduce (bf16)."""


class Split(Struct, frozen=True, kw_only=True):
    """How one group of accelerators shares a model: tp x dp of them."""

    tp: int = 1
    """Ranks that share one batch and one KV pool: a worker."""
    dp: int = 1
    """Workers that share the experts and step together."""
    ep: int = 1
    """1: experts are split like other weights (tensor); more: whole experts are spread over so many ranks, and tokens travel."""

    @property
    def accelerators(self) -> int:
        return self.tp * self.dp


class Machine(Struct, frozen=True, kw_only=True):
    """One accelerator's rates, in SI units, for one precision of weights."""

    flops: float
    """Reached in prefill."""
    index_flops: float
    """Reached by the indexer of sparse attention: 8-bit arithmetic where there is such."""
    bytes_per_s: float
    """Reached."""
    link_bytes_per_s: float
    scale_out_bytes_per_s: float
    domain: int
    decode_compute: float
    layer_start_s: float
    collective_start_s: float
    prefill_start_s: float
    """A layer, like layer_start_s, and chunk."""
    memory_bytes: float
    runtime_bytes: float
    mfu: float

    def link(self, accelerators: int) -> float:
        """Bytes a second between so many: over scale-up links within the domain, over scale-out links beyond it."""
        return self.link_bytes_per_s if accelerators <= self.domain else self.scale_out_bytes_per_s


def generation_of(accelerator: Accelerator, name: str) -> Generation:
    """What is known of its efficiency. UsageError where nothing is, with all that is missing besides."""
    if accelerator.generation is not None:
        return accelerator.generation
    keys = ("memory", "bandwidth", "scale_up", "scale_up_domain", "tdp")
    missing = [key for key in keys if getattr(accelerator, key).value is None]
    also = f", and no {', '.join(missing)}" if missing else ""
    raise UsageError(
        name,
        f"the catalogue knows no efficiency of {accelerator.title} (accelerator.{name}.generation){also}",
        "a simulation needs it",
        f'say what it is like in a file of your own and pass it with --catalog FILE: [accelerator.{name}] generation = "mine", '
        '[generation.mine] like = "blackwell", and what else is missing (docs/catalog.md#adding-hardware)',
    )  # fmt: skip


def machine_of(
    accelerator: Accelerator, name: str, family: str, weights: str, ledger: Ledger,
    *, compute: float = 1.0, bandwidth: float = 1.0, overhead: float = 1.0, spread: bool = False, indexed: bool = True,
) -> Machine:  # fmt: skip
    """The accelerator as this model's steps find it. UsageError where a cell is unknown or no kernel multiplies such weights.

    compute, bandwidth, overhead  multiply MFU, memory and link efficiency, and the fixed times
    indexed                       attention has an indexer: 8-bit arithmetic where the part has such, else the matrices' own
    spread                        the group is larger than the scale-up domain: its collectives go over scale-out links
    """
    at = f"accelerator.{name}"
    generation = generation_of(accelerator, name)
    kernel = generation.kernels.get(weights)
    if kernel is None:
        raise UsageError(
            name,
            f"{generation.title} has no kernel for {weights} weights in the catalogue",
            f"it has {', '.join(sorted(generation.kernels))}",
            "choose another precision, or add the kernel's MFU in a file of your own (--catalog FILE)",
        )
    peak = ledger.read(f"{at}.{kernel.peak}", getattr(accelerator, kernel.peak))
    mfu = ledger.read(f"{at}.generation.kernels.{weights}.mfu.{family}", kernel.mfu.get(family), "share") * compute
    fp8 = accelerator.fp8.value
    index_peak = ledger.read(f"{at}.fp8", accelerator.fp8) if indexed and fp8 is not None and fp8 > peak else peak
    memory_share = ledger.read(f"{at}.generation.memory_efficiency", generation.memory_efficiency)
    link_share = ledger.read(f"{at}.generation.link_efficiency", generation.link_efficiency)
    scale_out = ledger.read(f"{at}.scale_out", accelerator.scale_out) if spread else accelerator.scale_out.value
    machine = Machine(
        flops=peak * mfu * _TFLOPS,
        index_flops=index_peak * mfu * _TFLOPS,
        bytes_per_s=_read(ledger, at, accelerator, "bandwidth") * _TB * min(1.0, memory_share * bandwidth),
        link_bytes_per_s=_read(ledger, at, accelerator, "scale_up") * _GB * min(1.0, link_share * bandwidth),
        scale_out_bytes_per_s=(scale_out or 0.0) * _GB * min(1.0, link_share * bandwidth),
        domain=_whole(_read(ledger, at, accelerator, "scale_up_domain")),
        decode_compute=_of(ledger, at, generation, "decode_compute"),
        layer_start_s=ledger.read(f"{at}.generation.layer_start.{family}", generation.layer_start.get(family), "us")
        * _US
        * overhead,
        collective_start_s=_of(ledger, at, generation, "collective_start") * _US * overhead,
        prefill_start_s=_of(ledger, at, generation, "prefill_start") * _US * overhead,
        memory_bytes=_read(ledger, at, accelerator, "memory") * _GB,
        runtime_bytes=_of(ledger, at, generation, "runtime_memory") * _GB,
        mfu=mfu,
    )
    ledger.refuse(name)
    return machine


def _read(ledger: Ledger, at: str, accelerator: Accelerator, key: str) -> float:
    return ledger.read(f"{at}.{key}", getattr(accelerator, key))


def _of(ledger: Ledger, at: str, generation: Generation, key: str) -> float:
    return ledger.read(f"{at}.generation.{key}", getattr(generation, key))


def _whole(value: float) -> int:
    return 1 if math.isnan(value) else int(value)


def _rank_share(total: float, replicated: float, tp: int) -> float:
    """What one tensor-parallel rank has of `total`, of which `replicated` is copied to all."""
    return (total - replicated) / tp + replicated


class Weights(Struct, frozen=True, kw_only=True):
    """Bytes of one accelerator of a group."""

    experts: float
    dense: float
    """Split by tp, copied by dp; the embedding too."""
    drafts: float

    @property
    def total(self) -> float:
        return self.experts + self.dense + self.drafts


def weights_of(shape: Shape, split: Split, drafting: bool) -> Weights:
    """What one accelerator holds: its part of the experts, and its copy or part of the rest."""
    dense = _rank_share(shape.dense_bytes + shape.embedding_bytes, shape.replicated_bytes, split.tp)
    drafts = shape.draft_expert_bytes / split.accelerators + shape.draft_dense_bytes / split.tp if drafting else 0.0
    return Weights(experts=shape.expert_bytes / split.accelerators, dense=dense, drafts=drafts)


def activation_bytes(shape: Shape, split: Split, chunk_tokens: int) -> float:
    """Peak of what a chunk's tokens need at once, an accelerator.

    2 bytes x (8 x hidden + (2 x query width + top_k x (hidden + 2 x width)) / tp)
    """
    shared = 8 * shape.hidden
    return 2.0 * chunk_tokens * (shared + (shape.activation_width - shared) / split.tp)


def pool_bytes(
    shape: Shape, machine: Machine, split: Split, share: float, chunk_tokens: int, drafting: bool, where: str
) -> float:
    """KV pool of one worker, for one copy of each sequence. UsageError with the arithmetic where the weights do not fit."""
    held = weights_of(shape, split, drafting)
    activations = activation_bytes(shape, split, chunk_tokens)
    usable = machine.memory_bytes * share
    free = usable - held.total - machine.runtime_bytes - activations
    if free <= 0:
        weights, experts, rest, drafts, acts, runtime, room, lacking = (
            f"{value / _GB:,.1f}"
            for value in (
                held.total,
                held.experts,
                held.dense,
                held.drafts,
                activations,
                machine.runtime_bytes,
                usable,
                -free,
            )
        )
        raise UsageError(
            where,
            f"an accelerator would have to hold {weights} GB of weights ({experts} experts, {rest} the rest, {drafts} draft layer), {acts} "
            f"GB of activations ({chunk_tokens:,} tokens a chunk) and {runtime} GB of runtime, and has {room} GB ({share:.0%} of "
            f"{machine.memory_bytes / _GB:,.1f})",
            f"{lacking} GB an accelerator are missing",
            f"spread the model over more than {split.accelerators} accelerators (tp, dp), take weights of fewer bits, or a smaller "
            "chunk_tokens",
        )
    heads = min(part.kv_heads for part in shape.parts)
    return free * min(split.tp, heads)


def step_costs(
    shape: Shape, machine: Machine, split: Split, *, max_batch: int, drafts: int, acceptance: float, spread: float = 0.0
) -> StepCosts:
    """What the steps of one worker cost (spec.StepCosts), by batch up to `max_batch`.

    A step that only prefills is a forward pass that prefill's own rates and start hold whole, so batch 0 adds nothing to it.
    """
    queries = 1 + drafts
    fixed_flops = split.tp * _rank_share(shape.matrix_flops, 2 * shape.replicated_parameters, split.tp) + sum(
        p.fixed_flops for p in shape.parts
    )
    context_flops = sum(p.context_flops for p in shape.parts)
    index_flops = sum(p.index_flops for p in shape.parts)
    rate, index_rate = machine.flops * split.tp, machine.index_flops
    token_s = (
        fixed_flops / rate
        + shape.layers * shape.stream_bytes / machine.bytes_per_s
        + _travel_seconds(shape, machine, split)
    )
    context_s = context_flops / rate + index_flops / index_rate
    return StepCosts(
        step_s=(0.0, *(step_seconds(shape, machine, split, batch, drafts) for batch in range(1, max_batch + 1))),
        per_kv_token_s=sum(p.context_bytes / min(split.tp, p.kv_heads) for p in shape.parts) / machine.bytes_per_s
        + queries * (sum(p.decode_context_flops for p in shape.parts) / rate + index_flops / index_rate),
        tokens_per_step=acceptance if drafts else 1.0,
        tokens_per_step_spread=spread,
        prefill_token_s=token_s,
        prefill_context_s=context_s,
        chunk_start_s=shape.layers * machine.prefill_start_s,
        prefill_spread=shape.expert_flops / rate / (token_s + context_s * TYPICAL_CONTEXT) if split.dp > 1 else 0.0,
    )


def slowed(costs: StepCosts, prefill: float, decode: float) -> StepCosts:
    """The same steps, each so many times as long."""
    return replace(
        costs,
        step_s=tuple(step * decode for step in costs.step_s),
        per_kv_token_s=costs.per_kv_token_s * decode,
        prefill_token_s=costs.prefill_token_s * prefill,
        prefill_context_s=costs.prefill_context_s * prefill,
        chunk_start_s=costs.chunk_start_s * prefill,
    )


class StepParts(Struct, frozen=True, kw_only=True):
    """Seconds of one decode step without the KV that grows with context."""

    gaps: float
    """Launches and collectives."""
    memory: float
    attention: float
    """KV read whatever the context, and its arithmetic."""
    arithmetic: float

    @property
    def total(self) -> float:
        return self.gaps + self.memory + self.attention + self.arithmetic


def step_seconds(shape: Shape, machine: Machine, split: Split, batch: int, drafts: int) -> float:
    """One decode step of a worker whose batch is `batch`, each rank of its group having as many."""
    return step_parts(shape, machine, split, batch, drafts).total


def step_parts(shape: Shape, machine: Machine, split: Split, batch: int, drafts: int) -> StepParts:
    """The same by what the time goes to."""
    queries = 1 + drafts
    rate, slow = machine.flops, machine.decode_compute
    experts = _roofline(
        shape.expert_bytes / split.accelerators * shape.touched(batch * split.dp * queries) / machine.bytes_per_s,
        slow * batch * queries * shape.expert_flops / (rate * split.tp),
    )
    matrices = _rank_share(2 * shape.dense_parameters, 2 * shape.replicated_parameters, split.tp)
    words = 2 * shape.vocabulary_parameters / split.tp
    dense = _rank_share(shape.dense_bytes, shape.replicated_bytes, split.tp)
    streams = batch * queries * shape.layers * shape.stream_bytes
    parts = [experts, ((dense + streams) / machine.bytes_per_s, slow * batch * queries * (matrices + words) / rate)]
    for _ in range(drafts):
        read = shape.draft_expert_bytes / split.accelerators * shape.touched(batch * split.dp)
        read += (shape.draft_dense_bytes + shape.embedding_bytes) / split.tp
        parts.append(_roofline(read / machine.bytes_per_s, slow * batch * shape.draft_flops / (rate * split.tp)))
    layers = shape.layers + drafts * shape.draft_layers
    gaps = layers * machine.layer_start_s + _collective_starts(shape, split, layers) * machine.collective_start_s
    gaps += batch * queries * _travel_seconds(shape, machine, split)
    kv_bytes = batch * queries * sum(p.fixed_bytes / min(split.tp, p.kv_heads) for p in shape.parts)
    kv_flops = batch * queries * sum(p.decode_fixed_flops for p in shape.parts)
    return StepParts(
        gaps=gaps,
        memory=sum(memory for memory, _ in parts),
        attention=kv_bytes / machine.bytes_per_s + kv_flops / (rate * split.tp),
        arithmetic=sum(arithmetic for _, arithmetic in parts),
    )


def _roofline(memory_s: float, arithmetic_s: float) -> tuple[float, float]:
    """(seconds that memory binds, seconds that arithmetic does beyond them): the two overlap."""
    return memory_s, max(0.0, arithmetic_s - memory_s)


def _collective_starts(shape: Shape, split: Split, layers: int) -> int:
    """Collectives of one step: two all-reduces a layer under tp, two exchanges a layer with experts where tokens travel to them."""
    exchanges = round(layers * shape.moe_layers / shape.layers) if split.dp > 1 and shape.moe_layers else 0
    return (2 * layers if split.tp > 1 else 0) + 2 * exchanges


def _travel_seconds(shape: Shape, machine: Machine, split: Split) -> float:
    """Time of one token's bytes between ranks, all layers.

    all-reduce  2 (tp - 1) / tp x hidden x 2 bytes, twice a layer, split over the ranks' own links
    exchange    distinct other ranks that hold its experts x hidden x (1 + 2 bytes), once a layer with experts
    """
    bytes_out = 0.0
    if split.tp > 1:
        bytes_out += 2 * shape.layers * 2 * (split.tp - 1) / split.tp * shape.hidden * _REDUCE_BYTES
    if split.dp > 1 and shape.moe_layers:
        ranks = split.ep if split.ep > 1 else split.dp
        hit = ranks * (1 - (1 - 1 / ranks) ** shape.top_k) if split.ep > 1 else ranks
        away = hit * (ranks - 1) / ranks
        bytes_out += shape.moe_layers * away * shape.hidden * (_DISPATCH_BYTES + _COMBINE_BYTES) / split.tp
    return bytes_out / machine.link(split.accelerators) if bytes_out else 0.0
