"""Turns of an open phase as growing columns: 0.3 KB a turn, where an object of 34 fields costs 1.5 KB.

At 400 turns/s, 4,000 agents at 10 s a turn, an hour is 1.4 million turns: 2 GB as objects.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias, overload

import msgspec

from openagentperf.records.turns import TurnRow

NONE = -1
"""Stands for None: no time and no count is negative."""
RECENT = 2000
"""So many of the last turns are kept as objects too: faces ask for them twice a second."""

Column: TypeAlias = "array[Any] | list[str]"

_FIELDS = {field.name: field for field in msgspec.structs.fields(TurnRow)}
_NAMES = tuple(_FIELDS)
_CODES = {int: "q", bool: "b", float: "d"}


def _code(name: str) -> str:
    """The array's type code; "" for words, of which there are few different ones."""
    kind: Any = _FIELDS[name].type
    parts = [part for part in getattr(kind, "__args__", (kind,)) if isinstance(part, type) and part is not type(None)]
    return _CODES.get(parts[0], "") if parts else ""


_TYPE_CODES = {name: _code(name) for name in _NAMES}
OPTIONAL = frozenset(name for name in _NAMES if type(None) in getattr(_FIELDS[name].type, "__args__", ()))
"""Columns that may hold NONE for None."""


class TurnColumns(Sequence[TurnRow]):
    """A sequence of TurnRows that holds none but the last ones."""

    def __init__(self, recent: int = RECENT) -> None:
        self._columns: dict[str, Any] = {name: array(code) if code else [] for name, code in _TYPE_CODES.items()}
        self._appends = [(name, column.append) for name, column in self._columns.items()]
        self._words: dict[str, str] = {}
        self._recent: deque[TurnRow] = deque(maxlen=recent)

    @classmethod
    def of(cls, rows: Iterable[TurnRow], recent: int = RECENT) -> TurnColumns:
        columns = cls(recent)
        for row in rows:
            columns.append(row)
        return columns

    def append(self, row: TurnRow) -> None:
        known = self._words
        for name, append in self._appends:
            value = getattr(row, name)
            if isinstance(value, str):
                value = known.setdefault(value, value)  # one object for each different word
            append(NONE if value is None else value)
        self._recent.append(row)

    def column(self, name: str) -> Column:
        """All values of one field; NONE where None."""
        found: Column = self._columns[name]
        return found

    def __len__(self) -> int:
        return len(self._columns["due_ns"])

    def __iter__(self) -> Iterator[TurnRow]:
        return map(self._row, range(len(self)))

    @overload
    def __getitem__(self, at: int) -> TurnRow: ...
    @overload
    def __getitem__(self, at: slice) -> list[TurnRow]: ...
    def __getitem__(self, at: int | slice) -> TurnRow | list[TurnRow]:
        if isinstance(at, int):
            return self._row(range(len(self))[at])
        places = range(len(self))[at]
        first = len(self) - len(self._recent)
        if places and min(places) >= first:
            return [self._recent[place - first] for place in places]
        return [self._row(place) for place in places]

    def _row(self, at: int) -> TurnRow:
        values: dict[str, Any] = {}
        for name, column in self._columns.items():
            value = column[at]
            if _TYPE_CODES[name] == "b":
                value = bool(value)
            values[name] = None if name in OPTIONAL and value == NONE else value
        return TurnRow(**values)
