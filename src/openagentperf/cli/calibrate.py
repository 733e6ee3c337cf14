"""`openagentperf simulate --calibrate RUN`: constants from a measured run, then its plan on the engine that they describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from openagentperf.cli.calibration import calibration_lines, prediction_lines
from openagentperf.cli.display import display
from openagentperf.cli.output import say, say_json
from openagentperf.cli.run import Watch
from openagentperf.cli.summary import summary
from openagentperf.errors import PlanError
from openagentperf.plan import Plan
from openagentperf.simulation import calibrate_rows, calibrated, job
from openagentperf.simulation.calibrate import fit
from openagentperf.simulation.calibrate_band import for_calibration

_WIDTH = 80


def numbers(text: str | None, option: str) -> tuple[int, ...]:
    """`1,4,16`. PlanError where it is something else."""
    parts = [] if text is None else [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise PlanError(
            option, f"is `{text}`", "numbers of agents with commas between them were needed", "write 1,4,16"
        )
    return tuple(map(int, parts))


def carry_out(
    plan: Plan,
    stopped: Callable[[], bool],
    *,
    fit_to: Sequence[int],
    levels: Sequence[int],
    slots: int | None,
    band: bool,
    out: Path,
    json: bool,
    plain: bool,
) -> int:
    """The status: of the search, or 0 where only `levels` were asked for. `stopped` says whether an interrupt has come."""
    assert plan.simulate is not None
    observed = calibrate_rows.read(Path(plan.simulate.calibrate))
    fitted = calibrate_rows.chosen(observed, fit_to) if fit_to else observed.levels
    calibration = fit(observed, fitted, slots)
    replayed = job.opened(plan, out)
    told = calibrated.report(plan, observed, calibration, replayed, slots)
    if levels:
        rows = calibrated.predict(plan, calibration, levels, replayed.load)
        if json:
            say_json({"calibration": msgspec.to_builtins(told), "levels": msgspec.to_builtins(rows)})
        else:
            say("\n".join([*calibration_lines(told, _WIDTH), "", *prediction_lines(rows)]))
        return 0
    simulation = calibrated.simulation_of(observed, calibration)
    banded = for_calibration(calibration) if band else None
    with display(plain) as shown:
        outcome = job.simulate(plan, simulation, out, Watch(shown, None, stopped), banded, replayed)
    calibrated.keep(outcome.folder, told)
    if json:
        found = {"folder": str(outcome.folder)} | msgspec.to_builtins(outcome.result)
        say_json(found | {"calibration": msgspec.to_builtins(told)})
    else:
        say("\n".join([*calibration_lines(told, _WIDTH), "", summary(outcome.result, str(outcome.folder))]))
    return outcome.result.exit_code
