"""How sure the capacity of a calibrated engine is: its search once more with every fitted constant two standard errors worse, and better.

Slots, the size of a pool and the largest batch stay: what other sizes would explain as well stands beside the calibration. That a busy
host has worse moments than the fit describes is not in it either; what a left-out level missed by is (simulation.calibrate_check).
"""

from __future__ import annotations

from msgspec.structs import replace

from openagentperf.plan import Plan
from openagentperf.records.progress import Progress
from openagentperf.records.standing import Standing
from openagentperf.sim.account import Bands
from openagentperf.sim.spec import ClusterSpec, StepCosts
from openagentperf.simulation.bands import banded_rows, searched
from openagentperf.simulation.calibrate import Calibration
from openagentperf.simulation.explore import Load
from openagentperf.simulation.job import Banding, Observe

HOW = "every fitted constant two standard errors worse or better, all at once"


def for_calibration(calibration: Calibration) -> Banding:
    def banded(plan: Plan, load: Load, standing: tuple[Standing, ...], observe: Observe) -> Bands:
        sides = {}
        for name, sign in (("worst", 1), ("best", -1)):
            observe(Progress(stage="done", message=f"uncertainty: searching with the fitted constants at their {name}"))
            sides[name] = searched(plan, moved(calibration, sign), load, standing)
        rows = banded_rows(standing, sides["worst"], sides["best"], HOW)
        return Bands(tiers_digest=plan.tiers.digest, bands=rows)

    return banded


def moved(calibration: Calibration, sign: int) -> ClusterSpec:
    """The calibrated engine with longer (1) or shorter (-1) times."""
    at = {
        row.name: max(0.0, row.value + sign * 2 * (row.error or 0.0)) - row.value
        for row in calibration.fitted
        if row.error is not None
    }
    spec = calibration.spec
    (worker,) = spec.workers
    costs = worker.costs
    base, each = at.get("step_base_s", 0.0), at.get("step_sequence_s", 0.0)
    steps = tuple(step + base + each * batch for batch, step in enumerate(costs.step_s[1:], 1))
    changed: StepCosts = replace(
        costs,
        step_s=(costs.step_s[0], *steps),
        per_kv_token_s=costs.per_kv_token_s + at.get("kv_token_s", 0.0),
        prefill_start_s=costs.prefill_start_s + at.get("prefill_start_s", 0.0),
        prefill_token_s=costs.prefill_token_s + at.get("prefill_token_s", 0.0),
        prefill_context_s=costs.prefill_context_s + at.get("prefill_context_s", 0.0),
    )
    return replace(
        spec, workers=(replace(worker, costs=changed),), front_s=max(0.0, spec.front_s + at.get("front_s", 0.0))
    )
