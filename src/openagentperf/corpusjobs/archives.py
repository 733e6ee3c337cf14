"""Recordings inside archives: members are read one after the other in memory. Nothing is ever unpacked to disk.

    zip; tar; gz, bz2, xz and zst, of a tar or of one file          told from their first bytes, not from their names

An archive comes from somebody else, and may have been made to do harm: names that lead out of a folder, links, devices, a few kilobytes
that become terabytes, archives inside archives. A name is only a label here, and all that is read has a limit (`Limits`).
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Literal, TypeAlias

from msgspec import Struct

from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_Stream: TypeAlias = IO[bytes] | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile | zstd.ZstdFile
Kind: TypeAlias = Literal["zip", "tar", "gz", "bz2", "xz", "zst"]

HEAD_BYTES = 512
"""What `kind_of` looks at: one block of a tar."""
_CHUNK: Final = 1 << 20
_BROKEN = (
    OSError, EOFError, ValueError, NotImplementedError, RuntimeError, OverflowError, struct.error,
    zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zstd.ZstdError,
)  # fmt: skip
"""What reading a broken archive can raise."""
_DRIVE = re.compile(r"[A-Za-z]:")


class Limits(Struct, frozen=True):
    """What is read of one archive at most."""

    members: int = 100_000
    """Entries of any type."""
    member_bytes: int = 1 << 30
    """Of one member, unpacked: it is in memory as a whole."""
    total_bytes: int = 1 << 34
    """Of all members, unpacked."""
    ratio: int = 1000
    """Unpacked to packed bytes, over the whole archive. 200 requests that repeat their history reach 400 in an xz; deflate cannot exceed
    1032, the others can exceed it by orders of magnitude."""
    ratio_from_bytes: int = 1 << 26
    """Below so many unpacked bytes any ratio is harmless."""
    header_bytes: int = 1 << 24
    """Of a zip's directory, or of what stands between two members of a tar: both are read into memory before they can be judged."""


LIMITS = Limits()


class _TooMuchError(Exception):
    """A limit was reached; the message says which."""


class _Budget:
    """Counts what has been unpacked."""

    def __init__(self, packed: int, limits: Limits) -> None:
        self._packed, self._limits = max(1, packed), limits
        self._unpacked = 0

    def take(self, size: int) -> None:
        self._unpacked += size
        limits = self._limits
        if self._unpacked > limits.total_bytes:
            raise _TooMuchError(f"holds more than {_size(limits.total_bytes)} unpacked")
        if self._unpacked > max(limits.ratio_from_bytes, limits.ratio * self._packed):
            raise _TooMuchError(f"unpacks to more than {limits.ratio} times its size")


