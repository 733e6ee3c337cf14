"""Real recordings of every format in the real set after an accident: an error that says so, or what is left of them, fit to be sent."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import pytest

import index_rows
from openagentperf.corpus.detect import IMPORTERS, detect
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped
from openagentperf.seeds import Stream
from sendable import assert_sendable
from shared_data import real

Accident: TypeAlias = Callable[[bytes, Stream], bytes]


def cut(data: bytes, chance: Stream) -> bytes:
    return data[: chance.below(len(data))]


def beheaded(data: bytes, chance: Stream) -> bytes:
    return data[chance.below(len(data)) :]


def holed(data: bytes, chance: Stream) -> bytes:
    """A block of the disk is zeros."""
    at = chance.below(len(data))
    return data[:at] + bytes(min(512, len(data) - at)) + data[at + 512 :]


def foreign(data: bytes, chance: Stream) -> bytes:
    """Bytes that are no UTF-8, in three places."""
    for _ in range(3):
        at = chance.below(len(data))
        data = data[:at] + b"\xff\xfe\xc3" + data[at:]
    return data


def doubled(data: bytes, chance: Stream) -> bytes:
    """A third of the lines stand there twice."""
    return b"".join(line * (1 + (chance.below(3) == 0)) for line in data.splitlines(keepends=True))


def shuffled(data: bytes, chance: Stream) -> bytes:
    lines = data.splitlines(keepends=True)
    for place in range(len(lines) - 1, 0, -1):
        other = chance.below(place + 1)
        lines[place], lines[other] = lines[other], lines[place]
    return b"".join(lines)


def joined(data: bytes, chance: Stream) -> bytes:
    """Line ends are lost here and there: two processes wrote to one file."""
    return b"".join(line.rstrip(b"\n") if chance.below(8) == 0 else line for line in data.splitlines(keepends=True))


def thinned(data: bytes, chance: Stream) -> bytes:
    return b"".join(line for line in data.splitlines(keepends=True) if chance.below(4))


def nested(data: bytes, chance: Stream) -> bytes:
    """100,000 brackets, in a line of their own and inside of what is there."""
    at = chance.below(len(data))
    return b"[" * 100_000 + b"\n" + data[:at] + b'{"a":' * 100_000 + data[at:]


ACCIDENTS: tuple[Accident, ...] = (cut, beheaded, holed, foreign, doubled, shuffled, joined, thinned, nested)
MOST_BYTES = 200_000
"""Of a longer file the beginning, to the end of a line: a trace of 3 MB makes 350 MB of text."""


@cache
def files(format: str) -> list[tuple[str, bytes]]:
    """The smallest first."""
    rows = sorted(index_rows.rows(format), key=lambda row: int(row["bytes"]))
    return [(row["file"], real(row["file"]).read_bytes()) for row in rows]


def check(format: str, number: int, accident: Accident, seed: int) -> None:
    file, data = files(format)[number]
    if len(data) > MOST_BYTES and data.count(b"\n") > 1:
        data = data[: data.rfind(b"\n", 0, MOST_BYTES) + 1]
    spoiled = accident(data, Stream(seed, f"{file} {accident.__name__}"))
    detect(spoiled)
    skipped: list[Skipped] = []
    found, where = 0, file
    try:
        for session in IMPORTERS[index_rows.IMPORTER[format]].read(spoiled, file, skipped):
            assert_sendable(session)
            found += 1
    except CorpusError as error:
        where = error.where
        assert found == 0, "a file that gave something is no error"
    assert where == file
    assert all(row.where.startswith(file) and row.why for row in skipped)


@pytest.mark.parametrize("accident", ACCIDENTS)
@pytest.mark.parametrize("format", index_rows.IMPORTER)
def test_small_files(format: str, accident: Accident) -> None:
    for number in range(min(2, len(files(format)))):
        check(format, number, accident, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("accident", ACCIDENTS)
@pytest.mark.parametrize("format", index_rows.IMPORTER)
def test_all_files(format: str, accident: Accident) -> None:
    for number in range(len(files(format))):
        for seed in range(5):
            check(format, number, accident, seed)
