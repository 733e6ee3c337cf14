"""What a Redfish service can be asked for power, found from its root.

accelerator   every Processor of type GPU or Accelerator of every system: its EnvironmentMetrics
node          one chassis: EnvironmentMetrics, else the sum of its power supplies' inputs (PowerSubsystem), else the Power resource
rack          one PDU or power shelf: its total, else all its mains, else all its outlets; where there is no power equipment, a chassis

A chassis may stand inside another (Links.ContainedBy of the one, Links.Contains of the other): of those only the outermost that has a
total counts. Not every service writes these links, so that what looks like two hosts may be one and its GPU board. More than one unit is
therefore never added up unless the plan names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from openagentperf.meters.redfish_service import Resource, Service, inner, link, listed
from openagentperf.meters.redfish_values import Series, Term, series_of

_ACCELERATORS = ("GPU", "Accelerator")
_PARTS = frozenset(
    (
        "Module",
        "Component",
        "Card",
        "Cartridge",
        "Zone",
        "Expansion",
        "IPBasedDrive",
        "StorageEnclosure",
        "Drawer",
        "Shelf",
    )
)
"""Types of chassis that are no host: read only where the plan names them."""
_EQUIPMENT = ("RackPDUs", "PowerShelves")


class Found(NamedTuple):
    """One device that can be read."""

    device: str
    name: str
    scope: str
    series: tuple[Series, ...]
    """() where it is there and tells nothing: what it is a part of has no sum then."""
    unit: str
    """What it belongs to: a PDU, a chassis."""
    inside: frozenset[str] = frozenset()
    """Devices whose reading has this one in it."""
    is_part: bool = False
    """Of a host, and no host."""


def accelerators(service: Service, root: Resource) -> list[Found]:
    found = []
    for system_path, system in service.members(root, "Systems"):
        for path, processor in service.members(system, "Processors"):
            if processor.get("ProcessorType") in _ACCELERATORS and inner(processor, "Status").get("State") != "Absent":
                name, series = _last(path), _environment(service, processor)
                found.append(Found(name, _model(processor), "processor", series, f"{_last(system_path)}/{name}"))
    # Two systems may both have a GPU_0.
    names = [each.device for each in found]
    return [each if names.count(each.device) == 1 else each._replace(device=each.unit) for each in found]


def chassis(service: Service, root: Resource) -> list[Found]:
    resources = dict(service.members(root, "Chassis"))
    parents: dict[str, set[str]] = {path: set() for path in resources}
    for path, resource in resources.items():
        links = inner(resource, "Links")
        if outer := link(links.get("ContainedBy")):
            parents[path].add(outer)
        for each in listed(links, "Contains"):
            parents.setdefault(link(each), set()).add(path)
    found = []
    for path, resource in resources.items():
        if series := total(service, path, resource):
            inside = frozenset(_last(outer) for outer in _ancestors(path, parents))
            part = resource.get("ChassisType") in _PARTS
            found.append(Found(_last(path), _model(resource), "chassis", series, _last(path), inside, part))
    return found


def equipment(service: Service, root: Resource, *, outlets: bool) -> list[Found]:
    """PDUs and power shelves with their mains; and with their outlets where asked for, or where there is nothing else."""
    place = link(root.get("PowerEquipment"))
    power = (service.there(place) if place else None) or {}
    found: list[Found] = []
    for kind in _EQUIPMENT:
        for path, unit in service.members(power, kind):
            name, model = _last(path), _model(unit)
            inside: frozenset[str] = frozenset()
            series = _linked(service, unit, "Metrics")
            if series:
                found.append(Found(name, model, "pdu", series, name))
                inside = frozenset((name,))
            mains = _circuits(service, unit, "Mains", "mains", name, inside)
            found += mains
            if outlets or not (series or mains):
                inside |= {each.device for each in mains}
                found += _circuits(service, unit, "Outlets", "outlet", name, inside)
    return found


def total(service: Service, path: str, resource: Resource) -> tuple[Series, ...]:
    """Power and energy of the whole that a resource describes; () where it tells neither."""
    series = series_of(path, resource) or _environment(service, resource)
    if any(each.quantity == "power" for each in series):
        return series
    return (*(_supplies(service, resource) or _linked(service, resource, "Power")), *series)


def nested(found: Iterable[Found]) -> tuple[str, str] | None:
    """Of devices that are to be added up, two of which one has the other in it."""
    names = {each.device for each in found}
    return next(((each.device, min(each.inside & names)) for each in found if each.inside & names), None)


def outermost(found: Sequence[Found]) -> list[Found]:
    """Those that are in no other, without parts of hosts."""
    whole = [each for each in found if not each.is_part]
    names = {each.device for each in whole}
    return [each for each in whole if not each.inside & names]


def _circuits(
    service: Service, unit: Resource, collection: str, scope: str, name: str, inside: frozenset[str]
) -> list[Found]:
    found = [
        Found(f"{name}/{_last(path)}", str(circuit.get("Name", "")), scope, series_of(path, circuit), name, inside)
        for path, circuit in service.members(unit, collection)
    ]
    return found if any(each.series for each in found) else []


def _environment(service: Service, resource: Resource) -> tuple[Series, ...]:
    return _linked(service, resource, "EnvironmentMetrics")


def _linked(service: Service, resource: Resource, name: str) -> tuple[Series, ...]:
    path = link(resource.get(name))
    found = service.there(path) if path else None
    return series_of(path, found) if found else ()


def _supplies(service: Service, resource: Resource) -> tuple[Series, ...]:
    """The sum over the power supplies that are there; () where one of them does not tell its input: the rest is not the whole."""
    path = link(resource.get("PowerSubsystem"))
    subsystem = (service.there(path) if path else None) or {}
    terms: list[Term] = []
    for _, supply in service.members(subsystem, "PowerSupplies"):
        if inner(supply, "Status").get("State") == "Absent":
            continue
        power = [each for each in _linked(service, supply, "Metrics") if each.quantity == "power"]
        if not power or power[0].terms[0].pointer[0] != "InputPowerWatts":
            return ()
        terms += power[0].terms
    return (Series("power", tuple(terms)),) if terms else ()


def _ancestors(path: str, parents: dict[str, set[str]]) -> Iterator[str]:
    seen, todo = {path}, list(parents.get(path, ()))
    while todo:
        outer = todo.pop()
        if outer not in seen:
            seen.add(outer)
            yield outer
            todo += parents.get(outer, ())


def _model(resource: Resource) -> str:
    return " ".join(str(resource[name]) for name in ("Manufacturer", "Model") if resource.get(name))


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
