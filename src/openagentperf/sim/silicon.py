"""Step costs from tables of measured kernels, where a user has such (sim.silicontables), instead of rates and efficiencies.

    decode step    layers x attention(batch, context) + experts(tokens of the group) + shared experts, router, dense layers, vocabulary
    prefill        the same operations at a chunk's number of tokens, an attention that grows with the context before it

What no table holds stays as computed: collectives and the bytes between ranks, the beginning of a prefill, memory and power. Tables are of
single kernels or modules: gaps between kernels are not in them. A worker's costs are replaced only where *all* its operations are found:
half a step measured and half computed is neither. Drafted tokens are further sequences of the batch to every operation, and a pass
of the draft layer is one layer more, as aiconfigurator counts them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import polars as pl
from msgspec.structs import replace

from openagentperf.errors import UsageError
from openagentperf.sim.cells import Cell, Constant, Ledger
from openagentperf.sim.deployment import Compiled, Deployment, PoolPlan, Scale, machine_for
from openagentperf.sim.entries import Attention, Model, SystemEntry
from openagentperf.sim.physics import TYPICAL_CONTEXT, Split, slowed, step_parts
from openagentperf.sim.shapes import shape_of
from openagentperf.sim.silicontables import DecodeFit, PrefillFit, Tables, decode_fit, prefill_fit, seconds, where
from openagentperf.sim.spec import StepCosts

_MOE_TYPES = {
    "mxfp4": ("w4a8_mxfp4_mxfp8", "w4a16_mxfp4"),
    "nvfp4": ("nvfp4",),
    "fp8": ("fp8_block", "fp8"),
    "int4": ("int4_wo",),
    "bf16": ("bfloat16",),
}
_GEMM_TYPES = {
    "mxfp4": ("nvfp4", "fp8_block"),
    "nvfp4": ("nvfp4",),
    "fp8": ("fp8_block", "fp8"),
    "int4": ("bfloat16",),
    "bf16": ("bfloat16",),
}
"""By the catalogue's precisions; of several the first that the tables have."""
_SPREADS = ("power_law_1.01", "balanced")
"""How tokens fall on experts, in the tables: uneven as in practice, else evenly."""
UNCERTAINTY = 0.15
"""Of a sum of kernels against a whole step: gaps between them, and shapes between rows."""

_LINEAR_TOKENS = 1024
"""Below this a decode kernel's latency is its launch."""

Timed = Callable[[float], float]
"""Seconds by number of tokens."""


class _Layer(NamedTuple):
    """Attention of one group of layers."""

    layers: float
    decode: DecodeFit
    prefill: PrefillFit
    around: Timed
    """Projections, where the tables have them apart from attention."""


def measured(
    compiled: Compiled,
    system: SystemEntry,
    model: Model,
    deployment: Deployment,
    tables: Tables,
    name: str,
    scale: Scale,
) -> Compiled:
    """`compiled` with measured step costs. UsageError where the tables lack an operation of every pool.

    scale   for bands: measured times are divided by its `compute`, but never moved by more than UNCERTAINTY; what is computed moves with
            all of it
    """
    pace = min(max(scale.compute, 1 - UNCERTAINTY), 1 + UNCERTAINTY)
    workers, constants, lacking = [], [], []
    for pool, worker in zip(deployment.pools, compiled.spec.workers, strict=True):
        try:
            gaps = _gaps(system, model, deployment, pool, name, scale)
            costs = _costs(worker.costs, pool, model, deployment, tables, gaps, pace)
        except _LackingError as error:
            lacking.append(f"{pool.role}: {error}")
            workers.append(worker)
            continue
        workers.append(replace(worker, costs=costs))
        constants += _constants(pool, costs, tables)
    if not constants:
        raise UsageError(
            "--silicon", f"the tables hold no whole step of {name} on {system.accelerator_name} ({'; '.join(lacking)})",
            "every operation of a step was needed", "leave --silicon out: the step is then computed from rates",
        )  # fmt: skip
    notes = [f"the {told}: its steps are computed, not measured" for told in lacking]
    notes.append("measured kernels are summed: gaps between them are not in the tables, collectives are computed")
    return replace(
        compiled,
        spec=replace(compiled.spec, name=f"{compiled.spec.name}, measured kernels", workers=tuple(workers)),
        constants=(*compiled.constants, *constants),
        notes=(*compiled.notes, *notes),
    )


class _LackingError(Exception):
    """An operation that no table holds."""


