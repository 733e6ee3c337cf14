"""Metrics of single turns, over columns: time to first token, output speed, end-to-end speed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from openagentperf.score.columns import Floats, Mask, Turns
from openagentperf.units import NS_PER_S

BURST_TOKENS = 32
"""An answer this long that comes mostly in one read after a silence was held back; a shorter one may just be short."""
BURST_SHARE = 0.5


def ttft_s(turns: Turns) -> Floats:
    """Time to first token in seconds, one a turn: (first_output - due) / 1e9, +infinity for a failed turn.

    From *due*, not from *sent*: a client that sends late must show (docs/methodology.md#turn). Never NaN.
    """
    seen = ~turns.failed & (turns.first_output_ns >= 0)
    return np.where(seen, (turns.first_output_ns - turns.due_ns) / NS_PER_S, np.inf)


class Pace(NamedTuple):
    """Speeds of turns, tokens/s, one entry a turn. Entries where `known` is false mean nothing and hold 0."""

    speed: Floats
    """Output speed."""
    end_to_end: Floats
    known: Mask
    """The turn has a speed: it failed (speed 0), or answered with two tokens or more."""
    buffered: Mask
    """The turn's decode span is not honest, so its speed is the end-to-end speed."""


def pace(turns: Turns, stretch_s: Floats | float = 0.0) -> Pace:
    """Output speed and end-to-end speed of each turn.

        output speed      (tokens - first_tokens) / (last_output - first_output)
        buffered turn     tokens / (last_output - due)
        end-to-end speed  tokens / (last_output - due)
        failed turn       0, both

    `first_tokens` came with the first output and are paid for by TTFT. Buffered: visible output in fewer than two reads;
    or at least 32 tokens of which more than half came in one read after a silence longer than TTFT; or no span or no
    token after the first output. Holding an answer back to send it in one burst can therefore not raise a score.
    A one-token answer has no speed and no end-to-end speed (1 / TTFT would say nothing of decoding).

    stretch_s   seconds added to each decode span (negative: taken off), to ask what another reading of the clock would
                have said. A span that this uses up gives +infinity.

    Source: docs/methodology.md#turn
    """
    tokens = turns.output_tokens
    known = turns.failed | (tokens >= 2)
    answered = ~turns.failed & known
    whole_s = np.maximum(turns.last_output_ns - turns.due_ns, 1) / NS_PER_S
    end_to_end = np.where(answered, tokens / whole_s, 0.0)
    span_ns = turns.last_output_ns - turns.first_output_ns
    later_tokens = tokens - np.maximum(turns.first_tokens, 1)
    buffered = answered & (
        (turns.output_reads < 2)
        | ((tokens >= BURST_TOKENS) & (turns.burst_share > BURST_SHARE))
        | (span_ns <= 0)
        | (later_tokens <= 0)
    )
    span_s = span_ns / NS_PER_S + stretch_s
    honest = answered & ~buffered
    decode = np.full(len(turns), np.inf)
    np.divide(later_tokens, span_s, out=decode, where=honest & (span_s > 0))
    speed = np.where(honest, decode, end_to_end)
    return Pace(speed, end_to_end, known, buffered)
