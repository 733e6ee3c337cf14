"""When sensors last updated, by the stamps that their sources write beside the values."""

from __future__ import annotations

from collections.abc import Hashable

from openagentperf.units import Ns


class Updates:
    """A source's stamps are on its own clock, whose offset from ours nobody knows. That a stamp has *changed* is known here, to one poll.

    The first poll that shows a stamp gives the time of the update: its own time, which is late by half a period on average, all updates
    alike; less the value's age where the source says it.
    """

    def __init__(self) -> None:
        self._last: dict[Hashable, tuple[Hashable, Ns]] = {}

    def at(self, sensor: Hashable, stamp: Hashable, t_ns: Ns) -> Ns:
        """When the value with this stamp was made; `t_ns`: the time for a stamp that is seen for the first time."""
        last = self._last.get(sensor)
        if last is not None and last[0] == stamp:
            return last[1]
        if last is not None:
            # After a slow answer the middle of the request may lie before the update that came earlier.
            t_ns = max(t_ns, last[1] + 1)
        self._last[sensor] = (stamp, t_ns)
        return t_ns
