"""What a run folder says of itself: whether it is one, its ledger line by line, and when it was last written to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from openagentperf import rundir
from openagentperf.errors import StorageError
from openagentperf.rundir import LedgerLine, ledger_lines, read_ledger
from watched import Folder, sample


@pytest.mark.parametrize(
    ("data", "events", "wrong"),
    [
        (b"", [], 0),
        (b'{"event": "begun"}\n{"event": "judged"}\n', ["begun", "judged"], 0),
        (b'{"event": "begun"}\n{"event": "jud', ["begun"], 0),  # cut by a crash: no whole line
        (b'{"event": "begun"}\n[1]\n{"event": "finished"}\n', ["begun", "finished"], 1),
        (b'\xff\n{"event": "begun"}\n\n', ["begun"], 2),
        (b'{"a":' * 100_000 + b'\n{"event": "begun"}\n', ["begun"], 1),
    ],
    ids=["empty", "whole", "cut", "other", "no text", "deep"],
)
def test_lines_of_a_ledger(tmp_path: Path, data: bytes, events: list[str], wrong: int):
    found = list(ledger_lines(data))
    assert [line.event for line in found if isinstance(line, LedgerLine)] == events
    assert sum(str(line).startswith("is not a ledger line") for line in found) == wrong
    (tmp_path / "ledger.jsonl").write_bytes(data)
    if wrong:
        with pytest.raises(StorageError, match=r"ledger.jsonl:\d: is not a ledger line"):
            read_ledger(tmp_path)
    else:
        assert [line.event for line in read_ledger(tmp_path)] == events


def test_a_folder_is_a_run_s_where_it_holds_something_of_one(tmp_path: Path):
    (tmp_path / "phases").mkdir()
    (tmp_path / "plan.toml").mkdir()
    (tmp_path / "report.html").write_text("")
    assert not rundir.is_run(tmp_path)
    (tmp_path / "ledger.jsonl").write_text("")
    assert rundir.is_run(tmp_path)
    assert not rundir.is_run(tmp_path / "gone")


def test_the_newest_write_is_the_run_s_own(tmp_path: Path):
    assert rundir.newest_s(tmp_path) == 0
    folder = Folder(tmp_path / "run")
    for index in (0, 1):
        writer = folder.begin(index, 100.0)
        writer.put(sample(101.0, 1, 1))
        writer.close()
    for path in folder.path.rglob("*"):
        os.utime(path, (1000, 1000))
    (folder.path / "report.html").write_text("made later")
    (folder.path / "phases" / "what is this").write_text("whoever put it there")
    assert rundir.newest_s(folder.path) == 1000
    rows = rundir.frames_path(rundir.phase_folder(folder.path, 1, 4), 0)
    os.utime(rows, (2000, 2000))
    assert rundir.newest_s(folder.path) == 2000
