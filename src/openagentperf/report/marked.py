"""Figures of result.json as cells that say where they come from: `data-path` names the place, so that a test can walk every one of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from openagentperf.records.result import Result
from openagentperf.report.page import Cell
from openagentperf.units import significant

Form: TypeAlias = Callable[[Any], str]

NONE = "-"
"""Not known, which is not 0."""


class Marked:
    """Cells of one result by their path: `results[0].power[1].mean_w`."""

    def __init__(self, result: Result) -> None:
        self._tree: Any = msgspec.to_builtins(result)

    def value(self, path: str) -> Any:
        """What stands there; KeyError, IndexError or TypeError where nothing does."""
        found = self._tree
        for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
            found = found[int(index)] if index else found[name]
        return found

    def cell(self, path: str, form: Form) -> Cell:
        """The figure in words, `-` where it is null."""
        value = self.value(path)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Cell(text=NONE if value is None else str(value), path=path)
        return Cell(text=form(value), path=path, value=value)

    def row(self, path: str) -> tuple[tuple[str, Cell], ...]:
        """Every number of the struct at `path`, tuples of numbers spread out: (name, cell)."""
        cells: list[tuple[str, Cell]] = []
        fields: Mapping[str, Any] = self.value(path)
        for name, value in fields.items():
            if isinstance(value, list | tuple) and value and all(_number(item) for item in value):
                cells += [(f"{name}[{i}]", self.cell(f"{path}.{name}[{i}]", form_of(name))) for i in range(len(value))]
            elif value is None or _number(value):
                cells.append((name, self.cell(f"{path}.{name}", form_of(name))))
        return tuple(cells)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def form_of(name: str) -> Form:
    """How a field is written, by the unit in its name."""
    if name.endswith("_s") and not name.endswith("_per_s"):
        return seconds
    if name.endswith("_w"):
        return watts
    if name.endswith(("_fraction", "_share", "coverage", "_error")):
        return percent
    return number


def number(value: float) -> str:
    """To four significant digits, whole numbers and those from 1,000 on in full."""
    return significant(value, 4)


def agents(count: int) -> str:
    """`1 agent`, `1,024 agents`."""
    return f"{count:,} agent{'' if count == 1 else 's'}"


def seconds(value: float) -> str:
    """To three significant digits, below 0.1 s in milliseconds."""
    if 0 < abs(value) < _IN_MS:
        return f"{value * 1e3:.3g} ms"
    return f"{significant(value)} s"


_IN_MS = 0.1


def watts(value: float) -> str:
    return f"{number(value)} W"


def percent(value: float) -> str:
    return f"{value:.1%}"


def speed(value: float) -> str:
    return f"{significant(value)} tok/s"


def usd(value: float) -> str:
    return f"{number(value)} $"
