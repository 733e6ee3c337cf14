"""Recordings as they lie on disk, told apart by their content: a file, or a folder with all that is below it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from openagentperf.corpus.detect import IMPORTERS, detect
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory


def read_recordings(path: Path, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """Yield the trajectories of every recording at `path`, files in the order of their names, one file in memory at a time.

    In a folder, a file that no importer knows or that yields nothing is added to `skipped` (a licence lies beside most recordings).
    CorpusError where `path` is one such file, where a file cannot be read, or where a folder yields nothing at all.
    """
    if not path.is_dir():
        yield from _read(path, skipped)
        return
    found, before = False, len(skipped)
    for file in sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p, path)):
        try:
            for trajectory in _read(file, skipped):
                found = True
                yield trajectory
        except CorpusError as error:
            skipped.append(Skipped(str(file), str(error)))
    if not found:
        lost = len(skipped) - before
        raise CorpusError(
            str(path),
            f"holds no usable recording ({lost} files and lines were looked at)" if lost else "is an empty folder",
            f"recordings in one of these formats are needed: {', '.join(IMPORTERS)}",
            "check the path",
        )


def _read(file: Path, skipped: list[Skipped]) -> Iterator[Trajectory]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CorpusError(
            str(file), f"cannot be read ({error.strerror})", "", "check the path and its rights"
        ) from error
    if not data.strip():
        raise CorpusError(str(file), "is empty", "a recording is needed", "check the path")
    name = detect(data, str(file))
    if name is None:
        raise CorpusError(
            str(file),
            "is in no known format",
            f"one of {', '.join(IMPORTERS)} is needed",
            "convert it, or leave it out",
        )
    yield from IMPORTERS[name](data, str(file), skipped)


def _hidden(file: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(below).parts)