def _gaps(system: SystemEntry, model: Model, deployment: Deployment, pool: PoolPlan, name: str, scale: Scale) -> Timed:
    """Collectives of a decode step by the sequences of one worker, computed: physics.StepParts.gaps without what a layer's launch takes."""
    ledger, split = Ledger(), Split(tp=pool.tp, dp=pool.dp, ep=pool.ep)
    shape = shape_of(model, name, ledger, *deployment.precisions(model))
    bare = replace(machine_for(system, shape, split.accelerators, scale, ledger), layer_start_s=0.0)
    return lambda batch: step_parts(shape, bare, split, round(batch), deployment.draft_tokens).gaps


def _costs(
    computed: StepCosts, pool: PoolPlan, model: Model, deployment: Deployment, tables: Tables, gaps: Timed, pace: float
) -> StepCosts:
    weights, dense, _, _ = deployment.precisions(model)
    gemm = _Gemm(tables, dense)
    layers = [_attention(tables, gemm, model, part, pool.tp, dense) for part in model.attention]
    experts = _experts(tables, model, pool, weights)
    rest = _rest(gemm, model, pool.tp)
    streams = _streams(tables, model)
    count = sum(layer.layers for layer in layers)
    moe_layers = _value(model.moe_layers)
    words = gemm.of(_value(model.vocabulary) / pool.tp, _value(model.hidden), "bf16")
    drafts = deployment.draft_tokens
    queries = 1 + drafts
    deeper = 1 + drafts * _value(model.draft_layers) / count

    def step(batch: int) -> float:
        rows = batch * queries
        attention = sum(layer.layers * (layer.decode.base(rows) + layer.around(rows)) for layer in layers)
        group = moe_layers * experts(rows * pool.dp)
        return deeper * (attention + group + rest(rows) + count * streams(rows) + words(rows)) / pace

    chunk = pool.chunk_tokens
    one = sum(layer.layers * (layer.prefill.token_s + layer.around(chunk) / chunk) for layer in layers)
    routed = moe_layers * experts(chunk * pool.dp) / chunk
    one = (one + routed + (rest(chunk) + count * streams(chunk)) / chunk) / pace
    one += (gaps(2) - gaps(1)) / queries  # the token's bytes between ranks
    context = sum(layer.layers * layer.prefill.context_s for layer in layers) / pace
    costs = replace(
        computed,
        step_s=(0.0, *(step(batch) + gaps(batch) for batch in range(1, len(computed.step_s)))),
        per_kv_token_s=deeper * queries * sum(layer.layers * layer.decode.slope_s for layer in layers) / pace,
        prefill_token_s=one,
        prefill_context_s=context,
        prefill_spread=routed / pace / (one + context * TYPICAL_CONTEXT) if pool.dp > 1 else 0.0,
    )
    return replace(slowed(costs, *deployment.slowdowns), chunk_start_s=computed.chunk_start_s)


def _value(cell: Cell | None, default: float = 0.0) -> float:
    return default if cell is None or cell.value is None else cell.value


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


# -- operations ----------------------------------------------------------------------------------------------------------------


class _Gemm:
    """Matrix products. Of shapes that are not in the tables the nearest, in proportion to its weights."""

    def __init__(self, tables: Tables, precision: str) -> None:
        self._tables, self._precision = tables, precision

    def of(self, n: float, k: float, precision: str = "") -> Timed:
        if n < 1 or k < 1:
            return lambda _: 0.0
        for kind in _GEMM_TYPES[precision or self._precision]:
            frame = self._tables.rows("gemm", "gemm", partial(where, gemm_dtype=kind))
            if frame is None:
                continue
            shapes = frame.select("n", "k").unique()
            off = (pl.col("n") / n).log().abs() + (pl.col("k") / k).log().abs()
            near_n, near_k = shapes.sort(off, "n", "k").row(0)
            timed, scale = seconds(where(frame, n=near_n, k=near_k), "m"), n * k / (near_n * near_k)
            return lambda tokens: scale * timed(tokens)
        raise _LackingError(f"no matrix product in {precision or self._precision}")


