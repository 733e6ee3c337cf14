"""`openagentperf corpus`: import recordings, build a generated set, show a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from openagentperf import rundir
from openagentperf.cli import corpusmake, seal
from openagentperf.cli.card import card_text
from openagentperf.cli.output import note, say, say_json
from openagentperf.cli.setnotes import columns, note_next, note_skipped, noted_lines, wrapped
from openagentperf.corpusjobs.build import ESTIMATE
from openagentperf.corpusjobs.build import build as build_set
from openagentperf.corpusjobs.describe import describe
from openagentperf.corpusjobs.imports import ImportReport, Rewrite, import_paths
from openagentperf.report.cardpage import card_html

app = typer.Typer(help="Import, build and describe sets of trajectories.", no_args_is_help=True, rich_markup_mode=None)

for _command in seal.COMMANDS:
    app.command(_command.__name__)(_command)
app.command("from-repo")(corpusmake.from_repo)
app.command("fetch")(corpusmake.fetch)

Out: TypeAlias = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder of the set; made where it is not there.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


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
    say("\n".join(_import_lines(report, columns())))
    note_skipped(report.skipped)
    note_next(out)
    return 0


@app.command()
def build(
    out: Out,
    profile: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="agentperf (the published figures), demo (small), interactive (Claude Code, Codex), long (to 1M tokens) "
            "or stateful (agents that come back).",
        ),
    ] = "agentperf",
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
        say(card_text(card, columns()))
        note_next(out)
    return 0


@app.command("card")
def card_(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A native set, a compiled corpus, or recordings.")],
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it as a page with pictures too; needs the `report` extra."),
    ] = None,
    json: Json = False,
) -> int:
    """Show what is in a set, beside the published figures of AA-AgentPerf."""
    described = describe(path)
    if html is not None:
        rundir.write(html, card_html(described.card, path.resolve().stem, described.notes))
    if json:
        say_json(described)
        return 0
    say(card_text(described.card, columns()))
    for line in described.notes:
        say("\n".join(wrapped(f"note: {line}", columns())))
    note_skipped(described.skipped)
    if html is not None:
        note(f"written to {html}")
    return 0


def _import_lines(report: ImportReport, width: int) -> list[str]:
    """What an import found, did and left for the reader to decide."""
    listed = [
        f"trajectories {report.trajectories:,}, turns {report.turns:,}, from files {report.files:,}"
        + (f"; sub-agents {report.branches:,}, each beside its parent" if report.branches else ""),
        f"tokens {report.input_tokens:,} in, {report.output_tokens:,} out (sums over all turns)",
        "formats: " + ", ".join(f"{name} {count:,}" for name, count in report.formats.items()),
        "languages: " + ", ".join(f"{name or 'unknown'} {count:,}" for name, count in report.languages.items()),
    ]
    lines = [line for text in listed for line in wrapped(text, width)]
    lines += noted_lines(report.noted, width)
    if report.rewritten:
        lines += _rewritten_lines(report.rewritten, width)
    return lines


def _rewritten_lines(rewritten: Sequence[Rewrite], width: int) -> list[str]:
    """How many turns rewrite their history, then a line a cause, most common first, each with the first turn of its kind."""
    names = {row.trajectory for row in rewritten}
    lines = wrapped(
        f"turns that rewrite history without declaring it: {len(rewritten):,}, in trajectories: {len(names):,}. A run leaves these out "
        "unless workload.allow_rewritten_history is set. By cause (--json names every turn):",
        width,
    )
    for why, count in Counter(row.why for row in rewritten).most_common():
        first = next(row for row in rewritten if row.why == why)
        place = f"{first.trajectory}, {first.branch + ', ' if first.branch else ''}turn {first.turn}"
        lines += wrapped(f"  turns {count:,}: {why} (first: {place})", width)
    return lines
