"""`openagentperf compare`: what moved from one run to another, and whether it may have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from openagentperf import rundir
from openagentperf.cli.output import note, printable, say
from openagentperf.report import comparegate, comparepage, comparetext
from openagentperf.report.compare import Comparison
from openagentperf.report.compare import compare as compared

GATE_FAILED = 6
NOTHING_COMPARED = 2


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="A B...", help="Run folders; the first is the baseline.")],
    gate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GATE", help="`agents>=-5%`, `tier:easy ttft_p95<=+10%`. Repeatable; exit 6 where one fails."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compare what is not comparable too, and mark it; gates still refuse it.")
    ] = False,
    format: Annotated[
        Literal["text", "md", "json", "html"],
        typer.Option(help="md: GitHub-flavoured, for a comment under a pull request."),
    ] = "text",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there instead of to stdout.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> int:
    """Compare runs with the first of them: capacities, paired latencies, and everything that differs.

    Exit 0, 6 where a gate fails or cannot be decided, 2 where nothing at all is comparable.
    """
    gates = [comparegate.parse(text) for text in gate or ()]
    found = compared(runs, gates, force)
    data = _shown(found, "json" if json else format)
    if out is not None:
        rundir.write(out, data)
        note(f"written to {out}")
    else:
        say(data.decode().rstrip("\n"))
    return _status(found)


def _shown(found: Comparison, how: str) -> bytes:
    if how == "json":
        return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"
    if how == "html":
        return comparepage.comparison_html(found)
    text = comparetext.markdown(found) if how == "md" else printable(comparetext.text(found))
    return text.encode() + b"\n"


def _status(found: Comparison) -> int:
    for pair in found.pairs:
        for outcome in pair.gates:
            if outcome.verdict != "pass":
                note(f"gate {outcome.gate} of {pair.b.run}: {outcome.sentence}")
    if not found.gates_hold:
        return GATE_FAILED
    apart = [pair.b.run for pair in found.pairs if not pair.compared]
    for name in apart:
        note(f"{name}: nothing of it is comparable with {found.pairs[0].a.run}")
    return NOTHING_COMPARED if apart else 0
