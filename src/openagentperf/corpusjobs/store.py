"""The native set on disk: one trajectory a line, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from openagentperf import rundir
from openagentperf.corpus.fit import fault
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

SET_NAME = "trajectories.jsonl"


def write_set(folder: Path, trajectories: Iterable[Trajectory]) -> int:
    """Write `trajectories` to `trajectories.jsonl` in `folder`, streamed; returns how many.

    The file appears under its name when it is whole. StorageError where the disk refuses.
    """
    encoder = msgspec.json.Encoder()
    count = 0
    with rundir.atomic(folder / SET_NAME) as file:
        for trajectory in trajectories:
            file.write(encoder.encode(trajectory))
            file.write(b"\n")
            count += 1
    return count


def read_set(folder_or_file: Path, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """Yield the trajectories of a native set, one line in memory at a time.

    A line that is no usable trajectory is left out and added to `skipped` as `file:line` with its reason: one bad line of ten thousand
    must not cost a run, and must not vanish either. CorpusError where the file cannot be read, or where no line is usable.
    """
    path = set_path(folder_or_file)
    decoder = msgspec.json.Decoder(Trajectory)
    usable, before = 0, len(skipped)
    for number, line in _lines(path):
        try:
            trajectory = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            skipped.append(Skipped(f"{path}:{number}", str(error)))
            continue
        if why := fault(trajectory):
            skipped.append(Skipped(f"{path}:{number}", why))
            continue
        usable += 1
        yield trajectory
    if not usable:
        found = "is empty"
        if lost := skipped[before:]:
            found = (
                f"holds no usable trajectory (broken lines: {len(lost)}; the first is {lost[0].where}, {lost[0].why})"
            )
        raise CorpusError(
            str(path),
            found,
            "at least one trajectory is needed",
            "import recordings (`openagentperf corpus import`) or build a set (`openagentperf corpus build`)",
        )


def set_path(folder_or_file: Path) -> Path:
    """The file of a native set."""
    return folder_or_file / SET_NAME if folder_or_file.is_dir() else folder_or_file


def is_native(path: Path) -> bool:
    """Whether `path` is a folder with a native set, or a file of which one of the first lines is a native trajectory."""
    if path.is_dir():
        return (path / SET_NAME).is_file()
    if path.name == SET_NAME:
        return True
    decoder = msgspec.json.Decoder(Trajectory)
    try:
        for number, line in _lines(path):
            if number > _LINES_LOOKED_AT:
                return False
            try:
                decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            return True
    except CorpusError:
        pass
    return False


_LINES_LOOKED_AT = 8
"""A set whose first lines are broken is still a set; a recording of 100 MB is not read to its end to learn that it is none."""


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Non-blank lines with their numbers, from 1."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    yield number, line
    except OSError as error:
        raise CorpusError(
            str(path), f"cannot be read ({error.strerror})", "a set of trajectories is needed", "check the path"
        ) from error
