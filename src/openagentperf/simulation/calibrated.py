"""What a calibration is used for: a plan's search on the calibrated engine, or figures at named levels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from openagentperf import planfile, rundir
from openagentperf.errors import PlanError, UsageError
from openagentperf.plan import Plan, Simulate
from openagentperf.planfile import Overrides
from openagentperf.sim.account import Simulation
from openagentperf.sim.deployment import Compiled
from openagentperf.sim.watts import BoundaryRatios
from openagentperf.simulation.calibrate import Calibration
from openagentperf.simulation.calibrate_check import Figures, Held, shown
from openagentperf.simulation.calibrate_rows import Observed, chosen
from openagentperf.simulation.explore import Load, at_level
from openagentperf.simulation.job import Opened

FILE = "calibration.json"
"""In the folder of a simulated run whose cluster was calibrated."""
_NOT_OF_A_RUN = ("corpus", "max_context", "seed", "system", "model")
"""The seed, because it draws the sessions of a profile and the delays that a recording lacks: another one is another workload."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`calibration.json`: the constants, and how far they are from what was measured."""

    schema: str = "openagentperf/calibration/1"
    calibration: Calibration
    held: tuple[Held, ...]
    """Measured levels beside their simulation; empty where the corpus of the run is not at hand."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One level that was asked for. Simulated, by one search phase."""

    agents: int
    figures: Figures


def plan_of(run: Path, overrides: Overrides) -> Plan:
    """The plan of a measured run, to be carried out on the engine that its rows describe: the same corpus, tiers, rigor and search.

    PlanError where an option asks for another corpus, seed or system: constants hold for what was measured.
    """
    given = overrides.given()
    for name in _NOT_OF_A_RUN:
        if name in given:
            raise PlanError(
                f"--{name.replace('_', '-')}", "does not go with --calibrate",
                "a calibration holds for the corpus, the seed and the system of its run",
                "name a plan file that has others, or leave the option out",
            )  # fmt: skip
    plan = planfile.read(run / "plan.toml")
    search = replace(
        plan.search, start=given.get("start", plan.search.start), limit=given.get("limit", plan.search.limit)
    )
    return replace(
        plan,
        endpoint=None,
        simulate=Simulate(calibrate=str(run.absolute())),
        tiers=planfile.tiers(overrides.tiers) if overrides.tiers else plan.tiers,
        rigor=planfile.rigor_presets()[overrides.rigor] if overrides.rigor else plan.rigor,
        search=search,
        system=replace(plan.system, meters=()),
    )


def simulation_of(observed: Observed, calibration: Calibration) -> Simulation:
    """The calibrated engine as a cluster that job.simulate takes. What it draws is not known, so there is no power."""
    compiled = Compiled(
        spec=calibration.spec,
        constants=calibration.constants,
        ratios=BoundaryRatios(),
        system=replace(observed.plan.system, meters=()),
        notes=calibration.notes,
    )
    return Simulation(compiled=compiled, calibrated_to=calibration.plan_digest)


def report(
    plan: Plan, observed: Observed, calibration: Calibration, replayed: Opened, slots: int | None = None
) -> Report:
    """The calibration, with every measured level beside it where `plan`, whose corpus is `replayed`, has the run's own workload.

    UsageError where that compiles to another corpus than the run's.
    """
    measured = observed.plan
    if (plan.workload, plan.seed) != (measured.workload, measured.seed):
        return Report(calibration=calibration, held=())
    digest = replayed.prepared.digest
    if digest != observed.facts.corpus_digest:
        raise UsageError(
            measured.workload.corpus, f"compiles to {digest[:12]}, and the run replayed {observed.facts.corpus_digest[:12]}",
            "levels are compared on one corpus", "restore the corpus, or name a plan file with the one that you mean",
        )  # fmt: skip
    fitted = chosen(observed, calibration.levels)
    held = shown(observed, calibration.spec, fitted, replayed.load.work, slots)
    return Report(calibration=calibration, held=tuple(held))


def predict(plan: Plan, calibration: Calibration, levels: Sequence[int], load: Load) -> list[Prediction]:
    """One search phase at each level, of the plan's own lengths."""
    return [
        Prediction(agents=agents, figures=Figures.of(at_level(plan, calibration.spec, load, agents).seen.judged))
        for agents in levels
    ]


def keep(folder: Path, told: Report) -> None:
    rundir.write(folder / FILE, msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
