"""A model in the quantities that time and memory follow from: weights, arithmetic per token by context, and KV bytes by layer kind.

    arithmetic of one token at context L = 2 x weights it meets + attention
        full     2 x heads x (key + value width) x L                           a layer
        window   the same with min(L, window)
        sparse   the same with (selected entries, or all L / ratio) + window, and 2 x index heads x index width x L / ratio

Sparse attention is taken as saturated (its selected entries and its window exist): below selected x ratio tokens of context, 4,096 for
DeepSeek V4 Pro, that counts up to 9 % too much. Vocabulary matrices are met in decode only: prefill asks for one token's logits.
"""

from __future__ import annotations

from msgspec import Struct

from openagentperf.errors import UsageError
from openagentperf.sim.cells import Cell, Ledger
from openagentperf.sim.entries import Attention, Model
from openagentperf.sim.kvbytes import KvBytes
from openagentperf.sim.spec import KvGroup

WEIGHT_BYTES = {"bf16": 2.0, "fp8": 1.0, "int4": 0.53125, "mxfp4": 0.53125, "nvfp4": 0.5625}
"""Of one weight with its scales: 32 share an 8-bit scale (mxfp4, int4), 16 (nvfp4); fp8's blocks of 128 x 128 add 0.02 %."""


class Part(Struct, frozen=True, kw_only=True):
    """Attention of one group of layers, all of them together."""

    name: str
    kv_heads: int
    fixed_flops: float
    """A token, whatever its context: what it selects, and its window."""
    context_flops: float
    """A token and token of context."""
    index_flops: float
    """A token and token of context, of the indexer: every tensor-parallel rank computes all of it."""
    decode_fixed_flops: float
    decode_context_flops: float
    fixed_bytes: float
    """KV read a token, whatever its context."""
    context_bytes: float
    """KV read a token of context: once a step, however many drafted tokens ask."""
    kv: tuple[KvGroup, ...]


class Shape(Struct, frozen=True, kw_only=True):
    """One model with its precisions."""

    family: str
    layers: int
    hidden: int
    context: int
    weights: str
    dense_weights: str
    experts: int
    top_k: int
    moe_layers: int
    expert_parameters: float
    """One routed expert of one layer."""
    dense_parameters: float
    """All that every token meets, without the vocabulary's two matrices."""
    replicated_parameters: float
    """Of the dense ones, those that every tensor-parallel rank holds and computes."""
    vocabulary_parameters: float
    """One of the two."""
    stream_bytes: float
    """A token and layer, of every tensor-parallel rank."""
    draft_layers: int
    draft_dense_parameters: float
    draft_expert_layers: int
    activation_width: float
    """Numbers that a token needs at once while it passes a layer."""
    parts: tuple[Part, ...]

    @property
    def matrix_flops(self) -> float:
        """Of one token in prefill."""
        return 2 * self.dense_parameters + self.expert_flops

    @property
    def expert_flops(self) -> float:
        """Of one token, in its routed experts."""
        return 2.0 * self.moe_layers * self.top_k * self.expert_parameters

    @property
    def draft_flops(self) -> float:
        """Of one drafted token: one layer, and the vocabulary again."""
        layer = self.draft_dense_parameters + self.draft_expert_layers * self.top_k * self.expert_parameters
        return 2 * (layer + self.vocabulary_parameters)

    @property
    def expert_bytes(self) -> float:
        """All routed experts."""
        return self.moe_layers * self.experts * self.expert_parameters * WEIGHT_BYTES[self.weights]

    @property
    def dense_bytes(self) -> float:
        """All else that a step reads: the output matrix too, the input embedding not."""
        return (self.dense_parameters + self.vocabulary_parameters) * WEIGHT_BYTES[self.dense_weights]

    @property
    def replicated_bytes(self) -> float:
        """Part of dense_bytes."""
        return self.replicated_parameters * WEIGHT_BYTES[self.dense_weights]

    @property
    def embedding_bytes(self) -> float:
        return self.vocabulary_parameters * WEIGHT_BYTES[self.dense_weights]

    @property
    def draft_expert_bytes(self) -> float:
        return self.draft_expert_layers * self.experts * self.expert_parameters * WEIGHT_BYTES[self.weights]

    @property
    def draft_dense_bytes(self) -> float:
        return self.draft_dense_parameters * WEIGHT_BYTES[self.dense_weights]

    def flops(self, context: float) -> float:
        """Of one prefill token with so many tokens before it."""
        attention = sum(p.fixed_flops + (p.context_flops + p.index_flops) * context for p in self.parts)
        return self.matrix_flops + attention

    def kv_bytes(self, context: int) -> float:
        """Of one sequence, one copy."""
        return KvBytes(self.kv).of(context)

    @property
    def kv(self) -> tuple[KvGroup, ...]:
        return tuple(group for part in self.parts for group in part.kv)

    def touched(self, tokens: float) -> float:
        """Expected share of the experts of a layer that a step of so many tokens reads: each token picks top_k different ones, evenly.

        1 - (1 - top_k / experts) ^ tokens
        """
        return 1 - (1 - self.top_k / self.experts) ** tokens if self.experts else 0.0


