"""What the catalogue knows about an accelerator, a model and a system: structs of cells, each with the unit it must have.

Shapes of a model are integers that its own configuration file states; what an engine makes of them (bytes of a cached token, kernels'
efficiency) are numbers of their own, with marks of their own. docs/catalog.md lists every key.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from openagentperf.sim.cells import Cell

AttentionKind: TypeAlias = Literal["full", "window", "sparse"]
"""Reads every token before it; only the last ones; a chosen few of compressed or plain entries."""

UNITS: dict[str, str] = {
    # accelerator
    "bf16": "TFLOP/s", "fp8": "TFLOP/s", "fp4": "TFLOP/s", "memory": "GB", "bandwidth": "TB/s", "scale_up": "GB/s",
    "scale_up_domain": "accelerators", "scale_out": "GB/s", "host_link": "GB/s", "tdp": "W",
    # generation
    "memory_efficiency": "share", "link_efficiency": "share", "decode_compute": "factor",
    "collective_start": "us", "runtime_memory": "GB", "prefill_start": "us", "idle": "share of TDP", "running": "share of TDP",
    "full_swing": "share of TDP", "attention": "share of TDP", "gaps": "share of TDP", "power_error": "share",
    # model
    "layers": "layers", "hidden": "dimensions", "vocabulary": "tokens", "context": "tokens", "heads": "heads", "kv_heads": "heads",
    "key_width": "dimensions", "value_width": "dimensions", "decode_key_width": "dimensions", "decode_value_width": "dimensions",
    "parameters": "parameters", "replicated": "parameters", "window": "tokens", "ratio": "tokens", "selected": "entries",
    "index_heads": "heads",
    "index_width": "dimensions", "experts": "experts", "top_k": "experts", "width": "dimensions", "moe_layers": "layers",
    "shared_experts": "experts", "dense_layers": "layers", "dense_width": "dimensions", "total_parameters": "parameters",
    "active_parameters": "parameters", "draft_layers": "layers", "stream": "B a token and layer",
    # system
    "accelerators": "accelerators", "hosts": "hosts", "racks": "racks", "node_power": "W", "rack_power": "W",
    "rack_accelerators": "accelerators",
    "usd_per_hour": "$ an accelerator and hour",
}  # fmt: skip
"""Unit of each cell by its key; the keys of a table of cells (`entry_bytes`, `acceptance`) are in TABLE_UNITS."""

TABLE_UNITS = {
    "mfu": "share",
    "layer_start": "us",
    "entry_bytes": "B a layer and entry",
    "index_bytes": "B a layer and entry",
    "acceptance": "tokens a step",
}

MAY_BE_ZERO = frozenset(
    {
        "experts", "top_k", "width", "moe_layers", "shared_experts", "dense_layers", "dense_width", "draft_layers", "replicated", "stream",
        "runtime_memory", "idle", "running", "full_swing", "attention", "gaps", "power_error", "usd_per_hour",
    }
)  # fmt: skip
"""Keys of cells whose value may be 0, as may any time that a launch takes; everything else is more than that."""


class Kernel(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How matrices of one weight precision are multiplied."""

    peak: Literal["bf16", "fp8", "fp4"]
    """Of which of the accelerator's rates."""
    mfu: dict[str, Cell]
    """Share of that peak that prefill reaches over a whole forward pass, by the model's `family`; collectives apart."""


class Generation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What accelerators of one make and architecture share: how near kernels come to the peaks, and what a step costs besides."""

    title: str
    kernels: dict[str, Kernel]
    """By weight precision: bf16, fp8, int4, mxfp4, nvfp4. One that is not here cannot be run."""
    memory_efficiency: Cell
    """Share of the peak bandwidth."""
    link_efficiency: Cell
    decode_compute: Cell
    """Time of a decode step's arithmetic over the same arithmetic in prefill: a few tokens for each expert fill no tile."""
    layer_start: dict[str, Cell]
    """Time of a layer that is neither bytes nor arithmetic, by the model's `family`."""
    collective_start: Cell
    """Of one all-reduce or all-to-all, whatever its size."""
    prefill_start: Cell
    """Of a chunk, a layer: what its launches cost however few its tokens are, and however many prompts share it."""
    runtime_memory: Cell
    """Context, libraries, graphs and the buffers of collectives, an accelerator."""
    idle: Cell
    running: Cell
    full_swing: Cell
    """Running: while a step runs, with nothing busy; full_swing is added when memory or arithmetic is as busy as it gets."""
    attention: Cell
    gaps: Cell
    """Of attention in decode; of launches and collectives."""
    power_error: Cell
    note: str = ""


