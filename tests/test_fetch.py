"""Public sets: looked up, agreed to, downloaded as far as needed, read by their importers, written with their licence.

The hub itself is out of reach of tests. Files of the same form stand in for the sets: as a local copy, and on a hub on loopback that the
real client speaks with.
"""

from __future__ import annotations

import gzip
import os
import pty
import subprocess
import sys
from pathlib import Path

import msgspec
import polars as pl
import pytest
from typer.testing import CliRunner

from fakehub import SHA, hub
from openagentperf.cli.corpus import app
from openagentperf.corpus.detect import IMPORTERS
from openagentperf.corpus.fit import fault
from openagentperf.corpusjobs.fetch import NOTICE_NAME, FetchReport, card_licence, check_consent, fetch, offer
from openagentperf.corpusjobs.hub import Hub, Mirror
from openagentperf.corpusjobs.publicsets import SETS, set_named, spdx
from openagentperf.corpusjobs.rows import BATCH_ROWS, rows
from openagentperf.corpusjobs.store import SET_NAME, read_set
from openagentperf.errors import CorpusError, InfrastructureError, UsageError

CARD = "---\nlicense: {}\ntags:\n- code\n---\n# A set\n"
NEBIUS, SMITH, REBENCH = "swe-agent", "swe-smith", "swe-rebench-openhands"


def nebius_row(number: int) -> dict[str, object]:
    """A row of nebius/SWE-agent-trajectories: four messages, of which two are answers."""

    def said(role: str, text: str | None, system: str | None = None) -> dict[str, object]:
        return {"role": role, "text": text, "system_prompt": system, "mask": False, "cutoff_date": None}

    return {
        "instance_id": f"owner__repo-{number}",
        "model_name": "open-70b",
        "target": True,
        "trajectory": [
            said("system", None, "You fix bugs."),
            said("user", f"Issue {number}"),
            said("ai", "```\nls src/a.py\n```"),
            said("user", "a.py"),
            said("ai", "```\nsubmit\n```"),
        ],
        "exit_status": "submitted",
        "generated_patch": "",
        "eval_logs": "",
    }


def openhands_row(number: int) -> dict[str, object]:
    """A row of an OpenHands set: calls are structs, absent ones are null, as Parquet holds them."""
    call = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls src/a.py"}'}}
    return {
        "trajectory_id": f"t{number}",
        "instance_id": f"owner__repo-{number}",
        "trajectory": [
            {"role": "system", "content": "You fix bugs.", "tool_calls": None, "tool_call_id": None},
            {"role": "user", "content": f"Issue {number}", "tool_calls": None, "tool_call_id": None},
            {"role": "assistant", "content": "Look.", "tool_calls": [call], "tool_call_id": None},
            {"role": "tool", "content": "a.py", "tool_calls": None, "tool_call_id": "c1"},
            {"role": "assistant", "content": "Done.", "tool_calls": None, "tool_call_id": None},
        ],
        "resolved": 1,
    }


def smith_row(number: int) -> dict[str, object]:
    """A row of SWE-smith: the messages are JSON in a string."""
    messages = [
        {"role": "system", "content": "You fix bugs."},
        {"role": "user", "content": f"Issue {number}"},
        {"role": "assistant", "content": "ls"},
    ]
    text = msgspec.json.encode(messages).decode()
    return {"messages": text, "instance_id": f"i{number}", "traj_id": f"t{number}", "resolved": True, "model": "m"}


MAKERS = {NEBIUS: nebius_row, SMITH: smith_row, REBENCH: openhands_row}
TURNS = {NEBIUS: 2, SMITH: 1, REBENCH: 2}


def shard(maker: str, first: int, count: int) -> pl.DataFrame:
    return pl.DataFrame([MAKERS[maker](number) for number in range(first, first + count)])


def mirror(folder: Path, name: str, shards: int = 3, each: int = 4, licence: str | None = None) -> Path:
    """A copy of a set with so many data files."""
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(CARD.format(SETS[name].licence.lower() if licence is None else licence))
    for number in range(shards):
        shard(name, number * each, each).write_parquet(folder / "data" / f"train-{number:05}-of-{shards:05}.parquet")
    return folder


