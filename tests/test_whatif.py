"""Sweeps: what may be changed, the same rows whatever ran where, and a reason for every row without a number."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
from pathlib import Path

import pytest

from openagentperf import planfile
from openagentperf.cli.main import main
from openagentperf.cli.simulate import wished
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.errors import UsageError
from openagentperf.sim.catalog import Catalog
from openagentperf.sim.cells import Constant
from openagentperf.sim.deployment import Deployment, PoolPlan, Scale
from openagentperf.simulation import bands
from openagentperf.simulation.sweep import Done, Task, run_all
from openagentperf.simulation.variants import Axes, Refused, Variant, variants

SPLIT = Deployment(
    pools=(PoolPlan(role="prefill", groups=6, dp=4, ep=4), PoolPlan(role="decode", groups=1, dp=8, ep=8)),
    draft_tokens=3,
)
WHOLE = Deployment(pools=(PoolPlan(role="aggregated", groups=2, tp=4),))


def made(deployment: Deployment = SPLIT, **axes: object) -> list[Variant | Refused]:
    asked = Axes(systems=("s",), models=("m",), **axes)  # type: ignore[arg-type]
    return list(variants(asked, lambda system, model: deployment))


def sizes(variant: Variant | Refused) -> list[tuple[str, int, int, int, int]]:
    assert isinstance(variant, Variant), variant
    return [(p.role, p.groups, p.tp, p.dp, p.ep) for p in variant.deployment.pools]


@pytest.mark.parametrize(
    ("deployment", "axes", "want"),
    [
        (SPLIT, {"split": ("16:16",)}, [("prefill", 4, 1, 4, 4), ("decode", 2, 1, 8, 8)]),  # 16 / 4, 16 / 8
        (SPLIT, {"split": ("aggregated",)}, [("aggregated", 4, 1, 8, 8)]),  # all 32 as the decode pool is laid out
        (WHOLE, {"split": ("4:4",)}, [("prefill", 1, 4, 1, 1), ("decode", 1, 4, 1, 1)]),
        (WHOLE, {"layout": ("tp8",)}, [("aggregated", 1, 8, 1, 1)]),
        (WHOLE, {"layout": ("tp2dep4",)}, [("aggregated", 1, 2, 4, 8)]),
        (WHOLE, {"layout": ("dp8",)}, [("aggregated", 1, 1, 8, 1)]),
        (SPLIT, {"layout": ("decode=dep4",)}, [("prefill", 6, 1, 4, 4), ("decode", 2, 1, 4, 4)]),
    ],
)
def test_pools(
    deployment: Deployment, axes: dict[str, tuple[str, ...]], want: list[tuple[str, int, int, int, int]]
) -> None:
    (variant,) = made(deployment, **axes)
    assert sizes(variant) == want


def test_the_other_axes_change_what_they_say() -> None:
    (variant,) = made(context=(1_048_576,), cache=("host=120",), draft=(0,), batch=(64,))
    assert isinstance(variant, Variant)
    assert variant.changes == ("context 1,048,576", "cache host=120", "0 drafted", "batch 64")
    changed = variant.deployment
    assert (changed.max_model_len, changed.host_cache, changed.draft_tokens) == (1_048_576, 120.0, 0)
    assert (variant.context_tokens, {pool.max_batch for pool in changed.pools}) == (1_048_576, {64})
    (off,) = made(cache=("off",))
    assert isinstance(off, Variant)
    assert (off.cache, off.deployment) == ("off", SPLIT)


def test_every_combination_in_the_order_asked_for() -> None:
    axes = Axes(systems=("a", "b"), models=("m",), draft=(0, 3), cache=("on", "off"))
    got = [(v.system, v.changes) for v in variants(axes, lambda system, model: SPLIT)]
    assert got == [
        (system, (f"cache {cache}", f"{draft} drafted"))
        for system in "ab"
        for cache in ("on", "off")
        for draft in (0, 3)
    ]


def test_a_combination_that_cannot_be_is_refused_with_its_reason() -> None:
    first, second = made(split=("24:8", "30:2"))
    assert isinstance(first, Variant)
    assert isinstance(second, Refused)
    assert "30 accelerators, groups of 4 (tp 1 x dp 4) were needed" in second.why


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"split": ("24-8",)}, "`24-8` is no split"),
        ({"layout": ("ep8",)}, "`ep8` is no layout"),
        ({"layout": ("",)}, "`` is no layout"),
        ({"layout": ("tp0",)}, "`tp0` is no layout"),  # a division by it
        ({"layout": ("tp2dep0",)}, "`tp2dep0` is no layout"),
        ({"cache": ("warm",)}, "`warm` is no cache"),
    ],
)
def test_a_mistake_stops_before_anything_is_simulated(axes: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        made(**axes)


# -- the command line ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tiers that a server of 8 reaches at few agents, so that a search takes a second."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiers.toml").write_text('name = "own"\n[[tier]]\nname = "own"\noutput_speed = 150\nttft_s = 5\n')
    return tmp_path


def whatif(*arguments: str) -> int:
    return main(
        ["whatif", "--tiers", "tiers.toml", "--corpus", "demo", "--max-context", "4096", "--limit", "4", *arguments]
    )


def test_whatif_on_the_command_line(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same rows from one process and from two; a refused row says what is missing; 80 columns."""
    asked = ("--system", "hgx-h100,nowhere", "--model", "gpt-oss-120b", "--cache", "on,off")
    assert whatif(*asked, "--jobs", "1", "--json", "--csv", "rows.csv") == 0
    one = json.loads(capsys.readouterr().out)
    assert whatif(*asked, "--jobs", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out) == one
    assert one["simulated"] is True
    rows = one["rows"]
    assert [(r["system"], *r["changes"]) for r in rows] == [
        (system, f"cache {cache}") for system in ("hgx-h100", "nowhere") for cache in ("on", "off")
    ]
    assert rows[0]["agents"] >= 1
    assert rows[0]["hit_rate"] > 0.5
    assert rows[1]["hit_rate"] in (0.0, None)
    assert rows[2]["agents"] is None
    assert "no system `nowhere`" in rows[2]["why"]
    written = list(csv.DictReader(io.StringIO((small / "rows.csv").read_text())))
    assert [row["simulated"] for row in written] == ["simulated"] * 4
    assert written[0]["agents"] == str(rows[0]["agents"])

    assert whatif(*asked, "--jobs", "1") == 0
    page = capsys.readouterr().out
    assert page.startswith("SIMULATED")
    assert max(map(len, page.splitlines())) <= 80
    assert "refused: catalogue: no system `nowhere`" in page