class Accelerator(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One package. Peaks are dense."""

    title: str
    generation: Generation | None = None
    """None: nothing is known of its efficiency."""
    bf16: Cell
    fp8: Cell
    fp4: Cell
    memory: Cell
    """Bytes that a program can see, in 10^9."""
    bandwidth: Cell
    scale_up: Cell
    """To the others of its domain, each way."""
    scale_up_domain: Cell
    scale_out: Cell
    host_link: Cell
    tdp: Cell
    note: str = ""


class Attention(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Layers whose attention is alike."""

    name: str
    kind: AttentionKind
    layers: Cell
    parameters: Cell
    """Weights of one such layer's attention, indexer and compressor included."""
    replicated: Cell | None = None
    """Of them, those that every tensor-parallel rank holds and computes: they belong to no head. None: none."""
    heads: Cell
    kv_heads: Cell
    """1 for latent and shared-KV attention: each tensor-parallel rank then holds a whole copy."""
    key_width: Cell
    value_width: Cell
    """Of one head, as prefill computes it."""
    decode_key_width: Cell | None = None
    decode_value_width: Cell | None = None
    """As decode computes it, where that differs (latent attention with absorbed projections)."""
    window: Cell | None = None
    """Tokens that are always read; of kind `window` the only ones."""
    ratio: Cell | None = None
    """Tokens in one cached entry; None: 1."""
    selected: Cell | None = None
    """Entries that a token reads; None: all."""
    index_heads: Cell | None = None
    index_width: Cell | None = None
    """Of the indexer that chooses them: it reads every entry."""
    entry_bytes: dict[str, Cell]
    """By KV precision, as engines lay it out: scales and unquantised parts included."""
    index_bytes: dict[str, Cell] = {}


class Model(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model."""

    title: str
    family: Literal["compressed", "latent", "grouped", "dense"]
    """Which layer start is its own (Generation.layer_start)."""
    weights: str
    """Precision of the routed experts (of everything, where there are none) as released."""
    dense_weights: str
    """Of all else."""
    served_weights: str = ""
    """Precision that a deployment takes by default where the released one is bf16; "": as released."""
    total_parameters: Cell
    active_parameters: Cell
    """As published: for people, and to check the shapes against."""
    hidden: Cell
    vocabulary: Cell
    context: Cell
    attention: tuple[Attention, ...]
    moe_layers: Cell
    experts: Cell
    top_k: Cell
    width: Cell
    shared_experts: Cell
    dense_layers: Cell
    dense_width: Cell
    """Layers with a plain feed-forward network, and how wide it is."""
    stream: Cell
    """Memory traffic of a token in a layer besides weights and KV: residual streams, norms, routing, quantisation. Every tensor-parallel
    rank has all of it."""
    draft_layers: Cell
    """Of the model's own multi-token prediction; 0: none."""
    acceptance: dict[str, Cell] = {}
    """Tokens a step, by the number of drafted tokens."""
    note: str = ""

    @property
    def served(self) -> tuple[str, str]:
        """Precisions that a deployment takes by default: of the routed experts, of all else."""
        return self.served_weights or self.weights, self.served_weights or self.dense_weights


class SystemEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A machine that can be bought."""

    title: str
    accelerator: Accelerator
    accelerator_name: str = ""
    """Its key in the catalogue."""
    name: str = ""
    accelerators: Cell
    hosts: Cell
    racks: Cell
    """May be a part of one."""
    node_power: Cell
    """Rated, of one host with its accelerators."""
    rack_power: Cell
    rack_accelerators: Cell
    """In the rack that is rated so."""
    usd_per_hour: Cell
    note: str = ""