@pytest.mark.parametrize("name", MAKERS)
def test_a_set_is_converted_and_says_where_it_comes_from(tmp_path: Path, name: str) -> None:
    source = Mirror(mirror(tmp_path / "copy", name))
    offered = offer(SETS[name], source, SHA)
    report = fetch(offered, source, tmp_path / "set", None)
    found = list(read_set(tmp_path / "set", []))
    assert (report.card.trajectories, report.card.turns) == (12, 12 * TURNS[name])
    assert report.skipped == ()
    assert {(session.format, session.licence) for session in found} == {(SETS[name].format, SETS[name].licence)}
    assert found[5].source == f"{SETS[name].repo}@{SHA} data/train-00001-of-00003.parquet[2]"
    assert all(fault(session) == "" for session in found)
    notice = (tmp_path / "set" / NOTICE_NAME).read_text()
    for part in (
        SETS[name].repo,
        SETS[name].author,
        SHA,
        SETS[name].licence,
        "12 trajectories",
        "train-00002-of-00003",
    ):
        assert part in notice


@pytest.mark.parametrize(("limit", "files"), [(1, 1), (4, 1), (5, 2), (12, 3), (99, 3)])
def test_no_more_files_are_downloaded_than_the_limit_needs(tmp_path: Path, limit: int, files: int) -> None:
    asked: list[str] = []

    class Watched(Mirror):
        def download(self, repo: str, filename: str, revision: str) -> Path:
            asked.append(filename)
            return super().download(repo, filename, revision)

    source = Watched(mirror(tmp_path / "copy", NEBIUS))
    report = fetch(offer(SETS[NEBIUS], source), source, tmp_path / "set", limit)
    assert report.card.trajectories == min(limit, 12)
    assert asked == ["README.md", *(f"data/train-{number:05}-of-00003.parquet" for number in range(files))]
    assert list(report.files) == asked[1:]


def test_a_set_is_fetched_by_the_real_client(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="needs the `fetch` extra")
    copy = mirror(tmp_path / "copy", NEBIUS)
    files = {path.relative_to(copy).as_posix(): path.read_bytes() for path in sorted(copy.rglob("*")) if path.is_file()}
    with hub(SETS[NEBIUS].repo, files) as (url, downloaded):
        source = Hub(url, tmp_path / "cache")
        offered = offer(SETS[NEBIUS], source)
        assert (offered.revision, offered.licence, offered.as_known) == (SHA, "CC-BY-4.0", True)
        assert offered.files == {name: len(data) for name, data in files.items() if name != "README.md"}
        report = fetch(offered, source, tmp_path / "set", 6)
        assert downloaded == ["README.md", *list(offered.files)[:2]]
        with pytest.raises(UsageError, match="has no such revision"):
            source.listing(SETS[NEBIUS].repo, "nothing")
        with pytest.raises(InfrastructureError, match=r"datasets/nebius/SWE-agent-trajectories: cannot be fetched"):
            source.download(SETS[NEBIUS].repo, "nothing", SHA)
    assert report.card.trajectories == 6
    assert next(read_set(tmp_path / "set", [])).source.startswith(f"{SETS[NEBIUS].repo}@{SHA} ")


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "GatedRepo", r"is gated, its terms must be accepted by you: .* `hf auth login`"),
        (404, "RepoNotFound", "is not there, or not for you"),
        (400, "", r"cannot be fetched \(.*\), the hub must be reachable: .* --from"),
    ],
)
def test_a_hub_that_refuses(tmp_path: Path, status: int, code: str, said: str) -> None:
    pytest.importorskip("huggingface_hub", reason="needs the `fetch` extra")
    with (
        hub(SETS[NEBIUS].repo, {}, status=status, code=code) as (url, _),
        pytest.raises(InfrastructureError, match=said),
    ):
        offer(SETS[NEBIUS], Hub(url, tmp_path / "cache"))


def test_a_hub_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="needs the `fetch` extra")
    with hub("a/b", {}) as (url, _):
        pass  # its port is closed now
    with pytest.raises(InfrastructureError, match="name a copy of the set with --from"):
        offer(SETS[NEBIUS], Hub(url, tmp_path / "cache"))


def test_without_the_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # the import system's own way to say "not installed"
    with pytest.raises(UsageError, match=r"pip install 'openagentperf\[fetch\]'"):
        Hub()


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (CARD.format("cc-by-4.0"), "CC-BY-4.0"),
        (CARD.format("mit"), "MIT"),
        (CARD.format("[mit, apache-2.0]"), "MIT AND Apache-2.0"),
        (CARD.format("other"), "other"),
        ("\ufeff" + CARD.format("odc-by"), "ODC-By-1.0"),
        ("---\ntags: [a]\n---\n", ""),
        ("---\nlicense: [\n---\n", ""),
        ("# A set\n\n---\nlicense: mit\n---\n", ""),
        ("", ""),
    ],
)
def test_the_licence_of_a_card(card: str, licence: str) -> None:
    assert card_licence(card.encode()) == licence


