"""What a meter is: opened once, polled often, closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from openagentperf.client.clock import now_ns
from openagentperf.records.power import MeterFacts, Quantity, Reading
from openagentperf.system import Meter as Spec
from openagentperf.units import Ns

__all__ = ["Meter", "Spec", "Stamp", "failed", "stamped"]


class Meter(Protocol):
    """One source of power readings. Used by one thread."""

    def open(self) -> MeterFacts:
        """Find the devices. errors.MeterError where the source is not there, refuses, or has no device that was asked for."""

    def read(self) -> list[Reading]:
        """One poll: at least one row for every device. Never raises: what fails is a row with `value` None and `why`."""

    def close(self) -> None:
        """Give the source back. May be called before `open`, and twice."""


class Stamp:
    """When a request began and ended; `t_ns` is its middle."""

    def __init__(self, clock: Callable[[], Ns] = now_ns) -> None:
        self._clock = clock
        self.t_ns: Ns = clock()
        self.spread_ns: Ns = 0
        self._began_ns = self.t_ns

    def end(self) -> None:
        ended = self._clock()
        self.t_ns = (self._began_ns + ended) // 2
        self.spread_ns = (ended - self._began_ns) // 2


@contextmanager
def stamped(clock: Callable[[], Ns] = now_ns) -> Iterator[Stamp]:
    """`with stamped() as stamp: value = ask()`: afterwards stamp.t_ns and stamp.spread_ns belong to the value."""
    stamp = Stamp(clock)
    try:
        yield stamp
    finally:
        stamp.end()


def failed(spec: Spec, device: str, quantity: Quantity, stamp: Stamp, why: str) -> Reading:
    """The row of a reading that gave no value."""
    return Reading(
        meter=spec.name, device=device, quantity=quantity, t_ns=stamp.t_ns, spread_ns=stamp.spread_ns, value=None, why=why[:200]
    )  # fmt: skip
