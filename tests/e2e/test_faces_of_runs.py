"""Two real runs on the embedded node: compared, bundled, verified, shown on a site."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from openagentperf.cli.main import main
from openagentperf.report.compare import Comparison
from small_runs import asked, write_plan

pytestmark = [pytest.mark.e2e, pytest.mark.beside]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    plan = write_plan(folder, track="exact", limit=2)
    for name in ("one", "two"):
        assert main(["run", str(plan), "--out", str(folder / name), "--json"]) == 0
    one, two = (next(path for path in (folder / name).iterdir() if path.name != "corpora") for name in ("one", "two"))
    return one, two


def test_two_runs_of_one_plan_are_compared(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    told = asked(capsys, "compare", *map(str, runs), "--json")
    assert told.status == 0
    (pair,) = msgspec.json.decode(told.out, type=Comparison).pairs
    assert pair.refused == ()
    assert {d.group for d in pair.differences} <= {"server", "environment"}, "the port, and how busy the host was"
    paired = [f for f in pair.figures if f.figure == "ttft" and f.ratio is not None]
    assert paired, "both replayed the same turns of one set"
    assert all(f.matched_turns > 0 for f in paired)
    agents = next(f for f in pair.figures if f.figure == "agents")
    assert (agents.a, agents.b, agents.standing) == (2, 2, ("at_least", "at_least"))
    gated = asked(capsys, "compare", *map(str, runs), "--gate", "agents>=-5%")
    assert gated.status == 6
    assert "A still passes at its search limit" in gated.err


def test_a_bundle_of_a_real_run_holds(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "in" / "one.tar.zst"
    assert asked(capsys, "bundle", str(runs[0]), "--out", str(out)).status == 0
    size = sum(path.stat().st_size for path in runs[0].rglob("*") if path.is_file())
    assert out.stat().st_size < size
    assert asked(capsys, "verify", str(out)).status == 0
    assert asked(capsys, "leaderboard", str(tmp_path / "in"), "--out", str(tmp_path / "site")).status == 0
    page = (tmp_path / "site" / "index.html").read_text()
    assert "<b>Simulated.</b>" in page
    assert "openagentperf-sim" in page


def test_a_simulated_cluster_stays_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked_for = ("--system", "hgx-h200", "--model", "deepseek-v4-pro", "--corpus", "demo", "--quick", "--limit", "2")
    assert asked(capsys, "simulate", *asked_for, "--out", str(tmp_path / "runs"), "--json").status in (0, 3)
    run = next(path for path in (tmp_path / "runs").iterdir() if path.name != "corpora")
    out = tmp_path / "in" / "sim.zip"
    assert asked(capsys, "bundle", str(run), "--out", str(out)).status == 0
    checked = asked(capsys, "verify", str(out))
    assert checked.status == 0
    assert "simulated" in checked.out
    assert asked(capsys, "leaderboard", str(tmp_path / "in"), "--out", str(tmp_path / "site")).status == 0
    page = (tmp_path / "site" / "index.html").read_text()
    assert "simulated cluster: " in page
    assert "<b>Simulated.</b>" in page
    assert asked(capsys, "compare", str(run), str(run), "--format", "md").out.count("simulated") >= 3
