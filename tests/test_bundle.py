"""Bundles: the same bytes for the same run, nothing that is not needed, and nothing of a hostile archive outside of its place."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import msgspec
import polars as pl
import pytest

from openagentperf import rundir
from openagentperf.errors import OpenAgentPerfError, StorageError, UsageError
from openagentperf.leaderboard import bundle
from openagentperf.leaderboard.examine import Examined, Failed, apart, examine
from run_folders import write_run
from small_runs import asked
from sshkeys import write_key


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("runs") / "20260101-000000-aaaa", watts=2800)
    (folder / "phases" / "000-n0001" / "raw").mkdir()
    (folder / "phases" / "000-n0001" / "raw" / "ok-a0-r1-t2.http").write_bytes(b"an answer")
    (folder / "worker-0.log").write_text("a log")
    return folder


@pytest.mark.parametrize("ending", bundle.ENDINGS)
def test_a_bundle_derives_the_same_result(run: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"b{ending}"
    content = bundle.write(run, out)
    found, of_folder = examine(out), examine(run)
    assert found.faults == ()
    assert found.sums == ()
    assert of_folder.sums is None
    assert found.content == of_folder.content == content
    assert found.result == of_folder.result
    assert found.name == run.name


@pytest.mark.parametrize("ending", bundle.ENDINGS)
def test_the_same_run_gives_the_same_bytes(run: Path, tmp_path: Path, ending: str) -> None:
    other = tmp_path / "elsewhere" / run.name
    shutil.copytree(run, other)
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    for folder, name in ((run, "a"), (other, "b")):
        bundle.write(folder, tmp_path / f"{name}{ending}")
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_answers_and_logs_stay_at_home(run: Path, tmp_path: Path) -> None:
    bundle.write(run, tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as packed:
        names = packed.namelist()
    assert not [name for name in names if "raw" in name or ".log" in name or "reads" in name]
    assert f"{run.name}/result.json" in names
    with_reads = bundle.write(run, tmp_path / "r.zip", reads=True)
    with zipfile.ZipFile(tmp_path / "r.zip") as packed:
        assert [name for name in packed.namelist() if name.endswith("reads.parquet")]
    assert with_reads == bundle.content(bundle.hashes(run))


def test_reads_are_hashed_only_where_somebody_asks(run: Path, tmp_path: Path) -> None:
    """They are most of a run's bytes, and no part of its content."""
    assert not [name for name in bundle.hashes(run) if name.endswith(bundle.READS)]
    asked_for = bundle.hashes(run, reads=True)
    assert [name for name in asked_for if name.endswith(bundle.READS)]
    unpacked = Path(shutil.copytree(run, tmp_path / "run"))
    (unpacked / bundle.SUMS).write_bytes(bundle.sums(asked_for))
    assert examine(unpacked).sums == ()
    (unpacked / "phases/000-n0001/reads.parquet").write_bytes(b"others")
    assert examine(unpacked).sums == ("phases/000-n0001/reads.parquet was changed",)


@pytest.mark.parametrize("ending", bundle.ENDINGS)
def test_a_member_is_packed_piece_by_piece(run: Path, tmp_path: Path, ending: str) -> None:
    """64 MB of reads in a few MB of memory."""
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    with (copy / "phases/000-n0001/reads.parquet").open("wb") as file:
        file.truncate(64_000_000)
    of = bundle.hashes(copy, reads=True)
    tracemalloc.start()
    bundle.write(copy, tmp_path / f"b{ending}", reads=True, of=of)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_000_000


def test_what_verify_would_not_unpack_is_not_packed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    with (copy / "phases/000-n0001/reads.parquet").open("wb") as file:
        file.truncate(bundle.LIMITS.member_bytes + 1)  # a hole: no bytes on the disk
    refused = asked(capsys, "bundle", str(copy), "--out", str(tmp_path / "b.zip"), "--reads")
    assert refused.status == 2
    assert "has 2,147,483,649 bytes" in refused.sentence
    assert refused.sentence.endswith("leave --reads out")
    assert not (tmp_path / "b.zip").exists()
    assert asked(capsys, "bundle", str(copy), "--out", str(tmp_path / "b.zip")).status == 0


def test_a_file_that_changes_while_it_is_packed_is_said(run: Path, tmp_path: Path) -> None:
    of = bundle.hashes(run) | {"plan.toml": "0" * 64}
    with pytest.raises(StorageError, match="changed while it was packed"):
        bundle.write(run, tmp_path / "b.zip", of=of)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", bundle.ENDINGS)
