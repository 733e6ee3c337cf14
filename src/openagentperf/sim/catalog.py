"""The catalogue: what is known about accelerators, models, systems and how they are run, shipped as TOML and widened by files of the user.

    [generation.NAME]  [accelerator.NAME]  [model.NAME]  [system.NAME]  [deployment.SYSTEM.MODEL.NAME]

Every file has these tables, the shipped ones (presets/catalog/) and the user's alike. A later file wins, cell by cell: a table with nothing
but `tdp` changes the TDP of an entry and keeps the rest with its marks (docs/catalog.md).
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from openagentperf.errors import PlanError, UsageError
from openagentperf.sim.cells import Cell
from openagentperf.sim.defaults import derive
from openagentperf.sim.deployment import Deployment
from openagentperf.sim.entries import MAY_BE_ZERO, TABLE_UNITS, UNITS, Accelerator, Generation, Model, SystemEntry
from openagentperf.tomlfile import Table, one_of, parse

KINDS = ("generation", "accelerator", "model", "system", "deployment")
LIKE_UNCERTAINTY = 0.4
"""Of every cell that one generation takes over from another, at least."""
T = TypeVar("T")


class Catalog:
    """All entries, as tables until one is asked for: a mistake in an entry stops only who needs it."""

    def __init__(self, tables: Table, sources: Mapping[str, str]) -> None:
        self._tables = tables
        self._sources = sources

    @classmethod
    def load(cls, extra: Sequence[Path] = ()) -> Catalog:
        """The shipped entries, overridden by each file in turn. PlanError where a file is none."""
        tables: Table = {kind: {} for kind in KINDS}
        sources: dict[str, str] = {}
        for name, table in _shipped():
            _merge(tables, deepcopy(table), name, sources)
        for path in extra:
            table = parse(path)
            if wrong := sorted(table.keys() - set(KINDS)):
                raise PlanError(str(path), f"has a table [{wrong[0]}]", "", one_of(wrong[0], list(KINDS)))
            for kind, entries in table.items():
                _check_nesting(entries, kind, 3 if kind == "deployment" else 1, str(path))
            _merge(tables, table, str(path), sources)
        return cls(tables, sources)

    @property
    def digest(self) -> str:
        """Of all entries, in hexadecimal: two results of one digest used the same numbers."""
        return hashlib.sha256(msgspec.json.encode(self._tables, order="deterministic")).hexdigest()

    def names(self, kind: str) -> list[str]:
        """Names of the entries of a kind, in order."""
        return sorted(self._tables[kind])

    def accelerator(self, name: str) -> Accelerator:
        """UsageError where there is none; PlanError where its table is wrong."""
        return self._entry("accelerator", name, Accelerator, self._accelerator_table(name))

    def generation(self, name: str) -> Generation:
        """The same; one that is `like` another has its cells, each as an assumption (docs/catalog.md#adding-hardware)."""
        return self._entry("generation", name, Generation, self._generation_table(name))

    def model(self, name: str) -> Model:
        return self._entry("model", name, Model, self._find("model", name))

    def system(self, name: str) -> SystemEntry:
        table = dict(self._find("system", name))
        accelerator = str(table.get("accelerator", ""))
        self.accelerator(accelerator)  # a mistake is told with the name of its own entry and file
        table |= {"accelerator": self._accelerator_table(accelerator), "accelerator_name": accelerator, "name": name}
        return self._entry("system", name, SystemEntry, table)

    def deployments(self, system: str, model: str) -> list[str]:
        """Names of the known ones; `default` is always there, by the rule of sim/defaults.py where nobody has written one."""
        known = self._tables["deployment"].get(system, {}).get(model, {})
        return sorted({"default", *known})

    def written(self, system: str, model: str) -> bool:
        """Whether somebody has disclosed how this model runs on this system."""
        return bool(self._tables["deployment"].get(system, {}).get(model))

    def deployment(self, system: str, model: str, name: str = "default") -> Deployment:
        """A known way to run the model on the system, or of a file that ends in `.toml`; `default` is derived where none is written.
        UsageError where it cannot be."""
        if name.endswith(".toml"):
            return _convert(parse(Path(name)), Deployment, "deployment", name)
        known = self._tables["deployment"].get(system, {}).get(model, {})
        if name in known:
            return _convert(
                known[name], Deployment, f"deployment.{system}.{model}.{name}", self._where("deployment", system)
            )
        if name != "default":
            raise UsageError(
                f"{system} with {model}", f"no deployment `{name}`", "", one_of(name, self.deployments(system, model))
            )
        return derive(self.system(system), self.model(model), model)

    def _accelerator_table(self, name: str) -> Table:
        table = dict(self._find("accelerator", name))
        generation = table.get("generation")
        if isinstance(generation, str):
            self.generation(generation)
            table["generation"] = self._generation_table(generation)
        return table

    def _generation_table(self, name: str, above: tuple[str, ...] = ()) -> Table:
        table = dict(self._find("generation", name))
        like = table.pop("like", None)
        if like is None:
            return table
        if like in (*above, name):
            raise PlanError(
                self._where("generation", name), f"generation `{name}` is like itself", "", "name another one in `like`"
            )
        merged = _taken_over(self._generation_table(str(like), (*above, name)), str(like))
        _merge(merged, table, "", {})
        return merged

    def _find(self, kind: str, name: str) -> Table:
        known = self._tables[kind]
        if name not in known:
            near = difflib.get_close_matches(name, list(known), 3) or sorted(known)
            advice = f"use one of: {', '.join(near)}; or add it in a file of your own (--catalog FILE)"
            raise UsageError("catalogue", f"no {kind} `{name}`", "", advice)
        found: Table = known[name]
        return found

    def _where(self, kind: str, name: str) -> str:
        return self._sources.get(f"{kind}.{name}", "catalogue")

    def _entry(self, kind: str, name: str, struct: type[T], table: Table) -> T:
        entry = _convert(table, struct, f"{kind}.{name}", self._where(kind, name))
        for at, key, cell in cells(entry, f"{kind}.{name}"):
            wanted = TABLE_UNITS.get(at.rpartition(".")[2], UNITS.get(key))
            if wanted and cell.unit != wanted:
                raise PlanError(
                    self._where(kind, name),
                    f"`{at}.{key}` is in `{cell.unit}`",
                    f"`{wanted}` was needed",
                    "convert the value",
                )
            if needed := _out_of_range(key, cell):
                found = f"`{at}.{key}` is {cell.value:g} {cell.unit}"
                raise PlanError(self._where(kind, name), found, f"{needed} was needed", "correct the value")
        return entry


def cells(entry: object, at: str) -> Iterator[tuple[str, str, Cell]]:
    """Every cell below `entry`: (the table it stands in, its key, itself)."""
    pairs: list[tuple[str, object]] = []
    if isinstance(entry, Struct):
        pairs = [(name, getattr(entry, name)) for name in entry.__struct_fields__]
    elif isinstance(entry, dict):
        pairs = list(entry.items())
    for key, value in pairs:
        if isinstance(value, Cell):
            yield at, key, value
        elif isinstance(value, (Struct, dict)):
            yield from cells(value, f"{at}.{key}")
        elif isinstance(value, tuple):
            for item in value:
                yield from cells(item, f"{at}.{key}.{getattr(item, 'name', '')}")


def _out_of_range(key: str, cell: Cell) -> str:
    """What the value should have been; "" where it can be. A bandwidth of 0 would be a division by it, and a TDP below 0 a power plant."""
    value = cell.value
    if value is None:
        return ""
    may_be_zero = key in MAY_BE_ZERO or cell.unit == "us"
    if value < 0 or (value == 0 and not may_be_zero):
        return "0 or more" if may_be_zero else "more than 0"
    if value > 1 and cell.unit.startswith("share"):
        return "a share, 1 at most,"
    return "1 or more" if value < 1 and cell.unit == TABLE_UNITS["acceptance"] else ""


def _check_nesting(value: object, at: str, depth: int, where: str) -> None:
    """PlanError where something stands in the place of a table of tables; what an entry holds is checked with the entry."""
    if not isinstance(value, dict):
        raise PlanError(where, f"`{at}` is {value!r}", "a table was needed", f"write [{at}.NAME] (docs/catalog.md)")
    if depth:
        for key, below in value.items():
            _check_nesting(below, f"{at}.{key}", depth - 1, where)


def _convert(table: Table, struct: type[T], root: str, where: str) -> T:
    try:
        return msgspec.convert(table, struct)
    except msgspec.ValidationError as error:
        text = str(error)
        at = re.search(r" - at `\$(.*)`$", text)
        text = f"{text[: at.start()] if at else text} - at `{root}{at[1] if at else ''}`"
        raise PlanError(where, text, "", "correct it (docs/catalog.md lists every key)") from error


def _taken_over(table: Table, from_name: str) -> Table:
    """A copy whose cells are assumptions: what was measured on one architecture is a guess about another."""
    taken: Table = {}
    for key, value in table.items():
        if isinstance(value, dict) and "mark" in value and value["mark"] != "unknown":
            source = f"as {from_name}: {value['source']}"
            taken[key] = value | {
                "mark": "assumed",
                "source": source,
                "uncertainty": max(LIKE_UNCERTAINTY, value.get("uncertainty", 0.0)),
            }
        else:
            taken[key] = _taken_over(value, from_name) if isinstance(value, dict) else value
    return taken


def _merge(into: Table, table: Table, file: str, sources: dict[str, str], at: str = "") -> None:
    """Deep, and a cell (a table with a mark) is one thing: its parts are never mixed from two files."""
    for key, value in table.items():
        here = f"{at}.{key}" if at else key
        old = into.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and "mark" not in value and "mark" not in old:
            _merge(old, value, file, sources, here)
        else:
            into[key] = value
        if here.count(".") == 1:
            sources[here] = file


@cache
def _shipped() -> tuple[tuple[str, Table], ...]:
    """File names and tables; never changed by who reads them. Parsed once a process: they hold 800 cells."""
    folder = resources.files("openagentperf") / "presets" / "catalog"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return tuple((file.name, msgspec.toml.decode(file.read_bytes())) for file in files)