@pytest.mark.parametrize(
    ("card", "accepted", "agreed"),
    [
        ("cc-by-4.0", None, True),
        ("cc-by-4.0", "CC-BY-4.0", True),
        ("cc-by-4.0", "MIT", False),
        ("cc-by-nc-4.0", None, False),  # the card has changed since this release
        ("cc-by-nc-4.0", "cc-by-nc-4.0", True),
        ("", None, False),
    ],
)
def test_consent_is_to_the_licence_that_the_card_names(
    tmp_path: Path, card: str, accepted: str | None, agreed: bool
) -> None:
    copy = mirror(tmp_path / "copy", NEBIUS, licence=card)
    offered = offer(SETS[NEBIUS], Mirror(copy))
    if agreed:
        check_consent(offered, accepted)
        return
    with pytest.raises(UsageError, match=r"is (cc-by-nc-4.0|CC-BY-NC-4.0|CC-BY-4.0|not named) by its card"):
        check_consent(offered, accepted)


def test_which_data_files_are_read(tmp_path: Path) -> None:
    copy = mirror(tmp_path / "copy", SMITH, shards=1)
    for name in ("data/tool-00000.parquet", "data/xml-00000.parquet"):
        shard(SMITH, 0, 2).write_parquet(copy / name)
    source = Mirror(copy)
    assert list(offer(SETS[SMITH], source).files) == ["data/tool-00000.parquet"], "the others hold the same sessions"
    assert list(offer(SETS[SMITH], source, files="*xml*").files) == ["data/xml-00000.parquet"]
    with pytest.raises(CorpusError, match=r"holds no such data file \(of 4 files 3 are data: .*\), \*\.csv is needed"):
        offer(SETS[SMITH], source, files="*.csv")
    (copy / "data" / "tool-00000.parquet").unlink()
    assert len(offer(SETS[SMITH], source).files) == 2


def test_the_revision_of_a_copy(tmp_path: Path) -> None:
    copy = mirror(tmp_path / "copy", NEBIUS)
    assert offer(SETS[NEBIUS], Mirror(copy)).revision == ""
    noted = copy / ".cache" / "huggingface" / "download" / "data"
    noted.mkdir(parents=True)
    (noted / "train.parquet.metadata").write_text(f"{SHA}\nabc\n1.0\n")  # what `hf download --local-dir` leaves
    offered = offer(SETS[NEBIUS], Mirror(copy))
    assert offered.revision == SHA
    assert len(offered.files) == 3, "what is hidden is no data"
    assert offer(SETS[NEBIUS], Mirror(copy), "v1").revision == "v1"


