"""What was left out, named up to a number that a memory holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from openagentperf.records.trajectory import Skipped

MOST_NAMED = 20_000
"""About 5 MB of rows. A file of another kind that somebody named a format for has a bad line in every 4 bytes, and a row takes 250."""


class Skips(list[Skipped]):
    """A list of rows that grows to MOST_NAMED of them; one more, the last, tells how many were not named."""

    def __init__(self) -> None:
        super().__init__()
        self._more = 0

    def append(self, row: Skipped, /) -> None:
        if len(self) < MOST_NAMED:
            super().append(row)
            return
        self._more += 1
        told = Skipped("and more", f"{self._more:,} others, not named: the first {MOST_NAMED:,} are")
        if len(self) == MOST_NAMED:
            super().append(told)
        else:
            self[-1] = told

    def extend(self, rows: Iterable[Skipped], /) -> None:
        for row in rows:
            self.append(row)

    def __iadd__(self, rows: Iterable[Skipped], /) -> Self:  # type: ignore[override, misc]  # list.__add__ takes lists of anything
        self.extend(rows)
        return self
