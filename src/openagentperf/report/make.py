"""From a run folder to its report, in every format. Nothing is written here: a command does that, a dashboard serves it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from openagentperf.records.result import Result
from openagentperf.report.figures import Figures, figures
from openagentperf.report.opened import Opened, open_run
from openagentperf.report.picture import run_png
from openagentperf.report.runpage import run_html
from openagentperf.report.text import run_csv, run_md

Format: TypeAlias = Literal["html", "md", "csv", "json", "png"]


class Reported(Struct, frozen=True, kw_only=True):
    """`--format json`."""

    schema: str = "openagentperf/report/1"
    run: str
    """Name of the run folder."""
    finished: bool
    missing: tuple[str, ...]
    result: Result | None
    figures: Figures


def report(folder: Path, format: Format = "html") -> dict[str, bytes]:
    """File name -> content: one file, for csv two. UsageError where `folder` is no run, or the `report` extra is missing."""
    run = open_run(folder)
    found = figures(run)
    return _MAKERS[format](run, found)


def _json(run: Opened, found: Figures) -> bytes:
    told = Reported(
        run=run.folder.resolve().name, finished=run.finished, missing=(*run.missing, *found.missing), result=run.result, figures=found
    )  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n"


_MAKERS: dict[Format, Callable[[Opened, Figures], dict[str, bytes]]] = {
    "html": lambda run, found: {"report.html": run_html(run, found)},
    "md": lambda run, found: {"report.md": run_md(run, found).encode()},
    "csv": run_csv,
    "json": lambda run, found: {"report.json": _json(run, found)},
    "png": lambda run, found: {"report.png": run_png(run, found)},
}
