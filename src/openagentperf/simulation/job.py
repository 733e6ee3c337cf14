"""The job: search <-> simulated phase <-> score, from a plan and a compiled cluster to a run folder with a result.

    corpus -> run folder -> [level -> phase -> tables -> verdict -> ledger]* -> uncertainty band -> result

The folder is that of a real run: whatever reads one reads this one, and `openagentperf score` derives the identical result. What a real
run has and this one has not: reads.parquet and raw/ (there are no bytes), idle power. What is more: simulation.json, bands.json, and a
usage.json in each phase.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import starmap
from pathlib import Path

import msgspec

from openagentperf import bench, planfile, rundir, tables, verify
from openagentperf.bench import Outcome
from openagentperf.corpus.layout import Compiled as Corpus
from openagentperf.corpusfile import open_corpus
from openagentperf.corpusjobs.prepare import Prepared, prepare
from openagentperf.corpusjobs.runfacts import run_facts
from openagentperf.load.attempt import attempt
from openagentperf.load.hostfacts import environment
from openagentperf.plan import Plan
from openagentperf.records.phase import Judged
from openagentperf.records.power import Meters
from openagentperf.records.preflight import ServerFacts
from openagentperf.records.progress import Progress
from openagentperf.records.standing import Standing
from openagentperf.rundir import LedgerLine
from openagentperf.search.step import Step, next_step, standings
from openagentperf.sim import account
from openagentperf.sim.account import Simulation
from openagentperf.sim.deployment import Compiled
from openagentperf.sim.virtual import SimPhase
from openagentperf.simulation import failures, meters
from openagentperf.simulation.ahead import Ahead, Asked, likely_steps
from openagentperf.simulation.explore import Load
from openagentperf.simulation.phases import phase_order
from openagentperf.snapshot import bracket

Observe = Callable[[Progress], None]
Banding = Callable[[Plan, Load, tuple[Standing, ...], Observe], account.Bands]
"""Finds the uncertainty band of a search that has ended."""


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A plan's corpus, compiled and opened: once for all who need it, because a large set takes longer than a search."""

    prepared: Prepared
    corpus: Corpus
    load: Load


def opened(plan: Plan, runs: Path) -> Opened:
    """The compiled file lies in `runs`/corpora."""
    prepared = prepare(plan.workload, plan.seed, runs / "corpora")
    corpus = open_corpus(prepared.path, verify=False)  # prepare has just written or verified it
    return Opened(prepared=prepared, corpus=corpus, load=Load.of(plan, corpus))


def simulate(
    plan: Plan,
    simulation: Simulation,
    runs: Path,
    observe: Observe,
    banded: Banding | None = None,
    replayed: Opened | None = None,
) -> Outcome:
    """Carry out a plan on a simulated cluster; `observe` hears of each phase. Raises the errors of errors.py; what was simulated stays.

    plan       its system is replaced by the one that is simulated, whose inventory the agents are divided by
    banded     None: the result has no uncertainty band
    replayed   the plan's corpus, where it is at hand already
    """
    failures.check(simulation.compiled, plan.rigor)
    plan = with_system(plan, simulation.compiled)
    observe(Progress(stage="preparing", message=f"corpus {plan.workload.corpus}"))
    replayed = replayed or opened(plan, runs)
    load = replayed.load
    simulation = msgspec.structs.replace(simulation, endless_hit_rate=load.endless_hit_rate)
    folder = bench.new_folder(plan, runs)
    _write_opening(folder, plan, simulation, replayed)
    observe(Progress(stage="preparing", message=f"run folder {folder}"))
    search = _Search(plan, folder, simulation.compiled, load, observe)
    search.go()
    if banded is not None:
        _write_json(folder / account.BANDS, banded(plan, load, search.standings(), observe))
    result = verify.derive(folder)
    _write_json(folder / "result.json", result, indent=2)
    rundir.append_line(folder / "ledger.jsonl", LedgerLine(event="finished"))
    observe(Progress(stage="done", message=f"run folder {folder}"))
    return Outcome(folder=folder, result=result)


def with_system(plan: Plan, compiled: Compiled) -> Plan:
    """The plan with the simulated system's inventory and ratings; prices and PUE stay as declared."""
    declared, simulated_one = plan.system, compiled.system
    return msgspec.structs.replace(
        plan,
        system=msgspec.structs.replace(
            simulated_one,
            pue=declared.pue if declared.pue is not None else simulated_one.pue,
            price=declared.price if declared.price is not None else simulated_one.price,
        ),
    )


