"""Which power meters there are on this machine, what they show now, and what is missing and why: before a run depends on them.

Each meter is read as a run reads it, by a sampler process of its own, so that a meter that works here works there.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct

from openagentperf.client.clock import now_ns
from openagentperf.errors import MeterError
from openagentperf.meters import amdsmi, nvml
from openagentperf.meters.sampling import Sampling
from openagentperf.records.power import DeviceFacts, EnergyFault, FaultCode, MeterFacts, Reading
from openagentperf.score.boundary import window_energies
from openagentperf.score.energy import MAX_DISAGREEMENT
from openagentperf.system import AmdSmi, Ipmi, Meter, Nvml, Rapl, System
from openagentperf.units import NS_PER_S, Ns

_TICK_S = 0.5
_LOCAL: tuple[Meter, ...] = (
    Nvml(name="nvml", boundary="accelerator"),
    Nvml(name="nvml-module", boundary="accelerator", scope="module"),
    AmdSmi(name="amdsmi", boundary="accelerator"),
    Rapl(name="rapl", boundary="accelerator"),
    Ipmi(name="ipmi", boundary="node"),
)
_UNSAID = {"nvml-module"}
"""Most GPUs have no module sensor, and nothing is missing then."""
_THROTTLE = {"nvml": nvml.THROTTLE, "amdsmi": amdsmi.THROTTLE}
_INVENTORY: frozenset[FaultCode] = frozenset({"missing_device", "extra_device", "mixed", "order", "host"})
"""Faults that seconds can show; the others need a whole window."""

Shown: TypeAlias = Literal["power", "energy"]


class Sensor(Struct, frozen=True, kw_only=True):
    """One power or energy sensor, over the probe's seconds."""

    quantity: Shown
    value: float | None
    """The last one, W or J; None: it gave none (`why`)."""
    mean_w: float | None
    """Area under the polls, or the counter's difference, over the time between its first and last update."""
    updates_per_s: float | None
    """As seen: never more than it was polled. None for fewer than two polls."""
    polls: int
    failed: int
    why: str = ""
    """Of the last failure."""


class Device(Struct, frozen=True, kw_only=True):
    """One device of a meter."""

    facts: DeviceFacts
    sensors: tuple[Sensor, ...]
    mean_w: float | None
    """By its counter where that moves, else by its power."""
    apart: float | None
    """|counter - power| / the larger of the two, over the same time; None where there are not both."""
    power_cap_w: float | None
    clock_mhz: float | None
    throttle: tuple[str, ...] | None
    """Reasons seen at any poll; None where they are not read."""
    warnings: tuple[str, ...]
    """What would spoil a run."""


class Found(Struct, frozen=True, kw_only=True):
    """A meter that could be opened."""

    facts: MeterFacts
    devices: tuple[Device, ...]

    @property
    def reads(self) -> bool:
        """At least one value has come."""
        return any(sensor.value is not None for device in self.devices for sensor in device.sensors)


class Missing(Struct, frozen=True, kw_only=True):
    """A meter that could not be opened: the parts of its sentence."""

    name: str
    found: str
    needed: str
    fix: str


class Probe(Struct, frozen=True, kw_only=True):
    """All that was found."""

    seconds: float
    meters: tuple[Found, ...]
    missing: tuple[Missing, ...]
    inventory: tuple[EnergyFault, ...] = ()
    """Where the system's meters do not fit its declaration."""


class _Opened(NamedTuple):
    sampling: Sampling
    declared: bool
    """It stands in the system's file."""


def probe(system: System | None, seconds: float, watch: Callable[[Probe], None] | None = None) -> Probe:
    """Open every meter that this machine may have and those of `system`, and read them for `seconds`.

    watch    told what was found so far, twice a second
    """
    declared = system.meters if system is not None else ()
    specs = [*declared, *(spec for spec in _LOCAL if not any(_same(spec, other) for other in declared))]
    with tempfile.TemporaryDirectory(prefix="openagentperf-") as folder, ExitStack() as stack:
        with ThreadPoolExecutor(len(specs)) as pool:  # a BMC that is away keeps the others waiting for seconds
            answers = list(pool.map(_open, specs, (Path(folder) / f"{index}.frames" for index in range(len(specs)))))
        opened: list[_Opened] = []
        missing: list[Missing] = []
        for index, (spec, answer) in enumerate(zip(specs, answers, strict=True)):
            if isinstance(answer, Sampling):
                opened.append(_Opened(stack.enter_context(answer), index < len(declared)))
            elif spec.name not in _UNSAID or index < len(declared):
                missing.append(Missing(name=spec.name, found=answer.found, needed=answer.needed, fix=answer.fix))
        start = now_ns()
        until = time.monotonic() + seconds if opened else 0.0
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _TICK_S))
            if watch is not None:
                watch(_snapshot(opened, missing, system, start))
        return _snapshot(opened, missing, system, start)


def _open(spec: Meter, path: Path) -> Sampling | MeterError:
    try:
        return Sampling([spec], path)
    except MeterError as error:
        return error


def _same(local: Meter, other: Meter) -> bool:
    """The declared meter reads what the local one would."""
    if isinstance(local, Ipmi):
        return isinstance(other, Ipmi) and not other.host
    if isinstance(local, Nvml):
        return isinstance(other, Nvml) and other.scope == local.scope
    return type(local) is type(other)


