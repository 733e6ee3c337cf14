"""The native set on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openagentperf.corpusjobs.store import SET_NAME, is_native, read_set, write_set
from openagentperf.errors import CorpusError, StorageError
from openagentperf.records.trajectory import Skipped, Trajectory
from trajectories import session, trajectories


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(trajectories(), min_size=1, max_size=4))
def test_what_is_read_is_what_was_written(tmp_path: Path, corpus: list[Trajectory]) -> None:
    skipped: list[Skipped] = []
    assert write_set(tmp_path, corpus) == len(corpus)
    assert list(read_set(tmp_path, skipped)) == list(read_set(tmp_path / SET_NAME, skipped)) == corpus
    assert not skipped


def test_broken_lines_are_counted_named_and_skipped(tmp_path: Path) -> None:
    write_set(tmp_path, [session("a"), session("b")])
    path = tmp_path / SET_NAME
    a, b = path.read_bytes().splitlines()
    no_turns = b'{"id":"c","turns":[]}'
    bad = [b"{", b"\xff\xfe", no_turns, b'{"id":1,"turns":[]}', b"[" * 100_000, b'{"id":"\xff","turns":[]}']
    path.write_bytes(b"\n".join([a, b"", *bad, b, b[: len(b) // 2]]))
    skipped: list[Skipped] = []
    assert [trajectory.id for trajectory in read_set(tmp_path, skipped)] == ["a", "b"]
    assert [row.where for row in skipped] == [f"{path}:{n}" for n in (3, 4, 5, 6, 7, 8, 10)]
    assert skipped[2].why == "it has no turns"
    assert "Expected `str`, got `int` - at `$.id`" in skipped[3].why
    assert all(row.why for row in skipped)


def test_nothing_usable_says_what_the_first_line_had(tmp_path: Path) -> None:
    (tmp_path / SET_NAME).write_bytes(b'{"id":"c"}\n{}\n')
    with pytest.raises(CorpusError, match=r"broken lines: 2; the first is .*trajectories\.jsonl:1, Object missing"):
        list(read_set(tmp_path, []))


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_set_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SET_NAME).write_bytes(content)
    with pytest.raises(CorpusError, match="is empty, at least one trajectory is needed"):
        list(read_set(tmp_path, []))


def test_a_missing_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"trajectories\.jsonl: cannot be read \(No such file"):
        list(read_set(tmp_path, []))


def test_a_set_that_cannot_be_finished_is_not_there(tmp_path: Path) -> None:
    def broken() -> object:
        yield session("a")
        raise RuntimeError("the importer failed")

    with pytest.raises(RuntimeError):
        write_set(tmp_path, broken())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        write_set(tmp_path / "file" / "set", [session()])


def test_a_native_set_is_known_by_its_lines(tmp_path: Path) -> None:
    write_set(tmp_path, [session()])
    renamed = tmp_path / "sessions.jsonl"
    renamed.write_bytes(b"{broken\n" + (tmp_path / SET_NAME).read_bytes())
    other = tmp_path / "other.jsonl"
    other.write_bytes(b'{"type":"user","message":{}}\n' * 20)
    assert is_native(tmp_path)
    assert is_native(tmp_path / SET_NAME)
    assert is_native(renamed)
    assert not is_native(other)
    assert not is_native(tmp_path / "missing")
