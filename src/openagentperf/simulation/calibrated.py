"""What a calibration is used for: a plan's search on the calibrated engine, or figures at named levels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from openagentperf import planfile, rundir
from openagentperf.corpusfile import open_corpus
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.errors import PlanError, UsageError
from openagentperf.plan import Plan, Simulate
from openagentperf.planfile import Overrides
from openagentperf.score.columns import Turns
from openagentperf.score.phase import judge
from openagentperf.search.step import Step
from openagentperf.sim.account import Simulation
from openagentperf.sim.deployment import Compiled
from openagentperf.sim.watts import BoundaryRatios
from openagentperf.simulation.calibrate import Calibration
from openagentperf.simulation.calibrate_check import Figures, Held, shown
from openagentperf.simulation.calibrate_rows import Observed, chosen
from openagentperf.simulation.explore import Load
from openagentperf.simulation.phases import phase_order, simulated

FILE = "calibration.json"
"""In the folder of a simulated run whose cluster was calibrated."""
_NOT_OF_A_RUN = ("corpus", "max_context", "system", "model")


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

    PlanError where an option asks for another corpus or system: constants hold for what was measured.
    """
    given = overrides.given()
    for name in _NOT_OF_A_RUN:
        if name in given:
            raise PlanError(
                f"--{name.replace('_', '-')}", "does not go with --calibrate", "a calibration holds for the corpus and system of its run",
                "name a plan file that has another corpus, or leave the option out",
            )  # fmt: skip
    plan = planfile.read(run / "plan.toml")
    search = replace(
        plan.search, start=given.get("start", plan.search.start), limit=given.get("limit", plan.search.limit)
    )
    return replace(
        plan,
        endpoint=None,
        simulate=Simulate(calibrate=str(run)),
        tiers=planfile.tiers(overrides.tiers) if overrides.tiers else plan.tiers,
        rigor=planfile.rigor_presets()[overrides.rigor] if overrides.rigor else plan.rigor,
        seed=int(given.get("seed", plan.seed)),
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


def report(observed: Observed, calibration: Calibration, runs: Path, slots: int | None = None) -> Report:
    """The calibration with every measured level beside it. UsageError where the corpus compiles to another than the run's."""
    load = load_of(observed.plan, runs)
    fitted = chosen(observed, calibration.levels)
    if load.digest != observed.facts.corpus_digest:
        raise UsageError(
            observed.plan.workload.corpus, f"compiles to {load.digest[:12]}, and the run replayed {observed.facts.corpus_digest[:12]}",
            "levels are compared on one corpus", "restore the corpus, or name a plan file with the one that you mean",
        )  # fmt: skip
    held = shown(observed, calibration.spec, fitted, load.load.work, slots)
    return Report(calibration=calibration, held=tuple(held))


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A plan's corpus, compiled."""

    load: Load
    digest: str


def load_of(plan: Plan, runs: Path) -> Opened:
    prepared = prepare(plan.workload, plan.seed, runs / "corpora")
    corpus = open_corpus(prepared.path, verify=False)
    return Opened(load=Load.of(plan, corpus), digest=corpus.digest)


def predict(plan: Plan, calibration: Calibration, levels: Sequence[int], runs: Path) -> list[Prediction]:
    """One search phase at each level, of the plan's own lengths."""
    load = load_of(plan, runs).load
    rows = []
    for index, agents in enumerate(levels):
        step = Step(agents=agents, kind="search", why="")
        order = phase_order(plan, index, step, load.longest_tokens, "level", agents)
        phase = simulated(calibration.spec, load.work, plan, order)
        turns = Turns.from_columns(phase.columns)
        judged = judge(phase.facts, turns, phase.samples, plan.tiers, plan.rigor, load.sharing)
        rows.append(Prediction(agents=agents, figures=Figures.of(judged)))
    return rows


def keep(folder: Path, told: Report) -> None:
    rundir.write(folder / FILE, msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
