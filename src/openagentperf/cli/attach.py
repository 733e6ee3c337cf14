"""`openagentperf power attach`: the log of an external analyser as one more meter of a finished run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from openagentperf import rundir, verify
from openagentperf.cli.options import Json, RunFolder
from openagentperf.cli.output import note, say, say_json
from openagentperf.cli.summary import power_lines
from openagentperf.errors import UsageError
from openagentperf.meters.csvlog import Form
from openagentperf.powerlog import attach as attach_log


def attach(
    run: RunFolder,
    csv: Annotated[Path, typer.Option(metavar="FILE", help="The log: delimited text with a header line.")],
    boundary: Annotated[Literal["accelerator", "node", "rack"], typer.Option(help="What it covers.")],
    time: Annotated[list[str], typer.Option(metavar="COLUMN", help="Column of the time; twice where date and time stand apart.")],
    value: Annotated[list[str], typer.Option(metavar="[DEVICE=]COLUMN", help="Column of a device's watts (or joules). Repeatable.")],
    quantity: Annotated[Literal["power", "energy"], typer.Option(help="Watts, or a counter of joules.")] = "power",
    scale: Annotated[float, typer.Option(metavar="X", help="Watts or joules a unit of the log: 1000 for kW.")] = 1.0,
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="Of times that name none, such as UTC; else they are refused.")] = "",
    offset: Annotated[float, typer.Option(metavar="SECONDS", help="How far the log's clock is behind this host's.")] = 0.0,
    clock_error: Annotated[float | None, typer.Option(metavar="SECONDS", help="By how much its clock may be off.")] = None,
    delimiter: Annotated[str, typer.Option(metavar="CHAR", help="Between cells.")] = ",",
    decimal: Annotated[str, typer.Option(metavar="CHAR", help="Before the fraction of a value.")] = ".",
    max_gap: Annotated[float, typer.Option(metavar="SECONDS", help="Longest silence between two rows.")] = 3.0,
    name: Annotated[str, typer.Option(metavar="NAME", help="Of the meter, in the run.")] = "analyser",
    replace: Annotated[bool, typer.Option("--replace", help="In place of the log that was attached under this name.")] = False,
    json: Json = False,
) -> int:  # fmt: skip
    """Put an external log's readings beside a finished run's own, and derive its result anew."""
    pairs = [text.partition("=") if "=" in text else (text, "", text) for text in value]
    values = {device: column for device, _, column in pairs}
    if len(values) < len(pairs):
        raise UsageError("--value", "names one device twice", "one column a device is needed", "leave one out")
    if len(delimiter) != 1:
        raise UsageError("--delimiter", f"is {delimiter!r}", "one character is needed", "give one, such as ;")
    if decimal not in (".", ","):
        raise UsageError("--decimal", f"is {decimal!r}", "a point or a comma is needed", "give . or ,")
    for option, number, fits in (
        ("--scale", scale, scale > 0),
        ("--offset", offset, True),
        ("--max-gap", max_gap, max_gap > 0),
        ("--clock-error", clock_error or 0.0, (clock_error or 0.0) >= 0),
    ):
        if not (math.isfinite(number) and fits):
            raise UsageError(option, f"is {number:g}", "a finite number that fits is needed", "correct it")
    form = Form(tuple(time), values, quantity, scale, timezone, offset, delimiter, decimal)
    attached = attach_log(
        run, csv, form, name=name, boundary=boundary, max_gap_s=max_gap, replace=replace, clock_error_s=clock_error
    )
    result = verify.derive(run)
    rundir.write(run / "result.json", msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    if json:
        say_json({"attached": attached, "result": result})
        return 0
    say(f"values {attached.rows:,}, phases {attached.phases}; {attached.clock}")
    if lines := power_lines(result.results):
        say("\n".join(lines))
    if attached.skipped:
        first = attached.skipped[0]
        note(f"skipped rows: {len(attached.skipped):,} (the first: {first.where}: {first.why})")
    note(f"the result in {run} was derived anew")
    return 0
