"""Recordings of which one session lies in several files: what an importer gets that reads them together (`read_group`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from openagentperf.corpus.formats.lines import why
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped


class File(NamedTuple):
    where: str
    """Its path as users are told it, folders divided by "/"."""
    read: Callable[[], bytes]
    """The whole file, read anew at each call: a folder may be larger than the memory. Raises CorpusError."""

    @property
    def folder(self) -> str:
        return folder_of(self.where)


def folder_of(where: str) -> str:
    """What stands before the last "/"; "" where there is none."""
    return where.rpartition("/")[0]


def contents(files: Iterable[File], skipped: list[Skipped]) -> Iterator[tuple[str, bytes]]:
    """Each file with its path, one in memory at a time; one that cannot be read goes to `skipped`."""
    for file in files:
        try:
            data = file.read()
        except CorpusError as error:
            skipped.append(Skipped(file.where, why(error.found)))
        else:
            yield file.where, data
