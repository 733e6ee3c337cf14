"""Workers that a plan has fail: which they are, when it happens, and what a search makes of it."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import polars as pl
import pytest

import simulated
from openagentperf import planfile
from openagentperf.cli.main import main
from openagentperf.errors import UsageError
from openagentperf.plan import Rigor, Simulate
from openagentperf.rundir import read_facts
from openagentperf.simulation.failures import check, failing
from openagentperf.simulation.wish import simulation_of
from openagentperf.units import NS_PER_S

SPLIT = simulated.simulation(
    simulated.cluster(
        simulated.worker("prefill", "prefill", workers=3), simulated.worker("decode", "decode", workers=2)
    )
).compiled


@pytest.mark.parametrize(
    ("asked", "ordinal", "after_s"), [("prefill:0@0", 0, 0.0), ("prefill:2@7", 2, 7.0), ("decode:1@60.5", 4, 60.5)]
)
def test_a_worker_is_named_by_its_pool_and_number(asked: str, ordinal: int, after_s: float) -> None:
    made = failing(SPLIT, [asked])
    assert made.spec.fail_worker_at_s == ((ordinal, after_s),)
    assert asked in made.notes[-1]


@pytest.mark.parametrize(
    "asked", ["decode:2@60", "gpu:0@60", "decode@60", "decode:0", "decode:-1@60", "decode:0@-1", "decode:0@1e3", ""]
)
def test_what_is_no_worker_is_refused_with_those_that_there_are(asked: str) -> None:
    with pytest.raises(UsageError, match=r"prefill:0 to prefill:2, decode:0 to decode:1"):
        failing(SPLIT, [asked])


def test_several_pools_of_one_role_are_numbered_on() -> None:
    cluster = simulated.simulation(
        simulated.cluster(
            simulated.worker("prefill", "prefill", workers=2),
            simulated.worker("decode", "decode", workers=2),
            simulated.worker("prefill", "prefill", workers=4),
        )
    ).compiled
    ordinals = [failing(cluster, [f"prefill:{n}@1"]).spec.fail_worker_at_s[0][0] for n in range(6)]
    assert ordinals == [0, 1, 4, 5, 6, 7]  # one decode pool of 2 stands between


@pytest.mark.parametrize(
    ("search_s", "certify_s", "at_s", "fine"),
    [(60, 600, 59, True), (60, 600, 60, False), (4, 6, 5, False), (60, 6, 7, False)],
)
def test_a_worker_must_fail_within_every_window(search_s: float, certify_s: float, at_s: float, fine: bool) -> None:
    """Else the verdicts of some phases would be those of a healthy cluster, under a note that says otherwise."""
    made = failing(SPLIT, [f"decode:0@{at_s}"])
    with nullcontext() if fine else pytest.raises(UsageError, match=r"SECONDS below"):
        check(made, Rigor(search_measure_s=search_s, measure_s=certify_s))


def test_without_any_the_cluster_is_as_it_was() -> None:
    assert failing(SPLIT, []) is SPLIT


def test_a_plan_s_failures_reach_the_cluster_and_come_back_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('[simulate]\nsystem = "hgx-h200"\nmodel = "gpt-oss-120b"\nfail_worker = ["aggregated:0@30"]\n')
    plan = planfile.load(file)
    assert plan.simulate == Simulate(system="hgx-h200", model="gpt-oss-120b", fail_worker=("aggregated:0@30",))
    file.write_bytes(planfile.dump(plan))
    assert planfile.read(file) == plan
    assert simulation_of(plan.simulate).compiled.spec.fail_worker_at_s == ((0, 30.0),)


def test_a_worker_fails_after_the_window_has_opened_and_takes_its_requests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """8 H200 as 8 workers; the last one fails 2 s into each window, and only with 8 agents is one there."""
    options = [
        "--system",
        "hgx-h200",
        "--model",
        "gpt-oss-120b",
        "--corpus",
        "demo",
        "--limit",
        "8",
        "--quick",
        "--no-band",
    ]
    main(["simulate", *options, "--fail-worker", "aggregated:7@2", "--plain", "--json", "--out", str(tmp_path)])
    notes = json.loads(capsys.readouterr().out)["simulated"]["notes"]
    assert "aggregated:7@2" in " ".join(notes)
    (folder,) = (path for path in tmp_path.iterdir() if path.name != "corpora")
    lost_at = set()
    for phase in folder.glob("phases/*"):
        rows = pl.read_parquet(phase / "turns.parquet")
        closed = rows.filter(pl.col("failure") == "reset")["closed_ns"]
        lost_at |= {(at - read_facts(phase).window_start_ns) / NS_PER_S for at in closed}
    assert lost_at == {2.0}
