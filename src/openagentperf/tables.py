"""Rows to Parquet and back: a closed phase's tables, through rundir's atomic writer.

    turns.parquet    one column per field of records.turns.TurnRow
    client.parquet   one column per field of records.turns.ClientSample
    power.parquet    one column per field of records.power.Reading
    reads.parquet    one row per turn, in the order of turns.parquet: `ns` (time of each read) and `bytes` (its length), as lists

Null is "never seen", on disk as in the structs.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from openagentperf.errors import StorageError
from openagentperf.records.phase import PhaseFacts
from openagentperf.records.power import Reading
from openagentperf.records.turncolumns import NONE, OPTIONAL, TurnColumns
from openagentperf.records.turns import ClientSample, Kept, Reads, TurnRow
from openagentperf.rundir import atomic, frame_files, write

PART_TURNS = 20_000
"""Turns whose reads are in memory at once: 50 MB at 150 reads each."""
_TYPES: dict[str, Any] = {"int": pl.Int64, "bool": pl.Boolean, "str": pl.String, "float": pl.Float64}


def _schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Polars types by a Struct's annotations, so that a column of nulls is still an integer column."""
    schema: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        name = field.type if isinstance(field.type, type) else None
        if name is None:  # a union with None, or a Literal of strings
            parts = [t for t in getattr(field.type, "__args__", ()) if isinstance(t, type) and t is not type(None)]
            name = parts[0] if parts else str
        schema[field.name] = _TYPES[name.__name__]
    return schema


def _frame(rows: Sequence[msgspec.Struct], kind: type[msgspec.Struct]) -> pl.DataFrame:
    schema = _schema(kind)
    columns = {name: [getattr(row, name) for row in rows] for name in schema}
    return pl.DataFrame(columns, schema=schema)


def _write(path: Path, frame: pl.DataFrame) -> None:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    write(path, buffer.getvalue())


def write_phase(
    folder: Path,
    facts: PhaseFacts,
    rows: Sequence[TurnRow],
    reads: Sequence[Reads],
    samples: Sequence[ClientSample],
    kept: Sequence[Kept],
    part_turns: int = PART_TURNS,
) -> None:
    """Close a phase: tables first, `phase.json` last (it marks the folder as whole), then the frame files go.

    Rows are sorted by (due_ns, agent): the order in which workers finished them is an accident of scheduling. Of `part_turns` of them the
    reads are in memory at once.
    """
    columns = rows if isinstance(rows, TurnColumns) else TurnColumns.of(rows)
    order = np.lexsort((np.asarray(columns.column("agent")), np.asarray(columns.column("due_ns"))))
    _write(folder / "turns.parquet", _turns(columns.column, order))
    _write_reads(folder / "reads.parquet", reads, order, part_turns)
    for one in kept:
        raw = one.raw
        name = f"{one.failure or 'ok'}-a{raw.agent}-r{raw.replay}-t{raw.turn}.http"
        write(folder / "raw" / name, raw.data)
    _close(folder, facts, sorted(samples, key=lambda s: (s.t_ns, s.worker)))
    for path in frame_files(folder):
        path.unlink()


def _close(folder: Path, facts: PhaseFacts, samples: Sequence[ClientSample]) -> None:
    _write(folder / "client.parquet", _frame(samples, ClientSample))
    write(folder / "phase.json", msgspec.json.format(msgspec.json.encode(facts), indent=1) + b"\n")


def _turns(column: Callable[[str], Any], order: npt.NDArray[np.int64]) -> pl.DataFrame:
    """The rows in `order`: `column` gives a TurnRow's field over all rows, null where it holds NONE, and None for what TurnRow has by
    itself."""
    made: list[pl.Series] = []
    schema = _schema(TurnRow)
    for field in msgspec.structs.fields(TurnRow):
        name, kind, values = field.name, schema[field.name], column(field.name)
        if values is None:
            made.append(pl.Series(name, [field.default], dtype=kind).new_from_index(0, len(order)))
        elif isinstance(values, list):
            made.append(pl.Series(name, [values[i] for i in order], dtype=kind))
        else:
            series = pl.Series(name, np.asarray(values)[order]).cast(kind)
            made.append(series.replace(NONE, None) if name in OPTIONAL else series)
    return pl.DataFrame(made)


