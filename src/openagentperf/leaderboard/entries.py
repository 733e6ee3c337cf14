"""What lies under a folder: run folders and bundles, each examined, and those that do not hold with the reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from openagentperf.errors import UsageError
from openagentperf.leaderboard import statements
from openagentperf.leaderboard.bundle import ENDINGS
from openagentperf.leaderboard.examine import Examined, Failed
from openagentperf.leaderboard.statements import Label, Read

REVIEWS = "reviews"
_DEPTH = 6
"""Folders deep that submissions are looked for."""
_ARCHIVES = (*ENDINGS, ".tar.gz", ".tgz", ".tar.xz", ".tar")


class Entry(NamedTuple):
    """A result that holds."""

    found: Examined
    places: tuple[str, ...]
    """Where it lies, relative to the folder; several where it lies there twice."""
    label: Label


class Refused(NamedTuple):
    place: str
    why: str


class Collected(NamedTuple):
    entries: tuple[Entry, ...]
    """By content."""
    refused: tuple[Refused, ...]
    """By place."""
    unheeded: tuple[Refused, ...]
    """Statements that count for nothing, and why."""


def collect(folder: Path, keys: Mapping[bytes, str], examine: Callable[[Path], Examined | Failed]) -> Collected:
    """Everything under `folder`; `examine` never raises. UsageError where there is no such folder."""
    if not folder.is_dir():
        raise UsageError(str(folder), "is no folder", "one with run folders or bundles was needed", "name it")
    held: dict[str, Examined] = {}
    places: dict[str, list[str]] = {}
    refused: list[Refused] = []
    paths = list(_submissions(folder, _DEPTH))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each waits for a process of its own
        examined = list(pool.map(examine, paths))
    for path, found in zip(paths, examined, strict=True):
        place = path.relative_to(folder).as_posix()
        if isinstance(found, Failed):
            refused.append(Refused(place, found.why.replace(str(path), path.name).removeprefix(f"{path.name}: ")))
        elif found.faults:
            refused.append(Refused(place, "; ".join(found.faults[:3])))
        else:
            # Of a folder and its signed bundle, the bundle: somebody stands for it.
            if found.content not in held or (found.signed_by and not held[found.content].signed_by):
                held[found.content] = found
            places.setdefault(found.content, []).append(place)
    said = [statements.read(path, keys) for path in sorted((folder / REVIEWS).glob("*.json"))]
    labels, unheeded = _labels(held, said)
    entries = tuple(
        Entry(held[c], tuple(sorted(places[c])), labels.get(c, Label("self-reported"))) for c in sorted(held)
    )
    return Collected(entries, tuple(sorted(refused)), tuple(sorted(unheeded)))


def _submissions(folder: Path, depth: int) -> Iterator[Path]:
    """Run folders and archives, in the order of their names; links are not followed."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(
            str(folder), f"cannot be read ({error.strerror})", "a folder to look into", "make it readable"
        ) from error
    for path in paths:
        if path.is_symlink():
            continue
        if path.is_dir():
            if (path / "plan.toml").exists() or (path / "ledger.jsonl").exists() or (path / "result.json").exists():
                yield path
            elif depth and path.name != REVIEWS:
                yield from _submissions(path, depth - 1)
        elif path.name.endswith(_ARCHIVES) and path.is_file():
            yield path


def _labels(held: Mapping[str, Examined], said: list[Read]) -> tuple[dict[str, Label], list[Refused]]:
    labels: dict[str, Label] = {}
    unheeded: list[Refused] = []
    for one in said:
        statement = one.statement
        why = one.why
        if statement is not None:
            found = held.get(statement.content)
            if found is None:
                why = "it is about nothing that holds here"
            else:
                why = statements.unbelievable(statement.claim, found, held.get(statement.rerun), one.key)
            if not why and (statement.claim == "verified" or statement.content not in labels):
                labels[statement.content] = Label(statement.claim, one.name, statement.rerun)
        if why:
            unheeded.append(Refused(one.file, why))
    return labels, unheeded
