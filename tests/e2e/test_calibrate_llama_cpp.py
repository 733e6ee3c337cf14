"""A real engine is measured at two levels, and its capacity is predicted before it is searched for: llama.cpp's server with half a million
random weights, whose slots are the cliff.

Times are compared with times of the same machine minutes before. The level of service lies between what one level within the slots and
one beyond them gave, so that the answer is decided by where the slots end and not by how fast the machine is.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tomli_w
from msgspec.structs import replace

from engines.llama_server import llama_server, missing
from openagentperf import bench, planfile
from openagentperf.cli.main import main
from openagentperf.records.progress import Progress
from openagentperf.sim.spec import ClusterSpec
from openagentperf.simulation import calibrate_rows
from openagentperf.simulation.calibrate import ENDLESS_TOKENS, Calibration, fit
from openagentperf.simulation.calibrated import plan_of
from openagentperf.simulation.explore import explore
from openagentperf.simulation.job import opened

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

SESSIONS = Path(__file__).parent.parent / "data" / "trajectories"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if why := missing():
        pytest.skip(why)
    from engines.tiny_gguf import write_tiny_model  # needs the `engines` extra

    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_tiny_model(path)
    return path


def plan(url: str, tier: dict[str, Any], rigor: dict[str, Any], **search: int) -> dict[str, Any]:
    """The client shares its cores with the server and with whatever else runs here: it may be late by more than usual."""
    return {
        "tiers": {"tier": [{"name": "interactive", **tier}]},
        "rigor": {
            "preset": "quick", "settle_s": 0.5, "search_measure_s": 3, "search_turns": 12, "limit_s": 50, "client_error": 1.0,
            "ttft_drift": 10.0, **rigor,
        },
        "endpoint": {"url": url},
        "workload": {"corpus": str(SESSIONS), "track": "exact", "max_output_tokens": 64},
        "search": search,
    }  # fmt: skip


def measured_levels(table: dict[str, Any], folder: Path) -> Path:
    """The run folder of a ramp that is broken off where certification would begin."""
    path = folder / "calibration.toml"
    path.write_text(tomli_w.dumps(table))
    begun: list[Path] = []

    def watch(progress: Progress) -> None:
        if progress.message.startswith("run folder "):
            begun.append(Path(progress.message.removeprefix("run folder ")))
        if progress.kind == "certify":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.run(planfile.load(path), folder / "calibration", watch)
    return begun[0]


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    main([*arguments, "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert "error" not in told, told
    return told


def level_of_service(run: Path, within: int, beyond: int) -> dict[str, float]:
    """A time to first token half-way, by ratio, between those at the two levels. It is the widest cliff: a factor of five from the last
    agent that has a slot to the next one, where speeds differ by two to three and a busy machine by as much."""
    ttft = {phase.agents: phase.ttft_p95_s for phase in bench.score(run).phases}
    short, long = ttft[within], ttft[beyond]
    assert short is not None
    assert long is not None
    assert long > 4 * short, f"no cliff to be found: {ttft}"
    return {"output_speed": 0.01, "ttft_s": math.sqrt(short * long)}


def without_slots(spec: ClusterSpec) -> ClusterSpec:
    """The same step costs with a cache that never forgets and a place for everybody."""
    (worker,) = spec.workers
    costs = replace(worker.costs, step_s=worker.costs.step_s[:1] + worker.costs.step_s[1:2] * 64)
    free = replace(worker, slots=0, max_batch=64, costs=costs, kv_pool_bytes=ENDLESS_TOKENS)
    return replace(spec, workers=(free,))


def capacity_without_slots(run: Path, calibration: Calibration, tiers: Path, runs: Path) -> int:
    wish = plan_of(run, planfile.Overrides(tiers=str(tiers), limit=64))
    (found,) = explore(wish, without_slots(calibration.spec), opened(wish, runs).load)
    assert found.agents is not None
    return found.agents


class Found(NamedTuple):
    predicted: int
    measured: int
    without_slots: int
    """Predicted by the same constants for an engine that has a place for everybody."""
    calibration: Calibration
    held: list[dict[str, Any]]
    """Measured levels beside their simulation."""


def predicted_and_measured(
    url: str, folder: Path, capsys: pytest.CaptureFixture[str], fit_to: tuple[int, int], rigor: dict[str, Any]
) -> Found:
    """The ramp doubles from the lower level to the higher one, which is beyond the slots; what lies between them is not fitted to."""
    within, beyond = fit_to
    run = measured_levels(plan(url, {"output_speed": 0.01, "ttft_s": 600.0}, rigor, start=within, limit=beyond), folder)
    tier = level_of_service(run, within, beyond)
    tiers = folder / "tiers.toml"
    tiers.write_text(tomli_w.dumps({"name": "own", "tier": [{"name": "interactive", **tier}]}))
    told = said(
        [
            *("simulate", "--calibrate", str(run), "--fit-levels", f"{within},{beyond}", "--tiers", str(tiers)),
            *("--limit", "32", "--out", str(folder / "simulated")),
        ],
        capsys,
    )
    assert told["simulated"]["marks"]["calibrated"] >= 3, told["simulated"]
    observed = calibrate_rows.read(run)
    calibration = fit(observed, calibrate_rows.chosen(observed, fit_to))
    free = capacity_without_slots(run, calibration, tiers, folder / "simulated")

    path = folder / "search.toml"
    path.write_text(tomli_w.dumps(plan(url, tier, rigor, start=max(1, beyond // 2), limit=beyond)))
    found = said(["run", str(path), "--out", str(folder / "runs")], capsys)
    predicted, measured = told["results"][0]["agents"], found["results"][0]["agents"]
    return Found(predicted, measured, free, calibration, told["calibration"]["held"])


def left_out(found: Found, agents: int) -> dict[str, dict[str, float]]:
    return next(row for row in found.held if row["agents"] == agents and agents not in row["fitted_to"])


@pytest.mark.slow
def test_the_capacity_is_predicted_from_two_levels_slots_and_cliff_included(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Two slots, fitted to one agent and to four. The capacity is two: nobody said so, and neither level is it."""
    with llama_server(model, tmp_path / "log", slots=2) as url:
        rigor = {"certify_phases": 1, "measure_s": 4, "certify_turns": 12}
        found = predicted_and_measured(url, tmp_path, capsys, (1, 4), rigor)
    assert found.calibration.spec.workers[0].slots == 2, found
    assert abs(found.predicted - found.measured) <= 0.2 * found.measured, found
    assert found.without_slots > 1.2 * found.measured, f"the cliff is the slots': without them {found}"
    row = left_out(found, 2)
    assert row["predicted"]["cached_fraction"] == pytest.approx(row["measured"]["cached_fraction"], abs=0.15), found


@pytest.mark.slow
def test_another_number_of_slots_and_a_level_left_out(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Three slots, fitted to two agents and to six, with the three certifying phases of a real search; four are predicted and not
    fitted to."""
    with llama_server(model, tmp_path / "log", slots=3) as url:
        rigor = {"search_measure_s": 10, "search_turns": 40, "measure_s": 10, "certify_turns": 90, "limit_s": 90}
        found = predicted_and_measured(url, tmp_path, capsys, (2, 6), rigor)
    assert found.calibration.spec.workers[0].slots == 3, found
    assert abs(found.predicted - found.measured) <= 0.2 * found.measured, found
    assert found.without_slots > 1.2 * found.measured, f"the cliff is the slots': without them {found}"
    row = left_out(found, 4)
    for name, share in (("ttft_p50_s", 0.5), ("speed_p25", 0.5), ("output_tokens_per_s", 0.4)):
        assert row["predicted"][name] == pytest.approx(row["measured"][name], rel=share), (name, row)
