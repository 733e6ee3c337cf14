"""How much of the load a server really carried: ends of answers held back, and requests in flight.

In a closed loop whoever answers late is asked less. TTFT and speed tell of all that comes before the last output; these
figures tell of what comes after it, and of how many requests were really waiting for the server: fewer than the N agents while tools
run, more where agents run sub-agents.

Source: docs/methodology.md#phase
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from openagentperf.records.phase import PhaseFacts
from openagentperf.records.turns import ClientSample
from openagentperf.score.columns import Turns
from openagentperf.score.quantile import quantile_or_none
from openagentperf.units import NS_PER_S

TAIL_S = 0.5
"""A terminal event follows the last token within milliseconds; half a second is half of a median tool delay."""


def tail_p95_s(measured: Turns) -> float | None:
    """P95 of closed - last_output over the turns that did not fail, in seconds; None where there are none."""
    ended = ~measured.failed & (measured.last_output_ns >= 0)
    return quantile_or_none((measured.closed_ns[ended] - measured.last_output_ns[ended]) / NS_PER_S, 0.95)


def in_flight_mean(facts: PhaseFacts, samples: Sequence[ClientSample]) -> float | None:
    """Sum over workers of each one's mean of `in_flight` over its samples in [window_start, window_end).

    By worker first, because workers sample at instants of their own. None where one of them has no sample in the window: the
    sum over the others would be of another number of agents.
    """
    seen: dict[int, tuple[int, int]] = {}
    for sample in samples:
        if facts.window_start_ns <= sample.t_ns < facts.window_end_ns:
            count, total = seen.get(sample.worker, (0, 0))
            seen[sample.worker] = count + 1, total + sample.in_flight
    if not seen or len(seen) < facts.workers:
        return None
    # In the order of workers: floats add up differently in another, and the same rows must give the same bytes.
    return sum(total / count for _, (count, total) in sorted(seen.items()))


def in_flight_max(facts: PhaseFacts, turns: Turns) -> int | None:
    """Most requests in flight at one instant of [window_start, window_end), from sent to closed; None where none was.

    Over every turn of the phase: one that was due before the window may still be open in it.
    """
    open_in_it = (
        (turns.sent_ns >= 0) & (turns.sent_ns < facts.window_end_ns) & (turns.closed_ns > facts.window_start_ns)
    )
    sent_ns, closed_ns = turns.sent_ns[open_in_it], turns.closed_ns[open_in_it]
    if not len(sent_ns):
        return None
    starts = np.sort(np.maximum(sent_ns, facts.window_start_ns))
    # Of the requests sent by the time that another one is, those not yet closed; one that closes at that instant has.
    running = np.arange(1, len(starts) + 1) - np.searchsorted(np.sort(closed_ns), starts, side="right")
    return int(running.max())
