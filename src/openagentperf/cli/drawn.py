"""The report that a run ends with: drawn by a process of its own, so that nothing that goes wrong with a picture can touch the result."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from openagentperf.cli.output import note

EXTRA = ("jinja2", "vl_convert")
"""Packages of the `report` extra."""
_PATIENCE_S = 600.0
"""A million turns take 11 s (docs/report.md), on a host that has nothing else to do."""


def draw(run: Path, packages: Sequence[str] = EXTRA) -> Path | None:
    """`report.html` in the run folder; None where one of `packages` is not installed, or it could not be drawn, which is said in one line.

    A process of its own: the chart library ends the process that it runs in where it meets what it did not expect, and a run that has its
    result must not end by that.
    """
    if not all(importlib.util.find_spec(name) for name in packages):
        return None
    again = f"openagentperf report {shlex.quote(str(run))}"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "openagentperf", "report", str(run)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=_PATIENCE_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        note(f"warning: the report was not drawn ({type(error).__name__}): `{again}` draws it")
        return None
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["no word of it"])[-1].removeprefix("error: ")[:200]
        note(f"warning: the report was not drawn (status {done.returncode}: {why}): `{again}` tries again")
        return None
    return run / "report.html"
