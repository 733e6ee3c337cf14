"""A run folder as far as it can be read: whatever is missing or broken becomes a sentence, and the rest is reported."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from openagentperf import __version__, planfile, rundir, verify
from openagentperf.errors import OpenAgentPerfError, PlanError, StorageError, UsageError
from openagentperf.plan import Plan
from openagentperf.records.card import Card
from openagentperf.records.phase import Judged
from openagentperf.records.power import MeterFacts
from openagentperf.records.result import Result
from openagentperf.records.run import RunFacts
from openagentperf.rundir import LedgerLine
from openagentperf.score import capacity
from openagentperf.score.capacity import CorpusFacts
from openagentperf.search.step import standings

Read = TypeVar("Read")
_PARTS = ("plan.toml", "run.json", "ledger.jsonl", "result.json", "phases")
"""One of them at least makes a folder a run's."""


@dataclass(frozen=True, eq=False)
class Opened:
    """What a run folder holds. `missing` says in words what could not be read."""

    folder: Path
    plan_text: str
    plan: Plan | None
    facts: RunFacts | None
    environment: dict[str, Any]
    card: Card | None
    meters: tuple[MeterFacts, ...]
    ledger: tuple[LedgerLine, ...]
    result: Result | None
    """result.json; where the run has not finished, what the judged phases of its ledger establish so far."""
    finished: bool
    """`result` is result.json."""
    result_sha256: str
    missing: tuple[str, ...]

    @property
    def phases(self) -> tuple[Judged, ...]:
        """Every judged attempt, in order."""
        if self.result is not None:
            return self.result.phases
        return tuple(line.judged for line in self.ledger if line.judged is not None)


def open_run(folder: Path) -> Opened:
    """UsageError where `folder` is no run at all; an empty one is a run that got no further than its name."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise UsageError(
            str(folder), f"cannot be read as a folder ({error.strerror})", "a run folder is needed",
            "name one that `openagentperf run` made",
        ) from error  # fmt: skip
    if names and not names.intersection(_PARTS):
        raise UsageError(
            str(folder), "holds nothing of a run", f"a run folder has {', '.join(_PARTS[:-1])} and {_PARTS[-1]}/",
            "name one that `openagentperf run` made",
        )  # fmt: skip
    missing: list[str] = [] if names else ["the folder is empty: the run was broken off before it wrote anything"]

    def part(file: str, read: Callable[[Path], Read], without: Read, lost: str) -> Read:
        if file not in names:
            if names:
                missing.append(f"{file} is missing: {lost}")
            return without
        try:
            return read(folder / file)
        except (OpenAgentPerfError, OSError, ValueError, RecursionError) as error:
            why = error.found if isinstance(error, OpenAgentPerfError) else f"{type(error).__name__}: {error}"
            missing.append(f"{file} cannot be used ({why[:300]}): {lost}")
            return without

    text = part(
        "plan.toml", lambda path: path.read_bytes().decode("utf-8", "replace"), "", "what was asked is not known"
    )
    plan = part("plan.toml", planfile.read, None, "the tiers' limits are not known") if text else None
    facts = part(
        "run.json", lambda path: verify.read_run_facts(path.parent), None, "server, preflight and corpus are not known"
    )
    nothing: dict[str, Any] = {}
    lines: tuple[LedgerLine, ...] = ()
    environment = part("environment.json", verify.read_object, nothing, "on what the load ran is not known")
    card = part(
        "corpus.card.json",
        lambda path: msgspec.json.decode(path.read_bytes(), type=Card),
        None,
        "the workload is not known",
    )
    ledger = part("ledger.jsonl", lambda path: _ledger(path, missing), lines, "the attempts are not known")
    result = part(
        "result.json",
        lambda path: msgspec.json.decode(path.read_bytes(), type=Result),
        None,
        "the run has not finished",
    )
    meters: tuple[MeterFacts, ...] = ()
    if plan is not None and (plan.system.meters or rundir.METERS in names):
        try:
            meters = verify.read_meters(folder, plan.system)
        except StorageError as error:
            missing.append(f"{rundir.METERS} cannot be used ({error.found[:300]}): power is not shown")
    return Opened(
        folder=folder, plan_text=text, plan=plan, facts=facts, environment=environment, card=card, meters=meters, ledger=ledger,
        result=result if result is not None else _so_far(plan, facts, ledger), finished=result is not None,
        result_sha256=hashlib.sha256((folder / "result.json").read_bytes()).hexdigest() if result is not None else "",
        missing=tuple(missing),
    )  # fmt: skip


def _ledger(path: Path, missing: list[str]) -> tuple[LedgerLine, ...]:
    """Every line that can be read: rundir.read_ledger stops at a broken one, for a run must not go on with it."""
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        missing.append("ledger.jsonl ends in a line that was cut off: the attempt it told of is left out")
    found: list[LedgerLine] = []
    for number, line in enumerate(rundir.ledger_lines(data), 1):
        if isinstance(line, str):
            missing.append(f"ledger.jsonl line {number} is no ledger line and is left out")
        else:
            found.append(line)
    return tuple(found)


def _so_far(plan: Plan | None, facts: RunFacts | None, ledger: tuple[LedgerLine, ...]) -> Result | None:
    """What the judged phases establish, by the judgements that stand in the ledger. None where plan or run.json is missing."""
    history = [line.judged for line in ledger if line.judged is not None]
    if plan is None or facts is None or not history:
        return None
    try:
        known = standings(history, plan.tiers, plan.search, plan.rigor)
    except PlanError:
        return None
    return capacity.result(
        plan,
        history,
        known,
        CorpusFacts.of(facts),
        __version__,
        facts.corpus_notes,
    )