def _snapshot(opened: Sequence[_Opened], missing: Sequence[Missing], system: System | None, start_ns: Ns) -> Probe:
    end_ns = now_ns()
    found: list[Found] = []
    declared: list[MeterFacts] = []
    rows: list[Reading] = []
    for sampling, of_system in opened:
        readings = sampling.between(start_ns, end_ns)
        found += [_found(facts, readings, sampling.alive) for facts in sampling.meters]
        if of_system:
            declared += sampling.meters
            rows += readings
    judged = window_energies(declared, rows, system, start_ns, end_ns) if system is not None and declared else ()
    faults = {(fault.code, fault.why): fault for row in judged for fault in row.faults if fault.code in _INVENTORY}
    return Probe(
        seconds=(end_ns - start_ns) / NS_PER_S, meters=tuple(found), missing=tuple(missing), inventory=tuple(faults.values())
    )  # fmt: skip


def _found(facts: MeterFacts, readings: Sequence[Reading], alive: bool) -> Found:
    by_device: dict[str, dict[str, list[Reading]]] = defaultdict(lambda: defaultdict(list))
    for row in readings:
        by_device[row.device][row.quantity].append(row)
    devices = [_device(facts, device, by_device[device.device], alive) for device in facts.devices]
    return Found(facts=facts, devices=tuple(devices))


def _device(meter: MeterFacts, facts: DeviceFacts, rows: dict[str, list[Reading]], alive: bool) -> Device:
    sensors = {kind: _sensor(kind, rows[kind], facts.counter_range_j) for kind in _SHOWN if kind in rows}
    counter, power = sensors.get("energy"), sensors.get("power")
    apart = _apart(rows["energy"], rows["power"], facts.counter_range_j) if counter and power else None
    mean_w = next((s.mean_w for s in (counter, power) if s is not None and s.mean_w is not None), None)
    warnings = [_failures(sensor) for sensor in sensors.values() if sensor.failed]
    if not alive:
        warnings.append("its sampler process has ended: see its message above")
    elif not sensors:
        warnings.append("it gave no reading yet")
    if counter is not None and counter.updates_per_s == 0:
        warnings.append("its energy counter stands still")
    if power is not None and power.updates_per_s == 0 and _span_s(rows["power"]) > meter.stale_s:
        warnings.append(f"its power repeated one value for {_span_s(rows['power']):.1f} s: a run would call it stale")
    if apart is not None and apart > MAX_DISAGREEMENT:
        warnings.append(f"counter and power are {apart:.0%} apart, a run would refuse more than {MAX_DISAGREEMENT:.0%}")
    words = _THROTTLE.get(meter.kind, {})
    masks = [int(row.value) for row in rows.get("throttle", ()) if row.value is not None]
    return Device(
        facts=facts,
        sensors=tuple(sensors.values()),
        mean_w=mean_w,
        apart=apart,
        power_cap_w=_last(rows.get("power_cap", ())),
        clock_mhz=_last(rows.get("clock", ())),
        throttle=tuple(word for bit, word in words.items() if any(mask & bit for mask in masks)) if masks else None,
        warnings=tuple(warnings),
    )


_SHOWN: tuple[Shown, ...] = ("energy", "power")


def _sensor(quantity: Shown, rows: Sequence[Reading], span_j: float | None) -> Sensor:
    good = [row for row in rows if row.value is not None]
    failures = [row for row in rows if row.value is None]
    updates, polled_s = _updates(good), _span_s(good)
    mean_w = _counter_w(updates, span_j) if quantity == "energy" else _mean_w(good) if len(good) > 1 else _last(good)
    return Sensor(
        quantity=quantity,
        value=rows[-1].value,
        mean_w=mean_w,
        updates_per_s=(len(updates) - 1) / polled_s if polled_s > 0 else None,
        polls=len(rows),
        failed=len(failures),
        why=failures[-1].why if failures else "",
    )


def _updates(good: Sequence[Reading]) -> list[Reading]:
    """The polls that showed something new, by the sensor's own stamp where it has one."""
    found = list(good[:1])
    found += [
        row for before, row in pairwise(good)
        if (row.value != before.value if row.updated_ns is None else row.updated_ns != before.updated_ns)
    ]  # fmt: skip
    return found


def _counter_w(updates: Sequence[Reading], span_j: float | None) -> float | None:
    """Mean power by a counter between its second update (the first poll shows an old one) and its last; None where it went back."""
    if len(updates) < 3:
        return None
    values = [row.value or 0.0 for row in updates[1:]]
    steps = [after - before for before, after in pairwise(values)]
    steps = [step + span_j if step < 0 and span_j is not None else step for step in steps]
    return None if min(steps) < 0 else sum(steps) / (_span_s(updates[1:]) or 1.0)


def _mean_w(rows: Sequence[Reading]) -> float | None:
    """Area under the polls over their time; None for fewer than two."""
    seconds = _span_s(rows)
    if seconds <= 0:
        return None
    area = sum((b.t_ns - a.t_ns) / NS_PER_S * ((a.value or 0.0) + (b.value or 0.0)) / 2 for a, b in pairwise(rows))
    return area / seconds


def _apart(energy: Sequence[Reading], power: Sequence[Reading], span_j: float | None) -> float | None:
    updates = _updates([row for row in energy if row.value is not None])
    counter_w = _counter_w(updates, span_j)
    if counter_w is None:
        return None
    first, last = updates[1].t_ns, updates[-1].t_ns
    power_w = _mean_w([row for row in power if row.value is not None and first <= row.t_ns <= last])
    return None if power_w is None else abs(counter_w - power_w) / max(counter_w, power_w, 1e-12)


def _failures(sensor: Sensor) -> str:
    return f"{sensor.quantity}: {sensor.failed} of {sensor.polls} polls gave no value ({sensor.why})"


def _last(rows: Sequence[Reading]) -> float | None:
    return next((row.value for row in reversed(rows) if row.value is not None), None)


def _span_s(rows: Sequence[Reading]) -> float:
    return (rows[-1].t_ns - rows[0].t_ns) / NS_PER_S if rows else 0.0
