"""Calibration: a replica's few constants from a measured run folder of a real engine, as a cluster that can be simulated at any level.

    step costs      robust least squares over every request's decode span and time to first token (calibrate_work, calibrate_squares)
    prefix cache    replays of the measured requests through caches of many sizes (calibrate_cache)
    max batch       the most answers that ever ran at once while more requests were waiting

One aggregated worker: what listened at the endpoint is described as if it were one engine with one batch, whatever is behind it. The
constants are in the corpus's tokens and hold every cost that grows like them (tokenising, HTTP, the host's own load), so they describe
this engine on this host with this corpus, and nothing else. Fitted constants are marked `calibrated`, with twice their standard error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from openagentperf.errors import UsageError
from openagentperf.score.columns import Floats
from openagentperf.sim.cells import Constant
from openagentperf.sim.spec import ClusterSpec, KvGroup, PowerDraw, StepCosts, WorkerSpec
from openagentperf.simulation.calibrate_batch import Batch, fit_batch
from openagentperf.simulation.calibrate_cache import Cache, fit_cache, named_slots
from openagentperf.simulation.calibrate_rows import Level, Observed
from openagentperf.simulation.calibrate_squares import Solved, fit_costs
from openagentperf.simulation.calibrate_work import CONSTANTS, Equations

CHUNK_TOKENS = 2048
"""Prefill tokens in one step, of the server's: what vLLM, SGLang and llama.cpp start with. Spans of whole requests do not tell it."""
LEAST_TURNS = 30
"""Five turns without any noise gave seven constants, each with a small error, none of them right."""
ENDLESS_TOKENS = 1e15
"""Of a pool that never forgot anything."""
UNITS = {
    "step_base_s": "s a step",
    "step_sequence_s": "s a step and sequence",
    "kv_token_s": "s a step and token of context",
    "prefill_start_s": "s a prompt",
    "prefill_token_s": "s a new token",
    "prefill_context_s": "s a new token and token of context",
    "front_s": "s a request",
}


class Residual(Struct, frozen=True, kw_only=True):
    """How far the fitted constants are from the spans they were fitted to: (measured - fitted) / fitted, quartiles."""

    agents: int
    span: str
    """`decode` or `ttft`."""
    spans: int
    median: float
    low: float
    high: float


class Fitted(Struct, frozen=True, kw_only=True):
    """One constant of the step costs."""

    name: str
    value: float
    unit: str
    error: float | None
    """Standard error; None where the data do not tell the constant from 0, and it is taken as 0."""


class Calibration(Struct, frozen=True, kw_only=True):
    """What a measured run says of the engine behind it."""

    run: str
    """Name of the run folder."""
    plan_digest: str
    levels: tuple[int, ...]
    """Agents, of each phase that was fitted to."""
    spec: ClusterSpec
    constants: tuple[Constant, ...]
    fitted: tuple[Fitted, ...]
    residuals: tuple[Residual, ...]
    cache: Cache | None
    """None where the server does not report cached tokens."""
    batch: Batch
    token_ratio: float
    """The server's tokens to one of the corpus's."""
    notes: tuple[str, ...]


