"""Runs whose result follows from their rows and is none all the same: each is made by an edit, and derived again as a cheat would."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openagentperf import rundir, verify
from openagentperf.leaderboard.examine import Examined, examine
from openagentperf.rundir import LedgerLine
from run_folders import write_run
from small_runs import asked


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Search at 1, 2, 4, 8, 16, 6, 5, 12, 10, 9 agents, then `easy` certified at 8 in phases 10 to 12 and `fast` at 5 in 13 to 15."""
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def rescored(folder: Path) -> Examined:
    """With the result that the edited folder gives: it follows from its rows."""
    result = msgspec.json.encode(verify.derive(folder))
    rundir.write(folder / "result.json", result)
    found = examine(folder)
    assert found.differences == ()
    return found


def edit_ledger(folder: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    path = folder / "ledger.jsonl"
    lines = change([json.loads(line) for line in path.read_text().splitlines()])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def edit_facts(folder: Path, name: str, **fields: Any) -> None:
    path = folder / "phases" / name / "phase.json"
    facts = json.loads(path.read_text())
    order = {key: fields.pop(key) for key in list(fields) if key in facts["order"]}
    path.write_text(json.dumps(facts | fields | {"order": facts["order"] | order}))


def replace_in(path: Path, *pairs: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def without(*indices: int) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda lines: [line for line in lines if line["index"] not in indices]


def test_an_honest_run_holds(run: Path) -> None:
    assert examine(run).faults == ()
    assert examine(run).abandoned == 0


def test_a_failed_attempt_left_out_is_missed(copy: Path) -> None:
    """16 agents failed; without that the ramp goes on, and 6 would never have been asked for."""
    edit_ledger(copy, without(4))
    (fault,) = rescored(copy).conduct
    assert "phase 5 is search at 6 agents, where what came before asks for search at 16 agents" in fault


def test_a_ledger_cut_short_is_missed(copy: Path) -> None:
    edit_ledger(copy, without(15))
    assert rescored(copy).conduct == ("ledger.jsonl: the search had not ended: certify at 5 agents is missing",)


def test_one_attempt_entered_three_times_is_seen(copy: Path) -> None:
    def thrice(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        judged = next(line for line in lines if line["index"] == 10 and line["event"] == "judged")
        return [judged if line["index"] in (11, 12) and line["event"] == "judged" else line for line in lines]

    edit_ledger(copy, thrice)
    found = rescored(copy)
    assert found.result.results[0].agents == 8, "which is why it has to be seen"
    assert "phase 10 is judged after phase 10" in found.conduct[0]


def test_one_attempt_copied_under_other_numbers_is_seen(copy: Path) -> None:
    for name in ("011-n0008", "012-n0008"):
        shutil.copy(copy / "phases/010-n0008/turns.parquet", copy / "phases" / name / "turns.parquet")

    def as_rows_give(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        first = next(line["judged"] for line in lines if line["index"] == 10 and line["event"] == "judged")
        return [
            line | {"judged": first | {"index": line["index"]}}
            if line["index"] in (11, 12) and line["judged"]
            else line
            for line in lines
        ]

    edit_ledger(copy, as_rows_give)
    assert rescored(copy).conduct == tuple(
        f"phases 10 and {n} have the same rows, to the byte: no two attempts do" for n in (11, 12)
    )


def test_a_verdict_edited_in_the_ledger_is_seen(copy: Path) -> None:
    replace_in(copy / "ledger.jsonl", ('"verdict":"fail"', '"verdict":"pass"'))
    assert "ledger.jsonl: phase 3 is not judged as its rows give it" in rescored(copy).conduct


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("preliminary = true", "preliminary = false")], "weaker than `standard` and says that it is not preliminary"),
        ([('preset = "quick (', 'preset = "standard"  # (')], "its rigor is called 'standard'; with these values it is 'standard ("),
        ([('preset = "quick (', 'preset = "fierce"  # (')], "no rigor `fierce`"),
        ([("settle_s = 60", "settle_s = 61")], "phase 0: settle_s was 60, the plan says 61"),
        ([("\nmeasure_s = 100", "\nmeasure_s = 600")], "phase 10: measure_s was 100, the plan says 600"),
        ([('name = "two"', 'name = "agentperf"')], "its tiers are called agentperf 1, and are not those"),
    ],
    ids=["certified", "standard", "unknown", "settling", "window", "tiers"],
)  # fmt: skip
def test_a_plan_edited_after_the_run_is_seen(copy: Path, pairs: list[tuple[str, str]], words: str) -> None:
    replace_in(copy / "plan.toml", *pairs)
    assert any(words in fault for fault in rescored(copy).conduct)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"window_end_ns": 199_000_000_000}, "its window is shorter than the 100 s that were ordered"),
        ({"window_start_ns": 67_000_000_000}, "its window opened before it was ramped and settled"),
        ({"measure_s": 99.0}, "measure_s was 99, the plan says 100"),
        ({"agents": 9}, "phase.json is of phase 10, certify at 9 agents"),
        ({"kind": "search"}, "phase.json is of phase 10, search at 8 agents"),
    ],
)
def test_a_phase_that_was_not_as_ordered_is_seen(copy: Path, fields: dict[str, Any], words: str) -> None:
    edit_facts(copy, "010-n0008", **fields)
    assert any(words in fault for fault in rescored(copy).conduct)


def test_an_attempt_that_was_broken_off_is_told_and_spoils_nothing(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        extra = [LedgerLine(event=event, index=16, agents=8, kind="certify") for event in ("begun", "broken")]
        return [*lines[:-1], *map(msgspec.to_builtins, extra), lines[-1]]

    edit_ledger(copy, broken)
    found = rescored(copy)
    assert (found.faults, found.abandoned) == ((), 1)
    assert "before they were judged: 1" in asked(capsys, "verify", str(copy)).err


def test_the_commands_refuse_it(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace_in(copy / "plan.toml", ("preliminary = true", "preliminary = false"))
    rescored(copy)
    for command in (("verify", str(copy)), ("bundle", str(copy), "--out", str(tmp_path / "b.zip"))):
        ended = asked(capsys, *command)
        assert ended.status == 1
        assert "weaker than `standard`" in ended.err
    assert not (tmp_path / "b.zip").exists()
