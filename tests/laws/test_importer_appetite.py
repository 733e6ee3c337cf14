"""No file takes more memory than a small multiple of its size, nor more time than in proportion to it.

The default run gives each importer one of the files, 5 MB long; the slow one gives each of them all, of 100 MB.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from appetite import KINDS
from openagentperf.corpus.detect import IMPORTERS

SCRIPT = Path(__file__).parent.parent / "appetite.py"
NAMES = list(IMPORTERS)
MOST = 12
"""Peak of memory, in sizes of the file, the file itself in it."""
ROOM_BYTES = 32 << 20
"""Beside that: sources of text and decoders that the first import of a format makes."""
SLOWER = 3.5
"""Twice the file may take so much longer. Linear is 2, quadratic 4."""
LEAST_S = 0.02
"""Less is noise."""
BAD_LINES = {"words", "many on a line"}
"""A line that is no record takes 2 to 4 us to say so, hence 5 MB of them 10 s."""


def measure(size: int, jobs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    given = "".join(f"{name} {kind}\n" for name, kind in jobs)
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), str(size)], input=given, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]


def hungry(size: int, jobs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Those that took too much, or did not end as an import may."""
    found = measure(size, jobs)
    assert len(found) == len(jobs)
    return [
        one
        for one in found
        if not one["ended"].startswith(("trajectories:", "error:")) or one["peak_bytes"] > MOST * size + ROOM_BYTES
    ]


def slowed(size: int, jobs: list[tuple[str, str]], takes: int = 3) -> dict[tuple[str, str], tuple[float, float]]:
    """Seconds for files of `size` and of twice that, where the second takes too much longer in each of `takes` takes: other work on the
    machine once made 0.06 s of CPU time into 0.22."""
    for _ in range(takes):
        once, twice = (
            {(one["format"], one["kind"]): one["cpu_s"] for one in measure(bytes_, jobs)} for bytes_ in (size, 2 * size)
        )
        jobs = [job for job in jobs if twice[job] > SLOWER * max(once[job], LEAST_S)]
        if not jobs:
            return {}
    return {job: (once[job], twice[job]) for job in jobs}


def test_memory_is_bounded_on_5_mb() -> None:
    kinds = [kind for kind in KINDS if kind not in BAD_LINES]
    assert hungry(5_000_000, [(name, kinds[place % len(kinds)]) for place, name in enumerate(NAMES)]) == []


def test_time_is_in_proportion_on_300_kb() -> None:
    kinds = list(KINDS)
    assert slowed(150_000, [(name, kinds[place % len(kinds)]) for place, name in enumerate(NAMES)]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_memory_is_bounded_on_100_mb(name: str) -> None:
    assert hungry(100_000_000, [(name, kind) for kind in KINDS if kind not in BAD_LINES]) == []
    assert hungry(10_000_000, [(name, kind) for kind in BAD_LINES]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_time_is_in_proportion_on_2_mb(name: str) -> None:
    assert slowed(1_000_000, [(name, kind) for kind in KINDS]) == {}
