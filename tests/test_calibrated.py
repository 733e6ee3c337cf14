"""The whole way without an engine: a simulated run is taken for a measured one, and its engine's constants are fitted to its folder."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
from dataclasses import replace as replace_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from msgspec.structs import replace

from openagentperf import planfile
from openagentperf.cli.calibration import calibration_lines
from openagentperf.cli.main import main
from openagentperf.errors import UsageError
from openagentperf.plan import Search, Simulate, Tier, TierSet
from openagentperf.sim.account import Simulation
from openagentperf.sim.deployment import Compiled
from openagentperf.sim.spec import ClusterSpec
from openagentperf.sim.watts import BoundaryRatios
from openagentperf.simulation import calibrate_rows, job
from openagentperf.simulation.calibrate import Calibration, fit
from openagentperf.simulation.calibrate_band import moved
from openagentperf.simulation.calibrate_squares import fit_costs
from openagentperf.simulation.calibrated import FILE, Report, plan_of
from openagentperf.system import System
from test_calibrate import BASE_S, FRONT_S, KV_S, SEQUENCE_S, START_S, spec

TRUTH = spec(max_batch=6, slots=6)
"""Six slots; a decode step of 8.4 ms and more, so that speed alone never fails a level."""


def run_of(truth: ClusterSpec, folder: Path, tier: Tier, **search: int) -> Path:
    plan = planfile.load(None, planfile.Overrides(corpus="demo", rigor="quick"), {"system": "x", "model": "y"})
    plan = replace(plan, tiers=TierSet(name="own", tier=(tier,)), search=Search(**search))
    compiled = Compiled(spec=truth, constants=(), ratios=BoundaryRatios(), system=System(), notes=())
    return job.simulate(plan, Simulation(compiled=compiled), folder, lambda _: None).folder


LOOSE = Tier(name="own", output_speed=0.01, ttft_s=600)
STRICT = Tier(name="own", output_speed=0.01, ttft_s=0.35)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Levels of 2, 4, 8 and 16 agents, all passed; nothing in it says that there are six slots."""
    return run_of(TRUTH, tmp_path_factory.mktemp("measured"), LOOSE, start=2, limit=16)


def fitted(run: Path, levels: tuple[int, ...] = (), slots: int | None = None) -> Calibration:
    """To the phases at the named levels; () to all."""
    observed = calibrate_rows.read(run)
    return fit(observed, calibrate_rows.chosen(observed, levels) if levels else observed.levels, slots)


