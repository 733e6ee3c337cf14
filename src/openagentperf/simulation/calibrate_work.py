"""Work that one worker did between two times, in the units of `sim.spec.StepCosts`: the rows of a linear fit.

A worker that has a request is busy until it has none, whatever it works on. So the time between any two moments of a request's life is
the sum of the costs of the work done in between, by all requests together, and linear in the constants:

    last - first output    (tokens - 1) steps of the request itself, and everybody's tokens, KV reads and prefills in that time
    first output - sent    the front, its own prefill, and everybody's steps, tokens, KV reads and prefills after the front

The *front* is what a request passes before the engine has it (network, HTTP, tokenising): it delays that request and occupies no worker,
which is how it differs from the beginning of a prefill, which holds up everybody. Waiting needs no term: for a slot, for a place in the
chunk or behind another prompt, it is time in which the worker did that other work.

A prefill is taken as spread evenly between its beginning and its first output, and tokens evenly over what is left of the time between a
turn's first and last output when the prefills of others are taken off: steps are slow while prompts are computed, and spans to first
tokens lie just there. How much is left depends on the constants, so equations are made anew with those of the fit before.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import NamedTuple

import numpy as np

from openagentperf.score.columns import Floats, Mask
from openagentperf.simulation.calibrate_rows import Level

CONSTANTS = (
    "step_base_s",
    "step_sequence_s",
    "kv_token_s",
    "prefill_start_s",
    "prefill_token_s",
    "prefill_context_s",
    "front_s",
)
"""Columns of `Equations.work`, and the constants in their order."""
_SHORTEST_S = 1e-6
_PREFILL, FRONT = slice(3, 6), 6
_LEAST_LEFT = 0.02
"""Of the time, for decode while prompts are computed: constants of an early round may ask for more prefill than there is time."""


class Equations(NamedTuple):
    """`work @ constants = seconds`, a row a request and span."""

    work: Floats
    """Rows x CONSTANTS."""
    seconds: Floats
    decode: Mask
    """Rows of decode spans; the others are times to first token."""
    block: Floats
    """Time of the row's end: neighbours share their noise."""


class Spread:
    """Amounts spread evenly over spans: how much of all has been done by a time."""

    def __init__(self, start_s: Floats, end_s: Floats, amount: Floats) -> None:
        end_s = np.maximum(end_s, start_s + _SHORTEST_S)
        edges = np.concatenate([start_s, end_s])
        rates = amount / (end_s - start_s)
        order = np.argsort(edges, kind="stable")
        self.edges: Floats = edges[order]
        self.rate: Floats = np.cumsum(np.concatenate([rates, -rates])[order])
        """From the edge of the same index to the next."""
        self.done: Floats = _integral(self.edges, self.rate)

    def between(self, start_s: Floats, end_s: Floats) -> Floats:
        done: Floats = np.interp(end_s, self.edges, self.done) - np.interp(start_s, self.edges, self.done)
        return done


def _integral(edges: Floats, rate: Floats) -> Floats:
    if not len(edges):
        return edges
    done: Floats = np.concatenate([[0.0], np.cumsum(rate[:-1] * np.diff(edges))])
    return done


def equations(level: Level, constants: Floats | None = None) -> Equations:
    """Both spans of every request that ended while the load was known whole.

    constants   of the fit before, in the order of CONSTANTS; None: prefills slow nobody's tokens down
    """
    first, last, sent = level.first_s, level.last_s, level.sent_s
    tokens = level.tokens.astype(np.float64)
    if constants is not None:
        sent = np.minimum(sent + constants[FRONT], first)
    begun = prefill_begun_s(level, sent)
    amounts = (np.ones(len(level)), level.new, level.new * (level.cached + level.new / 2))
    prefills = [Spread(begun, first, amount) for amount in amounts]
    clock = _Clock.of(
        None if constants is None else Spread(begun, first, np.stack(amounts, axis=1) @ constants[_PREFILL])
    )
    first_at, last_at, sent_at = clock.at(first), clock.at(last), clock.at(sent)
    emitted = Spread(first_at, last_at, tokens)
    read = Spread(first_at, last_at, tokens * (level.prompt + level.tokens / 2))
    stepped = _steps(emitted, first_at, last_at)

    def rows(start: Floats, end: Floats, start_at: Floats, end_at: Floats, steps: Floats, fronts: float) -> Floats:
        decoded = [spread.between(start_at, end_at) for spread in (emitted, read)]
        prefilled = [spread.between(start, end) for spread in prefills]
        return np.stack([steps, *decoded, *prefilled, np.full(len(level), fronts)], axis=1)

    whole = last <= level.seen_until_s
    spans = whole & (tokens >= 1) & (last > first)
    before = np.interp(first_at, emitted.edges, stepped) - np.interp(sent_at, emitted.edges, stepped)
    return Equations(
        work=np.concatenate(
            [
                rows(first, last, first_at, last_at, tokens, 0.0)[spans],
                rows(sent, first, sent_at, first_at, before, 1.0)[whole],
            ]
        ),
        seconds=np.concatenate([(last - first)[spans], (first - level.sent_s)[whole]]),
        decode=np.concatenate([np.ones(int(spans.sum()), dtype=bool), np.zeros(int(whole.sum()), dtype=bool)]),
        block=np.concatenate([last[spans], first[whole]]),
    )


class _Clock(NamedTuple):
    """Time that is left for decode: it runs the slower the more of the worker's time prefill takes."""

    edges: Floats
    passed: Floats

    @classmethod
    def of(cls, prefill: Spread | None) -> _Clock:
        """`prefill` is in seconds of work."""
        if prefill is None:
            return cls(np.zeros(0), np.zeros(0))
        return cls(prefill.edges, _integral(prefill.edges, np.maximum(1 - prefill.rate, _LEAST_LEFT)))

    def at(self, time_s: Floats) -> Floats:
        """Left from the first edge to each time; before and after the edges all of it is."""
        if not len(self.edges):
            return time_s
        outside = np.minimum(time_s - self.edges[0], 0) + np.maximum(time_s - self.edges[-1], 0)
        left: Floats = np.interp(time_s, self.edges, self.passed) + outside
        return left


def prefill_begun_s(level: Level, queued_s: Floats | None = None) -> Floats:
    """When the work on each prompt can have begun at the earliest: it is with the engine, and every request before it has had its first
    output or has it later still.

    queued_s   when the engine had each request; None: when it was sent. Rising.
    """
    queued = level.sent_s if queued_s is None else queued_s
    begun = np.empty(len(level))
    answered: list[float] = []
    """First outputs of all before, in order."""
    for index, (at, first) in enumerate(zip(queued.tolist(), level.first_s.tolist(), strict=True)):
        last = bisect_left(answered, first) - 1
        begun[index] = answered[last] if last >= 0 and answered[last] > at else at
        insort(answered, first)
    return np.minimum(begun, level.first_s - _SHORTEST_S)


def _steps(emitted: Spread, first_s: Floats, last_s: Floats) -> Floats:
    """Decode steps done by each of `emitted`'s edges: everybody's tokens a second over how many there are that decode."""
    decoding = Spread(first_s, last_s, np.maximum(last_s - first_s, _SHORTEST_S))
    count = np.round(decoding.rate)  # its edges are the same, in the same order
    rate = np.divide(emitted.rate, count, out=np.zeros_like(count), where=count > 0)
    return _integral(emitted.edges, rate)
