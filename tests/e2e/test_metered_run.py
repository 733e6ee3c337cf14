"""The whole metered path on the embedded node: exporter, sampler, power.parquet, agents/MW; and a run whose power is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import polars as pl
import pytest

from openagentperf import verify
from openagentperf.cli.main import main
from openagentperf.records.result import Result

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    plan = folder / "plan.toml"
    plan.write_text(
        'tiers = {name = "t", tier = [{name = "easy", output_speed = 5.0, ttft_s = 10.0}]}\n'
        '[rigor]\npreset = "quick"\nclient_error = 1.0\nsearch_measure_s = 2\nsearch_turns = 5\nmeasure_s = 4\n'
        'certify_turns = 18\ncertify_phases = 2\n[search]\nlimit = 1\n'
        '[system]\naccelerators = 1\nrated_accelerator_w = 700.0\npue = 1.2\n[system.price]\nusd_per_hour = 3.0\n'
    )  # fmt: skip
    assert main(["run", str(plan), "--out", str(folder / "out"), "--json"]) == 0
    (found,) = (path for path in (folder / "out").iterdir() if path.name != "corpora")
    return found


def result_of(run: Path) -> Result:
    return msgspec.json.decode((run / "result.json").read_bytes(), type=Result)


def test_the_default_run_walks_the_metered_path(run: Path) -> None:
    (tier,) = result_of(run).results
    modelled, rated = tier.power
    assert (modelled.name, rated.name) == ("agents/MW (accelerator, modelled)", "agents/MW (accelerator, rated)")
    assert modelled.why == ()
    assert modelled.mean_w is not None
    assert 70 < modelled.mean_w < 700  # between the model's idle and prefill watts
    assert modelled.agents_per_mw == pytest.approx(1e6 / modelled.mean_w)
    assert rated.agents_per_mw == pytest.approx(1e6 / 700)
    assert tier.cost is not None
    assert tier.cost.usd_per_agent_hour == 3.0
    idle = result_of(run).idle_power
    assert [row.when for row in idle] == ["before", "after"]
    assert all(row.mean_w == pytest.approx(70, rel=0.05) for row in idle)


def test_every_phase_keeps_its_readings(run: Path) -> None:
    for folder in (run / "phases").iterdir():
        table = pl.read_parquet(folder / "power.parquet")
        assert {"energy", "power"} == set(table["quantity"])
        assert table["value"].null_count() == 0
        assert table.filter(pl.col("quantity") == "energy")["value"].is_sorted()
    assert not (run / "power.frames").exists()


@pytest.mark.parametrize("spoil", ["missing", "cut short", "empty", "no values"])
def test_a_run_whose_power_is_gone_keeps_its_agents(run: Path, tmp_path: Path, spoil: str) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for folder in (copy / "phases").iterdir():
        path = folder / "power.parquet"
        if spoil == "missing":
            path.unlink()
        elif spoil == "cut short":
            path.write_bytes(path.read_bytes()[:-20])
        else:
            table = pl.read_parquet(path)
            (table.clear() if spoil == "empty" else table.with_columns(value=pl.lit(None, pl.Float64))).write_parquet(
                path
            )
    before, (tier,) = result_of(run).results[0], verify.derive(copy).results
    assert (tier.agents, tier.standing) == (before.agents, before.standing)
    measured = tier.power[0]
    assert (measured.agents_per_mw, measured.mean_w, measured.j_per_turn) == (None, None, None)
    assert "no_readings" in measured.why[0]
    assert tier.power[-1].agents_per_mw is not None, "the rating needs no readings"


def test_score_derives_the_same_result(run: Path) -> None:
    assert main(["score", str(run)]) == 0


def test_a_log_s_clock_is_held_against_the_load(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """300 W, and 400 more while a request is in flight, by a logger whose clock is 5 s behind."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    folders = sorted((copy / "phases").iterdir())
    facts = [verify.rundir.read_facts(folder) for folder in folders]
    turns = pl.concat(
        [pl.read_parquet(folder / "turns.parquet", columns=["sent_ns", "closed_ns"]) for folder in folders]
    )
    spans = [(sent, closed) for sent, closed in turns.iter_rows() if sent is not None]
    assert facts[0].wall_offset_ns is not None
    begins_ns, ends_ns = facts[0].order.start_ns - 9 * 10**9, facts[-1].ended_ns + 9 * 10**9
    lines = ["time,watts"]
    for at_ns in range(begins_ns, ends_ns, 10**8):
        watts = 700 if any(sent <= at_ns < closed for sent, closed in spans) else 300
        lines.append(f"{(at_ns + facts[0].wall_offset_ns[0]) / 1e9 - 5:.3f},{watts}")
    log = tmp_path / "log.csv"
    log.write_text("\n".join(lines))
    attach = [
        "power",
        "attach",
        str(copy),
        "--csv",
        str(log),
        "--boundary",
        "node",
        "--time",
        "time",
        "--value",
        "watts",
    ]
    before = (copy / "result.json").read_bytes()
    capfd.readouterr()
    assert main(attach) == 2
    said = capfd.readouterr().err
    assert "its clock is behind" in said
    assert "say --offset 5" in said or "say --offset 4.75" in said
    assert (copy / "result.json").read_bytes() == before, "nothing is written"
    assert main([*attach, "--clock-error", "1"]) == 2, "the load contradicts it"
    assert main([*attach, "--offset", "5"]) == 0
    assert "its power follows the load (correlation " in capfd.readouterr().out


def test_an_external_log_becomes_one_more_boundary(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    facts = [verify.rundir.read_facts(folder) for folder in sorted((copy / "phases").iterdir())]
    offsets = facts[0].wall_offset_ns
    assert offsets is not None
    begins_ns, ends_ns = facts[0].order.start_ns - 2 * 10**9, facts[-1].ended_ns + 2 * 10**9
    times = [(begins_ns + step * 10**8 + offsets[0]) / 1e9 for step in range((ends_ns - begins_ns) // 10**8)]
    lines = ["time,watts", *(f"{time:.3f},{1000 + step % 2}" for step, time in enumerate(times))]
    log = tmp_path / "log.csv"
    log.write_text("\n".join(lines))
    options = ["--csv", str(log), "--boundary", "node", "--time", "time", "--value", "wall=watts", "--json"]
    capfd.readouterr()
    assert main(["power", "attach", str(copy), *options]) == 0
    (tier,) = result_of(copy).results
    node = next(row for row in tier.power if row.boundary == "node")
    assert node.why == ()
    assert node.name == "agents/MW (node, measured)"
    assert node.mean_w == pytest.approx(1000.5, rel=1e-3)
    facility = next(row for row in tier.power if row.boundary == "facility")
    assert facility.mean_w == pytest.approx(1000.5 * 1.2, rel=1e-3)
    before = (copy / "result.json").read_bytes()
    assert main(["power", "attach", str(copy), *options]) == 2  # the name is taken
    assert main(["power", "attach", str(copy), *options, "--name", "second"]) == 2  # the same watts again
    assert main(["power", "attach", str(copy), *options, "--replace", "--offset", "86400"]) == 2  # covers no phase
    assert "covers no phase" in capfd.readouterr().err
    assert main(["power", "attach", str(copy), *options, "--scale", "nan"]) == 2
    assert main(["score", str(copy)]) == 0
    assert (copy / "result.json").read_bytes() == before
    assert main(["power", "attach", str(copy), *options, "--replace", "--scale", "2"]) == 0
    (tier,) = result_of(copy).results
    assert next(row for row in tier.power if row.boundary == "node").mean_w == pytest.approx(2001, rel=1e-3)
