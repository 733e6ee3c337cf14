"""What the rows of a phase show beyond its verdict: distributions, TTFT against prefill, failures, the cache, the client.

Pure functions from columns to numbers; `runcharts` draws them, `report --format json` and a dashboard hand them on. Figures that a
judgement has too (P95 of TTFT and so on) come from the same functions of `score`, so that they are equal to the last bit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from msgspec import Struct

from openagentperf.records.phase import PhaseFacts
from openagentperf.records.turns import ClientSample
from openagentperf.score.cache import Sharing, cached_fraction, counted, reported
from openagentperf.score.clienterror import clock_step_ns
from openagentperf.score.columns import Floats, Ints, Turns
from openagentperf.score.quantile import quantile_or_none
from openagentperf.score.view import View
from openagentperf.seeds import Permutation
from openagentperf.units import NS_PER_S

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99, 100)
_RANKS = np.unique(np.concatenate((np.linspace(0, 1, 161), np.linspace(0.95, 1, 41))))
"""Of a curve's points: 200 are more than its picture has pixels for, and the tail that a P95 lies in gets a fifth of them."""
SAMPLE = 500
"""Points of a scatter."""


class Distribution(Struct, frozen=True, kw_only=True):
    """One metric over the measured turns of one phase."""

    turns: int
    failed: int
    """Turns that failed. They count in every percentile: a TTFT without an end, a speed of 0."""
    infinite: int
    """Turns whose value is infinite."""
    percentiles: dict[str, float | None]
    """`p1` to `p100`; None where infinite, or there are no turns."""
    curve: tuple[tuple[float, float], ...]
    """(value, share of the turns with at most this), rising; infinite ones are what the curve never reaches."""


class Prefill(Struct, frozen=True, kw_only=True):
    """TTFT of the turns that had so many tokens to be prefilled."""

    tokens_from: int
    tokens_to: int
    """Exclusive."""
    turns: int
    ttft_p5_s: float | None
    ttft_p50_s: float | None
    ttft_p95_s: float | None


class Prefills(Struct, frozen=True, kw_only=True):
    cache_reported: bool
    """False: `tokens` are whole prompts, because the server does not say what it found in its cache."""
    bins: tuple[Prefill, ...]
    """By powers of 2; empty ones are left out."""
    sample: tuple[tuple[int, float], ...]
    """(tokens, TTFT in seconds) of a seeded sample."""


class CacheFound(Struct, frozen=True, kw_only=True):
    """Cached tokens of the measured turns beside those that an endless cache could have held; shares of their prompt tokens."""

    found: float | None
    """None where the server does not report cached tokens."""
    possible: float | None
    """At a line's first turn what its system prompt and tools share with others, at a later one the whole prompt of the turn before. An
    upper bound where history is rewritten. None where no prompt is counted."""


class Health(Struct, frozen=True, kw_only=True):
    """The load generator over one phase, worst of its workers."""

    workers: int
    stamps: str
    cpu_share_max: float | None
    """CPU seconds a second of one worker; 1 is a whole core. None where there are no samples."""
    cpu_share_mean: float | None
    loop_lag_max_s: float | None
    gc_pause_max_s: float | None
    clock_step_s: float | None
    active_share: float
    """Share of the window in which all agents were active."""
    faults: tuple[str, ...]


def distribution(values: Floats, failed: int) -> Distribution:
    """`values` any order, `failed` of them of turns that failed."""
    ordered = np.sort(values)
    count, finite = len(ordered), int(np.isfinite(ordered).sum())
    at = np.unique(np.round(_RANKS * (finite - 1)).astype(np.int64)) if finite else np.zeros(0, np.int64)
    return Distribution(
        turns=count,
        failed=failed,
        infinite=count - finite,
        percentiles={f"p{p}": quantile_or_none(values, p / 100) for p in PERCENTILES},
        curve=tuple((float(ordered[i]), (int(i) + 1) / count) for i in at),
    )


