"""Rows to Parquet and back: a closed phase's tables, through rundir's atomic writer.

    turns.parquet    one column per field of records.turns.TurnRow
    client.parquet   one column per field of records.turns.ClientSample
    power.parquet    one column per field of records.power.Reading
    reads.parquet    one row per turn, in the order of turns.parquet: `ns` (time of each read) and `bytes` (its length), as lists

Null is "never seen", on disk as in the structs.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from openagentperf.errors import StorageError
from openagentperf.records.phase import PhaseFacts
from openagentperf.records.power import Reading
from openagentperf.records.turns import ClientSample, Failure, RawTurn, TurnRow
from openagentperf.rundir import frame_files, write

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
    reads: Sequence[tuple[bytes, bytes]],
    samples: Sequence[ClientSample],
    kept: Sequence[tuple[Failure, RawTurn]],
) -> None:
    """Close a phase: tables first, `phase.json` last (it marks the folder as whole), then the frame files go.

    Rows are sorted by (due_ns, agent): the order in which workers finished them is an accident of scheduling.
    """
    order = sorted(range(len(rows)), key=lambda i: (rows[i].due_ns, rows[i].agent))
    _write(folder / "turns.parquet", _frame([rows[i] for i in order], TurnRow))
    _write(
        folder / "reads.parquet",
        pl.DataFrame(
            {
                "ns": [np.frombuffer(reads[i][0], dtype=np.int64) for i in order],
                "bytes": [np.frombuffer(reads[i][1], dtype=np.int64) for i in order],
            },
            schema={"ns": pl.List(pl.Int64), "bytes": pl.List(pl.Int64)},
        ),
    )
    in_time = sorted(samples, key=lambda s: (s.t_ns, s.worker))
    _write(folder / "client.parquet", _frame(in_time, ClientSample))
    for failure, raw in kept:
        name = f"{failure or 'ok'}-a{raw.agent}-r{raw.replay}-t{raw.turn}.http"
        write(folder / "raw" / name, raw.data)
    write(folder / "phase.json", msgspec.json.format(msgspec.json.encode(facts), indent=1) + b"\n")
    for path in frame_files(folder):
        path.unlink()


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


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(
            str(path), f"cannot be read ({error})", "a judged phase has it", "restore the run folder"
        ) from error


def read_turns(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Columns of `turns.parquet` as numpy arrays; -1 stands for null in integer columns."""
    frame = _read(folder / "turns.parquet").with_columns(pl.col(pl.Int64).fill_null(-1))
    return {name: frame[name].to_numpy() for name in frame.columns}


def read_samples(folder: Path) -> list[ClientSample]:
    return [ClientSample(**row) for row in _read(folder / "client.parquet").iter_rows(named=True)]
