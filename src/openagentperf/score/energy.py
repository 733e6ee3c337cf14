"""Energy of one device over one window, from what its sensor said: a number that can be defended, or the reason why there is none.

Two kinds of sensor. A *counter* adds up joules by itself: the energy is its difference, interpolated at the window's edges, and nothing
between two polls is missed. A *power* sensor is polled: the energy is the area under straight lines between its updates. The counter comes
first; where both are there they must agree.

    counter    E = C(end) - C(start),  C between two updates by straight line
    integral   E = sum (t2 - t1) (p1 + p2) / 2 over updates at most max_gap apart, cut at the window's edges, times window / covered;
               a sensor that shows the mean of its last a seconds is late by a / 2: E + a / 2 (p(end) - p(start))
    edge       error of interpolating C inside one update of length d, a share f of it before the edge, mean power r in it, power in
               lo .. hi: at most the larger of d min(f (hi - r), (1 - f)(r - lo)) and d min(f (r - lo), (1 - f)(hi - r)). The
               narrower of: lowest and highest power poll of the device; mean power of its slowest and fastest update, where updates are
               irregular (a load that repeats in step with regular ones has the same mean in each); 0 and no bound: d r max(f, 1 - f)
    agree      counter and integral differ by at most 5 %, or by what the integral itself is uncertain (score.sampling)
    clock      of a log: moved either way by what its clock may be off, the window's energy is the same within 1 %
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openagentperf.records.power import DeviceFacts, EnergyFault, FaultCode, MeterFacts, Reading
from openagentperf.score.columns import Floats, Ints
from openagentperf.score.sampling import MIN_UPDATES, Updates, sampling_error
from openagentperf.units import NS_PER_S, Ns

MIN_COVERAGE = 0.99
MAX_EDGE_ERROR = 0.01
MAX_DISAGREEMENT = 0.05
MAX_WRAP_RATE = 2.0
"""The update in which a counter wraps may show so many times the power of the fastest other one."""
IRREGULAR = 3.0
"""Longest update / shortest: jittered polls of a counter that moves all the time lie anywhere up to two periods apart."""
_BEYOND = 1e18
"""W, J or ns that no sensor and no clock shows."""
MAX_AHEAD_NS: Ns = NS_PER_S // 2
"""A sensor that updates after it was read has a wrong clock; by less it is a rounded stamp."""


class DeviceEnergy(NamedTuple):
    """One device over one window. `faults` empty: `energy_j` can be used."""

    faults: tuple[EnergyFault, ...]
    energy_j: float | None
    method: str
    """`counter` or `integral`; "" where there is neither."""
    coverage: float
    largest_gap_s: float
    times_ns: Ints
    joules: Floats
    """Energy since the first of `times_ns`, at each of them: what the sum over devices and its P95 are made of. Empty where faulty."""
    updates: Updates
    """What its power sensor showed inside the window, where `method` is `integral`: for the sampling error of the sum."""
    notes: tuple[str, ...]


class _Found(NamedTuple):
    """What one sensor's updates give."""

    faults: list[EnergyFault]
    energy_j: float
    coverage: float
    largest_gap_s: float
    times_ns: Ints
    joules: Floats


def device_energy(
    readings: Sequence[Reading], meter: MeterFacts, device: DeviceFacts, start_ns: Ns, end_ns: Ns
) -> DeviceEnergy:
    """Judge the readings of one device (those of other devices and quantities are not looked at), in the order in which they were taken.

    Rows from up to a few seconds before and after the window are needed: its edges lie between two updates.
    """
    judge = _Judge(meter, device, start_ns, end_ns)
    if end_ns <= start_ns:
        return _faulty([judge.fault("no_readings", "the window has no length: repeat the phase")], 0.0, math.inf)
    counter_rows = [r for r in readings if r.device == device.device and r.quantity == "energy"]
    power_rows = [r for r in readings if r.device == device.device and r.quantity == "power"]
    power, polled = judge.power(power_rows) if power_rows else (None, Updates.none())
    counter = judge.counter(counter_rows, polled) if counter_rows else None
    if counter is None and power is None:
        fault = judge.fault("no_readings", "it gave no reading near the window: check that the meter ran")
        return _faulty([fault], 0.0, math.inf)
    notes: list[str] = []
    if counter is not None and power is not None and not counter.faults and not power.faults:
        apart = abs(counter.energy_j - power.energy_j) / max(counter.energy_j, power.energy_j, 1e-12)
        # A sum that is itself uncertain by 20 % says nothing against a counter.
        if apart > max(MAX_DISAGREEMENT, sampling_error([polled])):
            why = (
                f"its counter says {counter.energy_j:,.1f} J, its power adds up to {power.energy_j:,.1f} J, {apart:.1%} apart (at most "
                f"{MAX_DISAGREEMENT:.0%}): one of them is wrong; update the driver, or use an external meter"
            )
            return _faulty([judge.fault("disagree", why)], counter.coverage, counter.largest_gap_s)
        if apart > MAX_DISAGREEMENT:
            notes.append(
                f"{device.device}: counter and power are {apart:.1%} apart, which its power is uncertain by itself"
            )
    counter, power = judge.timed(counter), judge.timed(power)
    if counter is not None and not counter.faults:
        if power is not None and power.faults:
            notes.append(f"an energy counter stands without its power beside it: {power.faults[0].why}")
        return DeviceEnergy((), counter.energy_j, "counter", *counter[2:], Updates.none(), tuple(notes))
    if power is not None and not power.faults:
        if counter is not None:
            notes.append(f"its energy counter was not used: {counter.faults[0].why}")
        return DeviceEnergy((), power.energy_j, "integral", *power[2:], polled, tuple(notes))
    first = counter if counter is not None else power
    assert first is not None
    faults = first.faults + (power.faults if counter is not None and power is not None else [])
    return _faulty(faults, first.coverage, first.largest_gap_s)


