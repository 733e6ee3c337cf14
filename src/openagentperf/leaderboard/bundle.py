"""A bundle: the files of a run folder that its result follows from, in one archive, with their hashes and, if wished, a signature.

    NAME/SHA256SUMS        one line a file, the form of `sha256sum`: `sha256sum -c SHA256SUMS` checks an unpacked bundle
    NAME/SHA256SUMS.sig    OpenSSH signature over it (sshsig), namespace `openagentperf-bundle`; only where it was signed
    NAME/plan.toml ...     as in docs/run-folder.md, without raw bytes of answers, logs and read times

The *content* of a run is the SHA-256 of those lines without `reads.parquet`: a folder and every bundle of it have the same. The same folder
gives the same archive, byte for byte, wherever and whenever it is packed with one version of zlib or zstd; its content is so with any.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Protocol, TypeAlias

from openagentperf import rundir
from openagentperf.corpusjobs import archives
from openagentperf.errors import CorpusError, StorageError, UsageError
from openagentperf.leaderboard import sshsig
from openagentperf.records.trajectory import Skipped
from openagentperf.sim.account import BANDS, SIMULATION, USAGE

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SUMS, SIGNATURE, LAUNCH = "SHA256SUMS", "SHA256SUMS.sig", "launch.txt"
NAMESPACE = "openagentperf-bundle"
ENDINGS = (".tar.zst", ".zip")
TOP = (
    "plan.toml", "environment.json", "corpus.card.json", "run.json", "ledger.jsonl", "result.json", "meters.json", "idle.json",
    "idle.parquet", SIMULATION, BANDS, LAUNCH,
)  # fmt: skip
"""Files beside `phases/`. `launch.txt` is the submitter's: how the server was started, declared and never checked."""
READS = "reads.parquet"
_OF_PHASE = ("phase.json", "turns.parquet", "client.parquet", "power.parquet", USAGE, READS)
_PHASE = re.compile(r"phases/\d{3,6}-n\d{4,9}/(?P<file>[a-z.]+)")
_SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")
LIMITS = archives.Limits(members=200_000, member_bytes=1 << 31, total_bytes=1 << 34)
_CHUNK = 1 << 20


def belongs(name: str) -> bool:
    """Whether a file of this relative name is part of what a bundle may hold."""
    found = _PHASE.fullmatch(name)
    return name in TOP or (found is not None and found["file"] in _OF_PHASE)


def hashes(run: Path, reads: bool = False) -> dict[str, str]:
    """SHA-256 of every file of a run folder that belongs, by relative name, sorted. StorageError for a link, or one that cannot be read.

    reads   of `reads.parquet` too, the largest of all: else only where the folder has a SHA256SUMS that may list them
    """
    reads = reads or (run / SUMS).exists()
    return {name: _hash(run, name) for name in _names(run, reads)}


def _names(run: Path, reads: bool) -> list[str]:
    names = [name for name in TOP if (run / name).exists()]
    names += [path.relative_to(run).as_posix() for path in run.glob("phases/*/*")]
    return sorted(name for name in names if belongs(name) and (reads or not name.endswith(READS)))


def _hash(run: Path, name: str) -> str:
    path = run / name
    digest = hashlib.sha256()
    try:
        # A link in somebody's folder may lead to any file of this host, which a site would then publish.
        parts = [path, *list(path.parents)[: name.count("/")]]
        if any(stat.S_ISLNK(part.lstat().st_mode) for part in parts) or not path.is_file():
            raise StorageError(
                str(path), "is a link or no file", "files of a run are files", "copy the run without links"
            )
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                digest.update(data)
    except OSError as error:
        raise StorageError(str(path), f"cannot be read ({error.strerror})", "", "restore the run folder") from error
    return digest.hexdigest()


def sums(of: Mapping[str, str]) -> bytes:
    return "".join(f"{digest}  {name}\n" for name, digest in of.items()).encode()


def content(of: Mapping[str, str]) -> str:
    """64 hex digits that name what a run holds."""
    return hashlib.sha256(sums({name: digest for name, digest in of.items() if not name.endswith(READS)})).hexdigest()


def disagreeing(stated: bytes, of: Mapping[str, str]) -> list[str]:
    """Where a SHA256SUMS file and the files differ, in words. Names that belong to no bundle are passed over: they are not read either."""
    told: dict[str, str] = {}
    for number, line in enumerate(stated.decode(errors="replace").splitlines(), 1):
        found = _SUM.fullmatch(line)
        if found is None:
            return [f"{SUMS}:{number} is no line of it"]
        told[found[2].removeprefix("./")] = found[1]
    names = [name for name in sorted(told.keys() | of.keys()) if belongs(name)]
    words = {(True, False): "is missing", (False, True): f"is not listed in {SUMS}", (True, True): "was changed"}
    return [f"{name} {words[name in told, name in of]}" for name in names if told.get(name) != of.get(name)]


