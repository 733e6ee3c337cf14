"""The only percentile of the project, so that a table, a verdict and a chart cannot disagree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def quantile(values: NDArray[np.float64] | Sequence[float], q: float) -> float:
    """Linear interpolation between the order statistics around rank (n - 1) q, counted from 0.

        low + w (high - low),   w = (n - 1) q - floor((n - 1) q)

    values  one-dimensional, any order, +infinity allowed (a failed turn's TTFT)
    q       0 .. 1, read as the decimal it is written as: 0.95 is 19/20, so that rank 19 of 21 values is exactly 19.
            In floats (n - 1) q can come out an ulp below a whole rank, and a weight of 1e-16 on an infinite neighbour is infinity.

    w = 0 gives `low` whatever `high` is; w > 0 beside +infinity gives +infinity. numpy's own percentile gives NaN there.
    ValueError for NaN, for no values (there is no percentile of nothing: callers say None), and for q outside 0 .. 1.

    Source: docs/methodology.md#verdict
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"quantile: values have shape {array.shape}, one dimension and at least one value are needed")
    if not 0 <= q <= 1:
        raise ValueError(f"quantile: q is {q}, 0 to 1 is needed")
    if np.isnan(array).any():
        raise ValueError("quantile: a value is NaN: a turn without a value must be left out or counted as infinite")
    rank = Fraction(str(float(q))) * (array.size - 1)
    below = rank.numerator // rank.denominator
    weight = float(rank - below)
    if weight == 0:
        return float(np.partition(array, below)[below])
    parted = np.partition(array, (below, below + 1))
    low, high = float(parted[below]), float(parted[below + 1])
    if low == high or math.isinf(low):
        return low
    return high if math.isinf(high) else min(low + weight * (high - low), high)


def quantile_or_none(values: NDArray[np.float64] | Sequence[float], q: float) -> float | None:
    """`quantile` for a record: None where there are no values, or where it is infinite (JSON has no infinity)."""
    if len(values) == 0:
        return None
    found = quantile(values, q)
    return found if math.isfinite(found) else None
