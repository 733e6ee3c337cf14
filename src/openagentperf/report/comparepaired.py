"""Two systems under the same turns: the ratio of a figure at equal levels, with an interval that knows that all agents share one queue.

Turns are matched by (trajectory, turn): both runs replay one compiled set, so that a turn of the one asks for what the same turn of the
other asks for. What a phase adds to all of its turns (a queue, a warm GPU) is common to them, so a thousand matched turns of one phase are
one draw of that, not a thousand. The unit of the interval is therefore the phase, or, where a side has one phase only, a block of time.

    ln y(u, k) = unit(u) + turn(k) + rest        least squares over all answered measured turns of both sides
    ln ratio   = mean of unit over B - mean of unit over A
    interval   = ln ratio -+ t s sqrt(1/a + 1/b)  s: scatter of the units within their sides, a + b - 2 degrees of freedom

Pure: columns in, numbers out. Source: docs/compare.md#paired
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct

from openagentperf.score.columns import Floats, Ints
from openagentperf.score.estimate import student_t95

Unit: TypeAlias = Literal["phase", "block", "bracket", "estimate", ""]

BLOCKS = 6
"""Blocks of time that a phase is cut into where it stands alone: few, so that each outlasts the queue's memory."""
WIDEN = 1.8
"""Which trajectories a phase happened to draw is the same in all of its blocks, so that they say nothing of it. Not widened, an interval
over blocks is 80 to 117 % as wide as one that holds the truth in 90 % of pairs (`python -m benchmarks.compare_coverage --runs 300`, a
simulated queue); the rest of the 1.8 is room for engines whose phases differ by more than those of a simulated queue."""
SHRINK = 0.5
"""Blocks have few turns in common, often too few to tie all of them together. Only for their scatter, a turn's own effect is therefore
taken to vary about a common mean, with twice the variance of the rest: a turn that one block alone has then says a little too."""
MIN_PHASES = 2
"""Of each side, for phases to be the unit."""


class Ratio(Struct, frozen=True, kw_only=True):
    """B's figure over A's."""

    ratio: float
    low: float | None = None
    """Ends of the interval; None where that end is open, or there is nothing to take one from."""
    high: float | None = None
    unit: Unit = ""
    """What the interval is: 90 % over `phase`s; 90 % over `block`s where a side has one phase only, widened by 1.8; 90 % of two
    `estimate`s of the crossing; the `bracket` between what was certified and what failed, no statistics; "" where there is none."""

    @property
    def change(self) -> float:
        """-0.05: 5 % less than A."""
        return self.ratio - 1

    @property
    def ends(self) -> str:
        """`-22.2% to +0.0%`, an open end as `...`; "" where there is no interval."""
        if self.low is None and self.high is None:
            return ""
        low, high = ("..." if end is None else f"{end - 1:+.1%}" for end in (self.low, self.high))
        return f"{low} to {high}"


class Observed(NamedTuple):
    """The answered measured turns of one phase; entry i of each array is one turn."""

    key: Ints
    """Number of the (trajectory, turn)."""
    due: Floats
    """0 .. 1: where in the measure window it was due."""
    log_value: Floats


class Matched(NamedTuple):
    ratio: Ratio
    keys: int
    """Different turns that both sides answered."""


def matched(a: Sequence[Observed], b: Sequence[Observed]) -> Matched | None:
    """The paired ratio of B to A over the phases of both; None where no turn is common."""
    common = np.intersect1d(np.concatenate([p.key for p in a]), np.concatenate([p.key for p in b])) if a and b else ()
    if len(common) == 0:
        return None
    sides = [[_only(phase, np.asarray(common)) for phase in side] for side in (a, b)]
    sides = [[phase for phase in side if len(phase.key)] for side in sides]
    by_phase = _contrast([[phase] for side in sides for phase in side], len(sides[0]))
    if by_phase is None:
        return None
    ratio = _ratio(by_phase, "phase", 1.0)
    if min(map(len, sides)) < MIN_PHASES:
        blocks = _contrast([_cut(phase) for side in sides for phase in side], len(sides[0]), SHRINK)
        scatter = _Contrast(0.0, math.nan, 0) if blocks is None else blocks
        ratio = _ratio(scatter._replace(log_ratio=by_phase.log_ratio), "block", WIDEN)
    return Matched(ratio, len(common))


