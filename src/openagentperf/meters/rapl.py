"""CPU packages and DRAM of this host, by the energy counters of Linux' powercap files (RAPL; Intel, and AMD from Zen on).

    energy   energy_uj, which starts again at 0 beyond max_energy_range_uj: after 22 minutes at 200 W on most packages

Zones lie in one another: `core` and `uncore` are inside their package and never added to it; `dram` has that place in the tree, and
its energy is not in the package's. `psys` is the whole platform with its packages, so that it is never added to anything. Since 2020
(CVE-2020-8694) only root may read energy_uj.

This is no node power: fans, network, disks and the losses of the power supply are not in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from openagentperf.errors import MeterError
from openagentperf.meters.base import failed, stamped
from openagentperf.records.power import DeviceFacts, MeterFacts, Reading
from openagentperf.system import Rapl as Spec

_UJ = 1e-6
_MMIO = "intel-rapl-mmio"
"""A second way to the same package: the zone of another control type comes before it."""


class _Zone(NamedTuple):
    """`intel-rapl:0:2`, say."""

    path: Path
    name: str
    """As the kernel names it: `package-0`, `dram`."""
    parent: str
    """Folder of the zone that it lies in; "" at the top."""


class Rapl:
    """See the module's docstring. Implements meters.base.Meter."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._where = f"meter {spec.name}"
        self._files: dict[str, Path] = {}

    def open(self) -> MeterFacts:
        spec = self._spec
        zones = self._zones()
        chosen = self._chosen(zones)
        for device in spec.devices:
            if device not in chosen:
                seen = ", ".join(chosen)
                raise MeterError(
                    self._where, f"there is no zone `{device}`", "a zone of the tree was needed", f"use one of: {seen}"
                )
        facts = tuple(
            self._facts(device, zone) for device, zone in chosen.items() if not spec.devices or device in spec.devices
        )
        self._files = {device.device: chosen[device.device].path / "energy_uj" for device in facts}
        return MeterFacts(
            name=spec.name,
            kind="rapl",
            boundary=spec.boundary,
            basis=spec.basis,
            source=spec.path,
            devices=facts,
            period_s=spec.period_s,
            max_gap_s=spec.max_gap_s,
            stale_s=spec.stale_s,
            notes=(
                "CPU packages and DRAM alone: accelerators, fans, disks and the power supply's losses are not in it",
            ),
        )

    def read(self) -> list[Reading]:
        return [self._reading(device, path) for device, path in self._files.items()]

    def close(self) -> None:
        pass

    def _reading(self, device: str, path: Path) -> Reading:
        value, why = 0.0, ""
        with stamped() as stamp:
            try:
                value = int(path.read_bytes()) * _UJ
            except OSError as error:
                why = f"{path.name} cannot be read ({error.strerror})"
            except ValueError:
                why = f"{path.name} holds no number"
        if why:
            return failed(self._spec, device, "energy", stamp, why)
        return Reading(
            meter=self._spec.name, device=device, quantity="energy", t_ns=stamp.t_ns, spread_ns=stamp.spread_ns, value=value
        )  # fmt: skip

    # -- what there is -----------------------------------------------------------------------------------------------------------

    def _zones(self) -> dict[str, _Zone]:
        """Every zone by its folder's name."""
        root = Path(self._spec.path)
        fix = "load it (modprobe intel_rapl_msr, as root); virtual machines and most containers have none"
        try:
            folders = sorted(folder for folder in root.iterdir() if (folder / "energy_uj").exists())
        except OSError as error:
            raise MeterError(
                self._where, f"{root} cannot be read ({error.strerror})", "the kernel's powercap is needed", fix
            ) from error
        if not folders:
            raise MeterError(self._where, f"{root} has no zone with an energy counter", "RAPL is needed", fix)
        names = {folder.name for folder in folders}
        zones = {}
        for folder in folders:
            above = folder.name.rpartition(":")[0]
            try:
                zones[folder.name] = _Zone(
                    folder, (folder / "name").read_text().strip(), above if above in names else ""
                )
            except OSError as error:
                raise MeterError(
                    self._where, f"{folder}/name cannot be read ({error.strerror})", "a zone has one", fix
                ) from error
        return zones

    def _chosen(self, zones: dict[str, _Zone]) -> dict[str, _Zone]:
        """Zones whose energies may be added up, by device name (`package-0`, `package-0/dram`)."""
        wanted = {folder: zone for folder, zone in zones.items() if zone.name.startswith(self._spec.zones)}
        if not wanted:
            seen = ", ".join(sorted({zone.name for zone in zones.values()}))
            raise MeterError(
                self._where, f"{self._spec.path} has no zone {' or '.join(self._spec.zones)}", "", f"set `zones` to some of: {seen}"
            )  # fmt: skip
        if any(zone.name == "psys" for zone in wanted.values()) and len(wanted) > 1:
            what = f"`zones` are {', '.join(self._spec.zones)}"
            raise MeterError(
                self._where,
                what,
                "psys holds the others, and would count them twice",
                'set zones = ["psys"], or leave it out',
            )
        chosen: dict[str, _Zone] = {}
        for zone in sorted(wanted.values(), key=lambda zone: (zone.path.name.startswith(_MMIO), zone.path.name)):
            inside = self._parents(zones, zone)
            if zone.name != "dram" and any(parent in wanted for parent in inside):
                continue
            chosen.setdefault("/".join([*(zones[parent].name for parent in reversed(inside)), zone.name]), zone)
        return chosen

    @staticmethod
    def _parents(zones: dict[str, _Zone], zone: _Zone) -> list[str]:
        """Folders of the zones that it lies in, the nearest first."""
        found = []
        while zone.parent:
            found.append(zone.parent)
            zone = zones[zone.parent]
        return found

    def _facts(self, device: str, zone: _Zone) -> DeviceFacts:
        """Read once, so that a refusal comes before the run. PermissionError becomes a sentence with the remedy."""
        path = zone.path / "energy_uj"
        try:
            int(path.read_bytes())
        except PermissionError as error:
            fix = f"sudo chmod a+r {self._spec.path}/*/energy_uj (until the next boot; docs/power.md has a rule that stays)"
            raise MeterError(self._where, f"{path} may be read by root alone", "this user must read it", fix) from error
        except (OSError, ValueError) as error:
            raise MeterError(
                self._where, f"{path} gives no number ({error})", "a working counter is needed", "leave the zone out"
            ) from error
        try:
            span_j = int((zone.path / "max_energy_range_uj").read_bytes()) * _UJ
        except (OSError, ValueError):
            span_j = 0.0
        return DeviceFacts(
            device=device,
            name=zone.name,
            scope=zone.name.partition("-")[0],
            counter=True,
            counter_range_j=span_j or None,
        )