class _Judge:
    def __init__(self, meter: MeterFacts, device: DeviceFacts, start_ns: Ns, end_ns: Ns) -> None:
        self._meter, self._device = meter, device
        self._start, self._end = start_ns, end_ns
        self._gap_ns = round(meter.max_gap_s * NS_PER_S)

    def fault(self, code: FaultCode, why: str) -> EnergyFault:
        return EnergyFault(
            code=code, meter=self._meter.name, device=self._device.device, why=f"{self._device.device}: {why}"
        )

    # -- the two kinds of sensor -----------------------------------------------------------------------------------------------

    def power(self, rows: Sequence[Reading]) -> tuple[_Found, Updates]:
        faults, t, p = self._updates(rows)
        inside = (t >= self._start) & (t <= self._end)
        polled = Updates.of(t[inside], p[inside])
        if p.size and p.min() < 0:
            faults.append(
                self.fault("negative", f"it showed {p.min():g} W: check the sensor, or the sign of its scale")
            )
        faults += self._stale(t, p)
        joules = np.concatenate(([0.0], np.cumsum(np.diff(t) / NS_PER_S * (p[1:] + p[:-1]) / 2))) if t.size else p
        a, b, near = self._stretches(t)
        if not near.any():
            return self._finish(faults, t, joules, 0.0), polled
        area = (b - a) / NS_PER_S * (np.interp(a, t, p) + np.interp(b, t, p)) / 2
        energy = float(area[near].sum()) * (self._end - self._start) / int((b - a)[near].sum())
        late_s = (self._device.averaged_s or 0.0) / 2
        energy += late_s * float(np.interp(self._end, t, p) - np.interp(self._start, t, p))
        return self._finish(faults, t, joules, energy), polled

    def counter(self, rows: Sequence[Reading], polled: Updates) -> _Found:
        faults, t, value = self._updates(rows)
        if value.size:  # repeated polls of one update are one: the counter has moved, or it has not updated
            moved = np.concatenate(([True], np.diff(value) != 0))
            t, value = t[moved], value[moved]
        if t.size == 1 and len(rows) > 1:
            why = f"its energy counter stands still at {value[0]:,.1f} J: the driver does not update it; use its power"
            return _Found([self.fault("stale", why)], 0.0, 0.0, math.inf, t, np.zeros(1))
        steps = np.diff(value)
        span = self._device.counter_range_j
        wrapped = steps < 0
        if span is not None:
            steps = np.where(wrapped, steps + span, steps)
        # A wrap is as long a step as any other: a driver that starts again at 0 makes one of any length, up to the whole range.
        longest_w = float((steps / np.maximum(np.diff(t), 1))[~wrapped].max(initial=0)) * MAX_WRAP_RATE
        wrong = (steps < 0) | (wrapped & (steps / np.maximum(np.diff(t), 1) > longest_w))
        if wrong.any():
            at = int(np.argmax(wrong))
            no_wrap = "" if span is None else f", which is no wrap at {span:,.0f} J"
            why = f"its energy counter went back from {value[at]:,.1f} J to {value[at + 1]:,.1f} J{no_wrap}"
            fix = "the driver was restarted, or the counter is broken: repeat the phase"
            faults.append(self.fault("counter_reset", f"{why}; {fix}"))
            steps = np.maximum(steps, 0)
        if span is not None and not wrong.any():
            faults += self._wraps(t, steps, polled, span)
        joules = np.concatenate(([0.0], np.cumsum(steps))) if t.size else value
        if not t.size or t[0] > self._start or t[-1] < self._end:
            why = "its counter has no update on both sides of the window: the meter must run before and after it"
            faults.append(self.fault("counter_edge", why))
            return self._finish(faults, t, joules, 0.0)
        energy = float(np.interp(self._end, t, joules) - np.interp(self._start, t, joules))
        error = self._edge_error(t, steps, polled)
        if error > MAX_EDGE_ERROR * energy:
            why = f"up to {error:,.1f} J of {energy:,.1f} J lie in its counter's updates at the window's edges"
            faults.append(self.fault("counter_edge", f"{why} (at most {MAX_EDGE_ERROR:.0%}): measure longer"))
        return self._finish(faults, t, joules, energy)

    def _wraps(self, t: Ints, steps: Floats, polled: Updates, span_j: float) -> list[EnergyFault]:
        """Where the longest update may hold more than the range, how often the counter went through it cannot be told."""
        lengths_s = np.diff(t) / NS_PER_S
        fastest_w = max(float((steps / lengths_s).max(initial=0)), float(polled.watts.max(initial=0)))
        longest_s = float(lengths_s.max(initial=0))
        if fastest_w * longest_s < span_j:
            return []
        why = (
            f"its energy counter starts again every {span_j:,.0f} J, and {fastest_w:,.0f} W for {longest_s:.1f} s between two updates are "
            f"{fastest_w * longest_s:,.0f} J: it may have done so more than once; poll faster, or read its power"
        )
        return [self.fault("counter_reset", why)]

    def timed(self, found: _Found | None) -> _Found | None:
        """With a fault where the energy is another as soon as the source's clock is off by as much as it may be."""
        error_ns = round(self._meter.clock_error_s * NS_PER_S)
        if found is None or found.faults or not error_ns:
            return found
        here, earlier, later = (
            float(np.interp(self._end + by, found.times_ns, found.joules) - np.interp(self._start + by, found.times_ns, found.joules))
            for by in (0, -error_ns, error_ns)
        )  # fmt: skip
        apart = max(abs(earlier - here), abs(later - here)) / max(here, 1e-12)
        if apart <= MAX_EDGE_ERROR:
            return found
        why = (
            f"its clock may be off by {self._meter.clock_error_s:g} s, and its energy is {apart:.1%} another then (at most "
            f"{MAX_EDGE_ERROR:.0%}): synchronise the clocks, measure longer, or let the log begin before the phase and end after it"
        )
        return found._replace(faults=[self.fault("clock", why)])

    # -- what both need ----------------------------------------------------------------------------------------------------------

    def _updates(self, rows: Sequence[Reading]) -> tuple[list[EnergyFault], Ints, Floats]:
        """What is wrong with the rows, and the sensor's own updates, each once, in time order."""
        faults: list[EnergyFault] = []
        polled = [row.t_ns for row in rows]
        back_ns = max((before - after for before, after in pairwise(polled)), default=0)
        ahead_ns = max((r.updated_ns - r.t_ns - r.spread_ns for r in rows if r.updated_ns is not None), default=0)
        if back_ns > 0:
            why = f"its times go back by {back_ns / NS_PER_S:g} s: a clock was set; use one that only goes forward"
            faults.append(self.fault("clock", why))
        if ahead_ns > MAX_AHEAD_NS:
            why = f"its sensor updated {ahead_ns / NS_PER_S:g} s after it was read: its clock is ahead; synchronise it"
            faults.append(self.fault("clock", why))
        lost = 0
        times: dict[int, float] = {}
        for row in rows:
            if row.value is None or row.spread_ns > self._gap_ns:  # a stamp that may be off by a whole gap is none
                continue
            at = row.t_ns if row.updated_ns is None else row.updated_ns
            if abs(row.value) < _BEYOND and abs(at) < _BEYOND:
                times[at] = row.value
            else:
                lost += 1
        if lost:
            why = f"readings that are no number (NaN, infinite, or beyond {_BEYOND:.0e} in value or ns): {lost}: check the source"
            faults.append(self.fault("not_finite", why))
        t = np.array(sorted(times), dtype=np.int64)
        return faults, t, np.array([times[at] for at in t.tolist()], dtype=np.float64)

    def _stale(self, t: Ints, p: Floats) -> list[EnergyFault]:
        """A run of bit-equal values that is longer than a live sensor's."""
        inside = (t >= self._start - self._gap_ns) & (t <= self._end + self._gap_ns)
        t, p = t[inside], p[inside]
        if t.size < 2:
            return []
        starts = np.concatenate(([0], np.flatnonzero(np.diff(p) != 0) + 1))
        lengths_s = (t[np.concatenate((starts[1:] - 1, [t.size - 1]))] - t[starts]) / NS_PER_S
        at = int(np.argmax(lengths_s))
        if lengths_s[at] <= self._meter.stale_s:
            return []
        why = (
            f"it repeated {p[starts[at]]:g} W for {lengths_s[at]:.1f} s (at most {self._meter.stale_s:g} s): an old value, for a "
            "live sensor flickers; raise its update rate, or stale_s for a sensor with coarse steps"
        )
        return [self.fault("stale", why)]

    def _stretches(self, t: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
        """Beginning and end of each stretch between two updates, cut at the window's edges; and which of them lie in the window between
        updates that are near enough."""
        a, b = np.maximum(t[:-1], self._start), np.minimum(t[1:], self._end)
        return a, b, (b > a) & (np.diff(t) <= self._gap_ns)

    def _edge_error(self, t: Ints, steps: Floats, polled: Updates) -> float:
        lengths_s = np.diff(t) / NS_PER_S
        ranges_w = self._ranges_w(steps / lengths_s, lengths_s, (t[1:] > self._start) & (t[:-1] < self._end))
        if polled.watts.size >= MIN_UPDATES:
            ranges_w.append((self._device.averaged_s or 0.0, float(polled.watts.min()), float(polled.watts.max())))
        error = 0.0
        for edge in (self._start, self._end):
            right = int(np.searchsorted(t, edge))
            if right > 0 and t[right] != edge:
                length_s = float(lengths_s[right - 1])
                before_s = (edge - int(t[right - 1])) / NS_PER_S
                mean_w = float(steps[right - 1]) / length_s
                # An average over longer than the update hides what happens inside it.
                known = [(low, high) for averaged_s, low, high in ranges_w if averaged_s <= length_s]
                error += min(
                    _open_j(before_s, length_s - before_s, mean_w, *between) for between in [(0.0, math.inf), *known]
                )
        return error

    @staticmethod
    def _ranges_w(rates_w: Floats, lengths_s: Floats, inside: NDArray[np.bool_]) -> list[tuple[float, float, float]]:
        """Slowest and fastest update of the window, where these are as irregular as the polls that see them."""
        rates_w, lengths_s = rates_w[inside], lengths_s[inside]
        if rates_w.size < MIN_UPDATES or lengths_s.max() < IRREGULAR * lengths_s.min():
            return []
        return [(0.0, float(rates_w.min()), float(rates_w.max()))]

    def _finish(self, faults: list[EnergyFault], t: Ints, joules: Floats, energy: float) -> _Found:
        a, b, near = self._stretches(t)
        touching = b > a
        if not touching.any():
            why = "it gave no value on both sides of any part of the window: check that the meter ran"
            return _Found([self.fault("no_readings", why), *faults], 0.0, 0.0, math.inf, t, joules)
        coverage = int((b - a)[near].sum()) / (self._end - self._start)
        silent = (int(np.diff(t)[touching].max()), int(t[0]) - self._start, self._end - int(t[-1]))
        gap_s = max(silent) / NS_PER_S
        if gap_s > self._meter.max_gap_s:
            why = f"it did not update for {gap_s:.1f} s (at most {self._meter.max_gap_s:g} s)"
            faults.append(self.fault("gap", f"{why}: poll faster, or use another meter"))
        if coverage < MIN_COVERAGE:
            why = f"its readings cover {coverage:.1%} of the window (at least {MIN_COVERAGE:.0%})"
            faults.append(self.fault("coverage", f"{why}: the meter must run through all of it"))
        return _Found(faults, energy, coverage, gap_s, t, joules)


def _open_j(before_s: float, after_s: float, mean_w: float, low_w: float, high_w: float) -> float:
    """Furthest that the energy before an edge can lie from its share of an update of this mean power."""
    above, below = max(0.0, high_w - mean_w), max(0.0, mean_w - low_w)
    return max(min(before_s * above, after_s * below), min(before_s * below, after_s * above))


def _faulty(faults: Sequence[EnergyFault], coverage: float, largest_gap_s: float) -> DeviceEnergy:
    none = Updates.none()
    return DeviceEnergy(tuple(faults), None, "", coverage, largest_gap_s, none.times_ns, none.watts, none, ())