def fit(observed: Observed, levels: Sequence[Level], slots: int | None = None) -> Calibration:
    """Constants from phases of a run folder.

    levels   the phases to fit to
    slots    places of the server's slot-bound cache where known (llama.cpp's --parallel), which then is not fitted

    UsageError where the levels hold too little to fit anything to.
    """
    turns = sum(map(len, levels))
    if turns < LEAST_TURNS:
        found = f"{turns} answered turns at the levels to fit to"
        raise UsageError(
            str(observed.run), found, f"{LEAST_TURNS} or more are needed", "measure longer, or fit to more levels"
        )
    solved, groups = fit_costs(levels)
    for what, constants in (("a decode step", solved.values[:3]), ("a prompt", solved.values[3:])):
        if not constants.any():
            raise UsageError(
                str(observed.run), f"does not tell what {what} costs: no constant of it is told from 0",
                "an engine of which nothing takes time has no capacity", "measure longer, at a level that keeps the engine busy",
            )  # fmt: skip
    batch = fit_batch(levels)
    cache = fit_cache(levels) if slots is None else named_slots(slots)
    if slots is None and cache is not None:
        cache = cache.beside(batch.most, batch.reached)
    spec = _spec(observed, levels, solved, cache, batch)
    return Calibration(
        run=observed.run.name,
        plan_digest=observed.plan.digest,
        levels=tuple(level.agents for level in levels),
        spec=spec,
        constants=_constants(spec, solved, cache, batch, f"fitted to {observed.run.name}"),
        fitted=tuple(
            Fitted(name=name, value=float(value), unit=UNITS[name], error=float(error) if known else None)
            for name, value, error, known in zip(
                CONSTANTS, solved.values, solved.errors, solved.identified, strict=True
            )
        ),
        residuals=_residuals(levels, groups, solved),
        cache=cache,
        batch=batch,
        token_ratio=observed.token_ratio,
        notes=_notes(observed, levels, solved, cache, batch, spec),
    )


def _spec(
    observed: Observed, levels: Sequence[Level], solved: Solved, cache: Cache | None, batch: Batch
) -> ClusterSpec:
    base, sequence, kv, start, token, context, front = solved.values.tolist()
    slots = int(cache.size) if cache is not None and cache.kind == "slots" else 0
    widest = slots or (
        batch.most if batch.reached else max(observed.plan.search.limit, *(level.agents for level in levels))
    )
    pool = cache.size if cache is not None and cache.kind == "pool" else ENDLESS_TOKENS
    worker = WorkerSpec(
        pool="engine",
        role="aggregated",
        workers=1,
        accelerators_per_worker=float(max(1, observed.plan.system.accelerators or 1)),
        costs=StepCosts(
            # A step that only prefills costs its prefill: so the spans were taken apart (calibrate_work).
            step_s=(0.0, *(base + sequence * count for count in range(1, widest + 1))),
            per_kv_token_s=kv,
            prefill_token_s=token,
            prefill_context_s=context,
            prefill_start_s=start,
        ),
        power=PowerDraw(idle_w=0.0, decode_w=0.0, prefill_w=0.0),
        max_batch=widest,
        chunk_tokens=max(1, round(CHUNK_TOKENS / observed.token_ratio)),
        kv=(KvGroup(name="tokens", kind="full", bytes_per_token=1.0),),
        kv_pool_bytes=pool,
        block_tokens=1 if slots else 16,
        slots=slots,
    )
    # Every request of the corpus passed preflight on this server: one whose tokens are above the average must not be refused here.
    context_tokens = round(observed.facts.server.context_tokens / observed.token_ratio)
    return ClusterSpec(
        name=f"{observed.facts.server.model or 'engine'}, calibrated to {observed.run.name}",
        workers=(worker,),
        max_model_len=max(context_tokens, observed.plan.workload.max_context_tokens),
        front_s=front,
    )


def _constants(
    spec: ClusterSpec, solved: Solved, cache: Cache | None, batch: Batch, source: str
) -> tuple[Constant, ...]:
    worker = spec.workers[0]
    made = [
        Constant(
            name=name,
            value=float(value),
            unit=UNITS[name],
            mark="calibrated" if known else "assumed",
            source=source if known else "taken as 0: the run does not tell it from 0",
            uncertainty=float(2 * error / value) if known and value > 0 else 0.0,
        )
        for name, value, error, known in zip(CONSTANTS, solved.values, solved.errors, solved.identified, strict=True)
    ]
    chunk = "a common default: spans of whole requests do not tell it"
    made.append(
        Constant(
            name="chunk", value=worker.chunk_tokens, unit="tokens a step", mark="assumed", source=chunk, uncertainty=0.5
        )
    )
    seen = worker.slots or batch.reached
    made.append(
        Constant(
            name="max_batch", value=worker.max_batch, unit="sequences", mark="calibrated" if seen else "assumed",
            source=source if seen else f"no limit was reached: up to {batch.most} ran at once", uncertainty=0.0,
        )
    )  # fmt: skip
    if worker.slots:
        made.append(
            Constant(name="slots", value=worker.slots, unit="slots", mark="calibrated", source=source, uncertainty=0.0)
        )
    elif cache is not None and cache.kind == "pool":
        spread = (cache.high - cache.low) / (2 * cache.size)
        made.append(
            Constant(
                name="kv_pool", value=cache.size, unit="tokens", mark="calibrated", source=source, uncertainty=spread
            )
        )
    else:
        held = "" if cache is None else f": nothing was forgotten with {cache.size:,.0f} tokens held"
        made.append(
            Constant(
                name="kv_pool",
                value=worker.kv_pool_bytes,
                unit="tokens",
                mark="assumed",
                source=f"endless{held}",
                uncertainty=0.0,
            )
        )
    return tuple(made)


