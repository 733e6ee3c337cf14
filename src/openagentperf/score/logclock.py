"""Whether the clock of an external power log is the run's: power rises and falls with the load, and the run knows when that was.

    load    requests in flight, log(1 + n); and whether there was any: what bounds the power of a system is one or the other
    r(lag)  correlation of the means of load and power in bins, power moved by `lag`, over the run and 10 s at each end
    lag     where r is largest, up to 6 h either way: first in at most 4,096 bins, then around the best in bins of 0.25 s (or as long as the
            log's step)

An hour of a time zone, minutes of a clock that was set by hand: such a log holds power of other phases, and of none of it a number shows.
Below a correlation of 0.6 nothing follows, and where the next best lies within 0.05 the two cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from openagentperf.score.columns import Floats, Ints
from openagentperf.units import NS_PER_S, Ns

MIN_CORRELATION = 0.6
APART = 0.05
FLAT = 0.01
"""A log whose bins all lie so near to its mean gives the same energy however its clock stands."""
MIN_TOLERANCE_S = 1.0
_FINEST_S = 0.25
_MOST_BINS = 4096
_LONGEST_LAG_S = 6 * 3600.0
_MARGIN_S = 10.0
_LEAST_SHARE, _LEAST_BINS = 0.6, 40
"""Of the run's bins that the log must cover at a lag: a handful of bins correlates with anything."""


class Total(NamedTuple):
    """A signal as its integral over time, which gives exact means of any bins."""

    times_ns: Ints
    total: Floats

    def means(self, edges_ns: Floats) -> Floats:
        """Of each bin; NaN where the signal does not cover it."""
        means: Floats = np.diff(np.interp(edges_ns, self.times_ns, self.total)) / np.diff(edges_ns)
        means[(edges_ns[:-1] < self.times_ns[0]) | (edges_ns[1:] > self.times_ns[-1])] = np.nan
        return means


class Fit(NamedTuple):
    """How power follows load."""

    lag_s: float
    """What added to the log's times makes it follow best."""
    correlation: float
    """There."""
    here: float
    """The best within `tolerance_s` of no lag."""
    tolerance_s: float
    flat: bool
    """Power varies nowhere in the log: its clock does not matter. (Of the run's time alone: an hour off, that is some idle hour.)"""

    @property
    def agrees(self) -> bool:
        return self.here >= MIN_CORRELATION and self.correlation - self.here <= APART

    @property
    def is_off(self) -> bool:
        return self.correlation >= MIN_CORRELATION and self.correlation - self.here > APART


def loads(sent_ns: Ints, closed_ns: Ints) -> tuple[Total, ...]:
    """The load's two signals, from when requests were sent and closed, in any order; zero for 10 s before and after. () for no request."""
    if not sent_ns.size:
        return ()
    margin_ns = round(_MARGIN_S * NS_PER_S)
    order = np.argsort(np.concatenate((sent_ns, closed_ns)), kind="stable")
    at: Ints = np.concatenate((sent_ns, closed_ns))[order]
    change = np.concatenate((np.ones(sent_ns.size), -np.ones(closed_ns.size)))[order]
    times: Ints = np.concatenate(([at[0] - margin_ns], at, [at[-1] + margin_ns]))
    level = np.concatenate(([0.0], np.maximum(np.cumsum(change), 0)))
    return tuple(
        Total(times, np.concatenate(([0.0], np.cumsum(np.diff(times) * signal))))
        for signal in (np.log1p(level), np.minimum(level, 1.0))
    )


def power(times_ns: Ints, watts: Floats) -> Total:
    """Of one device's log, times rising."""
    return Total(times_ns, np.concatenate(([0.0], np.cumsum(np.diff(times_ns) * (watts[1:] + watts[:-1]) / 2))))


def fit(signals: Sequence[Total], devices: Sequence[Total], step_s: float) -> Fit:
    """Hold the sum of a log's devices against the load. `step_s`: between two rows of the log."""
    start, end = int(signals[0].times_ns[0]), int(signals[0].times_ns[-1])
    fine_s = max(_FINEST_S, step_s)
    coarse_s = max(fine_s, (end - start) / NS_PER_S / _MOST_BINS)
    tolerance_s = max(MIN_TOLERANCE_S, 2 * fine_s)
    reach = (min(int(d.times_ns[0]) for d in devices), max(int(d.times_ns[-1]) for d in devices))
    first_s = max(-_LONGEST_LAG_S, (start - reach[1]) / NS_PER_S)
    last_s = min(_LONGEST_LAG_S, (end - reach[0]) / NS_PER_S)
    coarse = np.arange(round(first_s / coarse_s), round(last_s / coarse_s) + 1)
    found = _correlations(signals, devices, start, end, coarse_s, coarse)
    near = float(coarse[int(np.argmax(found))]) * coarse_s
    around = round(2 * coarse_s / fine_s) + 1
    fine = np.arange(round(near / fine_s) - around, round(near / fine_s) + around + 1)
    best = _correlations(signals, devices, start, end, fine_s, fine)
    within = round(tolerance_s / fine_s)
    here = float(_correlations(signals, devices, start, end, fine_s, np.arange(-within, within + 1)).max())
    at = int(np.argmax(best))
    correlation = max(float(best[at]), here)
    lag_s = float(fine[at]) * fine_s if float(best[at]) > here else 0.0
    return Fit(lag_s, correlation, here, tolerance_s, _flat(devices, *reach, max(fine_s, 1.0)))


def _correlations(
    signals: Sequence[Total], devices: Sequence[Total], start_ns: Ns, end_ns: Ns, bin_s: float, lags: Ints
) -> Floats:
    """r at each lag (in bins), the larger of the signals'; -1 where the log covers too little of the run, or one of the two is constant."""
    width = bin_s * NS_PER_S
    count = max(1, int((end_ns - start_ns) / width))
    edges: Floats = (start_ns + np.arange(count + 1) * width).astype(np.float64)
    load = [signal.means(edges) for signal in signals]
    # Power moved by `lag` bins: what the log shows `lag` bins earlier belongs to this bin.
    before = int(lags.max())
    wide: Floats = (start_ns + np.arange(-before, count + 1 - int(lags.min())) * width).astype(np.float64)
    watts: Floats = np.sum([device.means(wide) for device in devices], axis=0)
    found = np.full(lags.size, -1.0)
    for i, lag in enumerate(lags.tolist()):
        moved = watts[before - lag : before - lag + count]
        there = np.isfinite(moved)
        if there.sum() < max(_LEAST_BINS, _LEAST_SHARE * count):
            continue
        found[i] = max(_pearson(signal[there], moved[there]) for signal in load)
    return found


def _pearson(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else -1.0


def _flat(devices: Sequence[Total], start_ns: Ns, end_ns: Ns, bin_s: float) -> bool:
    width = bin_s * NS_PER_S
    count = max(1, int((end_ns - start_ns) / width))
    edges: Floats = (start_ns + np.arange(count + 1) * width).astype(np.float64)
    watts: Floats = np.sum([device.means(edges) for device in devices], axis=0)
    watts = watts[np.isfinite(watts)]
    return bool(watts.size) and float(np.abs(watts - watts.mean()).max()) <= FLAT * float(watts.mean())
