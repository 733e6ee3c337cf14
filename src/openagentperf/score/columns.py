"""Turns as columns: what the judge reads. A million rows are 200 MB here and gigabytes as objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from openagentperf.errors import StorageError
from openagentperf.records.turns import TurnRow

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
Words: TypeAlias = NDArray[np.str_]

NONE = -1
"""Stands for None in an integer column: no time and no count is negative."""

_WORDS = ("failure", "connection")


@dataclass(frozen=True, eq=False)
class Turns:
    """One array for each field of `records.turns.TurnRow` that judgement needs; all of one length, row i is one turn."""

    worker: Ints
    agent: Ints
    replay: Ints
    trajectory: Ints
    turn: Ints
    line: Ints
    last: Mask
    due_ns: Ints
    sent_ns: Ints
    first_byte_ns: Ints
    first_output_ns: Ints
    last_output_ns: Ints
    closed_ns: Ints
    status: Ints
    failure: Words
    prompt_tokens: Ints
    cached_tokens: Ints
    output_tokens: Ints
    corpus_tokens: Ints
    first_tokens: Ints
    output_events: Ints
    output_reads: Ints
    output_chars: Ints
    burst_share: Floats
    response_bytes: Ints
    request_bytes: Ints
    connection: Words
    read_lag_ns: Ints
    first_lag_ns: Ints
    last_lag_ns: Ints
    first_read_events: Ints
    paced_ns: Ints

    def __len__(self) -> int:
        return len(self.due_ns)

    def where(self, mask: Mask) -> Turns:
        """The rows for which `mask` is true, in their order."""
        return Turns(**{f.name: getattr(self, f.name)[mask] for f in fields(self)})

    @property
    def failed(self) -> Mask:
        return np.not_equal(self.failure, "")

    @classmethod
    def from_rows(cls, rows: Sequence[TurnRow]) -> Turns:
        """Columns of decoded rows; None becomes -1."""
        return cls.from_columns({name: _column(name, rows) for name in COLUMNS})

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[Any]]) -> Turns:
        """Columns by their TurnRow name, -1 where null; other names are ignored. StorageError where one is missing."""
        columns = {
            "paced_ns": np.zeros(len(columns.get("due_ns", ())), dtype=np.int64),
            **columns,
        }  # younger than the others
        missing = [name for name in COLUMNS if name not in columns]
        if missing:
            raise StorageError(
                "turns", f"no column {', '.join(missing)}", "judgement reads it", "score with the version that wrote the run"
            )  # fmt: skip
        return cls(**{name: np.asarray(columns[name], dtype=_dtype(name)) for name in COLUMNS})


COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(Turns))


def _dtype(name: str) -> type[np.generic]:
    if name in _WORDS:
        return np.str_
    return {"last": np.bool_, "burst_share": np.float64}.get(name, np.int64)


def _column(name: str, rows: Sequence[TurnRow]) -> NDArray[Any]:
    values = (getattr(row, name) for row in rows)
    return np.array([NONE if value is None else value for value in values], dtype=_dtype(name))
