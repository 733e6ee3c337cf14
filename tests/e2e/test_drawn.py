"""A run ends with its report, and whatever goes wrong with that touches neither its result nor its exit status."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from openagentperf.cli.drawn import draw
from small_runs import call, write_plan
from test_report import Figures, leaves

pytestmark = [pytest.mark.e2e, pytest.mark.beside]


def test_a_run_ends_with_its_report(tmp_path: Path) -> None:
    write_plan(tmp_path, limit=2, certify_phases=1, track="exact")
    ended = call(tmp_path, "run", "plan.toml", report=True)
    assert ended.status == 0, ended.err
    page = tmp_path / ended.folder / "report.html"
    assert f"the same with pictures:\n    {ended.folder}/report.html" in ended.out
    stored = dict(leaves(msgspec.json.decode((tmp_path / ended.folder / "result.json").read_bytes())))
    shown = [(path, value) for path, value, _ in Figures(page.read_bytes()).found if value is not None]
    assert len(shown) > 50
    assert all(msgspec.json.decode(value) == stored[path] for path, value in shown)
    assert not [line for line in ended.err.splitlines() if line.startswith("warning: the report")]


def test_a_report_that_cannot_be_drawn_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").write_text("no run")
    assert draw(tmp_path) is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("warning: the report was not drawn (status 2: ")
    assert f"`openagentperf report {tmp_path}` tries again" in said


def test_without_the_extra_nothing_is_drawn_and_nothing_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert draw(tmp_path, packages=("a_package_that_nobody_has",)) is None
    assert capsys.readouterr().err == ""