def check_packable(run: Path, out: Path, reads: bool = False) -> None:
    """Before anything is read. UsageError for an ending that is none, and for more than `verify` unpacks."""
    if not out.name.endswith(ENDINGS):
        raise UsageError(
            str(out), "has an ending that says no form", f"{' or '.join(ENDINGS)} was needed", "rename it with --out"
        )
    sizes = {name: (run / name).lstat().st_size for name in _names(run, reads)}
    fix = "leave --reads out" if reads else "measure in shorter phases"
    for name, size in sizes.items():
        if size > LIMITS.member_bytes:
            most = f"of a member at most {LIMITS.member_bytes:,} bytes are unpacked"
            raise UsageError(str(run / name), f"has {size:,} bytes", most, fix)
    if sum(sizes.values()) > LIMITS.total_bytes or len(sizes) + 2 > LIMITS.members:
        found = f"has {sum(sizes.values()):,} bytes in {len(sizes):,} files"
        raise UsageError(str(run), found, f"at most {LIMITS.total_bytes:,} in {LIMITS.members:,} are unpacked", fix)


def write(
    run: Path, out: Path, key: Path | None = None, reads: bool = False, of: Mapping[str, str] | None = None
) -> str:
    """Pack a run folder; returns its content. UsageError as `check_packable`, and for a key that cannot sign.

    of   the hashes of its files, where they are known: each file is then read once, and must still have its own
    """
    check_packable(run, out, reads)
    known = hashes(run, reads) if of is None else of
    packed = {name: digest for name, digest in known.items() if reads or not name.endswith(READS)}
    listed = sums(packed)
    first = {SUMS: listed}
    if key is not None:
        first[SIGNATURE] = sshsig.sign(listed, NAMESPACE, key)
    with rundir.atomic(out) as file, _archive(file, out.name.endswith(".zip")) as add:
        top = run.resolve().name
        for name, data in first.items():
            add(f"{top}/{name}", len(data), io.BytesIO(data))
        for name, digest in packed.items():
            with (run / name).open("rb") as source:
                _add(add, f"{top}/{name}", run / name, source, os.fstat(source.fileno()).st_size, digest)
    return content(packed)


def _add(add: _Add, name: str, path: Path, source: BinaryIO, size: int, digest: str) -> None:
    """One member. StorageError where it is not the file that was hashed."""
    member = _Hashed(source)
    add(name, size, member)
    if member.digest.hexdigest() != digest:
        raise StorageError(str(path), "changed while it was packed", "a run that has ended was needed", "wait")


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Hashed:
    """A file whose hash is taken as it is read."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        return data


_Add: TypeAlias = Callable[[str, int, _Readable], None]
"""Name, bytes and content of a member: piece by piece, for a phase's reads are gigabytes."""


@contextmanager
def _archive(file: BinaryIO, zipped: bool) -> Iterator[_Add]:
    """Neither form keeps a time, an owner or a mode."""
    if zipped:
        with zipfile.ZipFile(file, "w") as packed:

            def add_zipped(name: str, size: int, source: _Readable) -> None:
                info = zipfile.ZipInfo(name)
                info.file_size, info.compress_type = size, zipfile.ZIP_DEFLATED
                with packed.open(info, "w") as member:
                    while data := source.read(_CHUNK):
                        member.write(data)

            yield add_zipped
        return
    with zstd.ZstdFile(file, "w") as stream, tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:

        def add_tarred(name: str, size: int, source: _Readable) -> None:
            info = tarfile.TarInfo(name)
            info.size, info.mode = size, 0o644
            try:
                tar.addfile(info, source)
            except OSError as error:
                if error.errno is not None:
                    raise
                # tarfile's own words for a source that ended before its size: its hash says so too

        yield add_tarred


@contextmanager
def opened(path: Path) -> Iterator[tuple[Path, str]]:
    """A run folder and its name, of a folder as it is, or of an archive unpacked into a folder that goes with the context.

    Only files that belong are unpacked, under the one folder that the archive may hold. CorpusError or StorageError where it is no bundle.
    """
    if path.is_dir():
        yield path, path.resolve().name
        return
    try:
        with path.open("rb") as file:
            kind = archives.kind_of(file.read(archives.HEAD_BYTES))
    except OSError as error:
        raise UsageError(
            str(path), f"cannot be read ({error.strerror})", "a run folder or a bundle", "name one"
        ) from error
    if kind is None:
        raise UsageError(
            str(path), "is no archive", "a run folder or a bundle was needed", "`openagentperf bundle` makes one"
        )
    with TemporaryDirectory(prefix="openagentperf-") as folder:
        yield Path(folder), _unpack(path, kind, Path(folder))


def _unpack(path: Path, kind: archives.Kind, folder: Path) -> str:
    skipped: list[Skipped] = []
    tops: set[str] = set()
    seen: set[str] = set()
    try:
        for label, data in archives.members(path, kind, skipped, LIMITS):
            top, _, name = (label or "").partition("/")
            if not (belongs(name) or name in (SUMS, SIGNATURE)):
                continue
            tops.add(top)
            if len(tops) > 1 or name in seen:
                what = f"holds {name} twice" if name in seen else "holds more than one run"
                raise StorageError(str(path), what, "a bundle is of one run", "pack them one by one")
            seen.add(name)
            rundir.write(folder / name, data)
    except CorpusError as error:
        raise StorageError(str(path), error.found, error.needed, error.fix) from error
    for item in skipped:
        inside = item.where.removeprefix(f"{path}/")
        if item.where == str(path) or belongs(inside.partition("/")[2]):
            raise StorageError(item.where, item.why, "a whole bundle was needed", "fetch it again")
    if not seen:
        raise StorageError(
            str(path), "holds no run", "one folder with plan.toml and what belongs to it was needed",
            "`openagentperf bundle` makes such an archive",
        )  # fmt: skip
    return tops.pop()
