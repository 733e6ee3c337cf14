"""One run as a comparison sees it: its result, what it was asked, on what, and the turns of its phases level by level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openagentperf import planfile, rundir, tables, verify
from openagentperf.errors import UsageError
from openagentperf.plan import Plan
from openagentperf.records.phase import Judged
from openagentperf.records.result import Result, TierResult
from openagentperf.records.run import RunFacts
from openagentperf.report.comparepaired import Observed
from openagentperf.score.columns import COLUMNS, Floats, Turns
from openagentperf.score.turn import pace, ttft_s

TURNS_OF_ONE = 1 << 20
"""No trajectory has so many turns: (trajectory, turn) as one number is trajectory x this + turn."""
MAX_FAILED = 0.01
"""Above this share of failed turns a level has no paired figures: what is compared would be the turns that one side let live."""


@dataclass(frozen=True, eq=False)
class Side:
    """A loaded run."""

    name: str
    """Of its folder."""
    path: Path
    result: Result
    finished: bool
    """False: no result.json yet; `result` is what its rows give so far."""
    plan: Plan
    facts: RunFacts
    environment: dict[str, Any]
    """`environment.json`; empty where it is missing."""
    card: dict[str, Any]
    """`corpus.card.json`; empty where it is missing."""
    _kept: dict[int, Answered] = field(init=False, default_factory=dict)
    """Of a baseline, by number of agents: it is asked for each run that is held against it."""

    def tier(self, name: str) -> TierResult | None:
        return next((tier for tier in self.result.results if tier.tier == name), None)

    @property
    def levels(self) -> dict[int, list[Judged]]:
        """Phases that were not spoiled, by their number of agents. A phase counts where any tier found more wrong with it than nothing, or
        where it was merely short of data."""
        found: dict[int, list[Judged]] = {}
        for judged in self.result.phases:
            if any(verdict.verdict != "invalid" or verdict.short for verdict in judged.verdicts):
                found.setdefault(judged.agents, []).append(judged)
        return found

    def answered(self, agents: int, keep: bool = False) -> Answered:
        """The turns of the level's phases; with `keep` read once. StorageError where a table is missing or broken."""
        found = self._kept.get(agents) or _read(self.path, self.levels[agents])
        if keep:
            self._kept[agents] = found
        return found


class Answered(NamedTuple):
    """The measured turns of one level: one entry a phase."""

    ttft: list[Observed]
    speed: list[Observed]
    turns: int
    failed: int

    @property
    def failed_share(self) -> float:
        return self.failed / self.turns if self.turns else 0.0


def load(path: Path) -> Side:
    """A run folder. UsageError where it is none; StorageError where a file that a comparison needs is missing or broken."""
    if not path.is_dir():
        raise UsageError(
            str(path), "is no folder" if path.exists() else "is not there", "a run folder was needed",
            "name one that `openagentperf run` made",
        )  # fmt: skip
    if not (path / "plan.toml").is_file():
        raise UsageError(
            str(path), "holds no plan.toml, so it is no run folder", "", "name one that `openagentperf run` made"
        )
    stored = path / "result.json"
    finished = stored.exists()
    fix = "read it with the version that wrote it, or derive it again with `openagentperf score`"
    result = rundir.read_record(stored, Result, "a result was needed", fix) if finished else verify.derive(path)
    return Side(
        name=path.resolve().name,
        path=path,
        result=result,
        finished=finished,
        plan=planfile.read(path / "plan.toml"),
        facts=verify.read_run_facts(path),
        environment=verify.shown_object(path / "environment.json"),
        card=verify.shown_object(path / "corpus.card.json"),
    )


def _read(run: Path, phases: Sequence[Judged]) -> Answered:
    found = Answered([], [], sum(j.measured_turns for j in phases), sum(j.failed_turns for j in phases))
    for judged in phases:
        folder = rundir.phase_folder(run, judged.index, judged.agents)
        facts = rundir.read_facts(folder)
        turns = Turns.from_columns(tables.read_turns(folder, COLUMNS))
        turns = turns.where((turns.due_ns >= facts.window_start_ns) & (turns.due_ns < facts.window_end_ns))
        turns = turns.where(~turns.failed)
        key = turns.trajectory * TURNS_OF_ONE + turns.turn
        due = (turns.due_ns - facts.window_start_ns) / max(1, facts.window_end_ns - facts.window_start_ns)
        speeds = pace(turns)
        found.ttft.append(_observed(key, due, ttft_s(turns)))
        found.speed.append(_observed(key, due, np.where(speeds.known, speeds.speed, 0.0)))
    return found


def _observed(key: Any, due: Floats, values: Floats) -> Observed:
    """Those that have a logarithm: a one-token answer has no speed."""
    kept = (values > 0) & np.isfinite(values)
    return Observed(key[kept], due[kept], np.log(values[kept]))
