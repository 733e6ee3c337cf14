"""The run folder, and the only code that writes files with a name.

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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeVar

import msgspec

from openagentperf.errors import StorageError
from openagentperf.records.phase import Judged, PhaseFacts, PhaseKind
from openagentperf.records.power import Reading
from openagentperf.records.turns import ClientSample, RawTurn, Shift, shifted
from openagentperf.units import Ns

Frame: TypeAlias = RawTurn | ClientSample | Reading
"""A row that is appended while what it belongs to is open."""
Record = TypeVar("Record")

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
    with _renamed(path.with_name(f".{path.name}.{os.getpid()}.tmp"), path, lambda: path) as file:
        yield file


@contextmanager
def atomic_named(folder: Path) -> Iterator[tuple[BinaryIO, Callable[[str], None]]]:
    """Like `atomic` for a name known only at the end (a content hash): call the second item with it before leaving."""
    names: list[str] = []
    with _renamed(folder / f".{os.getpid()}.tmp", folder, lambda: folder / names[-1]) as file:
        yield file, names.append


@contextmanager
def _renamed(temporary: Path, where: Path, name: Callable[[], Path]) -> Iterator[BinaryIO]:
    try:
        with storage_errors(where):
            temporary.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(name())
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
_KINDS: dict[type[Frame | Shift], bytes] = {RawTurn: b"T", ClientSample: b"C", Reading: b"P", Shift: b"S"}


class FrameWriter:
    """Appends the rows of an open phase: u32 length, one kind byte, msgpack. The file object's buffer is flushed per frame."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with storage_errors(path):
            self._file = path.open("ab", buffering=0)

    def put(self, frame: Frame | Shift) -> None:
        self.put_all((frame,))

    def put_all(self, frames: Iterable[Frame | Shift]) -> None:
        """Several rows by one write."""
        parts: list[bytes] = []
        for frame in frames:
            body = _KINDS[type(frame)] + _encode_frame(frame)
            parts += (_LENGTH.pack(len(body)), body)
        self.put_bytes(b"".join(parts))

    def put_bytes(self, frames: bytes) -> None:
        """Frames, or parts of some, as another FrameWriter has written them."""
        with storage_errors(self._path):
            data = memoryview(frames)
            while data:  # a raw file may write less than it was given when the disk fills up
                data = data[self._file.write(data) :]

    def close(self) -> None:
        self._file.close()


class FrameReader:
    """Tails a frame file: each call of `read` yields the whole frames that have come since the last one, in this host's time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._shift_ns: Ns = 0
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
                frame = self._decoders[body[:1]].decode(memoryview(body)[1:])
                if isinstance(frame, Shift):
                    self._shift_ns += frame.ns
                else:
                    yield shifted(frame, self._shift_ns) if self._shift_ns and not isinstance(frame, Reading) else frame


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


def ledger_lines(data: bytes) -> Iterator[LedgerLine | str]:
    """Of a ledger, or a part that begins a line: each whole line, or in words what is wrong with it. A last line without an end is none."""
    for line in data.split(b"\n")[:-1]:
        try:
            yield msgspec.json.decode(line, type=LedgerLine)
        except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or brackets in brackets without an end
            yield f"is not a ledger line ({error})"


def read_ledger(run: Path) -> list[LedgerLine]:
    """Every whole line; a last line cut by a crash is left out. StorageError at one that is none: a run must not go on with it."""
    path = run / "ledger.jsonl"
    found = []
    for number, line in enumerate(ledger_lines(path.read_bytes() if path.exists() else b""), 1):
        if isinstance(line, str):
            raise StorageError(f"{path}:{number}", line, "each line is one JSON object", "restore the file")
        found.append(line)
    return found


def is_run(folder: Path) -> bool:
    """Whether a folder holds something of a run."""
    try:
        return any((folder / name).is_file() for name in ("plan.toml", "run.json", "ledger.jsonl", "result.json"))
    except OSError:  # a folder that this user may not enter
        return False


def newest_s(run: Path) -> float:
    """Wall-clock time at which a run at work last wrote; 0 where it has written nothing. What is made of a run later, its report among
    it, does not count."""
    written = [run / name for name in ("plan.toml", "run.json", "ledger.jsonl", "power.frames", IDLE_SPANS)]
    with suppress(OSError, ValueError):  # no phase has begun
        latest = max((run / "phases").glob("*-n*"))
        written += [latest, *frame_files(latest)]
    newest_s = 0.0
    for path in written:
        with suppress(OSError):
            newest_s = max(newest_s, path.stat().st_mtime)
    return newest_s


def read_record(path: Path, kind: type[Record], needed: str, fix: str) -> Record:
    """A JSON file of a run folder as the type that it was written from; StorageError where it is missing or broken."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, ValueError, RecursionError) as error:  # ValueError: bytes that are no UTF-8 too
        raise StorageError(str(path), f"cannot be read ({error})", needed, fix) from error


def read_facts(phase: Path) -> PhaseFacts:
    return read_record(phase / "phase.json", PhaseFacts, "a judged phase has one", "restore the run folder")
