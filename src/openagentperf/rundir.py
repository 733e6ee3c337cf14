"""The run folder, and the only code that writes files.

    runs/<time>-<digest8>/
      plan.toml  environment.json  corpus.card.json  ledger.jsonl
      meters.json  idle.json  idle.parquet  where there are meters; power.frames while the run is going on
      phases/003-n0064/   rows-w0.frames while the phase is open, then turns, reads, client and power.parquet, phase.json, raw/
      result.json         written last; without it the run has not finished and can be resumed at its next phase

Four ways to write, by what a crash may cost:
- `atomic`: a whole file by temp file, fsync and rename: there or not there, never half;
- `append_line`: one JSON line at the end of a ledger, fsynced: a cut last line is ignored by its reader;
- `LineWriter`: JSON lines of a log that grows while it is watched, not fsynced; a cut last line is cut off when it is opened again;
- `FrameWriter`: length-prefixed msgpack frames of an open phase, not fsynced (a worker must not wait for a disk): readable after a kill
  up to the last whole frame.

A full disk, a quota and a file-size limit are one thing to a caller: StorageError, with what was being written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeVar, overload

import msgspec

from openagentperf.errors import StorageError
from openagentperf.records.phase import Judged, PhaseFacts, PhaseKind
from openagentperf.records.power import Reading
from openagentperf.records.turns import ClientSample, RawTurn
from openagentperf.units import Ns

Frame: TypeAlias = RawTurn | ClientSample | Reading
"""A row that is appended while what it belongs to is open."""
Record = TypeVar("Record", bound=msgspec.Struct)

METERS, POWER, IDLE, IDLE_SPANS = "meters.json", "power.parquet", "idle.parquet", "idle.json"
"""Names in a run folder (`POWER`: in a phase's)."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of a write to `path` into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(
                str(path), f"the disk is full ({error.strerror})", "the run's rows must be kept",
                "free space or choose another folder with --out; what was written so far is readable",
            ) from error  # fmt: skip
        raise StorageError(
            str(path),
            f"cannot be written ({error.strerror})",
            "a writable folder is needed",
            "choose another with --out",
        ) from error


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name whole, or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
    finally:
        with suppress(OSError):  # gone already where it was renamed, never made where the folder could not be
            temporary.unlink()


@contextmanager
def atomic_named(folder: Path) -> Iterator[tuple[BinaryIO, Callable[[str], None]]]:
    """Like `atomic` for a name known only at the end (a content hash): call the second item with it before leaving."""
    names: list[str] = []
    temporary = folder / f".{os.getpid()}.tmp"
    try:
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                yield file, names.append
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(folder / names[-1])
    finally:
        with suppress(OSError):  # gone already where it was renamed, never made where the folder could not be
            temporary.unlink()


def write(path: Path, data: bytes) -> None:
    """`atomic` for bytes at hand."""
    with atomic(path) as file:
        file.write(data)


def write_private(path: Path, data: bytes) -> None:
    """A new file that only its owner can read, from its first byte on. FileExistsError, as a StorageError, where it is there."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def append_line(path: Path, record: msgspec.Struct) -> None:
    """One JSON line, on disk when this returns. What a crash or a full disk left of a line before it is cut off first."""
    with storage_errors(path), path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(msgspec.json.encode(record) + b"\n")
        file.flush()
        os.fsync(file.fileno())


class LineWriter:
    """Appends JSON lines to a log that this process alone writes, each handed to the kernel before `put` returns.

    Not fsynced: kill -9 loses nothing, a power cut the last seconds. What a crash left of a line is cut off first. StorageError where the
    file cannot be written, or another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                raise StorageError(
                    str(path),
                    "is being written by another process",
                    "one at a time may",
                    "name another folder with --out",
                ) from None
            self._cut_broken_line()

    def put(self, record: msgspec.Struct) -> None:
        data = memoryview(msgspec.json.encode(record) + b"\n")
        with storage_errors(self._path):
            while data:  # a raw file may write less than it was given when the disk fills up
                data = data[self._file.write(data) :]

    def close(self) -> None:
        self._file.close()

    def _cut_broken_line(self) -> None:
        size = end = self._file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BLOCK_BYTES)
            self._file.seek(start)
            newline = self._file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            self._file.truncate(end)


_BLOCK_BYTES = 1 << 16


_LENGTH = struct.Struct("<I")
_encode_frame = msgspec.msgpack.Encoder().encode
_KINDS: dict[type[Frame], bytes] = {RawTurn: b"T", ClientSample: b"C", Reading: b"P"}


class FrameWriter:
    """Appends the rows of an open phase: u32 length, one kind byte, msgpack. The file object's buffer is flushed per frame."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with storage_errors(path):
            self._file = path.open("ab", buffering=0)

    def put(self, frame: Frame) -> None:
        self.put_all((frame,))

    def put_all(self, frames: Iterable[Frame]) -> None:
        """Several rows by one write."""
        parts: list[bytes] = []
        for frame in frames:
            body = _KINDS[type(frame)] + _encode_frame(frame)
            parts += (_LENGTH.pack(len(body)), body)
        with storage_errors(self._path):
            data = memoryview(b"".join(parts))
            while data:  # a raw file may write less than it was given when the disk fills up
                data = data[self._file.write(data) :]

    def close(self) -> None:
        self._file.close()


class FrameReader:
    """Tails a frame file: each call of `read` yields the whole frames that have come since the last one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._decoders = {mark: msgspec.msgpack.Decoder(kind) for kind, mark in _KINDS.items()}

    def read(self) -> Iterator[Frame]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
                length = _LENGTH.unpack(head)[0]
                body = file.read(length)
                if len(body) < length:
                    return  # still being written, or cut by a kill
                self._offset += _LENGTH.size + length
                yield self._decoders[body[:1]].decode(memoryview(body)[1:])


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


_SPILL_BYTES = 1 << 20


def phase_folder(run: Path, index: int, agents: int) -> Path:
    return run / "phases" / f"{index:03d}-n{agents:04d}"


def frames_path(phase: Path, worker: int) -> Path:
    return phase / f"rows-w{worker}.frames"


def frame_files(phase: Path) -> list[Path]:
    return sorted(phase.glob("rows-w*.frames"))


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `ledger.jsonl`: an attempt begins, then it is judged or broken off. None is ever removed."""

    event: str
    """`begun`, `judged`, `broken` or `finished`."""
    index: int = -1
    agents: int = 0
    kind: PhaseKind = "search"
    why: str = ""
    start_ns: Ns | None = None
    """Of a begun line: when agent 0 starts (`PhaseOrder.start_ns`), so that an open phase can be watched."""
    judged: Judged | None = None


def read_ledger(run: Path) -> list[LedgerLine]:
    """Every whole line; a last line cut by a crash is left out."""
    path = run / "ledger.jsonl"
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    found = []
    for number, line in enumerate(lines[:-1], 1):  # what follows the last newline is not a whole line
        with suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode(line, type=LedgerLine))
            continue
        raise StorageError(
            f"{path}:{number}", "is not a ledger line", "each line is one JSON object", "restore the file"
        )
    return found


def read_record(path: Path, kind: type[Record], needed: str, fix: str) -> Record:
    """A JSON file of a run folder as the struct it was written from; StorageError where it is missing or broken."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise StorageError(str(path), f"cannot be read ({error})", needed, fix) from error


def read_facts(phase: Path) -> PhaseFacts:
    return read_record(phase / "phase.json", PhaseFacts, "a judged phase has one", "restore the run folder")
