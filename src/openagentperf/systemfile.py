"""System files: the inventory, ratings, prices and meters of the system under test, from TOML or from the catalogue."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path

import msgspec

from openagentperf.errors import PlanError
from openagentperf.system import System
from openagentperf.tomlfile import Table, convert, one_of, parse


def catalogue() -> dict[str, System]:
    """The shipped systems by name."""
    return {name: convert(table, System, name, "$.system") for name, table in _presets().items()}


def load(name_or_path: str, base: Path = Path(), where: str = "--system") -> System:
    """A catalogue entry, a file with the keys of [system] at its top, or a plan with a [system] table. PlanError."""
    found = convert(table(name_or_path, base, where), System, name_or_path, "$.system")
    check(found, name_or_path)
    return found


def table(name_or_path: str, base: Path = Path(), where: str = "--system") -> Table:
    """The same, as written."""
    presets = _presets()
    if name_or_path in presets:
        return presets[name_or_path]
    path = base / name_or_path
    if not path.is_file():
        raise PlanError(
            where, f"no system `{name_or_path}`", "a catalogue entry or a file was needed",
            one_of(name_or_path, list(presets)) + ", or the path of a TOML file with the keys of [system]",
        )  # fmt: skip
    whole = parse(path)
    inner = whole.get("system")
    return inner if isinstance(inner, dict) else whole


def check(system: System, where: str) -> None:
    """Raise PlanError where the declarations contradict one another."""
    pooled = sum(pool.accelerators for pool in system.pools)
    if system.pools and system.accelerators not in (0, pooled):
        raise PlanError(where, f"system.accelerators is {system.accelerators}, but the pools hold {pooled}",
                        "the pools are the whole inventory", "add the missing pool (spares too), or correct a number")  # fmt: skip
    names = Counter(meter.name for meter in system.meters)
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise PlanError(where, f"two meters are named `{twice[0]}`", "readings are told apart by their meter's name",
                        "rename one")  # fmt: skip
    _check_meters(system, pooled, where)
    price = system.price
    if price is not None and price.usd_per_hour is None and (price.capex_usd is None or price.years is None):
        raise PlanError(where, "system.price has neither usd_per_hour nor capex_usd with years", "",
                        "declare a price an hour, or what was paid and over how many years")  # fmt: skip
    if (
        price is not None
        and price.usd_per_hour is not None
        and (price.capex_usd is not None or price.usd_per_kwh is not None)
    ):
        raise PlanError(where, "system.price has usd_per_hour and capex_usd or usd_per_kwh", "rented or owned, not both",
                        "leave one out: a rented hour includes its power")  # fmt: skip


def _check_meters(system: System, pooled: int, where: str) -> None:
    declared = {"accelerator": system.accelerators or pooled, "node": system.hosts, "rack": 1}
    for meter in system.meters:
        if meter.period_s * 2 > meter.max_gap_s:
            raise PlanError(where, f"meter `{meter.name}` is polled every {meter.period_s:g} s, and max_gap_s is {meter.max_gap_s:g} s",
                            "polls are jittered: two of them may lie two periods apart",
                            f"set period_s to {meter.max_gap_s / 2:g} or less, or raise max_gap_s")  # fmt: skip
        if meter.basis == "measured" and not meter.devices and not declared[meter.boundary]:
            key = "accelerators (or pools)" if meter.boundary == "accelerator" else "hosts"
            raise PlanError(where, f"meter `{meter.name}` reads the {meter.boundary} boundary, and nothing of it is declared",
                            "half a system would show twice the agents/MW", f"set {key}, or name the meter's `devices`")  # fmt: skip


def _presets() -> dict[str, Table]:
    folder = resources.files("openagentperf") / "presets" / "systems"
    found = {file.name.removesuffix(".toml"): msgspec.toml.decode(file.read_bytes()) for file in folder.iterdir()}
    return dict(sorted(found.items()))
