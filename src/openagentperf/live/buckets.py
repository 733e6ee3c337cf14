"""Sums over equal steps of time, in bounded memory: where the steps run out, each two become one."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from openagentperf.score.columns import Floats, Ints
from openagentperf.units import NS_PER_S, Ns

STEPS = 480
_Times: TypeAlias = NDArray[np.int64]


class Buckets:
    """`STEPS` steps at most from `origin_ns`, of 1 s at first. What lies before the origin counts in the first step."""

    def __init__(self, origin_ns: Ns) -> None:
        self._origin_ns = origin_ns
        self.step_ns: Ns = NS_PER_S
        self.steps = 0
        """Steps up to the last one that holds anything."""
        self._sums: dict[str, Floats] = {}
        self._tops: dict[str, Floats] = {}

    def add(self, name: str, times: Ints, values: Floats | float = 1.0) -> None:
        """Add each value to the step of its time."""
        at = self._at(times)
        np.add.at(self._column(self._sums, name, 0.0), at, values)

    def top(self, name: str, times: Ints, values: Floats) -> None:
        """Keep each step's largest value."""
        at = self._at(times)
        np.maximum.at(self._column(self._tops, name, -np.inf), at, values)

    def spread(self, name: str, starts: Ints, ends: Ints, values: Floats) -> None:
        """Add each value evenly over the time from its start to its end (the whole of it to one step where they are equal)."""
        if not len(starts):
            return
        starts = np.minimum(starts, ends)
        last = self._at(ends)
        first = self._at(starts)
        column = self._column(self._sums, name, 0.0)
        begin_ns = np.maximum(starts - self._origin_ns, 0).astype(np.float64)
        end_ns = np.maximum(ends - self._origin_ns, begin_ns)
        rate = np.where(end_ns > begin_ns, values / np.maximum(end_ns - begin_ns, 1), 0.0)
        within = first == last
        np.add.at(column, first[within], np.broadcast_to(values, first.shape)[within])
        over = ~within
        first, last, rate = first[over], last[over], rate[over]
        np.add.at(column, first, rate * ((first + 1) * self.step_ns - begin_ns[over]))
        np.add.at(column, last, rate * (end_ns[over] - last * self.step_ns))
        steps = np.zeros(STEPS + 1)  # where whole steps begin and end to receive `rate`
        np.add.at(steps, first + 1, rate)
        np.add.at(steps, last, -rate)
        column += np.cumsum(steps)[:STEPS] * self.step_ns

    def sums(self, name: str) -> Floats:
        """A column over the steps so far; zeros where nothing was added."""
        return self._sums.get(name, np.zeros(STEPS))[: self.steps]

    def tops(self, name: str) -> Floats:
        """A column of largest values; -infinity where there was none."""
        return self._tops.get(name, np.full(STEPS, -np.inf))[: self.steps]

    def names(self, prefix: str) -> list[str]:
        """Columns of sums whose name begins so, in the order in which they came."""
        return [name for name in self._sums if name.startswith(prefix)]

    def _column(self, columns: dict[str, Floats], name: str, empty: float) -> Floats:
        if name not in columns:
            columns[name] = np.full(STEPS, empty)
        return columns[name]

    def _at(self, times: Ints) -> _Times:
        """The steps of the times, after making room for the latest."""
        if not len(times):
            return np.zeros(0, dtype=np.int64)
        latest_ns = int(times.max()) - self._origin_ns
        while latest_ns >= STEPS * self.step_ns:
            self._halve()
        at: _Times = np.maximum(times - self._origin_ns, 0) // self.step_ns
        self.steps = max(self.steps, int(at.max()) + 1)
        return at

    def _halve(self) -> None:
        self.step_ns *= 2
        self.steps = (self.steps + 1) // 2
        for column in self._sums.values():
            column[:] = np.append(column.reshape(-1, 2).sum(axis=1), np.zeros(STEPS // 2))
        for column in self._tops.values():
            column[:] = np.append(column.reshape(-1, 2).max(axis=1), np.full(STEPS // 2, -np.inf))
