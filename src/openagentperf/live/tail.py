"""Files of a run folder read as they grow: only what is new, in slices of time, whatever else happens to them meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from openagentperf.rundir import Frame, FrameReader, LedgerLine, ledger_lines

_SLICE = 256
"""Rows between two looks at the clock: a row takes some 50 us to decode."""


class FrameTail:
    """One frame file. A file that was replaced is read from its start; what is no frame ends the reading and is said in `broken`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken = ""
        self.behind = False
        """The last `read` stopped for want of time."""
        self._inode = -1
        self._reader = FrameReader(path)

    def read(self, until_s: float) -> Iterator[Frame]:
        """The frames that are new, until `time.monotonic()` passes `until_s`."""
        was_behind, self.behind = self.behind, False
        try:
            inode = self.path.stat().st_ino
        except OSError:  # the phase is being closed: what was not read by now stays unread
            self.behind = was_behind
            return
        if inode != self._inode:
            self._inode, self._reader, self.broken = inode, FrameReader(self.path), ""
        if self.broken:
            return
        try:
            for count, frame in enumerate(self._reader.read(), 1):
                yield frame
                if count % _SLICE == 0 and time.monotonic() >= until_s:
                    self.behind = True
                    return
        except FileNotFoundError:  # the phase was closed between two looks
            return
        except (OSError, KeyError, msgspec.DecodeError, RecursionError, OverflowError) as error:
            self.broken = f"{self.path.name} cannot be read any further ({type(error).__name__}: {error})"


class LedgerTail:
    """`ledger.jsonl`: whole lines, in order. A line that is none of ours is left out and said in `broken`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._inode = -1
        self._lines = 0
        self.broken = ""
        self.written_s: float | None = None
        """Wall-clock time of its last line; None where there is no ledger."""
        self.restarted = False
        """The file was replaced by another or grew shorter: what `read` gives now comes in place of all before."""

    def read(self) -> list[LedgerLine]:
        try:
            with self._path.open("rb") as file:
                told = os.fstat(file.fileno())
                self.restarted = self._inode >= 0 and (told.st_ino != self._inode or told.st_size < self._offset)
                if self.restarted:
                    self._offset = self._lines = 0
                    self.broken = ""
                self._inode, self.written_s = told.st_ino, told.st_mtime
                file.seek(self._offset)
                data = file.read()
        except OSError:
            self.restarted, self.written_s = False, None
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        found = []
        for line in ledger_lines(whole):
            self._lines += 1
            if isinstance(line, str):
                self.broken = f"{self._path.name}:{self._lines} {line}"
            else:
                found.append(line)
        return found
