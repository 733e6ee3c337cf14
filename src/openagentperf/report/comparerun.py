"""One run as a comparison sees it: its result, what it was asked, on what, and the turns of its phases level by level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from openagentperf import planfile, rundir, tables, verify
from openagentperf.errors import UsageError
from openagentperf.plan import Plan
from openagentperf.records.phase import Judged
from openagentperf.records.result import Result, TierResult
from openagentperf.records.run import RunFacts
from openagentperf.report.comparepaired import Observed
from openagentperf.score.columns import Floats, Turns
from openagentperf.score.turn import pace, ttft_s

TURNS_OF_ONE = 1 << 20
"""No trajectory has so many turns: (trajectory, turn) as one number is trajectory x this + turn."""
MAX_FAILED = 0.01
"""Above this share of failed turns a level has no paired figures: what is compared would be the turns that one side let live."""


class Side(NamedTuple):
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
        environment=_object(path / "environment.json"),
        card=_object(path / "corpus.card.json"),
    )


def answered(side: Side, phases: Sequence[Judged]) -> Answered:
    """The turns of some phases of a run. StorageError where a table is missing or broken."""
    found = Answered([], [], sum(j.measured_turns for j in phases), sum(j.failed_turns for j in phases))
    for judged in phases:
        folder = rundir.phase_folder(side.path, judged.index, judged.agents)
        facts = rundir.read_facts(folder)
        turns = Turns.from_columns(tables.read_turns(folder))
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


def _object(path: Path) -> dict[str, Any]:
    """A JSON object that is only shown: what cannot be read is shown as absent, and spoils no number."""
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return found if isinstance(found, dict) else {}
