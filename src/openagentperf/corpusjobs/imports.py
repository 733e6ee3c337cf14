"""Recordings of any known format, files or folders, into one native set."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats.mend import counted
from openagentperf.corpus.formats.skips import Skips
from openagentperf.corpus.rewrites import causes
from openagentperf.corpusjobs.recordings import read_recordings
from openagentperf.corpusjobs.store import write_set
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Skipped, Trajectory, lines


class Rewrite(Struct, frozen=True):
    """A turn whose recording changed its history without declaring a compaction."""

    trajectory: str
    turn: int
    why: str
    """As far as the messages tell: one of corpus.rewrites.CAUSES."""
    branch: str = ""
    """Name of the turn's line; "" is the main one."""


class Noted(Struct, frozen=True):
    """One thing that importers filled in, changed or left out, over the trajectories where it happened."""

    what: str
    trajectories: int
    least: int
    """The smallest number of a trajectory: `what` reads on from it."""
    most: int


class ImportReport(Struct, frozen=True, kw_only=True):
    """What one import read and wrote. JSON-able."""

    files: int
    """Files that gave at least one trajectory."""
    trajectories: int
    branches: int
    """Sub-agents that run beside the line that spawned them."""
    turns: int
    """Of all lines, those of sub-agents too."""
    input_tokens: int
    """Sum over all turns of the whole request."""
    output_tokens: int
    formats: dict[str, int]
    """Trajectories by format."""
    languages: dict[str, int]
    """Trajectories by main language; "" where unknown."""
    noted: tuple[Noted, ...]
    """What was filled in, changed or left out, by kind; each trajectory's own notes stand in the set."""
    skipped: tuple[Skipped, ...]
    """Lines, records and files that were not used, and why."""
    rewritten: tuple[Rewrite, ...]
    """Undeclared rewrites: `prepare` refuses these trajectories unless the plan allows them."""


def import_paths(paths: Sequence[Path], out: Path, format: str | None, licence: str = "") -> ImportReport:
    """Read `paths`, write the native set to the folder `out`, one file in memory at a time.

    format   name of an importer, or None to tell each file's format from its content
    licence  SPDX id of the recordings' text, for trajectories that do not say; no format does

    CorpusError: no path, or one that yields nothing (corpusjobs.recordings says when), or an unknown format. Nothing is written then.
    """
    if not paths:
        raise CorpusError("import", "has no path", "a file or folder of recordings is needed", "name one")
    job = _Job(licence)
    stream = job.passing(itertools.chain.from_iterable(read_recordings(path, job.skipped, format) for path in paths))
    first = next(stream)  # before anything is written: a wish that cannot be carried out leaves no empty folder
    write_set(out, itertools.chain((first,), stream))
    return job.report()


class _Job:
    """Counts what goes by."""

    def __init__(self, licence: str) -> None:
        self.skipped = Skips()
        self._licence = licence
        self._turns = 0
        self._branches = 0
        self._input = 0
        self._output = 0
        self._files: set[str] = set()
        self._formats: Counter[str] = Counter()
        self._languages: Counter[str] = Counter()
        self._rewritten: list[Rewrite] = []
        self._noted: dict[str, list[int]] = {}
        self._ids: set[str] = set()

    def passing(self, stream: Iterable[Trajectory]) -> Iterator[Trajectory]:
        """All of them, their ids made unique."""
        for recorded in stream:
            trajectory = msgspec.structs.replace(
                recorded, id=self._unique(recorded.id), licence=recorded.licence or self._licence
            )
            self._files.add(trajectory.source)
            self._formats[trajectory.format] += 1
            self._languages[trajectory.language] += 1
            self._branches += len(trajectory.branches)
            for line in lines(trajectory):
                self._count(line, trajectory.id)
            for note in trajectory.notes:
                number, what = counted(note)
                self._noted.setdefault(what, []).append(number)
            yield trajectory

    def _count(self, line: Trajectory | Branch, trajectory_id: str) -> None:
        self._turns += len(line.turns)
        name = line.name if isinstance(line, Branch) else ""
        for turn in line.turns:
            self._input += turn.input_tokens
            self._output += turn.output_tokens
        self._rewritten += (Rewrite(trajectory_id, index, why, name) for index, why in causes(line))

    def report(self) -> ImportReport:
        return ImportReport(
            files=len(self._files),
            trajectories=self._formats.total(),
            branches=self._branches,
            turns=self._turns,
            input_tokens=self._input,
            output_tokens=self._output,
            formats=dict(sorted(self._formats.items())),
            languages=dict(sorted(self._languages.items())),
            noted=tuple(
                Noted(what, len(numbers), min(numbers), max(numbers)) for what, numbers in sorted(self._noted.items())
            ),
            skipped=tuple(self.skipped),
            rewritten=tuple(self._rewritten),
        )

    def _unique(self, wish: str) -> str:
        """An id that this set does not hold yet: `id`, `id~2`, `id~3`, ..."""
        name, number = wish, 1
        while name in self._ids:
            number += 1
            name = f"{wish}~{number}"
        self._ids.add(name)
        return name
