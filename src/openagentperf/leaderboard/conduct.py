"""Was a run conducted as its plan says, and are all of its attempts there? What deriving a result from rows cannot see.

A result can follow from its rows and still be none: a failed phase left out of the ledger, one good phase entered three times, a plan
whose rigor was lengthened after the run. The search is a pure function of the judged history, so a ledger that it would not have led to
was changed. Source: docs/leaderboard.md#verify
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from openagentperf import planfile, rundir
from openagentperf.errors import PlanError
from openagentperf.plan import Plan, Rigor
from openagentperf.records.phase import Judged, PhaseFacts
from openagentperf.report.marked import agents
from openagentperf.rundir import LedgerLine
from openagentperf.search.step import next_step
from openagentperf.units import s_to_ns


def faults(run: Path, plan: Plan, judged: Sequence[Judged], hashes: Mapping[str, str]) -> Iterator[str]:
    """In words, each place where the folder is not what a run of this plan leaves. StorageError where a file is missing or broken.

    judged   every attempt as its rows give it, in the ledger's order
    hashes   of the folder's files, by name
    """
    yield from _plan(plan)
    lines = [line for line in rundir.read_ledger(run) if line.event == "judged"]
    yield from _ledger(lines, judged)
    yield from _search(plan, judged)
    yield from _twice(lines, judged, hashes)
    for line in lines:
        yield from _phase(line, rundir.read_facts(rundir.phase_folder(run, line.index, line.agents)), plan.rigor)


def abandoned(run: Path) -> int:
    """Attempts that were begun and never judged: broken off, or killed. What they would have shown nobody knows."""
    lines = rundir.read_ledger(run)
    return len(
        {line.index for line in lines if line.event == "begun"} - {n.index for n in lines if n.event == "judged"}
    )


def _plan(plan: Plan) -> Iterator[str]:
    """Names that promise what the values do not keep."""
    try:
        right = planfile.named(plan.rigor)
    except PlanError as error:
        yield f"plan.toml: {error.found}"
        return
    if right.preset != plan.rigor.preset:
        yield f"plan.toml: its rigor is called {plan.rigor.preset!r}; with these values it is {right.preset!r}"
    if right.preliminary and not plan.rigor.preliminary:
        yield "plan.toml: its rigor is weaker than `standard` and says that it is not preliminary"
    shipped = planfile.tier_presets().get(plan.tiers.name)
    if shipped is not None and shipped.version == plan.tiers.version and shipped.digest != plan.tiers.digest:
        yield f"plan.toml: its tiers are called {shipped.name} {shipped.version}, and are not those"


def _ledger(lines: Sequence[LedgerLine], judged: Sequence[Judged]) -> Iterator[str]:
    for before, after in pairwise(line.index for line in lines):
        if after <= before:
            yield f"ledger.jsonl: phase {after} is judged after phase {before}: each attempt has one number, in order"
    for line, again in zip(lines, judged, strict=True):
        if line.judged != again:
            yield f"ledger.jsonl: phase {line.index} is not judged as its rows give it"


def _search(plan: Plan, judged: Sequence[Judged]) -> Iterator[str]:
    """The first attempt that the search would not have asked for after those before it."""
    for count in range(len(judged) + 1):
        step = next_step(judged[:count], plan.tiers, plan.search, plan.rigor)
        if count == len(judged):
            if step is not None:
                yield f"ledger.jsonl: the search had not ended: {step.kind} at {agents(step.agents)} is missing"
            return
        found = judged[count]
        if step is None or (step.agents, step.kind) != (found.agents, found.kind):
            wanted = "nothing more" if step is None else f"{step.kind} at {agents(step.agents)}"
            yield (
                f"ledger.jsonl: phase {found.index} is {found.kind} at {agents(found.agents)}, where what came before asks for "
                f"{wanted}: an attempt was left out or put in, or another version searched"
            )
            return


def _twice(lines: Sequence[LedgerLine], judged: Sequence[Judged], hashes: Mapping[str, str]) -> Iterator[str]:
    first: dict[str, int] = {}
    for line, found in zip(lines, judged, strict=True):
        name = rundir.phase_folder(Path(), line.index, line.agents).as_posix() + "/turns.parquet"
        index = first.setdefault(hashes.get(name, ""), line.index)
        if index != line.index and found.measured_turns:
            yield f"phases {index} and {line.index} have the same rows, to the byte: no two attempts do"


def _phase(line: LedgerLine, facts: PhaseFacts, rigor: Rigor) -> Iterator[str]:
    order = facts.order
    where = f"phase {line.index}"
    if (order.index, order.agents, order.kind) != (line.index, line.agents, line.kind):
        yield f"{where}: phase.json is of phase {order.index}, {order.kind} at {agents(order.agents)}"
        return
    measure_s = rigor.measure_s if order.kind == "certify" else rigor.search_measure_s
    asked = (rigor.spawn_per_s, rigor.settle_s, measure_s, rigor.limit_s)
    told = (order.spawn_per_s, order.settle_s, order.measure_s, order.limit_s)
    for name, want, got in zip(("spawn_per_s", "settle_s", "measure_s", "limit_s"), asked, told, strict=True):
        if want != got:
            yield f"{where}: {name} was {got:g}, the plan says {want:g}"
    at_limit = facts.ended_ns >= order.start_ns + s_to_ns(order.limit_s)
    if facts.window_start_ns < order.window_opens_ns:
        yield f"{where}: its window opened before it was ramped and settled"
    if facts.window_end_ns - facts.window_start_ns < s_to_ns(order.measure_s) and not at_limit and not facts.faults:
        yield f"{where}: its window is shorter than the {order.measure_s:g} s that were ordered"