def shape_of(model: Model, name: str, ledger: Ledger, weights: str, dense_weights: str, kv: str, index: str) -> Shape:
    """`model` in these precisions; every cell that is read goes through the ledger. UsageError where a precision has no layout."""
    for precision in (weights, dense_weights):
        if precision not in WEIGHT_BYTES:
            known = f"use one of: {', '.join(WEIGHT_BYTES)}"
            raise UsageError(f"deployment of {name}", f"`{precision}` is no precision of weights", "", known)
    at = f"model.{name}"

    def read(key: str, cell: Cell | None) -> float:
        return ledger.read(f"{at}.{key}", cell)

    hidden, experts, width = read("hidden", model.hidden), read("experts", model.experts), read("width", model.width)
    dense_width, dense_layers = read("dense_width", model.dense_width), read("dense_layers", model.dense_layers)
    moe_layers, shared, top_k = (
        read("moe_layers", model.moe_layers),
        read("shared_experts", model.shared_experts),
        read("top_k", model.top_k),
    )
    vocabulary, drafts = read("vocabulary", model.vocabulary), read("draft_layers", model.draft_layers)
    context, stream = read("context", model.context), read("stream", model.stream)
    blocks = [read(f"attention.{a.name}.parameters", a.parameters) for a in model.attention]
    counts = [read(f"attention.{a.name}.layers", a.layers) for a in model.attention]
    copies = [read(f"attention.{a.name}.replicated", a.replicated) if a.replicated else 0.0 for a in model.attention]
    parts = [_part(a, f"{at}.attention.{a.name}", ledger, kv, index) for a in model.attention]
    ledger.refuse(f"model {name}")
    expert = 3 * hidden * width
    per_moe_layer = shared * expert + hidden * experts
    feed_forward = moe_layers * per_moe_layer + dense_layers * 3 * hidden * dense_width
    draft_block = blocks[0] + 2 * hidden * hidden + (per_moe_layer if moe_layers else 3 * hidden * dense_width)
    heads = max(ledger.read(f"{at}.attention.{a.name}.heads", a.heads) * ledger.read(f"{at}.attention.{a.name}.key_width", a.key_width)
                for a in model.attention)  # fmt: skip
    return Shape(
        family=model.family,
        layers=round(moe_layers + dense_layers),
        hidden=round(hidden),
        context=round(context),
        weights=weights,
        dense_weights=dense_weights,
        experts=round(experts),
        top_k=round(top_k),
        moe_layers=round(moe_layers),
        expert_parameters=expert,
        dense_parameters=sum(n * block for n, block in zip(counts, blocks, strict=True)) + feed_forward,
        replicated_parameters=sum(n * copied for n, copied in zip(counts, copies, strict=True)),
        vocabulary_parameters=vocabulary * hidden,
        stream_bytes=stream,
        draft_layers=round(drafts),
        draft_dense_parameters=drafts * draft_block,
        draft_expert_layers=round(drafts) if moe_layers else 0,
        activation_width=8 * hidden + 2 * heads + top_k * (hidden + 2 * width) + (2 * dense_width if not moe_layers else 0),
        parts=tuple(parts),
    )  # fmt: skip


def _part(a: Attention, at: str, ledger: Ledger, kv: str, index: str) -> Part:
    def read(key: str, cell: Cell | None, default: float | None = None) -> float:
        return default if cell is None and default is not None else ledger.read(f"{at}.{key}", cell)

    layers, heads = read("layers", a.layers), read("heads", a.heads)
    kv_heads = read("kv_heads", a.kv_heads)
    widths = read("key_width", a.key_width) + read("value_width", a.value_width)
    decode = (
        read("decode_key_width", a.decode_key_width, 0) + read("decode_value_width", a.decode_value_width, 0) or widths
    )
    window, ratio = read("window", a.window, 0), read("ratio", a.ratio, 1)
    selected = read("selected", a.selected, 0)
    entry = read(f"entry_bytes.{kv}", a.entry_bytes.get(kv))
    index_width = read("index_heads", a.index_heads, 0) * read("index_width", a.index_width, 0)
    index_entry = read(f"index_bytes.{index}", a.index_bytes.get(index)) if index_width else 0.0
    reads_all = a.kind == "full" or (a.kind == "sparse" and not selected)
    fixed = selected + window if a.kind != "full" else 0.0
    per_context = 1 / ratio if reads_all else 0.0
    groups = []
    if a.kind != "window":
        per_token = layers * (entry + index_entry) / ratio
        groups.append(KvGroup(name=a.name, kind="compressed" if ratio > 1 else "full", bytes_per_token=per_token))
    if window:
        last = int(window) if window == window else 0
        groups.append(
            KvGroup(name=f"{a.name} window", kind="window", bytes_per_token=layers * entry, window_tokens=last)
        )
    return Part(
        name=a.name,
        kv_heads=int(kv_heads) if kv_heads == kv_heads else 1,
        fixed_flops=layers * 2 * heads * widths * fixed,
        context_flops=layers * 2 * heads * widths * per_context,
        index_flops=layers * 2 * index_width / ratio,
        decode_fixed_flops=layers * 2 * heads * decode * fixed,
        decode_context_flops=layers * 2 * heads * decode * per_context,
        fixed_bytes=layers * entry * fixed,
        context_bytes=layers * (entry * per_context + index_entry / ratio),
        kv=tuple(groups),
    )
