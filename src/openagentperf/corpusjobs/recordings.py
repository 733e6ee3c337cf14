"""Recordings as they lie on disk, told apart by their content: a file, or a folder with all that is below it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from openagentperf.corpus.detect import IMPORTERS, detect
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpusjobs.store import is_native
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

_KNOWN = f"recordings are needed ({', '.join(IMPORTERS)})"
_NOT_DATA = frozenset({"licenses", "license", "licence", "readme", "sources", "index", "notice", "copying"})
"""Stems that lie beside recordings: texts about them, and indexes of them."""
_LINES_LOOKED_AT = 64


def read_recordings(path: Path, skipped: list[Skipped], format: str | None = None) -> Iterator[Trajectory]:
    """Yield the trajectories of every recording at `path`, files in the order of their names, one file in memory at a time.

    format  name of an importer for all files, or None to tell each file's format from its content

    In a folder, a file that yields nothing becomes a row of `skipped` (a licence lies beside most recordings); hidden files are not looked
    at. CorpusError where `path` is not there, cannot be read, or yields nothing at all, and for an unknown format.
    """
    if format is not None and format not in IMPORTERS:
        raise CorpusError(
            f"format {format!r}",
            "is not known",
            f"one of {', '.join(IMPORTERS)} is needed",
            "name one of these, or leave it out",
        )
    if not path.is_dir():
        yield from _read(path, skipped, format)
        return
    files = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p, path))
    found, useless = False, list[Skipped]()
    for file in files:
        if any(Path(part).stem.lower() in _NOT_DATA for part in file.relative_to(path).parts):
            skipped.append(Skipped(str(file), "is no recording, by its name"))
            continue
        try:
            for trajectory in _read(file, skipped, format):
                found = True
                yield trajectory
        except CorpusError as error:
            useless.append(Skipped(str(file), error.found))
            skipped.append(useless[-1])
    if not found:
        seen = f"holds no usable recording (files: {len(files)})" if files else "is an empty folder"
        if useless:
            seen = f"{seen[:-1]}; the first, {useless[0].where}, {useless[0].why})"
        fix = "check the path" if format is None else "leave --format out: each file's format is told from its content"
        raise CorpusError(str(path), seen, _KNOWN, fix)


def _read(file: Path, skipped: list[Skipped], format: str | None) -> Iterator[Trajectory]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CorpusError(
            str(file), f"cannot be read ({error.strerror})", "a file or folder is needed", "check the path and its rights"
        ) from error  # fmt: skip
    if not data.strip():
        raise CorpusError(str(file), "is empty", "a recording is needed", "check the path")
    name = format or detect(data)
    if name is None:
        raise _unknown(file, data)
    before = len(skipped)
    try:
        yield from IMPORTERS[name].read(data, str(file), skipped)
    except CorpusError as error:
        lost = skipped[before:]
        if not lost:
            raise
        place = lost[0].where.removeprefix(f"{file}:")
        found = f"{error.found} (lines that could not be used: {len(lost)}; the first, {place}: {lost[0].why})"
        raise CorpusError(error.where, found, error.needed, error.fix) from error


def _unknown(file: Path, data: bytes) -> CorpusError:
    """What a file is that no importer knows, as far as it can be told: the next step differs."""
    if is_native(file):
        return CorpusError(
            str(file), "is a set of trajectories already", "a recording is needed", "use it as it is: --corpus takes it"
        )
    if not any(_is_json(text) for text in (data, *data.split(b"\n", _LINES_LOOKED_AT)[:_LINES_LOOKED_AT])):
        return CorpusError(str(file), "holds no line of JSON", _KNOWN, "check that it is a recording, and whole")
    return CorpusError(
        str(file), "is in no known format", _KNOWN, "convert it to openai-chat lines (docs/corpus.md), or leave it out"
    )


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
    except BAD:
        return False
    return True


def _hidden(file: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(below).parts)