def _write_opening(folder: Path, plan: Plan, simulation: Simulation, replayed: Opened) -> None:
    prepared, corpus = replayed.prepared, replayed.corpus
    spec = simulation.compiled.spec
    server = ServerFacts(model=spec.name, context_tokens=spec.max_model_len, reports_cached=True)
    rundir.write(folder / "plan.toml", planfile.dump(plan))
    _write_json(folder / "environment.json", environment() | {"transport": "none: a virtual clock"})
    _write_json(folder / "corpus.card.json", prepared.card)
    _write_json(folder / "run.json", run_facts("simulated cluster", "", server, (), prepared, corpus))
    _write_json(folder / account.SIMULATION, simulation)
    _write_json(folder / rundir.METERS, Meters(meters=meters.facts(simulation.compiled)))


def _write_json(path: Path, value: object, indent: int = 1) -> None:
    rundir.write(path, msgspec.json.format(msgspec.json.encode(value), indent=indent) + b"\n")


class _Search:
    """One run's loop."""

    def __init__(self, plan: Plan, folder: Path, compiled: Compiled, load: Load, observe: Observe) -> None:
        self._plan, self._folder, self._compiled, self._load, self._observe = plan, folder, compiled, load, observe
        self._facts = verify.read_run_facts(folder)
        self._meters = verify.read_meters(folder, plan.system)
        self._history: list[Judged] = []
        self._began_s = time.monotonic()

    def standings(self) -> tuple[Standing, ...]:
        return standings(self._history, self._plan.tiers, self._plan.search, self._plan.rigor)

    def go(self) -> None:
        plan = self._plan
        with Ahead(self._compiled.spec, self._load.work) as ahead:
            while (step := next_step(self._history, plan.tiers, plan.search, plan.rigor)) is not None:
                self._phase(step, ahead)

    def _asked(self, index: int, step: Step) -> Asked:
        order = phase_order(self._plan, index, step, self._load.longest_tokens, "phase", index)
        return Asked(order, bench.quota(self._plan.rigor, step))

    def _phase(self, step: Step, ahead: Ahead) -> None:
        index = len(self._history)
        likely = starmap(self._asked, enumerate(likely_steps(self._history, self._plan, step), index + 1))
        folder = rundir.phase_folder(self._folder, index, step.agents)
        begun = LedgerLine(event="begun", index=index, agents=step.agents, kind=step.kind, why=step.why)
        with attempt(self._folder, begun) as ended:
            self._observe(self._progress(step, index, None))
            self._write(folder, ahead.phase(self._asked(index, step), likely))
            judged = verify.judge_phase(folder, self._plan, self._plan.tiers, self._facts, self._meters)
            ended(judged)
        self._history.append(judged)
        self._observe(self._progress(step, index, judged))

    def _write(self, folder: Path, phase: SimPhase) -> None:
        with rundir.storage_errors(folder):
            folder.mkdir(parents=True)
        tables.write_readings(folder / rundir.POWER, meters.readings(phase, self._compiled))
        _write_json(folder / account.USAGE, phase.usage)
        tables.write_columns(folder, phase.facts, phase.columns, phase.samples)

    def _progress(self, step: Step, index: int, judged: Judged | None) -> Progress:
        elapsed_s, ended = time.monotonic() - self._began_s, len(self._history)
        standing, rigor = self.standings(), self._plan.rigor
        usual_s = elapsed_s / ended if ended else 0.0
        return Progress(
            stage="measure" if judged is None else "judge",
            message=step.why,
            phase=index,
            kind=step.kind,
            agents=step.agents,
            active_agents=step.agents,
            measured_turns=0 if judged is None else judged.measured_turns,
            wanted_turns=bench.quota(rigor, step).turns,
            failed_turns=0 if judged is None else judged.failed_turns,
            ttft_p95_s=None if judged is None else judged.ttft_p95_s,
            speed_p25=None if judged is None else judged.speed_p25,
            elapsed_s=elapsed_s,
            run_left_s=usual_s * max((s.phases_left for s in standing), default=0) if usual_s else None,
            brackets=tuple(map(bracket, standing)),
        )