def test_a_file_that_gets_shorter_while_it_is_packed_is_said(run: Path, tmp_path: Path, ending: str) -> None:
    class Shorter(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(size)[:10] if not self.tell() else b""

    with (
        pytest.raises(StorageError, match="changed while it was packed"),
        rundir.atomic(tmp_path / f"b{ending}") as file,
        bundle._archive(file, ending == ".zip") as add,
    ):
        bundle._add(add, "top/plan.toml", tmp_path / "plan.toml", Shorter(b"x" * 100), 100, "0" * 64)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_checks_an_unpacked_bundle(run: Path, tmp_path: Path) -> None:
    bundle.write(run, tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as packed:
        packed.extractall(tmp_path)
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / run.name, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert examine(tmp_path / run.name).sums == ()


def repacked(source: Path, out: Path, change: dict[str, bytes | None], extra: dict[str, bytes] | None = None) -> Path:
    """A zip with members replaced (None: left out) and added."""
    with zipfile.ZipFile(source) as packed, zipfile.ZipFile(out, "w") as made:
        for info in packed.infolist():
            data = change.get(info.filename.partition("/")[2], packed.read(info))
            if data is not None:
                made.writestr(info.filename, data)
        for name, data in (extra or {}).items():
            made.writestr(name, data)
    return out


@pytest.fixture(scope="module")
def signed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    bundle.write(run, folder / "s.zip", write_key(folder / "key", "me"))
    return folder / "s.zip"


def test_a_signed_bundle_says_by_which_key(signed: Path, run: Path) -> None:
    found = examine(signed)
    assert found.fingerprint.startswith("SHA256:")
    assert found.signature_why == ""
    assert examine(run).fingerprint == ""


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"environment.json": b"{}"}, "environment.json was changed"),
        ({"corpus.card.json": None}, "corpus.card.json is missing"),
        ({"SHA256SUMS": b"nonsense"}, "SHA256SUMS:1 is no line of it"),
        ({"SHA256SUMS": b""}, "is not listed in SHA256SUMS"),
        ({"SHA256SUMS.sig": b"nonsense"}, "signature: it is no SSH signature"),
        ({"SHA256SUMS": None}, "signature: SHA256SUMS is missing"),
    ],
)
def test_what_was_changed_is_named(signed: Path, tmp_path: Path, change: dict[str, bytes | None], fault: str) -> None:
    found = examine(repacked(signed, tmp_path / "x.zip", change))
    assert any(fault in one for one in found.faults), found.faults


def test_a_result_that_does_not_follow_is_found_with_its_place(signed: Path, run: Path, tmp_path: Path) -> None:
    told = (
        (run / "result.json").read_bytes().replace(b'"agents": 8,\n      "smallest', b'"agents": 9,\n      "smallest')
    )
    found = examine(repacked(signed, tmp_path / "x.zip", {"result.json": told}))
    assert "$.results[0].agents: result.json has 9, the rows give 8" in found.differences
    other = (run / "result.json").read_bytes().replace(b'"version": "', b'"version": "9.')
    found = examine(
        repacked(signed, tmp_path / "y.zip", {"result.json": other, "SHA256SUMS": None, "SHA256SUMS.sig": None})
    )
    assert found.faults == (), "another version that agrees on all else is a note"
    assert found.other_version.startswith("9.")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"result.json": None}, "the run has not finished"),
        ({"result.json": b"{"}, "cannot be read"),
        ({"plan.toml": b"\x00"}, "plan.toml"),
        ({"plan.toml": None}, "plan.toml"),
        ({"run.json": b"[]"}, "run.json"),
        ({"ledger.jsonl": b'{"event": 1}\n'}, "ledger.jsonl"),
        ({"phases/000-n0001/turns.parquet": b"PAR1"}, "turns.parquet"),
        ({"phases/000-n0001/phase.json": b"null"}, "phase.json"),
        ({"result.json": b'{"a":' + b"[" * 100_000}, "result.json: cannot be read"),
        ({"ledger.jsonl": b"[" * 100_000 + b"\n"}, "ledger.jsonl:1: is not a ledger line"),
    ],
)
def test_a_bundle_that_cannot_be_judged_is_said(
    signed: Path, tmp_path: Path, change: dict[str, bytes | None], words: str
) -> None:
    with pytest.raises(OpenAgentPerfError) as caught:
        examine(repacked(signed, tmp_path / "x.zip", change))
    assert words in caught.value.sentence()
    assert "/tmp" not in caught.value.sentence()


@pytest.mark.parametrize("deep", [b"[" * 100_000, b"[" * 400 + b"]" * 400])
def test_an_environment_without_an_end_is_shown_as_none(run: Path, tmp_path: Path, deep: bytes) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    (copy / "environment.json").write_bytes(b'{"a":' + deep + b"}")
    found = examine(copy)
    assert (found.faults, found.environment) == ((), ())


