"""What commands that make a set say about it, beside its card."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

from openagentperf.cli.output import note
from openagentperf.corpusjobs.imports import Noted
from openagentperf.records.trajectory import Skipped

NAMED = 10
"""Reasons for skipping named on a terminal; --json names every line."""


def noted_lines(noted: Sequence[Noted], width: int) -> list[str]:
    """What was filled in, changed or left out, a line a kind."""
    lines = ["filled in, changed or left out:"] if noted else []
    for row in noted:
        each = f"{row.least:,}" if row.least == row.most else f"{row.least:,} to {row.most:,}"
        lines += wrapped(f"  in {row.trajectories:,} trajectories: {each} {row.what}", width)
    return lines


def note_skipped(skipped: Sequence[Skipped]) -> None:
    """A line a reason, most common first: a folder of 200 licences and pictures must not hide the one cut line."""
    if not skipped:
        return
    note(f"skipped: {len(skipped):,} (--json names them all)")
    reasons: dict[str, list[str]] = {}
    for row in skipped:
        reasons.setdefault(row.why, []).append(row.where)
    for why, places in sorted(reasons.items(), key=lambda reason: -len(reason[1]))[:NAMED]:
        more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
        note(f"  {why}: {places[0]}{more}")
    if len(reasons) > NAMED:
        note(f"  and {len(reasons) - NAMED:,} more reasons")


def note_next(out: Path) -> None:
    folder = shlex.quote(str(out))
    note(f"written to {out}")
    note(f"  look at it: openagentperf corpus card {folder}")
    note(f"  replay it:  openagentperf run --corpus {folder}")


def wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def columns() -> int:
    return max(60, min(shutil.get_terminal_size().columns, 120))
