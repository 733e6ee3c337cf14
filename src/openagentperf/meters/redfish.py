"""A BMC, a rack manager or a PDU that speaks Redfish (DMTF DSP0266).

Values of a BMC come every 1 to 10 s in steps of 1 W, are true to 1 to 5 %, and may be averages: how long, `AveragingInterval` says where a
service has it. It is asked once a second at most. Energy counters in kWh often move by 0.01 kWh, 36 kJ: whether that is fine enough for a
window is judged by score.energy.

The times that some services write beside a value (ReadingTime) are not used: BMC clocks show whole seconds, and several firmwares stamp
the request instead of the reading. Nor is the header `Date`. A reading's time is that of its request.

Every BMC calls its chassis `1` and its GPUs `GPU_SXM_1`: devices are named `HOST/ID`, and may be listed in the plan as `ID` alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from openagentperf.errors import MeterError
from openagentperf.meters import redfish_find
from openagentperf.meters.base import Stamp, stamped
from openagentperf.meters.redfish_find import Found, nested, outermost, total
from openagentperf.meters.redfish_service import Resource, Service, StatusError
from openagentperf.meters.redfish_values import Series, number, pointed, seconds
from openagentperf.meters.web import WebError, public
from openagentperf.records.power import DeviceFacts, MeterFacts, Reading
from openagentperf.system import Redfish as Spec

_PERIOD_S = 1.0
_MAX_GAP_S = 15.0
_STALE_S = 30.0
_NEVER_ZERO = ("chassis", "processor")
"""What is on draws something: their 0 W is a sensor that is not ready. An outlet may be empty, and the second feed idle."""
_SHOWN = 12


class _Got(NamedTuple):
    """One resource at one poll."""

    resource: Resource | None
    why: str
    answered: bool
    stamp: Stamp


class Redfish:
    """See the module's docstring. Implements meters.base.Meter."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._service: Service | None = None
        self._found: Sequence[Found] = ()
        # With the path of a proxy, behind which every BMC has the same host.
        self._place = public(spec.url).partition("://")[2].partition("/redfish")[0].rstrip("/")

    def open(self) -> MeterFacts:
        spec = self._spec
        user, password = (self._variable(name) for name in (spec.user_env, spec.password_env))
        try:
            self._service = Service(
                spec.url, user=user, password=password, ca_file=spec.ca_file, insecure=spec.insecure
            )
            root = self._service.open()
            self._found = self._chosen(self._service, root)
            devices, notes = self._facts(self._service)
        except WebError as error:
            raise self._error(
                f"{public(spec.url)} gives no reading ({error})", "a Redfish service is needed",
                "check url, user_env, password_env, and ca_file (or insecure, where the BMC made its certificate itself)",
            ) from error  # fmt: skip
        return MeterFacts(
            name=spec.name, kind="redfish", boundary=spec.boundary, basis=spec.basis, source=public(spec.url), devices=devices,
            period_s=max(spec.period_s, _PERIOD_S), max_gap_s=max(spec.max_gap_s, _MAX_GAP_S), stale_s=max(spec.stale_s, _STALE_S),
            notes=(*self._how(self._service.how), *notes),
        )  # fmt: skip

    def read(self) -> list[Reading]:
        got: dict[str, _Got] = {}
        lost = ""
        for path in dict.fromkeys(term.path for found in self._found for each in found.series for term in each.terms):
            got[path] = self._get(path) if not lost else got[lost]
            if not got[path].answered:
                lost = path  # the next resource would be waited for as long
        return [self._reading(found, each, got) for found in self._found for each in found.series]

    def close(self) -> None:
        if self._service is not None:
            self._service.close()

    # -- opening -----------------------------------------------------------------------------------------------------------------

    def _chosen(self, service: Service, root: Resource) -> Sequence[Found]:
        spec = self._spec
        if spec.paths:
            return [self._named(service, path) for path in spec.paths]
        if spec.boundary == "accelerator":
            found = redfish_find.accelerators(service, root)
        elif spec.boundary == "node":
            found = redfish_find.chassis(service, root)
        else:
            found = redfish_find.equipment(service, root, outlets=bool(spec.devices))
            found = found or [each._replace(is_part=False) for each in redfish_find.chassis(service, root)]
        there = {each.device: each for each in found if each.series}
        shown = ", ".join(sorted(there)[:_SHOWN]) + (f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else "")
        url = public(spec.url)
        if not there:
            raise self._error(f"{url} has no power reading for the boundary {spec.boundary}", "one is needed",
                              "name the resources to read with `paths`, or use another meter")  # fmt: skip
        wanted = [device.removeprefix(f"{self._place}/") for device in spec.devices]
        if missing := [device for device in wanted if device not in there]:
            raise self._error(f"{url} has no reading of `{missing[0]}` (readable: {shown})", "the devices of the plan are needed",
                              "correct `devices`")  # fmt: skip
        whole = found if spec.boundary == "accelerator" else outermost(found)
        chosen = [there[device] for device in wanted] or whole
        if not chosen:
            raise self._error(f"{url} has no total for the boundary {spec.boundary}, only parts ({shown})", "the whole is needed",
                              "use another meter; or name with `devices` parts that together are the whole")  # fmt: skip
        if dumb := [each.device for each in chosen if not each.series]:
            raise self._error(f"`{dumb[0]}` is there and gives no reading (readable: {shown})", "all of them are needed",
                              "see what is wrong with it; or, if it is not part of the system, name the others with `devices`")  # fmt: skip
        units = len({each.unit for each in chosen})
        if units > 1 and spec.boundary != "accelerator" and not spec.devices:
            raise self._error(
                f"{url} has {units} units that could be the {spec.boundary} (readable: {shown}), and none that holds the others",
                "which of them stand side by side is not known",
                "name those to add up with `devices`",
            )
        if twice := nested(chosen):
            raise self._error(
                f"`{twice[0]}` is inside `{twice[1]}`", "each watt counts once", "leave one out of `devices`"
            )
        return chosen

    def _named(self, service: Service, path: str) -> Found:
        """A resource that the plan names, or a number in it."""
        resource = service.get(path)
        if "#" in path:
            point = pointed(path, resource)
            series: tuple[Series, ...] = () if point is None else (point,)
        else:
            series = total(service, path, resource)
        if not series:
            raise self._error(f"{path} holds no power and no energy that is a number", "a reading is needed",
                              "name another resource, or the number in this one (`PATH#/PowerControl/0/PowerConsumedWatts`)")  # fmt: skip
        return Found(path, str(resource.get("Model") or resource.get("Name") or ""), "resource", series, path)

    def _facts(self, service: Service) -> tuple[tuple[DeviceFacts, ...], list[str]]:
        devices, notes = [], []
        for found in self._found:
            averaged_s, sensing_s, terms = None, None, 1
            for each in found.series:
                if each.quantity == "power":
                    terms = len(each.terms)
                    averaged_s, sensing_s = _intervals(service, each)
            if terms > 1:
                notes.append(f"{found.device}: the sum of the inputs of its {terms} power supplies")
            if sensing_s is not None:
                notes.append(f"{found.device}: its sensor is read every {sensing_s:g} s by the service")
            counter = any(each.quantity == "energy" for each in found.series)
            devices.append(
                DeviceFacts(
                    device=self._name(found), name=found.name, scope=found.scope, counter=counter, averaged_s=averaged_s
                )
            )
        return tuple(devices), notes

    def _how(self, signed_in: str) -> list[str]:
        spec = self._spec
        gap_s, stale_s = max(spec.max_gap_s, _MAX_GAP_S), max(spec.stale_s, _STALE_S)
        values = "a BMC's values come every 1 to 10 s in steps of 1 W"
        notes = [f"{values}: gaps of {gap_s:g} s are allowed, and one value may stand for {stale_s:g} s"]
        if spec.insecure:
            notes.append("the service's certificate was not checked (insecure)")
        if signed_in != "anonymous" and not spec.url.startswith("https:"):
            notes.append("user and password went over the network in clear text (http)")
        if signed_in == "basic":
            notes.append("the service opened no session: every request was signed in by itself (Basic)")
        return notes

    def _variable(self, name: str) -> str:
        if name and not os.environ.get(name):
            raise self._error(
                f"the variable {name} is not set", "the service's user and password are needed", "export it"
            )
        return os.environ[name] if name else ""

    def _name(self, found: Found) -> str:
        return f"{self._place}/{found.device.removeprefix('/')}"

    def _error(self, found: str, needed: str, fix: str) -> MeterError:
        return MeterError(f"meter {self._spec.name}", found, needed, fix)

    # -- one poll ----------------------------------------------------------------------------------------------------------------

    def _get(self, path: str) -> _Got:
        assert self._service is not None
        resource, why, answered = None, "", True
        with stamped() as stamp:
            try:
                resource = self._service.get(path)
            except WebError as error:
                why, answered = str(error), isinstance(error, StatusError)
        return _Got(resource, why, answered, stamp)

    def _reading(self, found: Found, series: Series, got: dict[str, _Got]) -> Reading:
        parts = [got[term.path] for term in series.terms]
        began = min(part.stamp.t_ns - part.stamp.spread_ns for part in parts)
        ended = max(part.stamp.t_ns + part.stamp.spread_ns for part in parts)
        value, why = 0.0, ""
        for term, part in zip(series.terms, parts, strict=True):
            one = None if part.resource is None else number(part.resource, term.pointer)
            if one is None:
                why = part.why or f"{'.'.join(term.pointer)} is null or missing"
                break
            value += one * series.scale
        if not why and value == 0 and series.quantity == "power" and found.scope in _NEVER_ZERO:
            why = "it shows 0 W"
        return Reading(
            meter=self._spec.name, device=self._name(found), quantity=series.quantity, t_ns=(began + ended) // 2,
            spread_ns=(ended - began) // 2, value=None if why else value, why=why[:200],
        )  # fmt: skip


def _intervals(service: Service, series: Series) -> tuple[float | None, float | None]:
    """AveragingInterval and SensingInterval in s, of the sensor behind an excerpt; None where it does not say."""
    if len(series.terms) != 1:
        return None, None
    path, pointer = series.terms[0]
    holder = service.there(path) or {}
    excerpt = holder.get(pointer[0]) if len(pointer) == 2 else None
    source = excerpt.get("DataSourceUri") if isinstance(excerpt, dict) else None
    sensor = (service.there(source) or {}) if isinstance(source, str) else holder
    return seconds(sensor.get("AveragingInterval")), seconds(sensor.get("SensingInterval"))
