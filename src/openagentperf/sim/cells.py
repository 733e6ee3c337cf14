"""One number of the catalogue with what makes it believable, and the ledger of those that a simulation used (docs/catalog.md#marks).

A value without a source is an opinion, so a cell is refused that has none; a number that nobody has published has no value at all,
and what needs it is refused with the cell's name. Nothing is ever 0 because it is missing.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from openagentperf.errors import UsageError

Mark: TypeAlias = Literal["fact", "measured", "derived", "assumed", "calibrated", "unknown"]
"""Published by its maker; read from an instrument or from published measurements; computed; chosen; fitted to a run; not known."""


class Cell(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One number."""

    value: float | None = None
    """None exactly where `mark` is unknown."""
    unit: str
    mark: Mark
    source: str = ""
    """Who says it; for derived and assumed ones the arithmetic or the reason."""
    date: str = ""
    """When the source was read, YYYY-MM."""
    uncertainty: Annotated[float, Meta(ge=0, le=10)] = 0.0
    """Share of the value that it may be off either way: 0.15 is +-15 %. For an unknown cell it says nothing."""
    note: str = ""
    """Conflicts between sources, and what the number leaves out."""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.mark == "unknown"):
            raise ValueError("a cell has a value, or the mark `unknown`, and never both")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError("a cell's value is a finite number")
        if self.mark != "unknown" and not (self.source and self.date):
            raise ValueError("a cell with a value names its source and its date (YYYY-MM)")


class Constant(Struct, frozen=True, kw_only=True):
    """A cell that a simulation used."""

    name: str
    """`accelerator.h200.memory`: where it stands in the catalogue."""
    value: float
    unit: str
    mark: Mark
    source: str
    uncertainty: float


class Ledger:
    """Hands out the values of cells and remembers which; what is unknown is collected, so that one refusal names all that is missing."""

    def __init__(self) -> None:
        self._used: dict[str, Constant] = {}
        self._missing: dict[str, str] = {}

    def read(self, name: str, cell: Cell | None, unit: str = "") -> float:
        """The cell's value; NaN where it is not known, which `refuse` turns into an error before anything is made of it."""
        if cell is None or cell.value is None:
            self._missing[name] = unit or (cell.unit if cell else "")
            return math.nan
        self._used[name] = Constant(name=name, value=cell.value, unit=cell.unit, mark=cell.mark, source=cell.source,
                                    uncertainty=cell.uncertainty)  # fmt: skip
        return cell.value

    def refuse(self, where: str) -> None:
        """Raise UsageError where a cell that was read is not known."""
        if not self._missing:
            return
        names = [f"{name} ({unit})" if unit else name for name, unit in sorted(self._missing.items())]
        first, unit = next(iter(sorted(self._missing.items())))
        table, _, key = first.rpartition(".")
        line = f'[{table}] {key} = {{ value = ..., unit = "{unit}", mark = "assumed", source = "...", date = "..." }}'
        raise UsageError(where, f"the catalogue has no value for {', '.join(names)}", "a simulation needs it",
                         f"add it in a file of your own and pass it with --catalog FILE: {line}")  # fmt: skip

    @property
    def constants(self) -> tuple[Constant, ...]:
        """In the order of their names."""
        return tuple(self._used[name] for name in sorted(self._used))
