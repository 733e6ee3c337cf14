"""Is a queue growing? TTFT in the first third of the window against the last."""

from __future__ import annotations

import math

import numpy as np

from openagentperf.score.columns import Floats, Ints
from openagentperf.score.quantile import quantile

MIN_TURNS = 30
"""In each third. Below it a median of log-normal TTFTs moves by 10 % for no reason."""
BLOCKS = 4
T_LIMIT = 3.143
"""Student's t, 99 % one-sided, 2 x BLOCKS - 2 = 6 degrees of freedom."""


def rise(due_ns: Ints, ttft_s: Floats, start_ns: int, end_ns: int) -> tuple[float, float] | None:
    """(P50 of TTFT in the first third, in the last), in seconds, where the last is higher *beyond noise*; else None.

    All agents share one queue, so neighbouring turns are not independent: a test over single turns (Mann-Whitney,
    bootstrap) understates the noise 3 to 11 times and cries wolf. So each third is cut into four blocks of equal count
    in order of due time, and the block medians are compared:

        t = (mean of last - mean of first) / sqrt((s1^2 + s2^2) / 4)  >  3.143

    None for fewer than 30 turns in either third, for a rise within noise, and where the first third is already infinite.
    Whether a significant rise is *large* is the caller's question. Source: docs/methodology.md#phase
    """
    span = end_ns - start_ns
    order = np.lexsort((ttft_s, due_ns))
    due_ns, ttft_s = due_ns[order], ttft_s[order]
    first = ttft_s[(due_ns - start_ns) * 3 < span]
    last = ttft_s[(due_ns - start_ns) * 3 >= span * 2]
    if min(len(first), len(last)) < MIN_TURNS:
        return None
    before, after = quantile(first, 0.5), quantile(last, 0.5)
    if math.isinf(before) or after <= before:
        return None
    if math.isinf(after):
        return before, after
    a = [quantile(block, 0.5) for block in np.array_split(first, BLOCKS)]
    b = [quantile(block, 0.5) for block in np.array_split(last, BLOCKS)]
    if not all(map(math.isfinite, a + b)):
        return None  # failures, which have a rule of their own
    mean_a, mean_b = math.fsum(a) / BLOCKS, math.fsum(b) / BLOCKS
    squares = math.fsum((x - mean_a) ** 2 for x in a) + math.fsum((x - mean_b) ** 2 for x in b)
    error = math.sqrt(squares / (BLOCKS - 1) / BLOCKS)
    return (before, after) if mean_b - mean_a > T_LIMIT * error else None
