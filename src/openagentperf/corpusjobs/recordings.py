"""Recordings as they lie on disk, told apart by their content: a file, an archive, or a folder with all that is below it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from openagentperf.corpus.detect import GROUPED, IMPORTERS, detect
from openagentperf.corpus.formats.crumbs import too_fine
from openagentperf.corpus.formats.files import File
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpusjobs.archives import HEAD_BYTES, kind_of, members
from openagentperf.corpusjobs.store import is_native
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

FILE_BYTES = 1 << 31
"""Of one plain file: it is in memory as a whole, and what it holds beside it."""
HELD_BYTES = 1 << 30
"""Of an archive's members that belong together, kept packed until the last of them has been seen."""
_KNOWN = f"recordings are needed ({', '.join(IMPORTERS)})"
_NOT_DATA = frozenset({"licenses", "license", "licence", "readme", "sources", "index", "notice", "copying"})
"""Stems that lie beside recordings: texts about them, and indexes of them."""
_LINES_LOOKED_AT = 64
_HIDDEN_DATA = frozenset({".aider.chat.history.md", ".aider.llm.history"})
"""Recordings that their program hides."""


def read_recordings(path: Path, skipped: list[Skipped], format: str | None = None) -> Iterator[Trajectory]:
    """Yield the trajectories of every recording at `path`, files in the order of their names, one file in memory at a time.

    format  name of an importer for all files, or None to tell each file's format from its content

    Formats of which one session lies in several files come last, each in one go. In a folder or an archive, a file that yields nothing
    becomes a row of `skipped` (a licence lies beside most recordings); hidden files other than Aider's logs are not looked at.
    CorpusError where `path` is not there, cannot be read, or yields nothing at all, and for an unknown format.
    """
    if format is not None and format not in IMPORTERS:
        raise CorpusError(
            f"format {format!r}",
            "is not known",
            f"one of {', '.join(IMPORTERS)} is needed",
            "name one of these, or leave it out",
        )
    # What is no regular file (a pipe of the shell) can be read once only: no archive.
    if not path.is_dir() and (not path.is_file() or kind_of(_head(path)) is None):
        yield from map(_named, _read(str(path), _load(path), skipped, format, path))
        return
    walk = _Walk(skipped, format)
    found = False
    for trajectory in walk.through(path):
        found = True
        yield _named(trajectory)
    if not found:
        seen = f"holds no usable recording (files: {walk.seen})" if walk.seen else "is an empty folder"
        if walk.useless:
            seen = f"{seen[:-1]}; the first, {walk.useless[0].where}, {walk.useless[0].why})"
        fix = "check the path" if format is None else "leave --format out: each file's format is told from its content"
        raise CorpusError(str(path), seen, _KNOWN, fix)


def _named(trajectory: Trajectory) -> Trajectory:
    """Where a recording has no id its path stands for it: of that the file's name alone, so that the same file has one id on any disk."""
    source = trajectory.source
    if not source or not trajectory.id.startswith(source):
        return trajectory
    return msgspec.structs.replace(trajectory, id=Path(source).name + trajectory.id.removeprefix(source))


