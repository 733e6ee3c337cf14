"""Rows of a data file as JSON, a batch in memory at a time: Parquet, or JSON lines, gzipped or not."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from openagentperf.errors import CorpusError

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
BATCH_ROWS = 64
"""Of Parquet: a row of 400 KB is not rare. Each batch decodes the columns of its row group anew: 8 ms a batch for a group of 60 MB."""


def rows(path: Path, name: str) -> Iterator[bytes]:
    """Each row of the file as one JSON object, in order. `name` (its path in the repository) tells the kind and stands in errors.

    CorpusError where the file is not what its name says.
    """
    try:
        yield from _parquet(path) if name.endswith(".parquet") else _lines(path, name)
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error) as error:
        why = str(error).partition("\n")[0]
        raise CorpusError(
            name, f"cannot be read ({why})", "a whole data file is needed", "fetch it again (the cache may hold a broken copy)"
        ) from error  # fmt: skip


def _parquet(path: Path) -> Iterator[bytes]:
    frame = pl.scan_parquet(path).select(pl.all().exclude(pl.Binary))
    total = frame.select(pl.len()).collect().item()
    for start in range(0, total, BATCH_ROWS):
        text = frame.slice(start, BATCH_ROWS).collect().write_ndjson()
        yield from (line.encode() for line in text.split("\n") if line)


def _lines(path: Path, name: str) -> Iterator[bytes]:
    with gzip.open(path) if name.endswith(".gz") else path.open("rb") as file:
        for line in file:
            if not line.isspace():
                yield line
