"""`openagentperf report`: a run folder as a page, as text, as tables, as data or as a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from openagentperf import rundir
from openagentperf.cli.options import RunFolder
from openagentperf.cli.output import note
from openagentperf.errors import UsageError
from openagentperf.report import make

_STDOUT = Path("-")


def report(
    run: RunFolder,
    format: Annotated[
        make.Format,
        typer.Option(
            metavar="html|md|csv|json|png",
            help="html: one page that needs no network. md: GitHub-flavoured. csv: tiers.csv and phases.csv. json: result and figures. "
            "png: the search picture and the answer.",
        ),
    ] = "html",
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="File to be written (csv: folder); `-` is stdout. Default: in the run folder."),
    ] = None,
) -> int:  # fmt: skip
    """Report on a run: the answer and whether it can be used, the search, speeds, time, cache, power, failures, the load generator.

    A run that is not finished, or whose folder is damaged, gives a report that says what is missing.
    """
    made = make.report(run, format)
    if out == _STDOUT:
        if len(made) > 1:
            raise UsageError("--out -", f"stands beside --format {format}", "which makes two files", "name a folder")
        sys.stdout.flush()
        sys.stdout.buffer.write(next(iter(made.values())))
        return 0
    for name, content in made.items():
        path = (run if out is None else out) / name if out is None or len(made) > 1 else out
        rundir.write(path, content)
        note(f"written to {path}")
    return 0