def _write_reads(path: Path, reads: Sequence[Reads], order: npt.NDArray[np.int64], part_turns: int) -> None:
    """Part by part, each into a file of its own, which are then streamed into one: an hour's reads are gigabytes."""
    parts = [order[start : start + part_turns] for start in range(0, max(1, len(order)), part_turns)]
    if len(parts) == 1:
        _write(path, _reads(reads, parts[0]))
        return
    with tempfile.TemporaryDirectory(prefix=".reads.", dir=path.parent) as scratch:
        files = [Path(scratch) / f"{number:06d}.parquet" for number in range(len(parts))]
        for file, part in zip(files, parts, strict=True):
            _write(file, _reads(reads, part))
        with atomic(path) as whole:
            pl.scan_parquet(files).sink_parquet(whole, compression="zstd", row_group_size=part_turns)


def _reads(reads: Sequence[Reads], order: Iterable[int]) -> pl.DataFrame:
    found = [reads[i] for i in order]
    return pl.DataFrame(
        {
            "ns": [np.frombuffer(one.times_ns, dtype=np.int64) for one in found],
            "bytes": [np.frombuffer(one.sizes, dtype=np.int64) for one in found],
        },
        schema={"ns": pl.List(pl.Int64), "bytes": pl.List(pl.Int64)},
    )


def write_columns(
    folder: Path, facts: PhaseFacts, columns: Mapping[str, npt.NDArray[Any]], samples: Sequence[ClientSample]
) -> None:
    """The same for a phase whose rows were never objects: columns by their TurnRow names. There are no reads and no bytes to keep."""
    order = np.lexsort((columns["agent"], columns["due_ns"]))
    _write(folder / "turns.parquet", _turns(columns.get, order))
    _close(folder, facts, samples)


def write_readings(path: Path, readings: Sequence[Reading]) -> None:
    """`power.parquet`: one column per field of records.power.Reading, in the order in which each meter took them."""
    _write(path, _frame(readings, Reading))


def read_readings(path: Path) -> list[Reading]:
    """StorageError where the file is missing or broken, or its columns are no readings. Columns that are not known are left out."""
    frame = _read(path)
    needed = {field.name for field in msgspec.structs.fields(Reading) if field.required}
    columns = [
        pl.col(name).cast(kind) for name, kind in _schema(Reading).items() if name in frame.columns or name in needed
    ]
    try:
        return msgspec.convert(frame.select(columns).to_dicts(), list[Reading])
    except (pl.exceptions.PolarsError, msgspec.ValidationError) as error:
        raise StorageError(
            str(path), f"holds no readings ({error})", "columns of records.power.Reading", "restore the run folder"
        ) from error


def _read(path: Path, names: Collection[str] = ()) -> pl.DataFrame:
    """The table; with `names` those of its columns that are among them."""
    try:
        table = pl.scan_parquet(path)
        if names:
            table = table.select([name for name in table.collect_schema().names() if name in names])
        return table.collect()
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise StorageError(
            str(path), f"cannot be read ({error})", "a judged phase has it", "restore the run folder"
        ) from error


def read_turns(folder: Path, names: Collection[str] = ()) -> dict[str, npt.NDArray[Any]]:
    """Columns of `turns.parquet` as numpy arrays; -1 stands for null in integer columns. With `names` those of them that there are: the
    words of a million failures are larger than all the rest."""
    frame = _read(folder / "turns.parquet", names).with_columns(pl.col(pl.Int64).fill_null(-1))
    return {name: frame[name].to_numpy() for name in frame.columns}


def read_samples(folder: Path) -> list[ClientSample]:
    return [ClientSample(**row) for row in _read(folder / "client.parquet").iter_rows(named=True)]
