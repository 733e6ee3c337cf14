"""The dashboard's list of runs, and what of a run's words reaches a page."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.dash.hub import shown
from openagentperf.dash.library import Library
from openagentperf.errors import StorageError
from openagentperf.live.watch import QUIET_S, RunWatch
from phases import ns
from watched import Folder, sample

HIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@given(st.recursive(st.none() | st.integers(-(2**60), 2**60) | st.text() | st.floats(allow_nan=False, allow_infinity=False),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)))  # fmt: skip
def test_no_string_that_reaches_a_page_can_disguise_itself(value: object):
    def strings(part: object) -> list[str]:
        if isinstance(part, dict):
            return [text for pair in part.items() for item in pair for text in strings(item)]
        return (
            [text for item in part for text in strings(item)]
            if isinstance(part, list)
            else [part]
            if isinstance(part, str)
            else []
        )

    back = json.loads(shown(value))
    assert not [text for text in strings(back) if HIDDEN.search(text)]
    if not strings(value):
        assert back == value, "numbers come through as they are"


def test_a_string_of_a_megabyte_is_cut_and_says_how_long_it_was():
    data = shown({"k" * 1_000_000: ["x" * 1_000_000, 1.5]})
    assert len(data) < 3_000
    ((name, (text, number)),) = json.loads(data).items()
    assert name.endswith("(1,000,000 characters)")
    assert (text[:3], text[-22:], number) == ("xxx", "(1,000,000 characters)", 1.5)


def test_each_state_of_a_run_in_the_list(tmp_path: Path):
    Folder(tmp_path / "a-prepares")
    running = Folder(tmp_path / "b-runs")
    writer = running.begin(0, 100.0)
    writer.put(sample(101.0, 1, 1))
    writer.close()
    broken = Folder(tmp_path / "c-broken")
    broken.begin(0, 100.0).close()
    broken.break_off(0, "why")
    killed = Folder(tmp_path / "d-killed")
    killed.begin(0, 100.0).close()
    killed.judge(0, "pass")
    long_ago_s = time.time() - 2 * QUIET_S
    for path in killed.path.rglob("*"):
        os.utime(path, (long_ago_s, long_ago_s))
    (tmp_path / "e-no-run").mkdir()
    library = Library(tmp_path)
    lines = {line.id: line for line in library.lines()}
    assert list(lines) == ["d-killed", "c-broken", "b-runs", "a-prepares"], "the latest name first"
    assert {name: line.state for name, line in lines.items()} == {
        "a-prepares": "preparing", "b-runs": "running", "c-broken": "broken", "d-killed": "silent",
    }  # fmt: skip
    assert lines["d-killed"].silent_s == pytest.approx(2 * QUIET_S, abs=10)
    assert (lines["d-killed"].phases, lines["d-killed"].tiers[0].passing) == (1, 4)
    assert lines["b-runs"].model == "a-model"
    running.judge(0, "pass")
    assert next(line for line in library.lines() if line.id == "b-runs").phases == 1, "seen though it was kept"


@pytest.mark.parametrize("name", ["plan.toml", "run.json", "result.json", "ledger.jsonl"])
def test_a_run_with_a_broken_file_stays_in_the_list_and_says_why(tmp_path: Path, name: str):
    folder = Folder(tmp_path / "one")
    folder.begin(0, 100.0).close()
    (folder.path / name).write_bytes(b"\xff{\n")
    (line,) = Library(tmp_path).lines()
    assert name in line.why


def test_one_line_that_is_no_ledger_s_takes_no_other_with_it(tmp_path: Path):
    folder = Folder(tmp_path / "one")
    folder.begin(0, 100.0).close()
    folder.judge(0, "pass")
    with (folder.path / "ledger.jsonl").open("ab") as file:
        file.write(b"[1, 2]\n")
    folder.begin(1, 120.0, agents=8).close()
    folder.judge(1, "fail", agents=8)
    (line,) = Library(tmp_path).lines()
    assert line.why.startswith("ledger.jsonl:3 is not a ledger line")
    assert (line.phases, line.tiers[0].passing, line.tiers[0].failing) == (2, 4, 8)


def test_a_folder_of_runs_that_is_gone_is_empty(tmp_path: Path):
    assert Library(tmp_path / "gone").lines() == []


def test_a_closed_phase_is_read_from_its_tables_alone(tmp_path: Path):
    """A phase that nobody has judged has no closed view, and one whose tables are gone says which."""
    folder = Folder(tmp_path / "one")
    folder.begin(0, ns(0)).close()
    watched = RunWatch(folder.path)
    watched.poll()
    with pytest.raises(KeyError):
        watched.closed(0)
    folder.judge(0, "pass")
    watched.poll()
    with pytest.raises(StorageError, match=r"phase\.json"):
        watched.closed(0)


def test_a_plan_changed_by_hand_does_not_take_the_list_down(tmp_path: Path):
    """A ledger whose phases were judged for other tiers than the plan now has."""
    Folder(tmp_path / "a-good").begin(0, 100.0).close()
    changed = Folder(tmp_path / "b-changed")
    changed.begin(0, 100.0).close()
    changed.judge(0, "pass")
    plan = changed.path / "plan.toml"
    assert plan.read_text().count('"easy"') == 1
    plan.write_text(plan.read_text().replace('"easy"', '"another"'))
    lines = {line.id: line for line in Library(tmp_path).lines()}
    assert lines["b-changed"].why.startswith("plan.toml: asks for the tier 'another', for which phase 0 was not judged")
    assert lines["a-good"].why == ""