def test_rows_that_cannot_be_used_are_named_by_file_and_row(tmp_path: Path) -> None:
    copy = mirror(tmp_path / "copy", SMITH, shards=0)
    good, empty = msgspec.json.encode(smith_row(0)), msgspec.json.encode({**smith_row(2), "messages": "[]"})
    lines = [good, b"{broken", empty, good]
    (copy / "data" / "a.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines)))
    source = Mirror(copy)
    report = fetch(offer(SETS[SMITH], source, SHA), source, tmp_path / "set", None)
    assert [session.id for session in read_set(tmp_path / "set", [])] == ["t0", "t0~2"]
    places = [row.where for row in report.skipped]
    assert len(places) == 2
    assert places[0].startswith(f"SWE-bench/SWE-smith-trajectories@{SHA[:12]} data/a.jsonl.gz[2]")
    assert places[1].startswith(f"SWE-bench/SWE-smith-trajectories@{SHA[:12]} data/a.jsonl.gz[3]")


def test_a_set_that_gives_nothing_writes_nothing(tmp_path: Path) -> None:
    copy = mirror(tmp_path / "copy", REBENCH, shards=1)
    (copy / "data" / "train-00000-of-00001.parquet").unlink()
    (copy / "data" / "other.jsonl").write_text('{"a": 1}\n')
    source = Mirror(copy)
    with pytest.raises(CorpusError, match=r"holds no usable row \(the first of 1: .*other\.jsonl\[1\]"):
        fetch(offer(SETS[REBENCH], source), source, tmp_path / "set", 5)
    assert not (tmp_path / "set").exists()
    with pytest.raises(UsageError, match="at least 1 trajectory"):
        fetch(offer(SETS[REBENCH], source), source, tmp_path / "set", 0)


def test_a_set_of_another_form_is_given_up_before_all_of_it_is_downloaded(tmp_path: Path) -> None:
    copy = mirror(tmp_path / "copy", NEBIUS, shards=0)
    for name in ("a", "b"):
        (copy / "data" / f"{name}.jsonl").write_text('{"trajectory": "elsewhere"}\n' * 300)
    asked: list[str] = []

    class Watched(Mirror):
        def download(self, repo: str, filename: str, revision: str) -> Path:
            asked.append(filename)
            return super().download(repo, filename, revision)

    source = Watched(copy)
    with pytest.raises(CorpusError, match=r"holds no usable row \(the first of 200: .*a\.jsonl\[1\]"):
        fetch(offer(SETS[NEBIUS], source), source, tmp_path / "set", None)
    assert asked == ["README.md", "data/a.jsonl"]


@pytest.mark.parametrize("name", ["broken.parquet", "broken.jsonl.gz"])
def test_a_broken_file_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PAR1 and then nothing of it")
    with pytest.raises(CorpusError, match=rf"{name}: cannot be read"):
        list(rows(tmp_path / name, name))


def test_rows_come_in_order_whatever_the_batches_are(tmp_path: Path) -> None:
    count = 2 * BATCH_ROWS + 3
    frame = shard(NEBIUS, 0, count).with_columns(pl.lit(b"\xff").alias("picture"))
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=50)
    found = [msgspec.json.decode(row) for row in rows(tmp_path / "a.parquet", "a.parquet")]
    assert [row["instance_id"] for row in found] == [f"owner__repo-{number}" for number in range(count)]
    assert "picture" not in found[0], "bytes are no text"
    assert found[0]["trajectory"] == nebius_row(0)["trajectory"]


def test_every_set_has_an_importer_and_a_name() -> None:
    for known in SETS.values():
        assert known.format in IMPORTERS
        assert spdx(known.licence) == known.licence
        assert set_named(known.repo.upper()) is known
    with pytest.raises(UsageError, match="one of swe-agent, swe-smith"):
        set_named("nothing")


def test_the_command_lists_the_sets_and_fetches_one(tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = msgspec.json.decode(run(app, ["fetch", "--json"], catch_exceptions=False).stdout)
    assert [known["name"] for known in listed] == list(SETS)
    words = run(app, ["fetch"], catch_exceptions=False).stdout
    assert all(known.repo in words and known.licence in words for known in SETS.values())
    copy, out = str(mirror(tmp_path / "copy", NEBIUS)), str(tmp_path / "set")
    arguments = ["fetch", NEBIUS, "--from", copy, "--out", out]
    with pytest.raises(UsageError, match="was shown to nobody, somebody must agree to it: add --yes"):
        run(app, arguments, catch_exceptions=False)
    with pytest.raises(UsageError, match="has no --out"):
        run(app, ["fetch", NEBIUS], catch_exceptions=False)
    assert not Path(out).exists()
    said = run(app, [*arguments, "--yes", "--limit", "3", "--json"], catch_exceptions=False)
    assert msgspec.json.decode(said.stdout, type=FetchReport).card.trajectories == 3
    assert "licence by its card: CC-BY-4.0" in said.stderr
    run(app, [*arguments, "--licence", "CC-BY-4.0", "--all"], catch_exceptions=False)
    assert len((Path(out) / SET_NAME).read_bytes().splitlines()) == 12


@pytest.mark.parametrize(("answer", "status"), [(b"y\n", 0), (b"n\n", 2)])
def test_a_person_at_a_terminal_is_asked(tmp_path: Path, answer: bytes, status: int) -> None:
    copy = mirror(tmp_path / "copy", NEBIUS, licence="cc-by-nc-4.0")
    person, terminal = pty.openpty()
    try:
        os.write(person, answer)
        options = ["--from", str(copy), "--out", str(tmp_path / "set"), "--json"]
        command = [sys.executable, "-m", "openagentperf", "corpus", "fetch", NEBIUS, *options]
        done = subprocess.run(command, stdin=terminal, capture_output=True, check=False)
    finally:
        os.close(person)
        os.close(terminal)
    assert done.returncode == status, done.stderr
    assert b"licence by its card: CC-BY-NC-4.0\n  this release knows CC-BY-4.0" in done.stderr
    assert (tmp_path / "set").exists() == (status == 0)
    assert isinstance(msgspec.json.decode(done.stdout), dict), "one JSON object, whatever was answered"
