"""An exporter's /metrics page, or a Prometheus server's query API.

Page: the value is as old as the exporter makes it. The DCGM exporter collects every 30 s unless told otherwise (`-c 1000`), and repeats
its old values in between: an energy counter that does not move, or a power that does not flicker, is no update (score.energy).
Server: values come with the time of their scrape by the server's own clock, and the query's time by the same clock, so that no clock of
ours is compared with one of theirs: updated = middle of the request - (query - scrape). Polls that meet the same scrape are one update.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from openagentperf.errors import MeterError
from openagentperf.meters import promquery
from openagentperf.meters.base import Stamp, failed, stamped
from openagentperf.meters.expositions import samples
from openagentperf.meters.unitnames import Unit, unit_of
from openagentperf.meters.updates import Updates
from openagentperf.meters.web import Web, WebError, place, public
from openagentperf.records.power import MODELLED, DeviceFacts, MeterFacts, Reading
from openagentperf.system import Prometheus as Spec
from openagentperf.units import s_to_ns

_Measured: TypeAlias = Literal["power", "energy"]

_ENERGY, _POWER = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_POWER_USAGE"
_INSTANT = "DCGM_FI_DEV_POWER_USAGE_INSTANT"
_DCGM = frozenset((_ENERGY, _POWER, _INSTANT))
_SCALES = {_ENERGY: 0.001}
"""DCGM counts energy in mJ."""
_ARITHMETIC = re.compile(r"[*/]")
_NO_ARITHMETIC = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\[[^\]]*\]")
"""Parts of a query in which * and / mean nothing, and words are no metrics: strings and ranges."""
_DEVICE_LABELS = ("UUID", "uuid", "gpu", "device", "outlet", "chassis", "instance")
_UNIQUE = ("UUID", "uuid")
"""Labels that name a device in the whole world. Any other names it on its exporter: `HOST/VALUE` then, for two hosts each have a gpu 0."""


class _Value(NamedTuple):
    """One series at one poll."""

    metric: str
    labels: Mapping[str, str]
    value: float
    kind: str
    stamp: str | float | None
    """Of the sample, on its source's clock; None where there is none."""
    age_s: float
    """Of the sample, where the source knows it; else 0."""


