"""One phase judged, for every tier at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from openagentperf.plan import Rigor, Tier, TierSet
from openagentperf.records.phase import Judged, PhaseFacts, TierVerdict
from openagentperf.records.turns import ClientSample
from openagentperf.score import cache, failing, held, validity
from openagentperf.score.cache import Sharing
from openagentperf.score.columns import Ints, Turns
from openagentperf.score.quantile import quantile, quantile_or_none
from openagentperf.score.view import SPEED_Q, TTFT_Q, Reading, View, look, readings
from openagentperf.units import NS_PER_S


def judge(
    facts: PhaseFacts,
    turns: Turns,
    samples: Sequence[ClientSample],
    tiers: TierSet,
    rigor: Rigor,
    sharing: Sharing,
) -> Judged:
    """Validity, then verdict, of one phase. A pure function: the same rows in any order give the same bytes.

    turns    every turn of the phase, ramp and drain included: first turns are checked for a warm cache wherever they lie
    samples  client health of all workers over the phase

    Per tier, the first of these that holds:
        invalid   the measurement is spoiled, or the client's own error is too large for this tier
        fail      failures, TTFT, speed or a growing queue; beyond doubt, where there are too few turns
        invalid   too few turns, trajectories or speeds; or the client's own lag could turn the verdict round
        pass

    Source: docs/methodology.md#phase
    """
    view = look(facts, turns, samples)
    spoiled = validity.spoiled(view, samples, sharing)
    told = readings(view) if view.pace.known.any() else None
    verdicts = tuple(_verdict(view, tier, rigor, spoiled, told) for tier in tiers.tier)
    tail_s = held.tail_p95_s(view.measured)
    return _figures(view, verdicts, _notes(view, rigor, tail_s), tail_s, held.in_flight_mean(facts, samples))


def _verdict(view: View, tier: Tier, rigor: Rigor, spoiled: list[str], told: tuple[Reading, ...] | None) -> TierVerdict:
    invalid = spoiled + validity.client_error(view, tier, rigor, told)
    if invalid:
        return TierVerdict(tier=tier.name, verdict="invalid", reasons=tuple(invalid))

    few, no_speed = validity.short_of_turns(view, rigor), validity.short_of_speeds(view)
    turned: list[str] = []
    if few:
        fails = failing.beyond_doubt(view, tier, rigor)
    else:
        unsound = failing.unsound(view, tier, rigor)
        readable = told if told is not None and not no_speed else None
        missed = failing.limits_missed(tier, quantile(view.ttft_s, TTFT_Q), readable[0] if readable else None)
        if readable and not unsound:  # an unsound phase fails whichever way the percentiles turn
            turned = validity.flips(tier, readable)
        fails = [] if turned else unsound + missed
    if fails:
        return TierVerdict(tier=tier.name, verdict="fail", reasons=tuple(fails))
    short = [reason for reason in (few, validity.short_of_trajectories(view, rigor), no_speed) if reason]
    if turned or short:
        only_short = not turned and _meets(view, tier, rigor, told)
        return TierVerdict(tier=tier.name, verdict="invalid", reasons=(*turned, *short), short=only_short)
    return TierVerdict(tier=tier.name, verdict="pass")


def _meets(view: View, tier: Tier, rigor: Rigor, told: tuple[Reading, ...] | None) -> bool:
    """Whether the turns at hand, however few, would be a pass: every reading of them, and none is false where nothing is known."""
    return told is not None and all(reading.meets(tier) for reading in told) and not failing.unsound(view, tier, rigor)


def _figures(
    view: View, verdicts: tuple[TierVerdict, ...], notes: tuple[str, ...], tail_s: float | None, in_flight: float | None
) -> Judged:
    turns, order = view.measured, view.facts.order
    tokens = turns.output_tokens[~turns.failed & (turns.output_tokens >= 0)]
    prompts = turns.corpus_tokens[~turns.failed & (turns.corpus_tokens > 0)]
    window_s = (view.facts.window_end_ns - view.facts.window_start_ns) / NS_PER_S
    return Judged(
        index=order.index,
        agents=order.agents,
        kind=order.kind,
        verdicts=verdicts,
        measured_turns=len(turns),
        completed_trajectories=int(validity.completed(view).sum()),
        failed_turns=view.failed_turns,
        ttft_p50_s=quantile_or_none(view.ttft_s, 0.5),
        ttft_p95_s=quantile_or_none(view.ttft_s, TTFT_Q),
        speed_p25=quantile_or_none(view.speeds, SPEED_Q),
        e2e_speed_p25=quantile_or_none(view.pace.end_to_end[view.pace.known], SPEED_Q),
        cached_fraction=cache.cached_fraction(turns),
        output_tokens_per_s=int(tokens.sum()) / window_s if window_s > 0 and len(turns) else None,
        lateness_p99_s=quantile_or_none(view.late_s, 0.99),
        read_lag_p99_s=quantile_or_none(view.read_lag_s, 0.99),
        input_tokens_mean=_mean(prompts),
        output_tokens_mean=_mean(tokens),
        output_tokens_sd=_deviation(tokens),
        output_tokens_quartiles=_quartiles(tokens),
        tail_p95_s=tail_s,
        in_flight_mean=in_flight,
        in_flight_max=held.in_flight_max(view.facts, view.everything),
        subagent_share=int((turns.line > 0).sum()) / len(turns) if len(turns) else None,
        notes=notes,
    )


def _mean(values: Ints) -> float | None:
    return int(values.sum()) / len(values) if len(values) else None


def _quartiles(values: Ints) -> tuple[float, float, float] | None:
    if not len(values):
        return None
    floats = values.astype(np.float64)
    return quantile(floats, 0.25), quantile(floats, 0.5), quantile(floats, 0.75)


def _deviation(values: Ints) -> float | None:
    """Standard deviation from integer sums, which come out the same in any order of rows; None for fewer than two."""
    n = len(values)
    if n < 2:
        return None
    total, squares = int(values.sum()), int((values * values).sum())
    return math.sqrt((squares * n - total * total) / (n * (n - 1)))


def _notes(view: View, rigor: Rigor, tail_s: float | None) -> tuple[str, ...]:
    turns, order = view.measured, view.facts.order
    notes: list[str] = []
    answered = int((~turns.failed).sum())
    if answered and cache.cached_fraction(turns) is None:
        notes.append("cache unverified: the server does not report cached tokens, so a warm cache cannot be ruled out")
    if turns.failed.any():
        notes.append(f"failed turns: {failing.failures(view)}")
    redialled = int((turns.connection == "redialled").sum())
    if redialled:
        notes.append(f"{redialled} turns were dialled again after a reused connection died before any response byte")
    buffered = int(view.pace.buffered.sum())
    if buffered:
        notes.append(f"{buffered} of {answered} answers came buffered; their speed is the end-to-end speed")
    silent = len(turns) - int(view.pace.known.sum())
    if silent:
        notes.append(f"{silent} answers of one token have no speed")
    if tail_s is not None and tail_s > held.TAIL_S:
        notes.append(
            f"answers stayed open for up to {tail_s:.3g} s after their last output (P95), {held.TAIL_S:g} s is usual at most: "
            "tool delays start when an answer has drained, so the server lowers the load on itself by holding its end back"
        )
    if order.kind == "certify" and rigor.trajectories_per_agent:
        ended = turns.agent[validity.completed(view)]
        fewest = int(np.bincount(ended, minlength=order.agents).min())
        notes.append(f"fewest completed trajectories of one agent: {fewest}")
    return tuple(notes)
