"""One closed phase read back for its pictures: only the columns they need, and a sentence instead of an error where a file is broken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from openagentperf import rundir, tables
from openagentperf.errors import StorageError
from openagentperf.records.phase import PhaseFacts
from openagentperf.records.turns import ClientSample
from openagentperf.score.columns import COLUMNS, Floats, Ints, Turns

BROKEN: tuple[type[BaseException], ...] = (
    StorageError, OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
)  # fmt: skip
"""What reading a damaged file, or computing on what it holds, may raise. A Parquet page with flipped bits makes polars panic."""


@dataclass(frozen=True, eq=False)
class Watched:
    """What one sensor of one device showed over a phase."""

    meter: str
    device: str
    quantity: str
    t_ns: Ints
    value: Floats


@dataclass(frozen=True, eq=False)
class Rows:
    """A phase's tables. `turns` is None where turns.parquet cannot be read."""

    facts: PhaseFacts
    turns: Turns | None
    details: dict[str, str]
    """By cause of failure: the words of the first turn that failed so."""
    samples: tuple[ClientSample, ...]
    watched: tuple[Watched, ...]
    missing: tuple[str, ...]


def read_rows(folder: Path) -> Rows | str:
    """The phase in `folder`, or why nothing of it can be read."""
    name = f"phases/{folder.name}"
    if not folder.is_dir():
        return f"{name} is missing: its pictures are left out"
    try:
        facts = rundir.read_facts(folder)
    except BROKEN as error:
        frames = len(rundir.frame_files(folder))
        left = f"; {frames} files of rows as the workers wrote them are there" if frames else ""
        return f"{name} was not closed ({_short(error)}){left}: its pictures are left out"
    missing: list[str] = []

    def part(file: str, read: Any, without: Any) -> Any:
        try:
            return read(folder / file)
        except BROKEN as error:
            missing.append(f"{name}/{file} cannot be read ({_short(error)})")
            return without

    turns, details = part("turns.parquet", _turns, (None, {}))
    samples = part("client.parquet", lambda path: tuple(tables.read_samples(path.parent)), ())
    watched = part(rundir.POWER, _watched, ()) if (folder / rundir.POWER).exists() else ()
    return Rows(facts, turns, details, samples, watched, tuple(missing))


def _turns(path: Path) -> tuple[Turns, dict[str, str]]:
    # 32 of 37 columns: a million details are the largest of the others.
    lazy = pl.scan_parquet(path)
    frame = lazy.select([name for name in COLUMNS if name in lazy.collect_schema().names()]).collect()
    columns: dict[str, NDArray[Any]] = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype == pl.String:
            # A dozen different words in a million rows: numpy spreads their codes in 0.03 s, and converts the strings in 0.14 s.
            words = column.unique(maintain_order=True)
            codes = column.cast(pl.Enum(words)).to_physical().to_numpy()
            columns[name] = np.array(words.to_list(), dtype=np.str_)[codes] if len(words) else np.array([], np.str_)
        else:
            columns[name] = (column.fill_null(-1) if column.dtype.is_integer() else column).to_numpy()
    details: dict[str, str] = {}
    if (columns.get("failure", np.array([], np.str_)) != "").any():
        failed = lazy.filter(pl.col("failure") != "").group_by("failure").agg(pl.col("detail").first()).collect()
        details = dict(sorted(failed.iter_rows()))
    return Turns.from_columns(columns), details


def _watched(path: Path) -> tuple[Watched, ...]:
    frame = pl.read_parquet(path, columns=["meter", "device", "quantity", "t_ns", "value"])
    found = frame.filter(pl.col("quantity").is_in(["power", "energy"]) & pl.col("value").is_finite())
    return tuple(
        Watched(str(meter), str(device), str(quantity), part["t_ns"].to_numpy(), part["value"].to_numpy())
        for (meter, device, quantity), part in sorted(
            found.sort("t_ns").partition_by(["meter", "device", "quantity"], as_dict=True).items(), key=lambda item: str(item[0])
        )
    )  # fmt: skip


def _short(error: BaseException) -> str:
    text = error.found if isinstance(error, StorageError) else f"{type(error).__name__}: {error}"
    line = text.splitlines()[0] if text else type(error).__name__
    return line if len(line) <= _SENTENCE else line[:_SENTENCE] + " ..."


_SENTENCE = 160