class _Walk:
    """One way through a folder or an archive, with what it leaves for the end."""

    def __init__(self, skipped: list[Skipped], format: str | None) -> None:
        self._skipped, self._format = skipped, format
        self._groups: dict[str, list[File]] = {}
        self._held = 0
        self.seen = 0
        """Files, those inside archives too."""
        self.useless: list[Skipped] = []

    def through(self, path: Path) -> Iterator[Trajectory]:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                parts = file.relative_to(path).parts
                if file.is_file() and not _hidden(parts):
                    yield from self._guarded(str(file), parts, lambda file=file: self._file(file))  # type: ignore[misc]
        else:
            yield from self._guarded(str(path), (), lambda: self._archive(path))
        for name, files in self._groups.items():
            yield from GROUPED[name].read_group(files, self._skipped)

    def _guarded(
        self, where: str, parts: tuple[str, ...], read: Callable[[], Iterator[Trajectory]]
    ) -> Iterator[Trajectory]:
        """What `read` gives; a file that gives nothing is named."""
        self.seen += 1
        if any(Path(part).stem.lower() in _NOT_DATA for part in parts):
            self._skipped.append(Skipped(where, "is no recording, by its name"))
            return
        try:
            yield from read()
        except CorpusError as error:
            self.useless.append(Skipped(where, error.found))
            self._skipped.append(self.useless[-1])

    def _file(self, file: Path) -> Iterator[Trajectory]:
        if kind_of(_head(file)) is not None:
            yield from self._archive(file)
            return
        data = _load(file)
        name = self._format or detect(data)
        if name in GROUPED:
            self._groups.setdefault(name, []).append(File(file.as_posix(), lambda: _load(file)))
        else:
            yield from _read(str(file), data, self._skipped, name, file)

    def _archive(self, path: Path) -> Iterator[Trajectory]:
        self.seen -= 1  # its members are the files
        kind = kind_of(_head(path))
        for label, data in members(path, kind, self._skipped) if kind is not None else ():
            parts = tuple((label or path.name).split("/"))
            if label is None or not _hidden(parts):
                where = str(path) if label is None else f"{path.as_posix()}/{label}"
                # A member's data is gone when the next one is read: what belongs together is held until then.
                yield from self._guarded(where, parts, lambda where=where, data=data: self._member(where, data))  # type: ignore[misc]

    def _member(self, where: str, data: bytes) -> Iterator[Trajectory]:
        _refuse_crumbs(where, data)
        name = self._format or detect(data)
        if name not in GROUPED:
            yield from _read(where, data, self._skipped, name, None)
            return
        packed = zlib.compress(data, 1)
        self._held += len(packed)
        if self._held > HELD_BYTES:
            raise CorpusError(
                where,
                f"belongs to more than {HELD_BYTES >> 30} GiB of {name} files in archives",
                "less can be put together in memory",
                "unpack the archive, and import the folder",
            )
        self._groups.setdefault(name, []).append(File(where, lambda: zlib.decompress(packed)))


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(HEAD_BYTES)
    except OSError as error:
        raise _unreadable(file, error) from error


def _load(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            # A pipe has no size, and a file may grow while it is read.
            too_large = os.fstat(opened.fileno()).st_size > FILE_BYTES
            data = b"" if too_large else opened.read(FILE_BYTES + 1)
    except OSError as error:
        raise _unreadable(file, error) from error
    if too_large or len(data) > FILE_BYTES:
        raise CorpusError(
            str(file),
            f"is larger than {FILE_BYTES >> 30} GiB",
            "a file is read as a whole",
            "split it: `split --line-bytes 1G` keeps the lines of JSONL whole",
        )
    _refuse_crumbs(str(file), data)
    return data


def _refuse_crumbs(where: str, data: bytes) -> None:
    """CorpusError where decoding would take many times the file's size of memory."""
    if found := too_fine(data):
        raise CorpusError(
            where,
            found,
            "no recording has so many so small",
            "check that it is a recording",
        )


def _unreadable(file: Path, error: OSError) -> CorpusError:
    return CorpusError(
        str(file), f"cannot be read ({error.strerror})", "a file or folder is needed", "check the path and its rights"
    )


def _read(
    where: str, data: bytes, skipped: list[Skipped], format: str | None, file: Path | None
) -> Iterator[Trajectory]:
    """The trajectories of one file's content; `file` is None where it lies in an archive."""
    if not data.strip():
        raise CorpusError(where, "is empty", "a recording is needed", "check the path")
    name = format or detect(data)
    if name is None:
        raise _unknown(where, data, file)
    before = len(skipped)
    try:
        yield from IMPORTERS[name].read(data, where, skipped)
    except CorpusError as error:
        lost = skipped[before:]
        if not lost:
            raise
        place = lost[0].where.removeprefix(f"{where}:")
        found = f"{error.found} (lines that could not be used: {len(lost)}; the first, {place}: {lost[0].why})"
        raise CorpusError(error.where, found, error.needed, error.fix) from error


def _unknown(where: str, data: bytes, file: Path | None) -> CorpusError:
    """What a file is that no importer knows, as far as it can be told: the next step differs."""
    if file is not None and is_native(file):
        return CorpusError(
            where, "is a set of trajectories already", "a recording is needed", "use it as it is: --corpus takes it"
        )
    if not any(_is_json(text) for text in (data, *data.split(b"\n", _LINES_LOOKED_AT)[:_LINES_LOOKED_AT])):
        return CorpusError(where, "holds no line of JSON", _KNOWN, "check that it is a recording, and whole")
    return CorpusError(
        where, "is in no known format", _KNOWN, "convert it to openai-chat lines (docs/corpus.md), or leave it out"
    )


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
    except BAD:
        return False
    return True


def _hidden(parts: tuple[str, ...]) -> bool:
    *folders, name = parts
    return any(part.startswith(".") for part in folders) or (name.startswith(".") and name not in _HIDDEN_DATA)
