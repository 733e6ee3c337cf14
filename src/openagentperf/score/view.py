"""One phase, looked at once: everything that verdicts are made of and that does not depend on the tier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openagentperf.plan import Tier
from openagentperf.records.phase import PhaseFacts
from openagentperf.records.turns import ClientSample
from openagentperf.score import clienterror
from openagentperf.score.columns import Floats, Mask, Turns
from openagentperf.score.quantile import quantile
from openagentperf.score.turn import Pace, pace, ttft_s
from openagentperf.units import NS_PER_S

TTFT_Q = 0.95
SPEED_Q = 0.25


@dataclass(frozen=True, eq=False)
class View:
    """The measured turns of a phase (due in [window_start, window_end)) and their metrics, aligned row by row."""

    facts: PhaseFacts
    everything: Turns
    in_window: Mask
    """Of everything, the measured turns."""
    every_late_s: Floats
    """Our own lateness in sending, of everything."""
    every_stall_s: Floats
    """The longest that our loop stood still while the turn was open, of everything."""
    measured: Turns
    ttft_s: Floats
    pace: Pace
    first_lag_s: Floats
    """By how much the stamp of the first output may be late; with kernel stamps 0, but for merged reads."""
    last_lag_s: Floats
    """The same for the last output; 0 with kernel stamps."""
    read_lag_s: Floats
    """Longest wait of a read for us: the kernel's figure, or with our own stamps the longer of the two above."""

    @property
    def late_s(self) -> Floats:
        """Our own lateness in sending, of the measured turns."""
        return self.every_late_s[self.in_window]

    @property
    def ttft_error_s(self) -> Floats:
        """Our own share of each TTFT: sent late, and read late where the stamps are ours."""
        return self.late_s + self.first_lag_s

    @property
    def speeds(self) -> Floats:
        """Output speeds of the measured turns that have one."""
        return self.pace.speed[self.pace.known]

    @property
    def streamed_tokens_per_s(self) -> float:
        """Of all agents together, mean over the window: tokens of each answer, measured or not, spread evenly over its stream."""
        turns, start_ns, end_ns = self.everything, self.facts.window_start_ns, self.facts.window_end_ns
        span_ns = np.maximum(turns.last_output_ns - turns.first_output_ns, 1)
        inside_ns = np.minimum(turns.last_output_ns, end_ns) - np.maximum(turns.first_output_ns, start_ns)
        tokens = np.where(turns.first_output_ns >= 0, np.maximum(turns.output_tokens, 0), 0)
        streamed: float = (tokens * np.clip(inside_ns / span_ns, 0, 1)).sum()
        return float(streamed) / max(end_ns - start_ns, 1) * NS_PER_S

    @property
    def failed_turns(self) -> int:
        return int(self.measured.failed.sum())


def look(facts: PhaseFacts, turns: Turns, samples: Sequence[ClientSample]) -> View:
    in_window = (turns.due_ns >= facts.window_start_ns) & (turns.due_ns < facts.window_end_ns)
    measured = turns.where(in_window)
    lag = clienterror.LoopLag(samples)
    if facts.stamps == "user":
        first_lag = clienterror.stamp_lag_s(measured, lag, measured.first_output_ns, measured.first_lag_ns)
        last_lag = clienterror.stamp_lag_s(measured, lag, measured.last_output_ns, measured.last_lag_ns)
        read_lag = np.maximum(first_lag, last_lag)
    else:
        first_lag, last_lag = clienterror.merged_lag_s(measured, lag), np.zeros(len(measured))
        read_lag = np.maximum(measured.read_lag_ns, 0) / NS_PER_S
    return View(
        facts=facts,
        everything=turns,
        in_window=in_window,
        every_late_s=clienterror.own_lateness_s(turns, lag),
        every_stall_s=np.maximum(lag.worst_ns(turns.worker, turns.due_ns, turns.closed_ns), 0) / NS_PER_S,
        measured=measured,
        ttft_s=ttft_s(measured),
        pace=pace(measured),
        first_lag_s=first_lag,
        last_lag_s=last_lag,
        read_lag_s=read_lag,
    )


@dataclass(frozen=True)
class Reading:
    """The two figures that a tier asks for."""

    ttft_p95_s: float
    speed_p25: float

    def meets(self, tier: Tier) -> bool:
        """Both limits hold, inclusive."""
        return self.ttft_p95_s <= tier.ttft_s and self.speed_p25 >= tier.output_speed


def readings(view: View) -> tuple[Reading, ...]:
    """What the stamps say, first; then what they would say shifted by the client's own error, every way it could go.

    TTFT: less our own share. Speed: each span longer by the lag of its first stamp, or shorter by that of its last. Kernel stamps
    leave spans exact but for merged first reads. Needs at least one measured turn with a speed.
    """
    shifted_ttft = np.maximum(view.ttft_s - view.ttft_error_s, 0.0)
    ttfts = (quantile(view.ttft_s, TTFT_Q), quantile(shifted_ttft, TTFT_Q))
    shifted = (pace(view.measured, stretch_s).speed for stretch_s in (0.0, view.first_lag_s, -view.last_lag_s))
    speeds = [quantile(speed[view.pace.known], SPEED_Q) for speed in shifted]
    return tuple(Reading(ttft, speed) for ttft in ttfts for speed in speeds)


def speed_error(told: tuple[Reading, ...]) -> float:
    """Tokens/s by which P25 of output speed may be off through our own reading."""
    return max(abs(other.speed_p25 - told[0].speed_p25) for other in told)