def kind_of(head: bytes) -> Kind | None:
    """What kind of archive begins with these bytes; None where it is none."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b"):
        return "gz"
    if head.startswith(b"BZh") and head[4:10] in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"):
        return "bz2"
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zst"
    return "tar" if head[257:262] == b"ustar" else None


def members(
    path: Path, kind: Kind, skipped: list[Skipped], limits: Limits = LIMITS
) -> Iterator[tuple[str | None, bytes]]:
    """Every file in an archive: its name, parts divided by "/" (None for a compressed file that is no archive), and its bytes.

    What is not read stands in `skipped`, with why; what was read before an archive broke or a limit was reached is kept.
    CorpusError where the archive cannot be opened at all.
    """
    begun = False
    try:
        with path.open("rb") as file:
            budget = _Budget(path.stat().st_size, limits)
            if kind == "zip":
                found = _of_zip(file, str(path), skipped, limits, budget)
            else:
                found = _of_stream(_unpacking(file, kind), str(path), skipped, limits, budget)
            for member in found:
                begun = True
                yield member
    except _TooMuchError as error:
        skipped.append(Skipped(str(path), f"{error}: the rest of it was not read; unpack it to use all of it"))
    except _BROKEN as error:
        what = f"is a broken {kind} archive ({error})" if str(error) else f"is a broken {kind} archive"
        if not begun:
            raise CorpusError(str(path), what, "a whole one is needed", "fetch it again") from error
        skipped.append(Skipped(str(path), f"{what}: the rest of it was not read"))


def _unpacking(file: IO[bytes], kind: Kind) -> _Stream:
    if kind == "gz":
        return gzip.GzipFile(fileobj=file)
    if kind == "bz2":
        return bz2.BZ2File(file)
    if kind == "xz":
        return lzma.LZMAFile(file)
    return zstd.ZstdFile(file) if kind == "zst" else file


def _of_stream(
    stream: _Stream, where: str, skipped: list[Skipped], limits: Limits, budget: _Budget
) -> Iterator[tuple[str | None, bytes]]:
    """A tar, or one file."""
    with stream:
        head = _up_to(stream, HEAD_BYTES)
        inner = kind_of(head)
        if inner == "tar":
            yield from _of_tar(_Metered(head, stream, budget, limits), where, skipped, limits)
        elif inner is not None:
            skipped.append(Skipped(where, f"holds an archive ({inner}) itself: unpack it"))
        else:
            yield None, b"".join(_chunks(stream, limits.member_bytes, budget, head))


class _Metered(io.RawIOBase):
    """The unpacked bytes of a tar, counted on their way to `tarfile`, which reads whatever length a header claims."""

    def __init__(self, head: bytes, stream: _Stream, budget: _Budget, limits: Limits) -> None:
        self._head, self._stream, self._budget = head, stream, budget
        self._limit = limits.header_bytes
        self._left = self._limit

    def readable(self) -> bool:
        return True

    def allow(self, size: int) -> None:
        """Until the next call at most so many bytes, and a header, are read."""
        self._left = size + self._limit

    def read(self, size: int = -1) -> bytes:
        data, self._head = self._head[:size], self._head[size:]
        if len(data) < size:
            data += _up_to(self._stream, size - len(data))
        self._budget.take(len(data))
        self._left -= len(data)
        if self._left < 0:
            raise _TooMuchError(f"has a header of more than {_size(self._limit)}")
        return data


def _of_tar(
    metered: _Metered, where: str, skipped: list[Skipped], limits: Limits
) -> Iterator[tuple[str | None, bytes]]:
    with tarfile.open(fileobj=metered, mode="r|", bufsize=16 * 512) as tar:
        count = 0
        while (member := tar.next()) is not None:
            # It keeps every member and every global header that it has seen, however long.
            del tar.members[:]  # type: ignore[attr-defined]
            tar.pax_headers = {}
            count += 1
            if count > limits.members:
                raise _TooMuchError(f"has more than {limits.members} members")
            metered.allow(max(0, member.size))
            if member.isdir():
                continue
            label = _label(member.name)
            why = _unsafe(member.name)
            if not why and not member.isreg():
                why = "is a link" if member.issym() or member.islnk() else "is no file"
            if not why and not 0 <= member.size <= limits.member_bytes:
                why = f"is larger than {_size(limits.member_bytes)}: unpack the archive"
            if why:
                skipped.append(Skipped(f"{where}/{label}", why))
                continue
            content = tar.extractfile(member)
            data = _up_to(content, member.size) if content is not None else b""
            if not _is_archive(data, f"{where}/{label}", skipped):
                yield label, data
        metered.allow(limits.total_bytes)
        while tar.fileobj is not None and (data := tar.fileobj.read(_CHUNK)):
            if data.strip(b"\0"):
                # `tarfile` takes a broken header for the end.
                skipped.append(Skipped(where, "is a broken tar archive: the rest of it was not read"))
                break


def _of_zip(
    file: IO[bytes], where: str, skipped: list[Skipped], limits: Limits, budget: _Budget
) -> Iterator[tuple[str | None, bytes]]:
    with zipfile.ZipFile(_Directory(file, limits.header_bytes)) as archive:
        infos = archive.infolist()
        if len(infos) > limits.members:
            raise _TooMuchError(f"has more than {limits.members} members")
        for info in infos:
            if info.is_dir():
                continue
            label = _label(info.filename)
            why = _unsafe(info.filename) or _unreadable(info, limits)
            if why:
                skipped.append(Skipped(f"{where}/{label}", why))
                continue
            try:
                with archive.open(info) as content:
                    data = b"".join(_chunks(content, limits.member_bytes, budget))
            except _BROKEN as error:
                skipped.append(Skipped(f"{where}/{label}", f"is broken ({error})"))
                continue
            if not _is_archive(data, f"{where}/{label}", skipped):
                yield label, data


class _Directory(io.BufferedIOBase):
    """A zip's file, of which no more than `limit` is read at once: `zipfile` reads a directory of whatever length is claimed."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self._limit = file, limit

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > self._limit:
            raise _TooMuchError(f"has a directory of more than {_size(self._limit)}")
        return self._file.read(self._limit if size is None or size < 0 else size)


def _unreadable(info: zipfile.ZipInfo, limits: Limits) -> str:
    """Why a member of a zip is not read; "" where it is."""
    if info.flag_bits & 1:
        return "is encrypted: unpack the archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Python unpacks the other methods without a bound: 1 MB of bzip2 may become 20 GB in one step.
        return f"is compressed by another method than deflate ({info.compress_type}): unpack the archive"
    if info.file_size > limits.member_bytes:
        return f"is larger than {_size(limits.member_bytes)}: unpack the archive"
    return ""


def _is_archive(data: bytes, where: str, skipped: list[Skipped]) -> bool:
    """Whether a member is an archive itself; it is not opened."""
    kind = kind_of(data[:HEAD_BYTES])
    if kind is not None:
        skipped.append(Skipped(where, f"is an archive ({kind}) inside an archive: unpack it"))
    return kind is not None


def _chunks(stream: _Stream, limit: int, budget: _Budget, head: bytes = b"") -> Iterator[bytes]:
    """All of a stream that is expected to hold at most `limit` bytes; `head` was read of it already."""
    read = 0
    data = head or stream.read(_CHUNK)
    while data:
        read += len(data)
        budget.take(len(data))
        if read > limit:
            raise _TooMuchError(f"holds a file of more than {_size(limit)}")
        yield data
        data = stream.read(_CHUNK)


def _up_to(stream: _Stream, size: int) -> bytes:
    """`size` bytes, fewer only at the end: a stream may give less at once."""
    parts: list[bytes] = []
    while size > 0 and (data := stream.read(min(size, _CHUNK))):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _unsafe(name: str) -> str:
    """Why a member's name is not that of a file below a folder; "" where it is."""
    path = name.replace("\\", "/")
    if path.startswith("/") or _DRIVE.match(path):
        return "has an absolute name"
    if ".." in path.split("/"):
        return "has a name that leads out of its folder"
    return ""


def _label(name: str) -> str:
    """A member's name as it is shown: no control characters, which a terminal would obey."""
    path = "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
    return "".join(char if char.isprintable() else "\ufffd" for char in path)[:300]


def _size(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count} bytes"
