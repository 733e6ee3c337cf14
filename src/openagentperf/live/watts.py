"""Power while it is read: readings of all meters to watts by boundary. A device that only counts energy gives means between its counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from openagentperf.live.records import Power
from openagentperf.live.series import Series
from openagentperf.records.power import MeterFacts, Reading
from openagentperf.units import NS_PER_S, Ns, s_to_ns

Device: TypeAlias = tuple[str, str]
"""Meter and device."""


class Watt(NamedTuple):
    t_ns: Ns
    watts: float


def label(meter: MeterFacts) -> str:
    return f"{meter.boundary}, {meter.basis}"


class Watts:
    """Remembers of each device its last value and its last count."""

    def __init__(self, meters: Sequence[MeterFacts]) -> None:
        self.meters = {meter.name: meter for meter in meters}
        self._last: dict[Device, Watt] = {}
        self._count: dict[Device, Watt] = {}
        self._by_power: set[Device] = set()
        self.latest_ns: Ns = 0

    def take(self, readings: Iterable[Reading], series: Series | None = None) -> None:
        """Take readings in, in the order in which they were made; `series` gets the watts from its start on: who comes late is given all
        since the run began, and those before the phase are none of its."""
        new: dict[Device, list[Watt]] = defaultdict(list)
        for reading in readings:
            if reading.meter not in self.meters:
                continue
            self.latest_ns = max(self.latest_ns, reading.t_ns)
            watt = self._watt(reading)
            if watt is not None:
                new[reading.meter, reading.device].append(watt)
        for device, watts in new.items():
            self._last[device] = watts[-1]
            inside = [watt for watt in watts if watt.t_ns >= series.start_ns] if series is not None else []
            if series is not None and inside:
                times = np.array([watt.t_ns for watt in inside], dtype=np.int64)
                values = np.array([watt.watts for watt in inside])
                series.add_watts(f"{label(self.meters[device[0]])}\t{device[1]}", times, values)

    def _watt(self, reading: Reading) -> Watt | None:
        device = reading.meter, reading.device
        if reading.value is None:
            return None
        if reading.quantity == "power":
            self._by_power.add(device)
            return Watt(reading.t_ns, reading.value)
        if reading.quantity != "energy" or device in self._by_power:
            return None
        at = reading.t_ns if reading.updated_ns is None else reading.updated_ns
        before = self._count.get(device)
        if before is not None and at <= before.t_ns:
            return None
        self._count[device] = Watt(at, reading.value)
        if before is None or reading.value < before.watts:  # the first count, or a counter that began again
            return None
        return Watt(at, (reading.value - before.watts) * NS_PER_S / (at - before.t_ns))

    def now(self) -> tuple[Power, ...]:
        """Every boundary at the time of the latest reading of any meter."""
        groups: dict[str, list[MeterFacts]] = defaultdict(list)
        for meter in self.meters.values():
            groups[label(meter)].append(meter)
        return tuple(self._sum(meters) for meters in groups.values())

    def _sum(self, meters: Sequence[MeterFacts]) -> Power:
        first = meters[0]
        total, devices, why = 0.0, 0, ""
        for meter in meters:
            for device in meter.devices:
                devices += 1
                last = self._last.get((meter.name, device.device))
                if last is None:
                    why = why or f"{device.device} has given no value yet"
                elif self.latest_ns - last.t_ns > s_to_ns(max(meter.max_gap_s, 2 * meter.period_s)):
                    why = (
                        why or f"{device.device} has given no value for {(self.latest_ns - last.t_ns) / NS_PER_S:.0f} s"
                    )
                else:
                    total += last.watts
        if not devices:
            why = "no device is known"
        return Power(boundary=first.boundary, basis=first.basis, watts=None if why else total, devices=devices, why=why)