def _residuals(levels: Sequence[Level], groups: Sequence[Equations], solved: Solved) -> tuple[Residual, ...]:
    """By number of agents: all phases at one are one sample."""
    found: dict[tuple[int, str], list[Floats]] = {}
    at = 0
    for level, group in zip(levels, groups, strict=True):
        left = solved.residuals[at : at + len(group.seconds)]
        at += len(group.seconds)
        for span, mask in (("decode", group.decode), ("ttft", ~group.decode)):
            found.setdefault((level.agents, span), []).append(left[mask])
    rows = []
    for (agents, span), parts in found.items():
        of_all = np.concatenate(parts)
        if len(of_all):
            low, median, high = np.quantile(of_all, [0.25, 0.5, 0.75]).tolist()
            rows.append(Residual(agents=agents, span=span, spans=len(of_all), median=median, low=low, high=high))
    return tuple(rows)


def _notes(
    observed: Observed, levels: Sequence[Level], solved: Solved, cache: Cache | None, batch: Batch, spec: ClusterSpec
) -> tuple[str, ...]:
    notes = [
        f"one engine with one batch, on the host of the run; in the corpus's tokens ({observed.token_ratio:.2f} of the server's to 1)"
    ]
    if observed.facts.target == "simulated cluster":
        notes.append("the run that they were fitted to is itself simulated: no engine stands behind these constants")
    if spoiled := sorted({level.agents for level in levels if level.spoiled}):
        notes.append(
            f"invalid for every tier: the phases at {', '.join(map(str, spoiled))} agents; what spoiled them is in the constants "
            "(ledger.jsonl says why); fit to other levels"
        )
    unknown = [name for name, known in zip(CONSTANTS, solved.identified, strict=True) if not known]
    if unknown:
        notes.append(f"not told from 0 by these phases, and taken as 0: {', '.join(unknown)}")
    if cache is None:
        notes.append(
            "the server does not report cached tokens: the cache is taken as endless, and no cliff can be predicted"
        )
    elif cache.kind == "unlimited":
        notes.append(
            f"nothing was ever forgotten, with up to {cache.size:,.0f} tokens of conversations: the cache is taken as endless, and a cliff "
            "above that cannot be predicted; fit to a level beyond it, or name the server's slots"
        )
    elif cache.kind == "slots" and not batch.reached and cache.high > cache.size:
        notes.append(
            f"no level went beyond the slots: there are {cache.size:.0f} or more, and {cache.size:.0f} are taken; fit to a level beyond "
            "them, or name the server's slots"
        )
    if not batch.reached and not spec.workers[0].slots:
        notes.append(f"no limit on the batch was reached: up to {batch.most} answers ran at once")
    if observed.plan.workload.track == "natural":
        measured = float(np.concatenate([level.tokens for level in levels]).mean()) + 1
        notes.append(
            f"natural track: answers were {measured:.0f} tokens long on average; the simulation plays the recorded lengths "
            f"({observed.facts.set_output_tokens_mean:.0f} on average over the set)"
        )
    return tuple(notes)
