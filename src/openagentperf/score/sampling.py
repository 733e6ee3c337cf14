"""How far the mean of polled power may be from the truth, from the polls alone.

    error   two standard errors of the mean as a share of it: 2 max(sqrt(sum s_k^2), s_sum) / mean
            s_k    of device k: sqrt(mean(d_i^2) / 2 / n), d_i: differences of its n successive updates
            s_sum  the same of the devices' sum: one load drives them all, and what they do together varies more than each alone;
                   devices that update at different times show it less, and then the first term stands

An update is a value that differs from the one before. A sensor that updates once a second and is polled ten times would else show nine
differences of 0 for each real one, and its error a tenth of what it is.

Polls are jittered. Without jitter a load that repeats with the polls' period is always met at one place, and nothing shows. A sensor's own
clock is not: what repeats in step with *that*, nobody can see from outside (docs/power.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from openagentperf.score.columns import Floats, Ints

MAX_SAMPLING_ERROR = 0.005
MIN_UPDATES = 20
"""Fewer say nothing of their error: that all n updates of a load that is high half of the time show it high has a chance of 2^-n, and
they then differ by nothing."""


class Updates(NamedTuple):
    """One power sensor's updates in the window, in time order."""

    times_ns: Ints
    watts: Floats

    @classmethod
    def of(cls, times_ns: Ints, watts: Floats) -> Updates:
        """Of polls, each time once: those whose value is a new one."""
        new = np.concatenate((np.ones(min(1, watts.size), dtype=np.bool_), np.diff(watts) != 0))
        return cls(times_ns[new], watts[new])

    @classmethod
    def none(cls) -> Updates:
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0))


def sampling_error(devices: Sequence[Updates]) -> float:
    """As above; infinite where a device has fewer than MIN_UPDATES, or their mean is 0."""
    if not devices or min(updates.watts.size for updates in devices) < MIN_UPDATES:
        return math.inf
    mean_w = sum(float(np.mean(updates.watts)) for updates in devices)
    if not mean_w > 0:
        return math.inf
    each_w = math.sqrt(sum(_standard_error_w(updates.watts) ** 2 for updates in devices))
    return 2 * max(each_w, _standard_error_w(_sum_w(devices))) / mean_w


def _standard_error_w(watts: Floats) -> float:
    return math.sqrt(float(np.mean(np.diff(watts) ** 2)) / 2 / watts.size)


def _sum_w(devices: Sequence[Updates]) -> Floats:
    """The devices added up at the updates of the one that has fewest."""
    times = min((updates.times_ns for updates in devices), key=len)
    total = np.zeros(times.size)
    for updates in devices:
        total += np.interp(times, updates.times_ns, updates.watts)
    return total