def test_a_folder_gives_the_constants_back(run: Path):
    calibration = fitted(run, (2, 4, 8))
    worker = calibration.spec.workers[0]
    assert worker.slots == 6
    step_s = worker.costs.step_s[4] + 3000 * 4 * worker.costs.per_kv_token_s
    assert step_s == pytest.approx(BASE_S + 4 * SEQUENCE_S + 3000 * 4 * KV_S, rel=0.1)
    assert calibration.spec.front_s + worker.costs.prefill_start_s == pytest.approx(FRONT_S + START_S, rel=0.1)
    marks = {constant.name: constant.mark for constant in calibration.constants}
    assert marks["slots"] == marks["step_base_s"] == "calibrated"
    assert marks["chunk"] == "assumed"
    assert calibration.token_ratio == 1


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    main([*arguments, "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_the_capacity_of_the_calibrated_engine_is_that_of_the_engine(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    tiers = tmp_path / "tiers.toml"
    tiers.write_text(
        tomli_w.dumps({"name": "own", "tier": [{"name": "own", "output_speed": 0.01, "ttft_s": STRICT.ttft_s}]})
    )
    told = said(
        capsys, "simulate", "--calibrate", str(run), "--fit-levels", "2,8", "--tiers", str(tiers), "--limit", "32", "--out", str(tmp_path)
    )  # fmt: skip
    truth = json.loads((run_of(TRUTH, tmp_path / "truth", STRICT, limit=32) / "result.json").read_text())
    want = truth["results"][0]["agents"]
    assert want in (5, 6, 7), "the cliff lies at the slots"
    assert abs(told["results"][0]["agents"] - want) <= 1
    assert told["simulated"]["calibrated_to"] == planfile.read(run / "plan.toml").digest
    assert told["simulated"]["marks"]["calibrated"] >= 5
    band = told["simulated"]["tiers"][0]["band"]
    assert band["low"] <= told["results"][0]["agents"] <= band["high"]
    assert "two standard errors" in band["how"]
    kept = json.loads((Path(told["folder"]) / FILE).read_text())
    assert kept["calibration"]["levels"] == [2, 8]
    assert main(["score", told["folder"]]) == 0
    assert "identical to" in capsys.readouterr().err


def test_levels_are_predicted_and_those_left_out_are_told_apart(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    told = said(
        capsys, "simulate", "--calibrate", str(run), "--fit-levels", "2,8", "--levels", "1,12", "--out", str(tmp_path)
    )  # fmt: skip
    assert [row["agents"] for row in told["levels"]] == [1, 12]
    assert told["levels"][0]["figures"]["ttft_p50_s"] < told["levels"][1]["figures"]["ttft_p50_s"]
    held = told["calibration"]["held"]
    assert [(row["agents"], row["fitted_to"]) for row in held] == [(n, [2, 8]) for n in (2, 4, 8, 16)]
    for row in held:
        for name in ("ttft_p50_s", "speed_p25", "output_tokens_per_s"):
            assert row["predicted"][name] == pytest.approx(row["measured"][name], rel=0.25), (row["agents"], name)


def test_several_phases_at_one_level_are_one_row(run: Path):
    """Certification has measured 16 agents three times more."""
    levels = calibrate_rows.read(run).levels
    assert [level.agents for level in levels] == [2, 4, 8, 16, 16, 16, 16]
    calibration = fitted(run)
    decode = [row for row in calibration.residuals if row.span == "decode"]
    spans = [int(group.decode.sum()) for group in fit_costs(levels)[1]]
    assert [(row.agents, row.spans) for row in decode] == [
        (2, spans[0]), (4, spans[1]), (8, spans[2]), (16, sum(spans[3:]))
    ]  # fmt: skip
    first = calibration_lines(Report(calibration=calibration, held=()), 80)[0]
    assert first == f"Calibrated to 7 phases of {run.name}, at 2, 4, 8, 16 agents"


def test_with_three_levels_each_is_left_out_in_turn(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    told = said(
        capsys, "simulate", "--calibrate", str(run), "--fit-levels", "2,8,16", "--levels", "4", "--out", str(tmp_path)
    )  # fmt: skip
    held = told["calibration"]["held"]
    assert [(row["agents"], row["fitted_to"]) for row in held[-3:]] == [(2, [8, 16]), (8, [2, 16]), (16, [2, 8])]


def test_on_a_terminal_what_is_measured_stands_beside_what_is_simulated(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert (
        main(["simulate", "--calibrate", str(run), "--fit-levels", "2,8", "--levels", "1", "--out", str(tmp_path)]) == 0
    )
    text = capsys.readouterr().out
    assert re.search(r"prefix cache +6 slots", text)
    assert "left out" in text
    assert "Residuals" in text
    assert "Simulated, not measured: one search phase a level" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fit-levels", "3"], "holds no phase at 3 agents, it has 2, 4, 8, 16"),
        (["--levels", "1,x"], "--levels: is `1,x`, numbers of agents with commas between them were needed"),
        (["--system", "hgx-h200"], "--system: names what to simulate, and so does --calibrate"),
        (["--corpus", "demo"], "--corpus: does not go with --calibrate"),
        (["--seed", "2"], "--seed: does not go with --calibrate"),  # a profile's other sessions
    ],
)
def test_what_does_not_go_together_is_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    assert main(["simulate", "--calibrate", str(run), *arguments, "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


def test_a_plan_that_names_a_run_takes_no_system_beside_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "plan.toml").write_text(tomli_w.dumps({"simulate": {"calibrate": str(run)}}))
    assert main(["simulate", str(tmp_path / "plan.toml"), "--model", "gpt-oss-120b", "--out", str(tmp_path)]) == 2
    assert "--model: names what to simulate, and so does --calibrate" in capsys.readouterr().err


def test_the_run_is_found_again_from_any_folder(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(run.parent)
    assert plan_of(Path(run.name), planfile.Overrides()).simulate == Simulate(calibrate=str(run))


class Pressed(io.StringIO):
    """Standard error of somebody who presses Ctrl-C when the corpus is named."""

    def write(self, text: str) -> int:
        written = super().write(text)
        if text == "corpus demo\n":
            signal.raise_signal(signal.SIGINT)
        return written


def test_ctrl_c_ends_it_with_a_sentence(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stream = Pressed()
    monkeypatch.setattr("sys.stderr", stream)
    assert main(["simulate", "--calibrate", str(run), "--fit-levels", "2,8", "--out", str(tmp_path)]) == 130
    assert stream.getvalue().endswith(
        "interrupted: a simulation is not gone on with: the same command gives the same numbers: start it again\n"
    )


def test_a_folder_without_a_phase_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["simulate", "--calibrate", str(tmp_path), "--out", str(tmp_path)]) != 0
    assert "plan.toml" in capsys.readouterr().err


def test_slots_that_are_known_are_not_fitted(run: Path):
    assert fitted(run, (2,), slots=9).spec.workers[0].slots == 9
    found = fitted(run, (2,))
    assert found.spec.workers[0].slots == 2, "two agents take two slots from each other, however many there are"
    assert any("no level went beyond the slots" in note for note in found.notes)
    assert not any("no level went beyond the slots" in note for note in fitted(run, (2, 8)).notes)


def test_a_band_moves_every_fitted_constant_and_no_other(run: Path):
    calibration = fitted(run, (2, 8))
    worse, better = moved(calibration, 1), moved(calibration, -1)
    errors = {row.name: row.error for row in calibration.fitted}
    (slow,), (plain,), (fast,) = worse.workers, calibration.spec.workers, better.workers
    assert slow.costs.step_s[3] > plain.costs.step_s[3] > fast.costs.step_s[3]
    assert errors["prefill_token_s"] is not None
    assert slow.costs.prefill_token_s - plain.costs.prefill_token_s == pytest.approx(2 * errors["prefill_token_s"])
    assert slow.slots == plain.slots == fast.slots
    assert slow.costs.step_s[0] == plain.costs.step_s[0], "a step that only prefills stays what its prefill takes"


def test_too_few_turns_are_refused_and_never_fitted_to(run: Path):
    """Five turns gave seven constants with errors of a per cent, and an engine in which decoding costs nothing."""
    observed = calibrate_rows.read(run)
    few = observed.levels[0]
    few = calibrate_rows.level(few.facts, few.turns.where(few.turns.sent_ns <= np.sort(few.turns.sent_ns)[4]))
    assert len(few) == 5
    with pytest.raises(UsageError, match="5 answered turns at the levels to fit to, 30 or more are needed"):
        fit(observed, [few])


def test_an_engine_whose_prompts_or_steps_cost_nothing_is_refused(run: Path):
    """What no search would end on: answers that follow each other in no time."""
    observed = calibrate_rows.read(run)
    frozen = [replace_dataclass(level, first_s=level.sent_s, last_s=level.sent_s) for level in observed.levels]
    with pytest.raises(UsageError, match="does not tell what a decode step costs: no constant of it"):
        fit(observed, frozen)


def test_what_the_run_was_is_said(run: Path, tmp_path: Path):
    """That it was simulated itself; and which of the phases were invalid."""
    spoiled = shutil.copytree(run, tmp_path / "spoiled")
    ledger = (spoiled / "ledger.jsonl").read_text().splitlines()
    (spoiled / "ledger.jsonl").write_text(
        "".join(
            line.replace('"verdict":"pass"', '"verdict":"invalid"') + "\n" if '"agents":4' in line else line + "\n"
            for line in ledger
        )
    )
    assert not any("invalid for every tier" in note for note in fitted(run).notes)
    notes = fitted(spoiled).notes
    assert any("invalid for every tier: the phases at 4 agents" in note for note in notes)
    assert any("is itself simulated" in note for note in notes)
