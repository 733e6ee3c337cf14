"""Was the work equal? Output lengths of a phase against the same model's low-load reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

from openagentperf.records.phase import Judged

BAND = 0.10
MIN_TURNS = 50
"""In each phase: the fewest that a search phase of the shipped presets has."""


def unequal(history: Sequence[Judged], certifying: Sequence[Judged]) -> list[str]:
    """A sentence for each certifying phase whose output lengths leave the 10 % band of the first phase at one agent.

    Compared are the mean and the three quartiles. Lengths are log-normal (sigma about 1.6), so the mean of 200 turns is itself
    uncertain by 20 %: a figure is outside where its ratio leaves the band *and* lies more than two standard errors from 1.
    One sentence that nothing could be compared where there is no reference with enough turns (a search that started above one
    agent, or was short of turns there). For the natural track: the exact track fixes every length.

    Source: docs/methodology.md#tracks
    """
    reference = next((j for j in history if j.agents == 1 and _usable(j)), None)
    if not certifying:
        return []
    if reference is None:
        why = f"no low-load reference phase (one agent, at least {MIN_TURNS} answered turns)"
        return [f"equal work unverified: {why}: start the search at 1, in phases long enough for it"]
    notes: list[str] = []
    for phase in certifying:
        if phase.index == reference.index or not _usable(phase):
            continue
        ours, theirs = _figures(phase), _figures(reference)
        outside = [
            f"{name} {value / base - 1:+.0%}"
            for (name, value, error), (_, base, base_error) in zip(ours, theirs, strict=True)
            if _apart(value, base, math.hypot(error, base_error))
        ]
        if outside:
            notes.append(
                f"output length in phase {phase.index} ({phase.agents} agents) against phase {reference.index} (1 agent): "
                f"{', '.join(outside)}, within {BAND:.0%} is equal work: look for answers that are cut short under load"
            )
    return notes


def _usable(phase: Judged) -> bool:
    answered = phase.measured_turns - phase.failed_turns
    return answered >= MIN_TURNS and bool(phase.output_tokens_mean) and phase.output_tokens_quartiles is not None


def _figures(phase: Judged) -> list[tuple[str, float, float]]:
    """(name, value, relative standard error) of the mean and the quartiles.

    For quartiles of a log-normal: sigma = ln(q3 / q1) / 1.349, standard error 1.36 (quartiles) or 1.25 (median) sigma / sqrt(n).
    """
    root = math.sqrt(phase.measured_turns - phase.failed_turns)
    mean, deviation = phase.output_tokens_mean or 0.0, phase.output_tokens_sd or 0.0
    low, middle, high = (max(q, 1.0) for q in phase.output_tokens_quartiles or (1.0, 1.0, 1.0))
    sigma = math.log(high / low) / 1.349
    return [
        ("mean", mean, deviation / mean / root),
        ("P25", low, 1.36 * sigma / root),
        ("P50", middle, 1.25 * sigma / root),
        ("P75", high, 1.36 * sigma / root),
    ]


def _apart(value: float, base: float, error: float) -> bool:
    distance = abs(math.log(value / base))
    return distance > math.log(1 + BAND) and distance > 2 * error
