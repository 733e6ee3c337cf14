"""Archives of recordings: read in memory, member by member, and never more than the limits say."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agent_exports
from openagentperf.corpusjobs import recordings
from openagentperf.corpusjobs.archives import HEAD_BYTES, LIMITS, Limits, kind_of, members
from openagentperf.corpusjobs.imports import import_paths
from openagentperf.corpusjobs.recordings import read_recordings
from openagentperf.corpusjobs.store import read_set
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

EXAMPLES = Path(__file__).parent / "data" / "formats"
CHAT = (EXAMPLES / "09_openai_chat.jsonl").read_bytes()
TRACE = (EXAMPLES / "13b_agentperf-local_trace.jsonl").read_bytes()
KIB = 1 << 10
MIB = 1 << 20
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
}


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def listed(path: Path, limits: Limits = LIMITS) -> tuple[dict[str | None, bytes], dict[str, str]]:
    """The members, and what was skipped by the name inside the archive ("" is the archive itself)."""
    skipped: list[Skipped] = []
    kind = kind_of(path.read_bytes()[:HEAD_BYTES])
    assert kind is not None
    found = dict(members(path, kind, skipped, limits))
    return found, {row.where.removeprefix(str(path)).removeprefix("/"): row.why for row in skipped}


@pytest.mark.parametrize("packing", PACK)
def test_a_tar_in_any_packing_gives_what_the_folder_gives(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "names say nothing"
    path.write_bytes(
        PACK[packing](tar_of({"./set/chat.jsonl": CHAT, "set/deep/trace.jsonl": TRACE, "set/LICENSE": b"MIT"}))
    )
    skipped: list[Skipped] = []
    sessions = list(read_recordings(path, skipped))
    assert [(session.format, session.source) for session in sessions] == [
        ("openai-chat", f"{path}/set/chat.jsonl"),
        ("agentperf-local", f"{path}/set/deep/trace.jsonl"),
    ]
    assert skipped == [Skipped(f"{path}/set/LICENSE", "is no recording, by its name")]


def test_a_zip_gives_what_the_folder_gives(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of({"set/": b"", "set/chat.jsonl": CHAT, "set\\trace.jsonl": TRACE, ".git/x": b"no"}))
    skipped: list[Skipped] = []
    assert [session.source for session in read_recordings(path, skipped)] == [
        f"{path}/set/chat.jsonl",
        f"{path}/set/trace.jsonl",
    ]
    assert skipped == []


@pytest.mark.parametrize("packing", [name for name in PACK if name])
def test_one_packed_file_is_that_file(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"chat.jsonl{packing}"
    path.write_bytes(PACK[packing](CHAT + b"{broken\n"))
    skipped: list[Skipped] = []
    (session,) = read_recordings(path, skipped)
    assert (session.id, session.source) == ("conv-1", str(path))
    line = CHAT.count(b"\n") + 1
    assert [row.where for row in skipped] == [f"{path}:{line}"]


def test_files_of_one_session_are_put_together_out_of_an_archive(tmp_path: Path) -> None:
    records = agent_exports.completions()
    files = {f"log/m-{index}.json": json.dumps(record).encode() for index, record in enumerate(records)}
    sessions = []
    for name, data in (("a.zip", zip_of(files)), ("a.tar.zst", PACK[".zst"](tar_of(files)))):
        (tmp_path / name).write_bytes(data)
        skipped: list[Skipped] = []
        sessions += read_recordings(tmp_path / name, skipped)
        assert skipped == []
    assert [(session.id, session.source, len(session.turns)) for session in sessions] == [
        ("log-1", f"{tmp_path}/a.zip/log", 3),
        ("log-1", f"{tmp_path}/a.tar.zst/log", 3),
    ]


def test_more_files_of_one_session_than_fit_into_memory_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recordings.HELD_BYTES == 1 << 30
    records = [json.dumps(record).encode() for record in agent_exports.completions()]
    (tmp_path / "a.zip").write_bytes(zip_of({f"{index}.json": record for index, record in enumerate(records)}))
    monkeypatch.setattr(recordings, "HELD_BYTES", len(zlib.compress(records[0], 1)))
    skipped: list[Skipped] = []
    (session,) = read_recordings(tmp_path / "a.zip", skipped)
    assert len(session.turns) == 1
    assert [row.where for row in skipped] == [f"{tmp_path}/a.zip/{index}.json" for index in (1, 2, 3)]
    assert "openhands-completions files in archives" in skipped[0].why


def test_archives_in_a_folder_are_opened_and_nothing_is_written_there(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.zip").write_bytes(zip_of({"chat.jsonl": CHAT}))
    (folder / "b.jsonl").write_bytes(TRACE)
    (folder / "c.tgz").write_bytes(PACK[".gz"](tar_of({"chat.jsonl": CHAT})))
    report = import_paths([folder], tmp_path / "out", None)
    assert (report.files, report.trajectories) == (3, 3)
    assert [session.id for session in read_set(tmp_path / "out", [])] == ["conv-1", "demo-1", "conv-1~2"]
    assert sorted(path.name for path in folder.iterdir()) == ["a.zip", "b.jsonl", "c.tgz"]


UNSAFE = {
    "/etc/passwd": "has an absolute name",
    "\\\\host\\share\\x": "has an absolute name",
    "C:\\x.jsonl": "has an absolute name",
    "a/../../x.jsonl": "has a name that leads out of its folder",
    "..\\x.jsonl": "has a name that leads out of its folder",
}


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_names_that_lead_elsewhere_are_told_and_not_read(
    tmp_path: Path, make: Callable[[dict[str, bytes]], bytes]
) -> None:
    path = tmp_path / "a"
    path.write_bytes(make(dict.fromkeys(UNSAFE, CHAT) | {"fine.jsonl": CHAT}))
    found, skipped = listed(path)
    assert list(found) == ["fine.jsonl"]
    assert list(skipped.values()) == list(UNSAFE.values())


def test_a_label_holds_nothing_that_a_terminal_obeys(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(tar_of({"\x1b[2Jx\n.jsonl": CHAT, "y" * 400: CHAT}))
    found, _ = listed(path)
    assert list(found) == ["\ufffd[2Jx\ufffd.jsonl", "y" * 300]


def test_links_and_devices_are_told_and_not_followed(tmp_path: Path) -> None:
    out = io.BytesIO()
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
    with tarfile.open(fileobj=out, mode="w") as tar:
        for kind in kinds:
            info = tarfile.TarInfo(f"m{kind.decode()}")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    path = tmp_path / "a.tar"
    path.write_bytes(out.getvalue())
    found, skipped = listed(path)
    assert found == {}
    assert list(skipped.values()) == [
        "is a link",
        "is a link",
        "is no file",
        "is no file",
        "is no file",
    ]  # a folder is nothing

    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    (tmp_path / "a.zip").write_bytes(out.getvalue())
    assert listed(tmp_path / "a.zip") == ({}, {"link": "is a link"})


def test_an_encrypted_member_is_told(tmp_path: Path) -> None:
    data = bytearray(zip_of({"secret.jsonl": CHAT, "open.jsonl": CHAT}))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # bit 0 of the flags of the first member, twice
        data[data.index(signature) + flags] |= 1
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    found, skipped = listed(path)
    assert list(found) == ["open.jsonl"]
    assert skipped == {"secret.jsonl": "is encrypted: unpack the archive"}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_members_that_cannot_be_unpacked_bit_by_bit_are_told(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of({"a.jsonl": CHAT}, method))
    found, skipped = listed(path)
    assert found == {}
    assert skipped["a.jsonl"].startswith("is compressed by another method than deflate")


@pytest.mark.parametrize(
    ("inner", "kind"), [(zip_of({"a": CHAT}), "zip"), (tar_of({"a": CHAT}), "tar"), (gzip.compress(CHAT), "gz")]
)
def test_an_archive_inside_an_archive_is_told_and_not_opened(tmp_path: Path, inner: bytes, kind: str) -> None:
    for make in (tar_of, zip_of):
        path = tmp_path / "a"
        path.write_bytes(make({"inner": inner, "b.jsonl": CHAT}))
        found, skipped = listed(path)
        assert list(found) == ["b.jsonl"]
        assert skipped == {"inner": f"is an archive ({kind}) inside an archive: unpack it"}


def test_a_packed_archive_other_than_a_tar_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.zip.gz"
    path.write_bytes(gzip.compress(zip_of({"a": CHAT})))
    assert listed(path) == ({}, {"": "holds an archive (zip) itself: unpack it"})


def test_the_limits_in_force() -> None:
    assert (LIMITS.members, LIMITS.member_bytes, LIMITS.total_bytes) == (100_000, 1 << 30, 16 << 30)
    assert (LIMITS.ratio, LIMITS.ratio_from_bytes, LIMITS.header_bytes) == (1000, 64 << 20, 16 << 20)


REST = ": the rest of it was not read; unpack it to use all of it"


@pytest.mark.parametrize(
    ("make", "limits", "kept", "told"),
    [
        # three members, two allowed
        (tar_of, Limits(members=2), ["a", "b"], {"": f"has more than 2 members{REST}"}),
        (zip_of, Limits(members=2), [], {"": f"has more than 2 members{REST}"}),
        # `b` has 3 KiB, the others 1 KiB
        (tar_of, Limits(member_bytes=2 * KIB), ["a", "c"], {"b": "is larger than 2 KiB: unpack the archive"}),
        (zip_of, Limits(member_bytes=2 * KIB), ["a", "c"], {"b": "is larger than 2 KiB: unpack the archive"}),
        # zip: 1 + 3 = 4 KiB are allowed, the fifth is not
        (zip_of, Limits(total_bytes=4 * KIB), ["a", "b"], {"": f"holds more than 4 KiB unpacked{REST}"}),
        # tar: a header of 512 bytes each, and it is read in blocks of 8 KiB
        (tar_of, Limits(total_bytes=8 * KIB), ["a", "b", "c"], {"": f"holds more than 8 KiB unpacked{REST}"}),
    ],
)  # fmt: skip
def test_each_limit_ends_the_reading_and_keeps_what_was_read(
    tmp_path: Path,
    make: Callable[[dict[str, bytes]], bytes],
    limits: Limits,
    kept: list[str],
    told: dict[str, str],
) -> None:
    path = tmp_path / "a"
    path.write_bytes(make({"a": b"x" * KIB, "b": b"y" * 3 * KIB, "c": b"z" * KIB}))
    found, skipped = listed(path, limits)
    assert list(found) == kept
    assert skipped == told


@pytest.mark.parametrize("packing", [name for name in PACK if name])
def test_a_bomb_ends_at_the_ratio(tmp_path: Path, packing: str) -> None:
    """64 MiB of zeros: some 66 KiB as gz, 10 KiB as xz, 2 KiB as zst, 50 bytes as bz2."""
    path = tmp_path / "bomb"
    path.write_bytes(PACK[packing](bytes(64 * MIB)))
    limits = Limits(ratio=100, ratio_from_bytes=MIB)
    assert listed(path, limits) == ({}, {"": f"unpacks to more than 100 times its size{REST}"})
    path.write_bytes(PACK[packing](tar_of({"a": CHAT, "zeros": bytes(64 * MIB)})))
    assert listed(path, limits)[1] == {"": f"unpacks to more than 100 times its size{REST}"}


def test_a_small_file_may_be_packed_as_well_as_it_can(tmp_path: Path) -> None:
    path = tmp_path / "zeros.xz"
    path.write_bytes(lzma.compress(bytes(MIB)))
    assert listed(path, Limits(ratio=100, ratio_from_bytes=MIB)) == ({None: bytes(MIB)}, {})


def test_a_zip_whose_members_are_one_and_the_same_ends_at_the_ratio(tmp_path: Path) -> None:
    """A directory of 100 entries that all point at one member of 1 MiB: 100 MiB from 20 KiB."""
    data = zip_of({"a": bytes(MIB)})
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry = data[start:end]
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 100, 100, len(entry) * 100, start, 0)
    path = tmp_path / "overlap.zip"
    path.write_bytes(data[:start] + entry * 100 + tail)
    _, skipped = listed(path, Limits(ratio=100, ratio_from_bytes=MIB))
    assert skipped[""] in (
        f"unpacks to more than 100 times its size{REST}",
        "is a broken zip archive (Overlapped entries: 'a' (possible zip bomb)): the rest of it was not read",
    )


def test_a_zip_with_an_endless_directory_is_not_read(tmp_path: Path) -> None:
    data = zip_of({f"{number:06}": b"" for number in range(1000)})  # its directory: 1000 x (46 + 6) bytes
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    assert len(listed(path, Limits(header_bytes=52_000))[0]) == 1000
    assert listed(path, Limits(header_bytes=51_999)) == ({}, {"": f"has a directory of more than 50.78 KiB{REST}"})


def test_a_tar_with_an_endless_header_is_not_read(tmp_path: Path) -> None:
    """An extended header of 1 MiB in front of a member: `tarfile` would read whatever length it claims."""
    info = tarfile.TarInfo("a")
    info.size, info.pax_headers = len(CHAT), {"comment": "x" * MIB}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(CHAT))
    path = tmp_path / "a.tar"
    path.write_bytes(out.getvalue())
    assert list(listed(path)[0]) == ["a"]
    assert listed(path, Limits(header_bytes=512 * KIB)) == ({}, {"": f"has a header of more than 512 KiB{REST}"})


def test_a_packed_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(3 * KIB)))
    assert listed(path, Limits(member_bytes=2 * KIB)) == ({}, {"": f"holds a file of more than 2 KiB{REST}"})


@pytest.mark.parametrize("packing", PACK)
def test_a_cut_archive_keeps_its_beginning(tmp_path: Path, packing: str) -> None:
    noise = bytes(range(256)) * 512  # 128 KiB
    data = PACK[packing](tar_of({"a": CHAT, "b": noise, "c": CHAT}))
    path = tmp_path / "a"
    path.write_bytes(data[: len(data) * 2 // 3] if packing in ("", ".gz") else data[:-20])
    skipped: list[Skipped] = []
    kind = kind_of(data[:HEAD_BYTES])
    assert kind is not None
    found = members(path, kind, skipped)
    if packing == ".bz2":  # one block of up to 900 KB is unpacked as a whole or not at all
        with pytest.raises(CorpusError, match="is a broken bz2 archive"):
            next(found)
        return
    assert [name for name, _ in found][:1] == ["a"]
    assert "broken" in skipped[-1].why


def test_a_tar_broken_in_the_middle_says_so(tmp_path: Path) -> None:
    data = bytearray(tar_of({"a": CHAT, "b": CHAT}))
    data[data.index(b"b\x00")] = 0xFF  # the second header's checksum is wrong now
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    found, skipped = listed(path)
    assert list(found) == ["a"]
    assert skipped == {"": "is a broken tar archive: the rest of it was not read"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PK\x03\x04" + b"x" * 100, "is a broken zip archive"),
        (b"\x1f\x8b" + b"x" * 100, "is a broken gz archive"),
        (b"\xfd7zXZ\x00" + b"x" * 100, "is a broken xz archive"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 100, "is a broken zst archive"),
        (b"BZh91AY&SY" + b"x" * 100, "is a broken bz2 archive"),
        (zip_of({}), "is an empty folder"),
        (zip_of({"a.txt": b"hello"}), r"holds no usable recording \(files: 1; the first, .*/a.txt, holds no line of JSON\)"),
    ],
)  # fmt: skip
def test_an_archive_that_yields_nothing_is_an_error(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=why) as caught:
        list(read_recordings(path, []))
    assert caught.value.where == str(path)


@pytest.mark.parametrize("text", [b"", b"{}", b"BZh is no magic", b"PK", b"\x1f", CHAT])
def test_text_is_no_archive(text: bytes) -> None:
    assert kind_of(text) is None


SOUND = [zip_of({"a": CHAT, "b/c": TRACE}), *(pack(tar_of({"a": CHAT, "b/c": TRACE})) for pack in PACK.values())]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.sampled_from(SOUND),
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 1 << 20),
)
def test_a_spoiled_archive_raises_nothing_else(
    tmp_path: Path, data: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    spoiled = bytearray(data)
    for at, value in changes:
        spoiled[at % len(spoiled)] = value
    path = tmp_path / "a"
    path.write_bytes(spoiled[: max(1, cut % (2 * len(spoiled)))])
    skipped: list[Skipped] = []
    try:
        sessions = list(read_recordings(path, skipped))
    except CorpusError:
        return
    assert all(session.turns for session in sessions)


def test_a_file_that_is_too_large_is_told(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate((2 << 30) + 1)  # holds nothing: a sparse file
    with pytest.raises(CorpusError, match="is larger than 2 GiB, a file is read as a whole: split it"):
        list(read_recordings(path, []))
