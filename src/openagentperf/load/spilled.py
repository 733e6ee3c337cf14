"""Records of an open phase that are kept on its disk."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import msgspec

from openagentperf.rundir import Record, storage_errors

_SPILL_BYTES = 1 << 20


class Spilled(Sequence[Record]):
    """Records of an open phase that lie on its disk and not in memory, but for 8 bytes each.

    The file has no name: it goes with its last user, and a kill leaves nothing of it. What it holds is in the frames too.
    """

    def __init__(self, folder: Path, kind: type[Record]) -> None:
        self._folder = folder
        self._encode, self._decoder = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(kind)
        self._ends = array("Q", [0])
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._fd = -1

    def append(self, record: Record) -> None:
        data = self._encode(record)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._ends.append(self._ends[-1] + len(data))
        if self._waiting_bytes > _SPILL_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = memoryview(b"".join(self._waiting))
        self._waiting, self._waiting_bytes = [], 0
        with storage_errors(self._folder):
            if self._fd < 0:
                self._fd, name = tempfile.mkstemp(prefix=".spilled.", dir=self._folder)
                os.unlink(name)
            while data:
                data = data[os.write(self._fd, data) :]

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> list[Record]: ...
    def __getitem__(self, at: int | slice) -> Record | list[Record]:
        if isinstance(at, slice):
            return [self[place] for place in range(len(self))[at]]
        if self._waiting:
            self._flush()
        place = range(len(self))[at]
        start, end = self._ends[place], self._ends[place + 1]
        return self._decoder.decode(os.pread(self._fd, end - start, start))

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
