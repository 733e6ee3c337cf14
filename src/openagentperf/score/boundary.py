"""Energy of a boundary over one measure window: the sum of its devices, all of them or none, checked against the inventory and the others.

    mean power  = sum of the devices' energy / length of the window
    P95 power   = 95th percentile over whole seconds of the sum of the devices' mean power in that second
    facility    = declared PUE x the outermost of rack and node that is valid

A boundary with one faulty device has no energy: the rest of it is another system.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from openagentperf.records.power import Boundary, EnergyFault, FaultCode, MeterFacts, Reading, WindowEnergy
from openagentperf.score.columns import Floats, Ints
from openagentperf.score.energy import DeviceEnergy, device_energy
from openagentperf.score.normalise import accelerators
from openagentperf.score.quantile import quantile_or_none
from openagentperf.score.sampling import MAX_SAMPLING_ERROR, MIN_UPDATES, sampling_error
from openagentperf.system import System
from openagentperf.units import NS_PER_S, Ns

_ORDER: tuple[Boundary, ...] = ("accelerator", "node", "rack")
_ORDER_TOLERANCE = 1.02
"""An inner boundary may show this much more than an outer one before one of them is wrong: sensors are true to 1 or 2 %."""
_NAMEPLATE = (0.03, 1.25)
"""Measured accelerators draw so much of their nameplates: idle ones a tenth, and on average no more than all of it. A wrong unit or scale
(kW, a PDU's tenths of W) is further off."""
_DRIFT = 0.05
_LONGEST_P95_STEP_S = 1.1
"""Jittered polls of a period of 1 s are as often a little further apart as nearer."""


def window_energies(
    meters: Sequence[MeterFacts], readings: Sequence[Reading], system: System, start_ns: Ns, end_ns: Ns
) -> tuple[WindowEnergy, ...]:
    """One row for each meter, in the order accelerator, node, rack, facility; several meters of one boundary and basis become one row.

    meters    as they were opened for the run
    readings  of the phase, from a few seconds before its window to a few seconds after, each meter's in the order in which they were taken
    """
    by_meter: dict[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        by_meter[reading.meter].append(reading)
    groups: dict[tuple[int, str], list[MeterFacts]] = defaultdict(list)
    for meter in meters:
        groups[_ORDER.index(meter.boundary), meter.basis].append(meter)
    rows = [_sum(groups[key], by_meter, system, start_ns, end_ns) for key in sorted(groups)]
    rows = _ordered([_named(row, system) for row in rows])
    return (*rows, *_facility(rows, system))


def _sum(
    meters: Sequence[MeterFacts], readings: Mapping[str, Sequence[Reading]], system: System, start_ns: Ns, end_ns: Ns
) -> WindowEnergy:
    first = meters[0]
    faults = _inventory(meters, system)
    found: list[DeviceEnergy] = []
    notes = list(_unchecked(meters, system))
    for meter in meters:
        by_device: dict[str, list[Reading]] = defaultdict(list)
        for reading in readings.get(meter.name, ()):
            by_device[reading.device].append(reading)
        for device in meter.devices:
            energy = device_energy(by_device[device.device], meter, device, start_ns, end_ns)
            faults += energy.faults
            notes += energy.notes
            found.append(energy)
        faults += [
            _fault(
                "extra_device",
                meter,
                f"`{name}` was read and was not there when the meter was opened: a device appeared",
            )
            for name in sorted(by_device.keys() - {device.device for device in meter.devices})
        ]
        notes += _states(meter, by_device, start_ns, end_ns)
    error = None
    if not faults and any(energy.method == "integral" for energy in found):
        polled = [energy.updates for energy in found if energy.method == "integral"]
        error = sampling_error(polled)
        if error > MAX_SAMPLING_ERROR:
            faults.append(_fault("undersampled", first, _undersampled(error, min(len(each.watts) for each in polled))))
    row = WindowEnergy(
        boundary=first.boundary,
        basis=first.basis,
        meter=", ".join(meter.name for meter in meters),
        valid=not faults,
        faults=tuple(faults),
        coverage=min((energy.coverage for energy in found), default=0.0),
        largest_gap_s=max(
            (energy.largest_gap_s for energy in found if np.isfinite(energy.largest_gap_s)), default=None
        ),
        devices=len(found),
        notes=tuple(notes),
        sampling_error=error if error is not None and np.isfinite(error) else None,
    )
    if faults:
        return row
    energy_j = sum(energy.energy_j or 0.0 for energy in found)
    seconds = _per_second_w(found, start_ns, end_ns)
    return msgspec.structs.replace(
        row,
        energy_j=energy_j,
        mean_w=energy_j / ((end_ns - start_ns) / NS_PER_S),
        p95_w=None if seconds is None else quantile_or_none(seconds, 0.95),
        method=" and ".join(sorted({energy.method for energy in found})),
        notes=(*notes, *_drift(seconds)),
    )


def _inventory(meters: Sequence[MeterFacts], system: System) -> list[EnergyFault]:
    """Whether the devices that were read are the declared ones, each once."""
    first = meters[0]
    faults: list[EnergyFault] = []
    names = Counter(device.device for meter in meters for device in meter.devices)
    if twice := sorted(name for name, count in names.items() if count > 1):
        why = f"`{twice[0]}` is read by more than one meter of the boundary `{first.boundary}`: it would be counted twice; leave one out"
        faults.append(_fault("extra_device", first, why))
    if not names:
        faults.append(
            _fault(
                "no_readings",
                first,
                "the meter was never open: look at the run's messages, and check it with `power probe`",
            )
        )
    scopes = {device.scope for meter in meters for device in meter.devices} - {"dram"}
    if len(scopes) > 1 and first.boundary == "accelerator":
        why = f"its devices cover different things ({', '.join(sorted(scopes))}): a sum of them means nothing; choose one scope"
        faults.append(_fault("mixed", first, why))
    declared = {
        "accelerator": accelerators(system),
        "node": system.hosts,
        "rack": 0,
    }
    wanted, there = declared[first.boundary], _counted(meters)
    if wanted and there is not None and there != wanted:
        what = "accelerators" if first.boundary == "accelerator" else "hosts"
        code: FaultCode = "missing_device" if there < wanted else "extra_device"
        why = f"devices read: {there}, {what} declared: {wanted}: read them all, or correct the [system] table"
        faults.append(_fault(code, first, why))
    if first.boundary == "rack" and system.racks % 1 and scopes != {SHARE}:
        why = (
            f"whole racks are read, and the system is {system.racks:g} of one: what else is in the rack is in its power; read the node "
            "boundary, or declare all that the rack holds"
        )
        faults.append(_fault("extra_device", first, why))
    if system.load_on_system and first.boundary != "accelerator":
        why = "the load generator runs on a host inside this boundary (system.load_on_system): drive the load from another host"
        faults.append(_fault("host", first, why))
    return faults


def _unchecked(meters: Sequence[MeterFacts], system: System) -> Iterable[str]:
    """A note where nothing is declared that the devices could be counted against, or feeds are read: a host or a rack may have two."""
    boundary, there = meters[0].boundary, sum(device.covers for meter in meters for device in meter.devices)
    inventory = {"accelerator": accelerators(system), "node": system.hosts, "rack": system.racks}
    what = {"accelerator": "accelerators", "node": "hosts", "rack": "racks"}[boundary]
    if there and not inventory[boundary]:
        yield f"no {what} are declared: whether the devices read ({there}) are all of the system is not known"
    elif there and boundary != "accelerator" and {d.scope for meter in meters for d in meter.devices} <= _FEEDS:
        yield f"power feeds are read ({there}): whether they are all those of the {inventory[boundary]:g} {what} is not known"


SHARE = "share of a rack"
"""Scope of a modelled rack meter: it holds what the system takes of the rack, and nothing of its neighbours."""
_FEEDS = frozenset({"outlet", "mains", "pdu"})


def _counted(meters: Sequence[MeterFacts]) -> int | None:
    """Accelerators or hosts among the devices: a CPU's memory is none of its own. None where outlets feed hosts: a host may have two."""
    devices = [device for meter in meters for device in meter.devices if device.scope != "dram"]
    if meters[0].boundary == "node" and any(device.scope in _FEEDS for device in devices):
        return None
    return sum({device.device: device.covers for device in devices}.values())


def _named(row: WindowEnergy, system: System) -> WindowEnergy:
    """Invalid where measured accelerators show what their declared nameplates rule out."""
    count = accelerators(system)
    if (
        row.mean_w is None
        or not count
        or (row.boundary, row.basis) != ("accelerator", "measured")
        or not system.rated_accelerator_w
    ):
        return row
    rated_w, (least, most) = count * system.rated_accelerator_w, _NAMEPLATE
    if least <= row.mean_w / rated_w <= most:
        return row
    why = (
        f"{count} accelerators show {row.mean_w:,.1f} W, and are rated {rated_w:,.0f} W ({least:.0%} to {most:.0%} of it can be): look at "
        "the meter's unit and scale, and at system.rated_accelerator_w"
    )
    return _spoiled(row, EnergyFault(code="order", meter=row.meter, why=why))


def _ordered(rows: list[WindowEnergy]) -> list[WindowEnergy]:
    """An inner boundary that shows more than an outer one makes both invalid: one of the sensors is wrong, or covers something else."""
    bad: dict[int, EnergyFault] = {}
    for i, inner in enumerate(rows):
        for j in range(i + 1, len(rows)):
            outer = rows[j]
            if outer.basis != inner.basis or inner.mean_w is None or outer.mean_w is None:
                continue
            if inner.mean_w > outer.mean_w * _ORDER_TOLERANCE:
                why = (
                    f"{inner.boundary} shows {inner.mean_w:,.0f} W, more than {outer.boundary} with {outer.mean_w:,.0f} W: one covers "
                    "something else than it says; check what each meter reads"
                )
                bad[i] = bad[j] = EnergyFault(code="order", meter=f"{inner.meter}, {outer.meter}", why=why)
    return [_spoiled(row, bad[i]) if i in bad else row for i, row in enumerate(rows)]


def _spoiled(row: WindowEnergy, fault: EnergyFault) -> WindowEnergy:
    return msgspec.structs.replace(
        row, valid=False, faults=(*row.faults, fault), energy_j=None, mean_w=None, p95_w=None
    )


def _facility(rows: Sequence[WindowEnergy], system: System) -> Iterable[WindowEnergy]:
    """One row a basis: a modelled rack beside a measured node must not take its place."""
    pue = system.pue
    if pue is None:
        return
    for basis in dict.fromkeys(row.basis for row in rows):
        outer = [row for row in rows if row.boundary in ("node", "rack") and row.basis == basis]
        if not outer:
            continue
        inner = next((row for row in reversed(outer) if row.valid), outer[-1])
        note = f"declared PUE {pue:g} x {inner.boundary}"
        scaled = {
            name: None if (value := getattr(inner, name)) is None else value * pue
            for name in ("energy_j", "mean_w", "p95_w")
        }
        yield msgspec.structs.replace(inner, boundary="facility", notes=(note, *inner.notes), **scaled)


def _undersampled(error: float, updates: int) -> str:
    what = (
        f"power varies faster than its sensors showed: two standard errors of its mean are {error:.1%} (at most {MAX_SAMPLING_ERROR:.1%})"
        if np.isfinite(error)
        else f"a power sensor updated {updates} times in the window (at least {MIN_UPDATES}), or showed 0 W"
    )
    return f"{what}: poll faster, measure longer, or use a sensor with an energy counter"


def _per_second_w(found: Sequence[DeviceEnergy], start_ns: Ns, end_ns: Ns) -> Floats | None:
    """Mean power of the sum in each whole second; None where a device updates more rarely than that, or no second is whole."""
    count = (end_ns - start_ns) // NS_PER_S
    if not count:
        return None
    grid: Ints = start_ns + np.arange(count + 1, dtype=np.int64) * NS_PER_S
    total = np.zeros(count)
    for energy in found:
        inside = energy.times_ns[(energy.times_ns >= start_ns) & (energy.times_ns <= end_ns)]
        if inside.size < 2 or float(np.median(np.diff(inside))) / NS_PER_S > _LONGEST_P95_STEP_S:
            return None
        total += np.diff(np.interp(grid, energy.times_ns, energy.joules))
    return total


def _drift(seconds_w: Floats | None) -> Iterable[str]:
    """A note where power still rises or falls through the window: it is then not that of a warm system."""
    if seconds_w is None or len(seconds_w) < 30:
        return
    third = len(seconds_w) // 3
    first, last = float(seconds_w[:third].mean()), float(seconds_w[-third:].mean())
    if first > 0 and abs(last / first - 1) > _DRIFT:
        yield f"power drifts: {first:,.0f} W in the window's first third, {last:,.0f} W in its last ({last / first - 1:+.1%})"


def _states(meter: MeterFacts, by_device: Mapping[str, Sequence[Reading]], start_ns: Ns, end_ns: Ns) -> Iterable[str]:
    """Caps that changed and throttling, in words: the number stands, and is read differently."""
    throttled = set()
    caps: dict[str, set[float]] = defaultdict(set)
    for device, rows in by_device.items():
        for row in rows:
            if row.value is None or not start_ns <= row.t_ns <= end_ns:
                continue
            if row.quantity == "throttle" and row.value:
                throttled.add(device)
            if row.quantity == "power_cap":
                caps[device].add(row.value)
    if throttled:
        among = f"{len(throttled)} of {len(meter.devices)}"
        yield f"{meter.name}: devices that throttled in the window: {among} (power.parquet holds the masks)"
    if changed := sorted(device for device, seen in caps.items() if len(seen) > 1):
        yield f"{meter.name}: the power cap of {changed[0]} changed in the window"


def _fault(code: FaultCode, meter: MeterFacts, why: str) -> EnergyFault:
    return EnergyFault(code=code, meter=meter.name, why=why)
