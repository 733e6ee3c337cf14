"""A bundle: the files of a run folder that its result follows from, in one archive, with their hashes and, if wished, a signature.

    NAME/SHA256SUMS        one line a file, the form of `sha256sum`: `sha256sum -c SHA256SUMS` checks an unpacked bundle
    NAME/SHA256SUMS.sig    OpenSSH signature over it (sshsig), namespace `openagentperf-bundle`; only where it was signed
    NAME/plan.toml ...     as in docs/run-folder.md, without raw bytes of answers, logs and read times

The *content* of a run is the SHA-256 of those lines without `reads.parquet`: a folder and every bundle of it have the same. The same folder
gives the same archive, byte for byte, wherever and whenever it is packed.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

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


def hashes(run: Path) -> dict[str, str]:
    """SHA-256 of every file of a run folder that belongs, by relative name, sorted. StorageError for a link, or one that cannot be read."""
    names = [name for name in TOP if (run / name).exists()]
    names += [path.relative_to(run).as_posix() for path in run.glob("phases/*/*")]
    return {name: _hash(run, name) for name in sorted(filter(belongs, names))}


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


def write(run: Path, out: Path, key: Path | None = None, reads: bool = False) -> str:
    """Pack a run folder; returns its content. UsageError for an ending that is none, and for a key that cannot sign."""
    ending = next((ending for ending in ENDINGS if out.name.endswith(ending)), None)
    if ending is None:
        raise UsageError(
            str(out), "has an ending that says no form", f"{' or '.join(ENDINGS)} was needed", "rename it with --out"
        )
    of = {name: digest for name, digest in hashes(run).items() if reads or not name.endswith(READS)}
    listed = sums(of)
    first = {SUMS: listed}
    if key is not None:
        first[SIGNATURE] = sshsig.sign(listed, NAMESPACE, key)
    top = run.resolve().name
    members = ((f"{top}/{name}", data) for name, data in _members(run, first, of))
    with rundir.atomic(out) as file:
        if ending == ".zip":
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:  # Parquet is compressed already
                for name, data in members:
                    packed.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        else:
            with (
                zstd.ZstdFile(file, "w") as stream,
                tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
            ):
                for name, data in members:
                    info = tarfile.TarInfo(name)
                    info.size, info.mode = len(data), 0o644
                    tar.addfile(info, io.BytesIO(data))
    return content(of)


def _members(run: Path, first: Mapping[str, bytes], of: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    yield from first.items()
    for name, digest in of.items():
        data = (run / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise StorageError(
                str(run / name), "changed while it was packed", "a run that has ended was needed", "wait"
            )
        yield name, data


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