class Prometheus:
    """See the module's docstring. Implements meters.base.Meter."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._queries = (spec.query,) if isinstance(spec.query, str) and spec.query else tuple(spec.query)
        self._place = place(spec.url)
        self._web: Web | None = None
        self._headers: dict[str, str] = {}
        self._quantities: dict[str, tuple[_Measured, ...]] = {}
        self._updates = Updates()

    def open(self) -> MeterFacts:
        spec = self._spec
        if spec.token_env and not (token := os.environ.get(spec.token_env, "").strip()):
            raise self._error(f"the variable {spec.token_env} is not set", "a token is needed", "export it")
        if spec.token_env:
            self._headers = {"Authorization": f"Bearer {token}"}
        named = len(self._queries) if self._queries else int(bool(spec.metric))
        if spec.scale != 1 and named != 1:
            raise self._error(f"scale is {spec.scale:g}, and metrics named: {named}", "a scale belongs to one metric",
                              "name one, or leave scale out: DCGM's units are known")  # fmt: skip
        try:
            self._web = Web(spec.url, ca_file=spec.ca_file)
            found = self._ask()
            # A scrape in the very ms of the query looks like a computed value; twice running it is none.
            computes = bool(self._queries) and all(
                any(v.stamp is None for v in values) for values in (found, self._ask())
            )
        except WebError as error:
            raise self._error(
                f"{public(spec.url)} gives no reading ({error})",
                "an exporter's page, or a Prometheus server with `query`, is needed",
                "check the URL and that it is reachable from this host",
            ) from error
        devices: dict[str, list[_Value]] = defaultdict(list)
        for value in found:
            if self._quantity(value) is not None:
                devices[self._device(value)].append(value)
        full = {device: f"{self._place}/{device}" for device in spec.devices}  # a plan may leave the host away
        wanted = tuple(full[d] if d not in devices and full[d] in devices else d for d in full) or tuple(
            sorted(devices)
        )
        missing = [device for device in wanted if device not in devices]
        if missing or not wanted:
            raise self._nothing(missing, found, sorted(devices))
        facts = tuple(self._open_device(device, devices[device]) for device in wanted)
        return MeterFacts(
            name=spec.name, kind="prometheus", boundary=spec.boundary, basis=spec.basis, source=public(spec.url), devices=facts,
            period_s=spec.period_s, max_gap_s=spec.max_gap_s, stale_s=spec.stale_s,
            notes=("the query computes: the age of what it computes from is not known",) if computes else (),
        )  # fmt: skip

    def read(self) -> list[Reading]:
        why = "no such series any more"
        found: dict[tuple[str, _Measured], list[_Value]] = defaultdict(list)
        with stamped() as stamp:
            try:
                values = self._ask()
            except WebError as error:
                values, why = [], str(error)
        for value in values:
            quantity, device = self._quantity(value), self._device(value)
            if quantity is not None and (device in self._quantities or not self._spec.devices):
                found[device, quantity].append(value)
        rows = [self._reading(device, quantity, same, stamp) for (device, quantity), same in found.items()]
        for device, quantities in self._quantities.items():
            rows += [failed(self._spec, device, q, stamp, why) for q in quantities if (device, q) not in found]
        return rows

    def close(self) -> None:
        if self._web is not None:
            self._web.close()

    # -- opening -----------------------------------------------------------------------------------------------------------------

    def _open_device(self, device: str, values: Sequence[_Value]) -> DeviceFacts:
        kinds = [kind for value in values if (kind := self._quantity(value)) is not None]
        for i, kind in enumerate(kinds):
            if kind in kinds[:i]:
                one, other = values[kinds.index(kind)], values[i]
                apart = sorted(name for name, text in other.labels.items() if one.labels.get(name) != text)
                raise self._error(
                    f"more than one series gives the {kind} of {device} ({one.metric} and {other.metric}; labels that differ: "
                    f"{', '.join(apart) or 'none'})",
                    "one series a device is needed",
                    "choose one with metric or labels, or set device_label to the label that tells the devices apart",
                )
        for value, kind in zip(values, kinds, strict=True):
            self._check_unit(value, kind)
            if self._spec.basis == "measured" and any(MODELLED in text for text in value.labels.values()):
                raise self._error(f"{device} says of itself that it is {MODELLED}", "a measured figure needs a sensor",
                                  'set basis = "modelled"')  # fmt: skip
        self._quantities[device] = tuple(kinds)
        metrics = {value.metric for value in values}
        return DeviceFacts(
            device=device,
            name=values[0].labels.get("modelName", ""),
            scope="gpu" if metrics & _DCGM else "",
            counter="energy" in kinds,
            averaged_s=0.0 if _INSTANT in metrics else None,
        )

    def _check_unit(self, value: _Value, kind: _Measured) -> None:
        """Refuse a unit other than W or J that the name says and the scale does not; of a computed value: that its query says."""
        unit = unit_of(value.metric) if value.metric else self._computed_unit()
        if unit is None:
            return
        if (
            unit.quantity != kind and value.metric and not self._spec.quantity
        ):  # a recorded rate of a counter keeps its name
            raise self._error(f"{value.metric} is {kind} by its name or type, and in {unit.name} {unit.quantity}",
                              "which of them it is must be known", f'set quantity = "{unit.quantity}", or another metric')  # fmt: skip
        if unit.scale != 1 and self._spec.scale == 1:
            each = "watts" if unit.quantity == "power" else "joules"
            to = (
                f"set scale = {unit.scale:g}"
                if unit.scale is not None
                else f"set scale to the {each} of one {unit.name}"
            )
            raise self._error(f"{value.metric or 'the query'} is in {unit.name} by its name, and scale is 1",
                              "watts or joules are needed", to)  # fmt: skip

    def _computed_unit(self) -> Unit | None:
        """Of the metrics that the one query computes from, where it multiplies and divides nothing."""
        query = _NO_ARITHMETIC.sub("", " ".join(self._queries))
        if _ARITHMETIC.search(query):
            return None
        return Unit("mJ", "energy", _SCALES[_ENERGY]) if _ENERGY in query else unit_of(query)

    def _nothing(self, missing: Sequence[str], found: Sequence[_Value], seen: Sequence[str]) -> MeterError:
        spec = self._spec
        what = f"has no series of {missing[0]}" if missing else "has no series that is power or energy by its name"
        asked = ", ".join(self._queries) or spec.metric or "DCGM's power and energy"
        there = ", ".join(seen) or (f"none, series of unknown quantity: {len(found)}" if found else "none")
        fix = "set quantity" if found and not seen else "set metric, labels or device_label, or correct `devices`"
        return self._error(
            f"{public(spec.url)} {what} (asked for: {asked}; devices seen: {there})",
            "one series a device is needed",
            fix,
        )

    def _error(self, found: str, needed: str, fix: str) -> MeterError:
        return MeterError(f"meter {self._spec.name}", found, needed, fix)

    # -- one poll ----------------------------------------------------------------------------------------------------------------

    def _ask(self) -> list[_Value]:
        assert self._web is not None
        if self._queries:
            found = [
                _Value(point.name, point.labels, point.value, "", point.sampled_s, point.age_s)
                for point in promquery.ask(self._web, self._headers, self._queries)
            ]
        else:
            found = self._ask_page(self._web)
        fitting = self._spec.labels.items()
        return [value for value in found if fitting <= value.labels.items()]

    def _ask_page(self, web: Web) -> list[_Value]:
        answer = web.ask("GET", web.path, self._headers)
        if answer.status != 200:
            raise WebError(f"status {answer.status}")
        names = frozenset((self._spec.metric,)) if self._spec.metric else _DCGM
        page = answer.body.decode("utf-8", "replace")
        found = [_Value(s.name, s.labels, s.value, s.kind, s.stamp or None, 0.0) for s in samples(page, names)]
        # Where a page has both powers of a device, the instantaneous one is it: the other is an average of the last second.
        instant = {self._device(value) for value in found if value.metric == _INSTANT}
        return [value for value in found if value.metric != _POWER or self._device(value) not in instant]

    def _reading(self, device: str, quantity: _Measured, same: Sequence[_Value], stamp: Stamp) -> Reading:
        if len(same) > 1:
            return failed(self._spec, device, quantity, stamp, f"more than one series gives it now ({len(same)})")
        value = same[0]
        scale = self._spec.scale if self._spec.scale != 1 else _SCALES.get(value.metric, 1.0)
        updated_ns = None
        if value.stamp is not None:
            updated_ns = self._updates.at((device, quantity), value.stamp, stamp.t_ns - s_to_ns(value.age_s))
        return Reading(
            meter=self._spec.name, device=device, quantity=quantity, t_ns=stamp.t_ns, spread_ns=stamp.spread_ns, value=value.value * scale,
            updated_ns=updated_ns,
        )  # fmt: skip

    # -- what a series is --------------------------------------------------------------------------------------------------------

    def _device(self, value: _Value) -> str:
        names = (self._spec.device_label,) if self._spec.device_label else _DEVICE_LABELS
        name = next((name for name in names if name in value.labels), None)
        if name is None:
            return self._spec.name if self._queries else self._place
        return value.labels[name] if name in _UNIQUE or self._queries else f"{self._place}/{value.labels[name]}"

    def _quantity(self, value: _Value) -> _Measured | None:
        if self._spec.quantity:
            return self._spec.quantity
        name = value.metric.lower()
        if value.kind == "counter" or "energy" in name or "joule" in name:
            return "energy"
        return "power" if "power" in name or "watt" in name else None