def prefills(view: View, seed: int) -> Prefills:
    turns = view.measured
    told = reported(turns)
    known = turns.prompt_tokens >= 0
    tokens = turns.prompt_tokens - (np.maximum(turns.cached_tokens, 0) if told else 0)
    tokens, ttft = np.maximum(tokens[known], 0), view.ttft_s[known]
    power = np.where(tokens > 0, np.log2(np.maximum(tokens, 1)).astype(np.int64), -1)
    bins = []
    for k in np.unique(power).tolist():
        inside = ttft[power == k]
        bins.append(
            Prefill(
                tokens_from=2**k if k >= 0 else 0,
                tokens_to=2 ** (k + 1),
                turns=len(inside),
                ttft_p5_s=quantile_or_none(inside, 0.05),
                ttft_p50_s=quantile_or_none(inside, 0.5),
                ttft_p95_s=quantile_or_none(inside, 0.95),
            )
        )
    finite = np.flatnonzero(np.isfinite(ttft))
    taken = finite[drawn(len(finite), SAMPLE, seed, "prefill")]
    sample = tuple(zip(tokens[taken].tolist(), ttft[taken].tolist(), strict=True))
    return Prefills(cache_reported=told, bins=tuple(bins), sample=sample)


def drawn(of: int, most: int, seed: int, name: str) -> Ints:
    """At most `most` different numbers below `of`, in order; the same seed and name draw the same."""
    order = Permutation(of, seed, "report", name)
    return np.array(sorted(order[i] for i in range(min(of, most))), dtype=np.int64)


def cache_found(view: View, sharing: Sharing) -> CacheFound:
    """Over the turns that `score.cache` counts."""
    every = view.everything
    possible = _possible(every, sharing)
    measured = view.in_window & counted(every)
    prompts = int(every.prompt_tokens[measured].sum())
    return CacheFound(
        found=cached_fraction(view.measured),
        possible=float(possible[measured].sum()) / prompts if prompts else None,
    )


def _possible(turns: Turns, sharing: Sharing) -> Floats:
    """Per turn, the most prompt tokens that it could have found."""
    prompt = np.maximum(turns.prompt_tokens, 0).astype(np.float64)
    order = np.lexsort((turns.turn, turns.line, turns.replay, turns.agent))
    before = np.zeros(len(turns))
    if len(order) > 1:
        left, right = order[:-1], order[1:]
        same = np.ones(len(left), dtype=np.bool_)
        for column in (turns.agent, turns.replay, turns.line):
            same &= column[left] == column[right]
        before[right] = np.where(same, prompt[left], 0.0)
    possible: Floats = np.minimum(prompt, np.maximum(sharing.shared_tokens(turns), before))
    return possible


def failures(turns: Turns) -> dict[str, int]:
    """Measured turns by cause, `http 503` with its status, in alphabetical order."""
    failed = turns.failed
    named = zip(turns.failure[failed].tolist(), turns.status[failed].tolist(), strict=True)
    counts = Counter(f"{kind} {status}" if kind == "http" and status > 0 else str(kind) for kind, status in named)
    return dict(sorted(counts.items()))


def health(facts: PhaseFacts, samples: Sequence[ClientSample]) -> Health:
    ordered = sorted(samples, key=lambda s: (s.worker, s.t_ns))
    shares = [
        sample.cpu_ns / (sample.t_ns - before.t_ns)
        for before, sample in pairwise(ordered)
        if before.worker == sample.worker and sample.t_ns > before.t_ns
    ]
    return Health(
        workers=facts.workers,
        stamps=facts.stamps,
        cpu_share_max=max(shares, default=None),
        cpu_share_mean=math.fsum(shares) / len(shares) if shares else None,
        loop_lag_max_s=_most(samples, "loop_lag_max_ns"),
        gc_pause_max_s=_most(samples, "gc_pause_max_ns"),
        clock_step_s=clock_step_ns(samples) / NS_PER_S if samples else None,
        active_share=facts.min_active_share,
        faults=facts.faults,
    )  # fmt: skip


def _most(samples: Sequence[ClientSample], field: str) -> float | None:
    values: list[int] = [getattr(sample, field) for sample in samples]
    return max(values) / NS_PER_S if values else None


def total(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Counts of several phases together, the largest first."""
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
