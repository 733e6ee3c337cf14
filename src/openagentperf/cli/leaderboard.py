"""`openagentperf leaderboard`: a static site of the runs and bundles in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openagentperf.cli.output import note, say
from openagentperf.leaderboard import site


def leaderboard(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Run folders and bundles, and statements in DIR/reviews.")
    ],
    out: Annotated[Path, typer.Option(metavar="SITE", help="Folder of the site.")],
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keys whose statements count, as `NAME ssh-ed25519 AAAA...`; default: none."),
    ] = None,
    memory_gib: Annotated[
        float, typer.Option(metavar="GIB", min=1, help="What examining one submission may take.")
    ] = 8,
    limit: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="How long it may take.")] = 600,
) -> int:
    """Build a site: each submission is derived again from its rows first, and what does not hold is listed as refused."""
    found = site.build(folder, out, keys, round(memory_gib * (1 << 30)), limit, lambda path: note(f"examining {path}"))
    for refused in (*found.refused, *found.unheeded):
        note(f"refused: {refused.place}: {refused.why}")
    note(f"{len(found.entries)} shown, {len(found.refused)} refused")
    say(str(out / "index.html"))
    return 0
