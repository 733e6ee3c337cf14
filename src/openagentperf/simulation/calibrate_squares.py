"""Constants that are not negative, from many noisy equations: weighted least squares that a stalled minute does not bend.

    minimise  sum of huber((seconds - work @ x) / predicted seconds),  x >= 0

Relative, because a span of 2 s is not a thousand times more worth than one of 2 ms; by the *predicted* seconds, because weights by the
measured ones favour spans that noise made short. The scale of the Huber loss is the spread (MAD) of each kind of span. Standard errors
come from leaving out one stretch of time after the other (a delete-one-block jackknife): neighbours in time share a queue and a noisy
host, and errors from single rows would be several times too small.

A constant that two standard errors do not tell from 0 is not identified by these data: it is left out, taken as 0, and the rest is fitted
again. What it stood for is then carried by those that remain.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openagentperf.score.columns import Floats, Ints
from openagentperf.simulation.calibrate_rows import Level
from openagentperf.simulation.calibrate_work import CONSTANTS, FRONT, Equations, equations

_HUBER = 1.345
"""Of the spread: 95 % efficient where the noise is normal."""
_ROUNDS = 20
_BLOCKS = 10
"""Stretches of time in each phase."""
_SINGULAR = 1e-9
"""Two columns that differ by less than this, relative, are one column."""
_TELL = 2.0


_FITS = 3
"""How often the equations are made anew by the constants found: the last ones move them by less than 1 %."""
_FRONTS = 7
"""Tried at once in each narrowing of the interval."""
_NARROWINGS = 3


class Solved(NamedTuple):
    """Constants in the order of CONSTANTS."""

    values: Floats
    errors: Floats
    """Standard errors; NaN where not identified."""
    identified: tuple[bool, ...]
    residuals: Floats
    """(measured - predicted) / predicted, a row."""


def fit_costs(levels: Sequence[Level]) -> tuple[Solved, list[Equations]]:
    """The constants, and the equations that they solve, of each level.

    The front is searched for and not solved: it moves the spans in which work is counted, and iterating a linear solution over that ends
    at fronts of half the true one.
    """
    constants = np.zeros(len(CONSTANTS))
    first = True
    for _ in range(_FITS):
        constants = _with_front(levels, None if first else constants)
        first = False
    groups = [equations(level, constants) for level in levels]
    solved = solve(groups)
    if not solved.identified[FRONT] and constants[FRONT] > 0:
        constants[FRONT] = 0.0
        groups = [equations(level, constants) for level in levels]
        solved = solve(groups)
    if solved.identified[FRONT]:
        solved.values[FRONT] = constants[FRONT]
    return solved, groups


def _with_front(levels: Sequence[Level], before: Floats | None) -> Floats:
    """All constants, with the front that leaves the smallest mean |measured - predicted| / predicted."""
    low, high = 0.0, min(float(np.quantile(level.first_s - level.sent_s, 0.02)) for level in levels)
    best: tuple[float, Floats] = (np.inf, np.zeros(len(CONSTANTS)))
    for _ in range(_NARROWINGS):
        fronts = np.linspace(low, high, _FRONTS)
        for front in fronts.tolist():
            best = min(best, _fixed(levels, before, front), key=lambda found: found[0])
        width = (high - low) / (_FRONTS - 1)
        low, high = max(0.0, best[1][FRONT] - width), best[1][FRONT] + width
    return best[1]


def _fixed(levels: Sequence[Level], before: Floats | None, front: float) -> tuple[float, Floats]:
    """(mean relative error, constants) with a given front."""
    guess = None
    if before is not None:
        guess = before.copy()
        guess[FRONT] = front
    elif front > 0:
        guess = np.zeros(len(CONSTANTS))
        guess[FRONT] = front
    groups = [equations(level, guess) for level in levels]
    work = np.concatenate([g.work for g in groups])
    seconds = np.concatenate([g.seconds for g in groups]) - front * work[:, FRONT]
    decode = np.concatenate([g.decode for g in groups])
    others, _ = _robust(work[:, :FRONT], seconds, decode)
    constants = np.append(others, front)
    predicted = _floor(work @ constants)
    return float(np.mean(np.abs(seconds + front * work[:, FRONT] - predicted) / predicted)), constants


def solve(groups: Sequence[Equations]) -> Solved:
    """Constants from the equations of all phases together; rows of `Solved.residuals` in the order of the phases."""
    work = np.concatenate([g.work for g in groups])
    seconds = np.concatenate([g.seconds for g in groups])
    decode = np.concatenate([g.decode for g in groups])
    blocks = _blocks(groups)
    left = list(range(len(CONSTANTS)))
    while True:
        values, weights = _robust(work[:, left], seconds, decode)
        errors = _jackknife(work[:, left], seconds, weights, blocks, values)
        told = np.divide(values, errors, out=np.zeros_like(values), where=errors > 0)
        told[(errors == 0) & (values > 0)] = np.inf  # data without noise
        worst = int(np.argmin(told))
        if told[worst] >= _TELL or len(left) == 1:
            break
        del left[worst]
    x, error = np.zeros(len(CONSTANTS)), np.full(len(CONSTANTS), np.nan)
    x[left], error[left] = values, errors
    predicted = _floor(work @ x)
    return Solved(x, error, tuple(i in left for i in range(len(CONSTANTS))), (seconds - predicted) / predicted)


def _blocks(groups: Sequence[Equations]) -> Ints:
    """Of each row, the number of its stretch of time."""
    numbers = []
    for index, group in enumerate(groups):
        if len(group.block):
            edges = np.linspace(group.block.min(), group.block.max(), _BLOCKS + 1)[1:-1]
            numbers.append(index * _BLOCKS + np.searchsorted(edges, group.block))
    return np.concatenate(numbers)


def _floor(seconds: Floats) -> Floats:
    """A prediction of next to nothing would weigh without limit."""
    floored: Floats = np.maximum(seconds, max(0.01 * float(np.median(seconds)), 1e-9))
    return floored


def _robust(work: Floats, seconds: Floats, decode: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """(constants, row weights) after iterated reweighting."""
    predicted, huber = _floor(seconds), np.ones(len(seconds))
    values = np.zeros(work.shape[1])
    weights = np.ones(len(seconds))
    for _ in range(_ROUNDS):
        weights = np.sqrt(huber) / predicted
        before = values
        values = _not_negative(*_normal(work, seconds, weights))
        predicted = _floor(work @ values)
        relative = (seconds - predicted) / predicted
        for kind in (decode, ~decode):
            if kind.any():
                spread = 1.4826 * float(np.median(np.abs(relative[kind] - np.median(relative[kind]))))
                limit = _HUBER * max(spread, 1e-6)
                huber[kind] = np.minimum(1.0, limit / np.maximum(np.abs(relative[kind]), limit))
        if np.allclose(values, before, rtol=1e-6, atol=0):
            break
    return values, weights


def _normal(work: Floats, seconds: Floats, weights: Floats) -> tuple[Floats, Floats]:
    weighted = work * weights[:, None]
    return weighted.T @ weighted, weighted.T @ (seconds * weights)


def _not_negative(gram: Floats, right: Floats) -> Floats:
    """The least squares over x >= 0: of all subsets of columns the best whose solution has no negative entry (at most 2^7, of 7 x 7).

    Columns that are multiples of each other never stand in one subset; of two subsets equally good the smaller and earlier one wins.
    """
    count = len(right)
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    unit, aim = gram / np.outer(scale, scale), right / scale
    quick = _shrunk(unit, aim)
    if quick is not None:
        return quick / scale
    best, least = np.zeros(count), 0.0
    for size in range(1, count + 1):
        for columns in combinations(range(count), size):
            chosen = list(columns)
            part = unit[np.ix_(chosen, chosen)]
            if np.linalg.eigvalsh(part)[0] < _SINGULAR:
                continue
            x = np.linalg.solve(part, aim[chosen])
            loss = -float(aim[chosen] @ x)  # the sum of squares, less what no choice changes
            if x.min() >= 0 and loss < least - 1e-9 * abs(least):
                best = np.zeros(count)
                best[chosen] = x / scale[chosen]
                least = loss
    return best


def _shrunk(unit: Floats, aim: Floats) -> Floats | None:
    """The same by leaving out the most negative column until none is, where that ends at the best: no column left out would help
    (its gradient is not positive). None where it does not, or columns are multiples of each other."""
    if np.linalg.eigvalsh(unit)[0] < _SINGULAR:
        return None
    chosen = list(range(len(aim)))
    x: Floats = np.zeros(len(aim))
    while chosen:
        part = np.linalg.solve(unit[np.ix_(chosen, chosen)], aim[chosen])
        if part.min() >= 0:
            x[chosen] = part
            break
        del chosen[int(np.argmin(part))]
    return x if (aim - unit @ x <= 1e-9 * max(1.0, float(np.abs(aim).max()))).all() else None


def _jackknife(work: Floats, seconds: Floats, weights: Floats, blocks: Ints, values: Floats) -> Floats:
    """Standard errors of `values` by leaving out one block after the other, at the final weights."""
    numbers = np.unique(blocks)
    if len(numbers) < 3:
        return np.full(len(values), np.inf)
    parts = [_normal(work[blocks == b], seconds[blocks == b], weights[blocks == b]) for b in numbers]
    gram, right = sum(p[0] for p in parts), sum(p[1] for p in parts)
    left_out = np.array([_not_negative(gram - g, right - r) for g, r in parts])
    count = len(numbers)
    errors: Floats = np.sqrt((count - 1) / count * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))
    return errors
