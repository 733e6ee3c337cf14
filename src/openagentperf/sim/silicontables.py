"""Tables of measured kernels in the layout of aiconfigurator: Parquet files by system, operation, engine and its version.

    ROOT/data/SYSTEM/FOLDER/ENGINE/VERSION/NAME_perf.parquet        latency in ms, a row a shape

They belong to whoever made them and are not shipped: a folder of that layout, or an installed `aiconfigurator`, is named by the user. Of
the engines the first is taken that has a file; of its versions the newest that has one.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import polars as pl

from openagentperf.errors import UsageError
from openagentperf.score.columns import Floats

PACKAGE = "aiconfigurator"
_CORE = "aiconfigurator_core"
ENGINES = ("trtllm", "sglang", "vllm")
_MS = 1e-3

Column: TypeAlias = str
Value: TypeAlias = str | int


class Source(NamedTuple):
    """Where a table was read."""

    engine: str
    version: str

    def __str__(self) -> str:
        return f"{self.engine} {self.version}"


class Tables:
    """All tables of one system. Files are read when they are first asked for."""

    def __init__(self, folder: Path, engines: tuple[str, ...] = ENGINES) -> None:
        self._folder = folder
        self._engines = engines
        self._read: dict[Path, pl.DataFrame] = {}
        self.used: dict[str, Source] = {}
        """Of each file that a row was taken from."""

    @classmethod
    def of(cls, where: str, accelerator: str) -> Tables:
        """`where` is a folder of the layout or `aiconfigurator`; UsageError where there is none, or it does not know the accelerator."""
        root = _root(where)
        systems = (
            sorted(path.name for path in (root / "data").iterdir() if path.is_dir()) if (root / "data").is_dir() else []
        )
        names = [name for name in (accelerator, f"{accelerator}_sxm") if name in systems]
        if not names:
            raise UsageError(
                where, f"has no kernels of {accelerator}", f"it has {', '.join(systems) or 'no data folder'}",
                "name a folder with data/SYSTEM, or leave --silicon out",
            )  # fmt: skip
        return cls(root / "data" / names[0])

    def rows(self, folder: str, name: str, wanted: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame | None:
        """Rows of FOLDER/*/*/NAME_perf.parquet that `wanted` leaves, of the first engine and newest version that has any; None for none."""
        for engine in self._engines:
            paths = sorted((self._folder / folder / engine).glob(f"*/{name}_perf.parquet"), key=_version, reverse=True)
            for path in paths:
                left = wanted(self._frame(path))
                if len(left):
                    self.used[name] = Source(engine, path.parent.name)
                    return left
        return None

    def _frame(self, path: Path) -> pl.DataFrame:
        if path not in self._read:
            try:
                self._read[path] = pl.read_parquet(path)
            except (OSError, pl.exceptions.PolarsError) as error:
                raise UsageError(
                    str(path), f"is no Parquet table ({error})", "", "restore it, or leave --silicon out"
                ) from error
        return self._read[path]


def _root(where: str) -> Path:
    if where != PACKAGE:
        if not Path(where).is_dir():
            raise UsageError(
                where,
                "is no folder",
                f"a folder with data/SYSTEM tables was needed, or `{PACKAGE}`",
                "correct the path",
            )
        return Path(where)
    found = importlib.util.find_spec(_CORE)
    places = list(found.submodule_search_locations or ()) if found is not None else []
    if not places:
        raise UsageError(
            "--silicon", f"{PACKAGE} is not installed here", "its tables are NVIDIA's and are not shipped with this program",
            f"pip install {PACKAGE} (x86-64 Linux, 640 MB), or name a folder of the same layout",
        )  # fmt: skip
    return Path(places[0]) / "systems"


def _version(path: Path) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", path.parent.name)))


def where(frame: pl.DataFrame, /, **wanted: Value) -> pl.DataFrame:
    """Rows with these values; none at all where the table has no such column."""
    if not set(wanted) <= set(frame.columns):
        return frame.clear()
    return frame.filter(*(pl.col(name) == value for name, value in wanted.items()))


def seconds(frame: pl.DataFrame, column: Column) -> Callable[[float], float]:
    """Latency by one column, straight between its rows, in proportion above the last; repeated rows count with their median.

    Never longer than that of a larger shape: whoever has 1,536 tokens can be as fast as with 3,072 by padding, and single rows of the
    tables are up to twice their neighbours.
    """
    table = frame.group_by(column).agg(pl.col("latency").median()).sort(column)
    at, latency = _floats(table[column]), _floats(table["latency"]) * _MS
    latency = np.minimum.accumulate(latency[::-1])[::-1]

    def of(value: float) -> float:
        if value > at[-1]:
            return float(latency[-1] * value / at[-1])
        return float(np.interp(value, at, latency))

    return of


def _floats(column: pl.Series) -> Floats:
    return column.cast(pl.Float64).to_numpy()


class DecodeFit(NamedTuple):
    """Attention of one layer in a decode step: base(batch) + slope x batch x context."""

    batches: Floats
    base_s: Floats
    slope_s: float

    def base(self, batch: float) -> float:
        if batch > self.batches[-1]:
            return float(self.base_s[-1] * batch / self.batches[-1])
        return float(np.interp(batch, self.batches, self.base_s))


def decode_fit(frame: pl.DataFrame, full_tokens: int = 1024) -> DecodeFit | None:
    """From rows by batch_size and step (the context); None where there are too few.

    The slope is the median over all pairs of contexts of one batch (Theil-Sen): single rows are up to twice their neighbours. Batches of
    8 and more where there are such, because below them a kernel's launch hides what it reads. The base of a batch without a row at
    `full_tokens` comes from its longest context.

    full_tokens   context from which on latency is linear in it: that at which sparse attention selects all that it may. Below, it grows
                  with what there is to select, 7 times as steeply in DeepSeek V4 Pro's tables
    """
    table = (
        frame.group_by("batch_size", "step").agg(pl.col("latency").median().alias("latency")).sort("batch_size", "step")
    )
    curves: dict[int, tuple[Floats, Floats]] = {}
    for batch in table["batch_size"].unique().sort().to_list():
        rows = table.filter(pl.col("batch_size") == batch)
        full = rows.filter(pl.col("step") >= full_tokens)
        rows = full if len(full) else rows.tail(1)
        curves[batch] = (_floats(rows["step"]), _floats(rows["latency"]) * _MS)
    wide = [batch for batch in curves if batch >= 8] or list(curves)
    slopes = [
        (latency[j] - latency[i]) / (batch * (at[j] - at[i]))
        for batch in wide
        for at, latency in [curves[batch]]
        for i in range(len(at))
        for j in range(i + 1, len(at))
    ]
    if not slopes:
        return None
    slope = max(0.0, float(np.median(slopes)))
    base = [float(np.median(latency - slope * batch * at)) for batch, (at, latency) in curves.items()]
    return DecodeFit(np.array(list(curves), dtype=np.float64), np.maximum(np.array(base), 0.0), slope)


class PrefillFit(NamedTuple):
    """Attention of one layer in prefill: new x (token + context x (before + new / 2))."""

    token_s: float
    context_s: float


def prefill_fit(frame: pl.DataFrame, least_new: int = 1024) -> PrefillFit | None:
    """Least squares of the relative error over rows of one sequence with at least `least_new` new tokens (isl) after `step` others."""
    table = frame.filter(pl.col("batch_size") == 1, pl.col("isl") >= least_new)
    if len(table) < 3:
        return None
    new, before, latency = (_floats(table[name]) for name in ("isl", "step", "latency"))
    work = np.stack([new, new * (before + new / 2)], axis=1) / latency[:, None]
    (token, context), *_ = np.linalg.lstsq(work, np.ones(len(table)), rcond=None)
    if context < 0:
        token, context = float(np.mean(latency / new)), 0.0
    return PrefillFit(float(token) * _MS, float(context) * _MS)
