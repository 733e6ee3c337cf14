"""Recordings of any known format, files or folders, into one native set."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from openagentperf.corpus.detect import IMPORTERS, detect
from openagentperf.corpusjobs.store import write_set
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

_NOT_DATA = frozenset({"licenses", "license", "licence", "readme", "sources", "index", "notice", "copying"})
"""Stems that lie beside recordings: texts about them, and indexes of them."""


class Rewrite(Struct, frozen=True):
    """A turn whose recording changed its history without declaring a compaction."""

    trajectory: str
    turn: int


class ImportReport(Struct, frozen=True, kw_only=True):
    """What one import read and wrote. JSON-able."""

    files: int
    """Files that gave at least one trajectory."""
    trajectories: int
    turns: int
    input_tokens: int
    """Sum over all turns of the whole request."""
    output_tokens: int
    formats: dict[str, int]
    """Trajectories by format."""
    languages: dict[str, int]
    """Trajectories by main language; "" where unknown."""
    skipped: tuple[Skipped, ...]
    """Lines, records and files that were not used, and why."""
    rewritten: tuple[Rewrite, ...]
    """Undeclared rewrites: `prepare` refuses these trajectories unless the plan allows them."""


def import_paths(paths: Sequence[Path], out: Path, format: str | None) -> ImportReport:
    """Read `paths`, write the native set to the folder `out`, one file in memory at a time.

    format  name of an importer, or None to tell each file's format from its content

    A folder is searched through; what it holds besides recordings is listed as skipped. CorpusError: a path that is not there,
    an unknown format, a file named in `paths` that yields nothing, or nothing usable at all. Nothing is written then.
    """
    if format is not None and format not in IMPORTERS:
        raise CorpusError(
            f"format `{format}`", "unknown", f"one of {', '.join(IMPORTERS)} is needed", "name one, or none"
        )
    job = _Job(format)
    stream = job.trajectories(paths)
    first = next(stream, None)
    if first is None:
        where = ", ".join(map(str, paths)) or "no path"
        seen = f"nothing usable in it ({len(job.skipped)} skipped)"
        if job.skipped:
            seen += f"; the first: {job.skipped[0].where}: {job.skipped[0].why}"
        raise CorpusError(
            where, seen, f"recordings were needed: {', '.join(IMPORTERS)}", "name a file or folder of them"
        )
    write_set(out, itertools.chain((first,), stream))
    return job.report()


class _Job:
    """Counts what goes by."""

    def __init__(self, format: str | None) -> None:
        self.skipped: list[Skipped] = []
        self._format = format
        self._files = 0
        self._turns = 0
        self._input = 0
        self._output = 0
        self._formats: Counter[str] = Counter()
        self._languages: Counter[str] = Counter()
        self._rewritten: list[Rewrite] = []
        self._ids: set[str] = set()

    def trajectories(self, paths: Sequence[Path]) -> Iterator[Trajectory]:
        """All trajectories of all paths, their ids made unique."""
        for path in paths:
            if path.is_dir():
                for file in sorted(path.rglob("*")):
                    if file.is_file():
                        yield from self._found(file, path)
            else:
                yield from self._counted(self._named(path))

    def report(self) -> ImportReport:
        return ImportReport(
            files=self._files,
            trajectories=self._formats.total(),
            turns=self._turns,
            input_tokens=self._input,
            output_tokens=self._output,
            formats=dict(sorted(self._formats.items())),
            languages=dict(sorted(self._languages.items())),
            skipped=tuple(self.skipped),
            rewritten=tuple(self._rewritten),
        )

    def _named(self, path: Path) -> Iterator[Trajectory]:
        """A file that the caller named: it must give something."""
        data = _bytes_of(path)
        source = path.as_posix()
        name = self._format or detect(data, source)
        if name is None:
            raise CorpusError(
                source,
                "a format that is not known",
                f"one of {', '.join(IMPORTERS)} was needed",
                "name it with --format",
            )
        return IMPORTERS[name](data, source, self.skipped)

    def _found(self, file: Path, root: Path) -> Iterator[Trajectory]:
        """A file that lay in a named folder: if it gives nothing, that is a row of `skipped`."""
        source = file.as_posix()
        inner = file.relative_to(root)
        if any(Path(part).stem.lower() in _NOT_DATA for part in inner.parts):
            self.skipped.append(Skipped(source, "not a recording, by its name"))
            return
        try:
            yield from self._counted(self._named(file))
        except CorpusError as error:
            self.skipped.append(Skipped(source, f"{error.found}, {error.needed}" if error.needed else error.found))

    def _counted(self, stream: Iterator[Trajectory]) -> Iterator[Trajectory]:
        some = False
        for trajectory in stream:
            unique = self._unique(trajectory)
            some = True
            self._formats[unique.format] += 1
            self._languages[unique.language] += 1
            self._turns += len(unique.turns)
            for index, turn in enumerate(unique.turns):
                self._input += turn.input_tokens
                self._output += turn.output_tokens
                if turn.cut == "undeclared":
                    self._rewritten.append(Rewrite(unique.id, index))
            yield unique
        self._files += some

    def _unique(self, trajectory: Trajectory) -> Trajectory:
        """The trajectory under an id that this set does not hold yet: `id`, `id~2`, `id~3`, ..."""
        name = trajectory.id
        number = 1
        while name in self._ids:
            number += 1
            name = f"{trajectory.id}~{number}"
        self._ids.add(name)
        return trajectory if name == trajectory.id else msgspec.structs.replace(trajectory, id=name)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorpusError(
            str(path), f"cannot be read ({error.strerror})", "a file or folder is needed", "check it"
        ) from error
