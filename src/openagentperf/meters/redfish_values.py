"""Where watts and joules stand in a Redfish resource. Told by the properties' names: `@odata.type` is missing or wrong on many BMCs.

EnvironmentMetrics, PowerDistributionMetrics, Circuit, Outlet   PowerWatts, EnergyJoules, EnergykWh: excerpts of sensors
PowerSupplyMetrics                                              InputPowerWatts, EnergykWh
Sensor                                                          Reading, with ReadingType Power, EnergyJoules, EnergykWh or EnergyWh
Power (before 2020.4)                                           PowerControl[].PowerConsumedWatts

PowerSubsystem's Allocation, PowerControl's PowerAllocatedWatts, PowerCapacityWatts and the averages of PowerMetrics are budgets and
reports over minutes: never read as power.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from openagentperf.meters.redfish_service import Resource, link
from openagentperf.meters.unitnames import unit_of

Pointer: TypeAlias = tuple[str, ...]
"""Names and list positions on the way to a value."""

J_PER_KWH = 3_600_000.0
_POWER = ("PowerWatts", "InputPowerWatts")
_ENERGY = (("EnergyJoules", 1.0), ("EnergykWh", J_PER_KWH))
_SENSORS: Mapping[str, tuple[Literal["power", "energy"], float]] = {
    "Power": ("power", 1.0),
    "EnergyJoules": ("energy", 1.0),
    "EnergykWh": ("energy", J_PER_KWH),
    "EnergyWh": ("energy", 3600.0),
}
_UNITS = {"kW": 1000.0, "mW": 0.001, "kJ": 1000.0}
"""ReadingUnits (UCUM) of sensors that are not in W or J."""
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


class Term(NamedTuple):
    """One number of one resource."""

    path: str
    pointer: Pointer


class Series(NamedTuple):
    """One quantity of one device: the sum of `terms`, times `scale`, in W or J."""

    quantity: Literal["power", "energy"]
    terms: tuple[Term, ...]
    scale: float = 1.0


def series_of(path: str, resource: Resource) -> tuple[Series, ...]:
    """What a resource gives now: one power and one energy at most. A value that is null when a meter is opened is none."""
    found = []
    for name in _POWER:
        if pointer := _excerpt(resource, name):
            found.append(Series("power", (Term(path, pointer),)))
            break
    else:
        if pointer := _control(resource):
            found.append(Series("power", (Term(path, pointer),)))
    for name, scale in _ENERGY:
        if pointer := _excerpt(resource, name):
            found.append(Series("energy", (Term(path, pointer),), scale))
            break
    if not found and number(resource, ("Reading",)) is not None and (series := _sensor(path, resource, ("Reading",))):
        found.append(series)
    return tuple(found)


def pointed(path: str, resource: Resource) -> Series | None:
    """The value behind the `#/...` of a path: of a sensor what it says of itself, else what the names on the way say.

    None for no number, or one of no certain unit.
    """
    pointer = tuple(part.replace("~1", "/").replace("~0", "~") for part in path.partition("#")[2].split("/")[1:])
    if number(resource, pointer) is None:
        return None
    holder = _at(resource, pointer[:-1])
    if isinstance(holder, dict) and pointer[-1] == "Reading" and "ReadingType" in holder:
        return _sensor(path, holder, pointer)
    unit = unit_of("/".join(pointer))
    if unit is None:
        return Series("power", (Term(path, pointer),))
    if unit.scale is None:
        return None  # thousandths or millions, the name does not say which
    return Series(unit.quantity, (Term(path, pointer),), unit.scale)


def _sensor(path: str, holder: Resource, pointer: Pointer) -> Series | None:
    """The reading of a Sensor by its own words; None where it reads neither power nor energy."""
    kind = _SENSORS.get(str(holder.get("ReadingType")))
    if kind is None:
        return None
    quantity, scale = kind
    # EnergykWh and EnergyWh are their unit; Power and EnergyJoules come in kW, mW and kJ too.
    unit = _UNITS.get(str(holder.get("ReadingUnits")), 1.0) if scale == 1 else 1.0
    return Series(quantity, (Term(path, pointer),), scale * unit)


def number(resource: Resource, pointer: Pointer) -> float | None:
    """The number there; None where it is null, missing, or none."""
    found = _at(resource, pointer)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _at(resource: Resource, pointer: Pointer) -> Any:
    """What is there; None where nothing is."""
    found: Any = resource
    for part in pointer:
        if isinstance(found, dict):
            found = found.get(part)
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


def seconds(duration: object) -> float | None:
    """An ISO 8601 duration, such as PT1S; None where it is none."""
    found = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    if found is None or not any(found.groups()):
        return None
    days, hours, minutes, rest = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def _excerpt(resource: Resource, name: str) -> Pointer:
    """Of `{"PowerWatts": {"Reading": 1.0}}`, or of the bare number that some services write."""
    return next((at for at in ((name, "Reading"), (name,)) if number(resource, at) is not None), ())


def _control(resource: Resource) -> Pointer:
    """The one PowerControl that is the whole: the only one, or the one that is related to a chassis or named after the whole.

    Some services list CPUs and memory beside the server. Where none says that it is the whole, there is no total.
    """
    controls = resource.get("PowerControl")
    if not isinstance(controls, list):
        return ()
    there = [
        (str(i), control)
        for i, control in enumerate(controls)
        if isinstance(control, dict) and number(control, ("PowerConsumedWatts",)) is not None
    ]
    if len(there) > 1:
        there = [(i, c) for i, c in there if _is_whole(c)]
    return ("PowerControl", there[0][0], "PowerConsumedWatts") if len(there) == 1 else ()


def _is_whole(control: Resource) -> bool:
    related = control.get("RelatedItem")
    chassis = isinstance(related, list) and any(re.fullmatch(r".*/Chassis/[^/]+/?", link(item)) for item in related)
    return chassis or re.match(r"(system|server|chassis)\b", str(control.get("Name")), re.IGNORECASE) is not None
