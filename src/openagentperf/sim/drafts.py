"""Steps that an answer takes where drafted tokens are accepted by chance (spec.StepCosts.tokens_per_step and its spread).

A step keeps 1 token and as many of the drafted ones as the model agrees with, so steps differ, and short answers differ most:

    steps of n tokens    mean n / m, standard deviation s / m x sqrt(n / m)         m tokens a step, s from step to step

That is the renewal count of independent steps, taken as normal. Each request has its own draw, by its number: the same phase gives the
same steps. Differences between texts come on top in a real system; nothing is published about them.
"""

from __future__ import annotations

from functools import cache
from math import ceil, sqrt
from statistics import NormalDist

from openagentperf.sim.spec import StepCosts

_DRAWS, _U64 = 1024, (1 << 64) - 1


@cache
def _normal() -> tuple[float, ...]:
    """Quantiles of the standard normal at the middles of `_DRAWS` equal shares: mean 0."""
    return tuple(NormalDist().inv_cdf((index + 0.5) / _DRAWS) for index in range(_DRAWS))


class Drafts:
    """Of one worker."""

    __slots__ = ("_draws", "_per_step", "_spread")

    def __init__(self, costs: StepCosts) -> None:
        self._per_step = costs.tokens_per_step
        self._spread = costs.tokens_per_step_spread / (costs.tokens_per_step * sqrt(costs.tokens_per_step))
        self._draws = _normal() if self._spread else ()

    def steps(self, tokens: int, number: int) -> int:
        """Of so many tokens after the first, for the request of this number: at least 1, and none without a token."""
        if not self._draws:
            return ceil(tokens / self._per_step)
        mixed = (number + 1) * 0x9E3779B97F4A7C15 & _U64  # as splitmix64: one product alone goes round in golden steps
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _U64
        drawn = (
            self._draws[(mixed ^ mixed >> 27) * 0x94D049BB133111EB >> 54 & (_DRAWS - 1)] * self._spread * sqrt(tokens)
        )
        return min(max(1, ceil(tokens / self._per_step + drawn)), tokens)