def test_columns_of_another_kind_are_said_and_no_traceback(signed: Path, run: Path, tmp_path: Path) -> None:
    name = "phases/000-n0001/turns.parquet"
    for spoil in (
        lambda table: table.with_columns(due_ns=pl.lit("soon")),
        lambda table: table.drop("due_ns"),
        lambda table: table.clear(),
        lambda table: table.with_columns(agent=pl.lit([1, 2])),
    ):
        buffer = io.BytesIO()
        spoil(pl.read_parquet(run / name)).write_parquet(buffer)
        path = repacked(
            signed, tmp_path / "x.zip", {name: buffer.getvalue(), "SHA256SUMS": None, "SHA256SUMS.sig": None}
        )
        try:
            assert examine(path).differences
        except StorageError:
            continue


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as made:
        for info, data in members:
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return path


def test_names_that_lead_out_are_not_followed(run: Path, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    link = tarfile.TarInfo("r/plan.toml")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for members in (
        [(tarfile.TarInfo("../plan.toml"), b"x")],
        [(tarfile.TarInfo("r/../../plan.toml"), b"x")],
        [(tarfile.TarInfo("/plan.toml"), b"x")],
        [(link, b"")],
        [(tarfile.TarInfo("r/phases/../plan.toml"), b"x")],
    ):
        with pytest.raises(StorageError), bundle.opened(tar(inside / "x.tar.zst", *members)):
            pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["inside", "x.tar.zst"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a/plan.toml", "b/run.json"], "more than one run"),
        (["a/plan.toml", "a/plan.toml"], "holds plan.toml twice"),
        (["readme.md", "a/notes.txt", "a/phases/x/turns.parquet"], "holds no run"),
    ],
)
def test_an_archive_holds_one_run(tmp_path: Path, names: list[str], words: str) -> None:
    path = tar(tmp_path / "x.tar", *((tarfile.TarInfo(name), b"x") for name in names))
    with pytest.raises(StorageError, match=words), bundle.opened(path):
        pass


def test_an_archive_that_swells_is_not_unpacked(tmp_path: Path) -> None:
    """200 MB of zeros in 20 kB."""
    packed = tmp_path / "x.tar.zst"
    with bundle.zstd.ZstdFile(packed, "w") as stream, tarfile.open(fileobj=stream, mode="w|") as made:
        info = tarfile.TarInfo("r/phases/000-n0001/turns.parquet")
        info.size = 200_000_000
        made.addfile(info, io.BytesIO(bytes(info.size)))
    assert packed.stat().st_size < 100_000
    with pytest.raises(StorageError, match="unpacks to more than 1000 times its size"), bundle.opened(packed):
        pass


def test_what_is_no_archive_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"hello")
    for path in (tmp_path / "x.zip", tmp_path / "absent.zip"):
        with pytest.raises(UsageError), bundle.opened(path):
            pass
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(StorageError), bundle.opened(tmp_path / "cut.zip"):
        pass


def test_a_link_in_a_folder_is_not_followed(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "launch.txt").symlink_to("/etc/hostname")
    with pytest.raises(StorageError, match="is a link"):
        examine(copy)


def test_a_process_of_its_own_bears_what_a_file_does(signed: Path, tmp_path: Path) -> None:
    found = apart(signed, 8 << 30, 60)
    assert isinstance(found, Examined)
    assert found == examine(signed)
    small = apart(signed, 300 << 20, 60)
    assert isinstance(small, Failed)
    broken = apart(repacked(signed, tmp_path / "x.zip", {"result.json": b"{"}), 8 << 30, 60)
    assert isinstance(broken, Failed)
    assert "result.json" in broken.why
    late = apart(signed, 8 << 30, 0.01)
    assert isinstance(late, Failed)
    assert "took more than 0.01 s" in late.why


def test_the_commands(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, key = tmp_path / "b.tar.zst", write_key(tmp_path / "key", "me")
    done = asked(capsys, "bundle", str(run), "--out", str(out), "--key", str(key), "--json")
    assert done.status == 0
    assert msgspec.json.decode(done.out)["signed"] is True
    for path in (run, out):
        checked = asked(capsys, "verify", str(path))
        assert checked.status == 0
        assert "identical" in checked.err
    told = msgspec.json.decode(asked(capsys, "verify", str(out), "--json").out)
    assert told["holds"] is True
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    (changed / "result.json").write_text((run / "result.json").read_text().replace('"agents": 8', '"agents": 80'))
    for command in (("verify", str(changed)), ("bundle", str(changed), "--out", str(tmp_path / "c.zip"))):
        ended = asked(capsys, *command)
        assert ended.status == 1
        assert "DIFFERENT" in ended.err
    assert not (tmp_path / "c.zip").exists()
    early = asked(capsys, "bundle", str(changed), "--out", str(tmp_path / "c.rar"))
    assert early.status == 2
    assert "DIFFERENT" not in early.err, "said before anything is derived"
    assert asked(capsys, "bundle", str(out)).status == 2
    assert asked(capsys, "verify", str(tmp_path / "nowhere")).status == 2
    assert asked(capsys, "verify", str(tmp_path)).status == 5