def test_an_interrupt_does_not_wait_for_searches_that_have_begun(tmp_path: Path) -> None:
    """The first row comes at once (its corpus is not there); the search beside it goes on for minutes."""
    named = {"system": "hgx-h200", "model": "gpt-oss-120b"}
    plan = wished(None, planfile.Overrides(corpus="demo", limit=10_000), named)
    corpus = prepare(plan.workload, plan.seed, tmp_path).path
    variant = Variant(changes=(), deployment=Catalog.load().deployment(**named), **named)
    quick, long = (Task(variant=variant, plan=plan, corpus=str(path)) for path in (tmp_path / "nowhere", corpus))
    before = set(multiprocessing.active_children())

    def stop(rows: Done) -> None:
        assert "nowhere" in rows[0].why
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all([quick, long], 2, stop)
    assert set(multiprocessing.active_children()) <= before


def test_whatif_refuses_what_it_cannot_read(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, value in (("--draft", "three"), ("--batch", "0"), ("--context", "0")):
        assert whatif("--system", "hgx-h100", "--model", "gpt-oss-120b", option, value) == 2
        assert f"{option}: `{value}` is no number" in capsys.readouterr().err
    assert whatif("--system", ",", "--model", "gpt-oss-120b") == 2
    assert "names nothing" in capsys.readouterr().err


def test_simulate_on_the_command_line(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Quick, with a band: the number lies inside it, and `score` gives the identical result."""
    asked = (
        "--system",
        "hgx-h100",
        "--model",
        "gpt-oss-120b",
        "--tiers",
        "tiers.toml",
        "--corpus",
        "demo",
        "--quick",
        "--limit",
        "8",
    )
    assert main(["simulate", *asked, "--max-context", "4096", "--json"]) in (0, 3)
    said = json.loads(capsys.readouterr().out)
    (tier,) = said["simulated"]["tiers"]
    (found,) = said["results"]
    assert said["target"] == "simulated cluster"
    assert tier["band"]["low"] <= found["agents"] <= tier["band"]["high"]
    assert "compute +-" in tier["band"]["how"]
    assert said["simulated"]["catalog_digest"]
    assert main(["score", said["folder"]]) == 0
    page = capsys.readouterr().out
    assert "SIMULATED" in page
    assert "constants:" in page


def test_a_rate_that_may_be_off_by_all_of_itself_gives_a_band_from_nothing(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "mine.toml").write_text(
        "[generation.hopper]\n"
        'memory_efficiency = { value = 0.7, unit = "share", mark = "assumed", source = "us", date = "2026-11", uncertainty = 1.5 }\n'
    )
    asked = [
        "--system",
        "hgx-h100",
        "--model",
        "gpt-oss-120b",
        "--catalog",
        "mine.toml",
        "--tiers",
        "tiers.toml",
        "--corpus",
        "demo",
    ]
    assert main(["simulate", *asked, "--quick", "--limit", "2", "--max-context", "4096", "--json"]) == 0
    (tier,) = json.loads(capsys.readouterr().out)["simulated"]["tiers"]
    assert tier["band"]["low"] == 0
    assert "bandwidth +-150%" in tier["band"]["how"]


def test_simulate_says_what_is_missing(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate"]) == 2
    assert "names no system and model to simulate" in capsys.readouterr().err
    assert main(["simulate", "--system", "hgx-h100", "--model", "gpt-oss-120b", "--deployment", "none"]) == 2
    assert "no deployment `none`" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--levels", "--fit-levels", "--slots"])
def test_what_speaks_of_a_measured_run_needs_one(small: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert main(["simulate", "--system", "hgx-h100", "--model", "gpt-oss-120b", option, "4"]) == 2
    assert f"{option}: stands without --calibrate" in capsys.readouterr().err
    assert not list(small.glob("runs/*"))


# -- the band --------------------------------------------------------------------------------------------------------------------


def constant(name: str, uncertainty: float) -> Constant:
    return Constant(name=name, value=1.0, unit="", mark="assumed", source="us", uncertainty=uncertainty)


def test_the_band_moves_each_kind_by_its_largest_uncertainty() -> None:
    shares = bands.uncertainties(
        [
            constant("generation.g.kernels.fp8.mfu", 0.2), constant("generation.g.decode_compute", 0.1),
            constant("generation.g.layer_start.dense", 0.5), constant("model.m.acceptance.3", 0.3), constant("accelerator.a.tdp", 0.9),
            constant("deployment.memory_share", 0.02),
        ]
    )  # fmt: skip
    assert shares == {
        "compute": 0.2,
        "bandwidth": 0.0,
        "overhead": 0.5,
        "acceptance": 0.3,
        "memory": 0.0,
        "memory_share": 0.02,
    }  # power moves no capacity
    assert bands.scaled(shares, -1) == Scale(compute=0.8, bandwidth=1.0, overhead=1.5, acceptance=0.7)
    assert bands.scaled(shares, 1) == Scale(compute=1.2, bandwidth=1.0, overhead=0.5, acceptance=1.3)
    beyond = shares | {"compute": 1.5, "overhead": 3.0, "acceptance": 2.0}
    assert bands.scaled(beyond, -1) == Scale(compute=0.0, bandwidth=1.0, overhead=4.0, acceptance=0.0)
    assert bands.scaled(beyond, 1) == Scale(compute=2.5, bandwidth=1.0, overhead=0.0, acceptance=3.0)
    assert "compute +-20%, overhead +-50%, acceptance +-30%, memory_share +-2%" in bands.how(shares)
