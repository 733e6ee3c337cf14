"""Whole run folders by the package's own writers, without a run: a system whose TTFT is a formula, searched as a real one is.

    TTFT = 0.02 s + slow x 0.6 s x (agents / knee)^2 x what the turn costs x what the phase adds      speed = 120 / slow tokens/s

A turn costs 0.5 to 1.5, so that a tier of at most 1 s at P95 is met up to about `knee` agents. A phase has 48 turns.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import phases
from benchmarks.runfolder import searched
from openagentperf import planfile, rundir, tables
from openagentperf.plan import Endpoint, Plan, Rigor, Search, Tier, TierSet, Workload
from openagentperf.records.phase import PhaseFacts
from openagentperf.records.power import DeviceFacts, Meters
from openagentperf.records.preflight import ServerFacts
from openagentperf.records.run import RunFacts
from openagentperf.records.turns import Reads, TurnRow
from openagentperf.search.step import Step
from openagentperf.seeds import Stream
from openagentperf.system import System
from signals import constant, flicker, meter, polled

TRAJECTORIES, TURNS = 6, 9
RIGOR = planfile.named(
    Rigor(
        preset="quick", search_turns=20, certify_turns=30, trajectories=0, trajectories_per_agent=0, ttft_drift=100,
        settle_s=60, search_measure_s=100, measure_s=100, limit_s=300,
    )
)  # fmt: skip
"""With the times that `phases.facts` orders."""
TIERS = TierSet(
    name="two", tier=(Tier(name="easy", output_speed=30, ttft_s=1), Tier(name="fast", output_speed=100, ttft_s=0.5))
)
DEVICES = ("d0", "d1", "d2", "d3")
CORPUS = "c" * 64


def write_run(
    folder: Path, *, knee: float = 8, slow: float = 1.0, seed: int = 1, tiers: TierSet = TIERS, rigor: Rigor = RIGOR,
    system: System | None = None, watts: float | None = None, boundary: str = "accelerator", corpus: str = CORPUS,
    model: str = "model", embedded: bool = False, noise: float = 0.05, detail: str = "", limit: int = 64,
    workload: dict[str, Any] | None = None, sealed_root: str = "", finish: bool = True,
) -> Path:  # fmt: skip
    """The folder of a finished run; with `watts` a run with one meter. `detail`: the words of one failed turn a phase."""
    plan = Plan(
        tiers=tiers, rigor=rigor, seed=seed, search=Search(limit=limit),
        endpoint=None if embedded else Endpoint(url="http://server.example/v1", model=model),
        workload=Workload(**({"corpus": "set", "track": "exact"} | (workload or {}))),
        system=System(name="Box", accelerators=4, accelerator="GPU") if system is None else system,
    )  # fmt: skip
    facts = RunFacts(
        target="embedded simulated node" if embedded else "endpoint", url="http://server.example/v1",
        server=ServerFacts(model=model, reports_cached=True), checks=(), corpus_digest=corpus, sealed_root=sealed_root,
        corpus_notes=(), lines=(1,) * TRAJECTORIES, first_turns=(0,) * TRAJECTORIES, shared_bytes=(3500,) * TRAJECTORIES,
        set_input_tokens_mean=5000.0, set_output_tokens_mean=121.0,
    )  # fmt: skip
    records: dict[str, object] = {
        "run.json": facts,
        "environment.json": {"openagentperf": "0", "python": "3", "cores": 2, "started_unix_s": 1.8e9},
        "corpus.card.json": {"trajectories": TRAJECTORIES, "turns": TRAJECTORIES * TURNS},
    }
    if watts is not None:
        records[rundir.METERS] = Meters(
            meters=(meter("m", *(DeviceFacts(device=d) for d in DEVICES), boundary=boundary),)
        )

    def write(phase: Path, index: int, step: Step) -> None:
        _phase(phase, plan.seed, step, index, knee, slow, noise, watts, detail)

    return searched(folder, plan, records, write, finish=finish)


def _phase(
    folder: Path,
    seed: int,
    step: Step,
    index: int,
    knee: float,
    slow: float,
    noise: float,
    watts: float | None,
    detail: str,
) -> None:
    ordered: PhaseFacts = phases.facts(step.kind, step.agents, index)
    rows = _rows(seed, index, step.agents, knee, slow, noise)
    if detail:
        rows.append(phases.failed(phases.OPENS_S - 10, "http", detail=detail, status=500))
    tables.write_phase(folder, ordered, rows, [Reads()] * len(rows), phases.samples(), [])
    if watts is not None:
        span = (phases.OPENS_S - 5, phases.CLOSES_S + 5, 0.5)
        readings = [
            one for n, d in enumerate(DEVICES)
            for one in polled(flicker(constant(watts / len(DEVICES)), seed=index * 4 + n), *span, device=d, seed=index)
        ]  # fmt: skip
        tables.write_readings(folder / rundir.POWER, readings)


def _rows(seed: int, index: int, agents: int, knee: float, slow: float, noise: float) -> list[TurnRow]:
    draw = Stream(seed, "phase", index)
    added = math.exp(noise * draw.normal())
    count = TRAJECTORIES * (TURNS - 1)
    rows = []
    for k in range(count):
        trajectory, turn = k % TRAJECTORIES, 1 + k // TRAJECTORIES
        cost = 0.5 + ((trajectory * 5 + turn * 3) % 11) / 10  # 0.5 .. 1.5: the same for a turn in every run
        ttft_s = slow * 0.6 * (agents / knee) ** 2 * cost * added + 0.02
        due_s = phases.OPENS_S + (k + draw.uniform()) * (phases.CLOSES_S - phases.OPENS_S) / count
        rows.append(
            phases.row(due_s, ttft_s, 120 / slow, trajectory=trajectory, turn=turn, agent=k % agents,
                       last=turn == TURNS - 1)
        )  # fmt: skip
    return rows
