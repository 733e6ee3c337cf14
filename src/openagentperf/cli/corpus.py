"""`openagentperf corpus`: import recordings, build a generated set, show a card."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from openagentperf.cli.card import card_text
from openagentperf.cli.output import note, say, say_json
from openagentperf.corpusjobs.build import ESTIMATE
from openagentperf.corpusjobs.build import build as build_set
from openagentperf.corpusjobs.describe import describe
from openagentperf.corpusjobs.imports import ImportReport, import_paths
from openagentperf.records.trajectory import Skipped

app = typer.Typer(help="Import, build and describe sets of trajectories.", no_args_is_help=True, rich_markup_mode=None)

Out: TypeAlias = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder of the set; made where it is not there.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]

_NAMED = 10
"""Skipped lines named on a terminal; --json names them all."""


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Recordings: files, or folders of them.")],
    out: Out,
    format: Annotated[
        str | None, typer.Option(metavar="NAME", help="Format of all files. Default: told from their content.")
    ] = None,
    json: Json = False,
) -> int:
    """Read recordings of coding agents into a native set.

    A line that cannot be used is counted, named and left out; a file that yields nothing is an error.
    """
    report = import_paths(paths, out, format)
    if json:
        say_json(report)
        return 0
    _say_import(report, out)
    _note_skipped(report.skipped)
    return 0


@app.command()
def build(
    out: Out,
    profile: Annotated[str, typer.Option(metavar="NAME", help="agentperf (the published figures) or demo (small).")] = "agentperf",
    count: Annotated[int, typer.Option(metavar="N", help="Trajectories.")] = 500,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same bytes.")] = 1,
    tokenizer: Annotated[
        str,
        typer.Option(metavar="NAME", help="What lengths are counted by: estimate (3.5 bytes a token), o200k, cl100k, qwen3, llama3."),
    ] = ESTIMATE,
    json: Json = False,
) -> int:  # fmt: skip
    """Generate a set that has the statistics of a profile."""
    card = build_set(profile, count, seed, out, tokenizer)
    if json:
        say_json(card)
    else:
        say(card_text(card, _width()))
        note(f"written to {out}")
    return 0


@app.command("card")
def card_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A native set, a compiled corpus, or recordings.")],
    json: Json = False,
) -> int:
    """Show what is in a set, beside the published figures of AA-AgentPerf."""
    described = describe(path)
    if json:
        say_json(described)
        return 0
    say(card_text(described.card, _width()))
    for line in described.notes:
        say(f"note: {line}")
    _note_skipped(described.skipped)
    return 0


def _say_import(report: ImportReport, out: Path) -> None:
    say(f"trajectories {report.trajectories:,}, turns {report.turns:,}, files {report.files:,}; written to {out}")
    say(f"tokens: {report.input_tokens:,} in, {report.output_tokens:,} out (sums over all turns)")
    say("formats: " + ", ".join(f"{name} {count:,}" for name, count in report.formats.items()))
    say("languages: " + ", ".join(f"{name or 'unknown'} {count:,}" for name, count in report.languages.items()))
    if report.rewritten:
        first = report.rewritten[0]
        say(
            f"{len(report.rewritten):,} turns rewrite history without declaring it (the first: {first.trajectory}, turn {first.turn}): "
            "a run refuses these trajectories unless workload.allow_rewritten_history is set"
        )


def _note_skipped(skipped: Sequence[Skipped]) -> None:
    if skipped:
        note(f"{len(skipped):,} skipped:")
    for line in skipped[:_NAMED]:
        note(f"  {line.where}: {line.why}")
    if len(skipped) > _NAMED:
        note(f"  and {len(skipped) - _NAMED:,} more (--json names them all)")


def _width() -> int:
    return max(60, min(shutil.get_terminal_size().columns, 120))
