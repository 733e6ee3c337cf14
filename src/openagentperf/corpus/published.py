"""What Artificial Analysis published of AA-AgentPerf's set, and how far another set is from it (docs/methodology.md#workload)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from openagentperf.records.card import Comparison, Spread

OUTPUT_MEDIAN_TOKENS = 150.0
OUTPUT_SIGMA = 1.57
LANGUAGES = 12
"""Published as "12+": a set with more is no further away."""


def compare(
    turns: Spread, inputs: Spread, outputs: Spread, sigma: float | None, delays_s: Spread | None, languages: int
) -> tuple[Comparison, ...]:
    """A row for each published figure."""
    rows: tuple[tuple[str, str, float | None, float], ...] = (
        ("input, mean", "tokens", inputs.mean, 27_000),
        ("input, smallest", "tokens", inputs.min, 5_000),
        ("input, largest", "tokens", inputs.max, 131_072),
        ("output, median", "tokens", outputs.p50, OUTPUT_MEDIAN_TOKENS),
        ("output, P95", "tokens", outputs.p95, 2_000),
        ("output, log-normal sigma", "", sigma, OUTPUT_SIGMA),
        ("turns, most", "", turns.max, 200),
        ("tool delay, median", "s", delays_s.p50 if delays_s else None, 1.0),
        ("tool delay, shortest", "s", delays_s.min if delays_s else None, 0.1),
        ("tool delay, longest", "s", delays_s.max if delays_s else None, 5.0),
        ("languages", "", languages or None, LANGUAGES),
    )
    return tuple(
        Comparison(
            figure=name,
            unit=unit,
            this=this,
            published=aa,
            ratio=None if this is None else this / aa,
            distance=_distance(this if name != "languages" or this is None else min(this, aa), aa),
        )
        for name, unit, this, aa in rows
    )


def farthest(rows: tuple[Comparison, ...]) -> float | None:
    """The largest distance; None where any is missing: a set that does not say its delays is not near in them."""
    distances = [row.distance for row in rows]
    known = [distance for distance in distances if distance is not None]
    return max(known) if known and len(known) == len(distances) else None


def output_ks(outputs: NDArray[np.int64]) -> float:
    """Largest difference of the two distribution functions, for `outputs` of any order, all >= 1."""
    values, counts = np.unique(outputs, return_counts=True)
    below = np.cumsum(counts) / len(outputs)
    scale = OUTPUT_SIGMA * math.sqrt(2)
    # Between two values of the set its function is flat and the law's rises: both ends of each step count.
    law = np.array([0.5 * (1 + math.erf(math.log(x / OUTPUT_MEDIAN_TOKENS) / scale)) for x in values.tolist()])
    before = np.concatenate(([0.0], below[:-1]))
    return float(max(np.abs(law - below).max(), np.abs(law - before).max()))


def _distance(this: float | None, published: float) -> float | None:
    return None if this is None or this <= 0 else abs(math.log(this / published))