def of_phases(a: Sequence[float], b: Sequence[float]) -> Ratio | None:
    """The ratio of the geometric means of a figure that each phase gives once (its P95 TTFT, its P25 speed); None where a side has none, or
    one that is no positive number. Without an interval where a side has one phase only."""
    if not a or not b or not all(0 < value < math.inf for value in (*a, *b)):
        return None
    effects = np.log(np.array([*a, *b]))
    contrast = _Contrast.of(effects, np.arange(len(effects)) >= len(a))
    if min(len(a), len(b)) < MIN_PHASES:
        return Ratio(ratio=math.exp(contrast.log_ratio))
    return _ratio(contrast, "phase", 1.0)


class _Contrast(NamedTuple):
    log_ratio: float
    error: float
    """Standard error; NaN below two degrees of freedom."""
    freedom: int

    @classmethod
    def of(cls, effects: Floats, of_b: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> _Contrast:
        left, right = effects[~of_b], effects[of_b]
        freedom = len(effects) - 2
        squares = float(((left - left.mean()) ** 2).sum() + ((right - right.mean()) ** 2).sum())
        deviation = math.sqrt(squares / freedom) if freedom >= 2 else math.nan
        error = deviation * math.sqrt(1 / len(left) + 1 / len(right))
        return cls(float(right.mean() - left.mean()), error, freedom)


def _ratio(contrast: _Contrast, unit: Unit, widen: float) -> Ratio:
    middle = contrast.log_ratio
    if not math.isfinite(contrast.error):
        return Ratio(ratio=math.exp(middle))
    reach = student_t95(contrast.freedom) * contrast.error * widen
    return Ratio(ratio=math.exp(middle), low=math.exp(middle - reach), high=math.exp(middle + reach), unit=unit)


def _only(phase: Observed, keys: Ints) -> Observed:
    kept = np.isin(phase.key, keys)
    return Observed(phase.key[kept], phase.due[kept], phase.log_value[kept])


def _cut(phase: Observed) -> list[Observed]:
    block = np.clip((phase.due * BLOCKS).astype(np.int64), 0, BLOCKS - 1)
    parts = [Observed(phase.key[block == n], phase.due[block == n], phase.log_value[block == n]) for n in range(BLOCKS)]
    return [part for part in parts if len(part.key)]


def _contrast(parts: Sequence[Sequence[Observed]], phases_of_a: int, shrink: float = 0.0) -> _Contrast | None:
    """`parts`: the units of each phase, A's phases first. None where the units do not hang together by common turns: their effects are
    then not known relative to one another."""
    units = [unit for phase in parts for unit in phase]
    of_b = np.array([n >= phases_of_a for n, phase in enumerate(parts) for _ in phase])
    effects = _effects(units, shrink)
    if effects is None or of_b.all() or not of_b.any():
        return None
    return _Contrast.of(effects, of_b)


def _effects(units: Sequence[Observed], shrink: float) -> Floats | None:
    """Least-squares effect of each unit, but for a constant that is common to all; None where the units fall apart into groups without a
    common turn.

    The effects of the turns, tens of thousands, are eliminated: what is left is one equation a unit.
        (diag(n_u) - N W N') effect = s_u - N W s_k       W = diag(1 / (n_k + shrink))
    N: turns by unit and key; n, s: their counts and sums of ln y.
    """
    keys, inverse = np.unique(np.concatenate([u.key for u in units]), return_inverse=True)
    values = np.concatenate([u.log_value for u in units])
    values = values - values.mean()
    where = np.repeat(np.arange(len(units)), [len(u.key) for u in units])
    cell = where * len(keys) + inverse
    counts = np.bincount(cell, minlength=len(units) * len(keys)).reshape(len(units), len(keys)).astype(np.float64)
    of_unit, of_key = np.bincount(where, values), np.bincount(inverse, values)
    weighted = counts / (counts.sum(axis=0) + shrink)
    normal = np.diag(counts.sum(axis=1)) - weighted @ counts.T
    found, _, rank, _ = np.linalg.lstsq(normal, of_unit - weighted @ of_key, rcond=1e-9)
    return found if rank >= len(units) - 1 else None
