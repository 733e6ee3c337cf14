"""`openagentperf corpus`: import recordings, build a generated set, show a card."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from openagentperf.cli import seal
from openagentperf.cli.card import card_text
from openagentperf.cli.output import note, say, say_json
from openagentperf.corpusjobs.build import ESTIMATE
from openagentperf.corpusjobs.build import build as build_set
from openagentperf.corpusjobs.describe import describe
from openagentperf.corpusjobs.imports import ImportReport, import_paths
from openagentperf.records.trajectory import Skipped

app = typer.Typer(help="Import, build and describe sets of trajectories.", no_args_is_help=True, rich_markup_mode=None)

for _command in seal.COMMANDS:
    app.command(_command.__name__)(_command)

Out: TypeAlias = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder of the set; made where it is not there.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]

_NAMED = 10
"""Reasons for skipping named on a terminal; --json names every line."""


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Recordings: files, or folders of them.")],
    out: Out,
    format: Annotated[
        str | None, typer.Option(metavar="NAME", help="Format of all files. Default: told from their content.")
    ] = None,
    licence: Annotated[
        str, typer.Option(metavar="SPDX", help="Licence of the recordings' text, for the card; no format records it.")
    ] = "",
    json: Json = False,
) -> int:
    """Read recordings of coding agents into a native set.

    A line that cannot be used is counted, named and left out; a path that yields nothing is an error.
    """
    report = import_paths(paths, out, format, licence)
    if json:
        say_json(report)
        return 0
    say("\n".join(_import_lines(report, _width())))
    _note_skipped(report.skipped)
    _note_next(out)
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
        _note_next(out)
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
        say("\n".join(_wrapped(f"note: {line}", _width())))
    _note_skipped(described.skipped)
    return 0


def _import_lines(report: ImportReport, width: int) -> list[str]:
    """What an import found, did and left for the reader to decide."""
    listed = [
        f"trajectories {report.trajectories:,}, turns {report.turns:,}, from files {report.files:,}",
        f"tokens {report.input_tokens:,} in, {report.output_tokens:,} out (sums over all turns)",
        "formats: " + ", ".join(f"{name} {count:,}" for name, count in report.formats.items()),
        "languages: " + ", ".join(f"{name or 'unknown'} {count:,}" for name, count in report.languages.items()),
    ]
    lines = [line for text in listed for line in _wrapped(text, width)]
    if report.noted:
        lines.append("filled in, changed or left out:")
    for noted in report.noted:
        each = f"{noted.least:,}" if noted.least == noted.most else f"{noted.least:,} to {noted.most:,}"
        lines += _wrapped(f"  in {noted.trajectories:,} trajectories: {each} {noted.what}", width)
    if report.rewritten:
        first, names = report.rewritten[0], {row.trajectory for row in report.rewritten}
        lines += _wrapped(
            f"turns that rewrite history without declaring it: {len(report.rewritten):,}, in trajectories: {len(names):,} (the first: "
            f"{first.trajectory}, turn {first.turn}). A run leaves these trajectories out unless workload.allow_rewritten_history is set.",
            width,
        )
    return lines


def _note_skipped(skipped: Sequence[Skipped]) -> None:
    """A line a reason, most common first: a folder of 200 licences and pictures must not hide the one cut line."""
    if not skipped:
        return
    note(f"skipped: {len(skipped):,} (--json names them all)")
    reasons: dict[str, list[str]] = {}
    for row in skipped:
        reasons.setdefault(row.why, []).append(row.where)
    for why, places in sorted(reasons.items(), key=lambda reason: -len(reason[1]))[:_NAMED]:
        more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
        note(f"  {why}: {places[0]}{more}")
    if len(reasons) > _NAMED:
        note(f"  and {len(reasons) - _NAMED:,} more reasons")


def _note_next(out: Path) -> None:
    folder = shlex.quote(str(out))
    note(f"written to {out}")
    note(f"  look at it: openagentperf corpus card {folder}")
    note(f"  replay it:  openagentperf run --corpus {folder}")


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _width() -> int:
    return max(60, min(shutil.get_terminal_size().columns, 120))