def _attention(tables: Tables, gemm: _Gemm, model: Model, part: Attention, tp: int, dense: str) -> _Layer:
    heads, count = max(1, round(_value(part.heads) / tp)), _value(part.layers)
    if model.family in ("compressed", "latent"):
        ratio = round(_value(part.ratio, 1))
        if model.family == "compressed":
            stem, folder = ("dsv4_csa" if ratio == 4 else "dsv4_hca"), "sparse_attention"
        else:
            stem, folder = ("dsa", "sparse_attention") if part.kind == "sparse" else ("mla", "mla")

        def wanted(frame: pl.DataFrame) -> pl.DataFrame:
            left = where(frame, num_heads=heads)
            own = [m for m in left["model"].unique().to_list() if _plain(model.title) in _plain(m)] if len(left) else []
            if own:
                left = left.filter(pl.col("model").is_in(own))
            elif stem != "mla":
                return left.clear()
            for kind in _GEMM_TYPES[dense]:
                if len(kinds := where(left, gemm_type=kind)):
                    return kinds
            return left

        pair = [tables.rows(folder, f"{stem}_{phase}_module", wanted) for phase in ("generation", "context")]
        full = round(_value(part.selected) * ratio)
        return _layer(pair, count, lambda _: 0.0, f"{stem} attention with {heads} heads", max(full, _LINEAR_TOKENS))
    kv_heads = max(1, round(_value(part.kv_heads) / tp))
    width, hidden = _value(part.key_width), _value(model.hidden)
    window = round(_value(part.window)) if part.kind == "window" else 0
    shape = {"num_heads": heads, "num_key_value_heads": kv_heads, "head_dim": round(width), "window_size": window}
    pair = [
        tables.rows("attention", f"{phase}_attention", partial(where, **shape)) for phase in ("generation", "context")
    ]
    qkv, out = gemm.of((heads + 2 * kv_heads) * width, hidden), gemm.of(hidden, heads * width)
    return _layer(
        pair, count, lambda rows: qkv(rows) + out(rows), f"attention with {heads}:{kv_heads} heads of {width:.0f}"
    )


def _layer(
    pair: list[pl.DataFrame | None], count: float, around: Timed, what: str, full_tokens: int = _LINEAR_TOKENS
) -> _Layer:
    generation, context = pair
    decode = None if generation is None else decode_fit(generation, full_tokens)
    prefill = None if context is None else prefill_fit(context)
    if decode is None or prefill is None:
        raise _LackingError(f"no {what}")
    return _Layer(count, decode, prefill, around)


def _experts(tables: Tables, model: Model, pool: PoolPlan, weights: str) -> Timed:
    """Routed experts of one layer by the tokens of the whole group, on one of its ranks."""
    experts = round(_value(model.experts))
    if not experts:
        return lambda _: 0.0
    ep = pool.ep
    shape = {
        "hidden_size": round(_value(model.hidden)), "inter_size": round(_value(model.width)), "topk": round(_value(model.top_k)),
        "num_experts": experts, "moe_tp_size": pool.tp * pool.dp // ep, "moe_ep_size": ep,
    }  # fmt: skip
    for kind in _MOE_TYPES[weights]:
        for spread in _SPREADS:
            frame = tables.rows("moe", "moe", partial(where, moe_dtype=kind, distribution=spread, **shape))
            if frame is not None:
                return seconds(frame, "num_tokens")
    raise _LackingError(
        f"no {weights} experts of {experts} x {shape['inter_size']} over {pool.tp * pool.dp} accelerators"
    )


def _rest(gemm: _Gemm, model: Model, tp: int) -> Timed:
    """Shared experts and routers of all layers with experts, and feed-forward networks of all without."""
    hidden, moe, plain = _value(model.hidden), _value(model.moe_layers), _value(model.dense_layers)
    shared, dense = _value(model.width) * _value(model.shared_experts) / tp, _value(model.dense_width) / tp
    up, down, router = (
        gemm.of(2 * shared, hidden),
        gemm.of(hidden, shared),
        gemm.of(_value(model.experts), hidden, "bf16"),
    )
    dense_up, dense_down = gemm.of(2 * dense, hidden), gemm.of(hidden, dense)
    return lambda rows: moe * (up(rows) + down(rows) + router(rows)) + plain * (dense_up(rows) + dense_down(rows))


def _streams(tables: Tables, model: Model) -> Timed:
    """Hyper-connections around each layer, where the model has them and the tables too."""
    if model.family != "compressed":
        return lambda _: 0.0
    hidden = round(_value(model.hidden))
    timed = []
    for side in ("pre", "post"):
        frame = tables.rows("mhc", "mhc_module", partial(where, op_name=side, hidden_size=hidden))
        if frame is None:
            raise _LackingError("no hyper-connections")
        timed.append(seconds(frame, "num_tokens"))
    return lambda rows: sum(of(rows) for of in timed)


def _constants(pool: PoolPlan, costs: StepCosts, tables: Tables) -> list[Constant]:
    read = "; ".join(f"{name} of {source}" for name, source in sorted(tables.used.items()))
    half = len(costs.step_s) // 2
    rows = (
        (f"step at batch {half}", costs.step_s[half], "s"),
        ("kv_token", costs.per_kv_token_s, "s a token of context"),
        ("prefill_token", costs.prefill_token_s, "s a token"),
        ("prefill_context", costs.prefill_context_s, "s a token and token of context"),
    )
    return [
        Constant(
            name=f"silicon.{pool.role}.{name}", value=value, unit=unit, mark="measured", source=f"tables of kernels: {read}",
            uncertainty=UNCERTAINTY,
        )
        for name, value, unit in rows
    ]  # fmt: skip
