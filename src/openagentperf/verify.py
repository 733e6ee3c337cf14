"""From a run folder's rows to its result, again: the one way in which any result is made.

`bench.run` writes rows and calls `derive`; `openagentperf score` calls `derive`. Both read the same files, so that a result that does not
follow from its rows cannot come into being.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from openagentperf import __version__, planfile, rundir, tables
from openagentperf.errors import OpenAgentPerfError, StorageError
from openagentperf.plan import Plan, System, TierSet
from openagentperf.records.phase import Judged
from openagentperf.records.power import EnergyFault, IdlePower, IdleSpans, MeterFacts, Meters, WindowEnergy
from openagentperf.records.result import Result
from openagentperf.records.run import RunFacts
from openagentperf.score import capacity
from openagentperf.score.boundary import window_energies
from openagentperf.score.cache import Sharing
from openagentperf.score.capacity import CorpusFacts
from openagentperf.score.columns import Turns
from openagentperf.score.phase import judge
from openagentperf.search.step import standings
from openagentperf.sim.account import account
from openagentperf.units import Ns


def read_run_facts(run: Path) -> RunFacts:
    fix = "name a folder that `openagentperf run` made, and read it with the version that wrote it"
    return rundir.read_record(run / "run.json", RunFacts, "a run folder holds one", fix)


def read_object(path: Path, needed: str = "", fix: str = "") -> dict[str, Any]:
    """A JSON object of which every field may be another than we write. StorageError where it is missing, broken, or deeper than any of
    ours: what walks through it comes back."""
    found = rundir.read_record(path, dict[str, Any], needed, fix)
    if not _shallow(found, _DEEPEST):
        raise StorageError(str(path), f"cannot be read (it is nested more than {_DEEPEST} deep)", needed, fix)
    return found


def shown_object(path: Path) -> dict[str, Any]:
    """A JSON object that is only shown: what cannot be read is shown as absent, and spoils no number."""
    with suppress(StorageError):
        return read_object(path)
    return {}


def _shallow(value: object, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_shallow(item, levels - 1) for item in inside if isinstance(item, dict | list))


_DEEPEST = 32
"""Levels of a JSON object; result.json has 6."""


def judge_phase(folder: Path, plan: Plan, tiers: TierSet, facts: RunFacts, meters: Sequence[MeterFacts] = ()) -> Judged:
    """One closed phase, judged from its tables; with `meters` also the energy of its window."""
    turns = Turns.from_columns(tables.read_turns(folder))
    sharing = Sharing.of(facts.lines, facts.first_turns, facts.shared_bytes)
    about = rundir.read_facts(folder)
    judged = judge(about, turns, tables.read_samples(folder), tiers, plan.rigor, sharing)
    if not meters:
        return judged
    return msgspec.structs.replace(
        judged,
        energy=_energies(folder / rundir.POWER, meters, plan.system, about.window_start_ns, about.window_end_ns),
    )


def read_meters(run: Path, system: System) -> tuple[MeterFacts, ...]:
    """The meters that a run was read by; where it does not say, those that its plan names, without a device and hence without energy."""
    path = run / rundir.METERS
    if path.exists():
        fix = "restore it, or remove it and power.parquet to score without power"
        return rundir.read_record(path, Meters, "a run with meters has one", fix).meters
    return tuple(
        MeterFacts(
            name=spec.name, kind=str(spec.__struct_config__.tag), boundary=spec.boundary, basis=spec.basis, source="", devices=(),
            period_s=spec.period_s, max_gap_s=spec.max_gap_s, stale_s=spec.stale_s,
        )
        for spec in system.meters
    )  # fmt: skip


def _energies(
    path: Path, meters: Sequence[MeterFacts], system: System, start_ns: Ns, end_ns: Ns
) -> tuple[WindowEnergy, ...]:
    """Missing is not zero: without a readable table every boundary has a fault that says so."""
    try:
        readings = tables.read_readings(path)
    except StorageError as error:
        why = f"{path.name} {error.found}: the run's power was not kept, so there is no energy"
        return tuple(
            WindowEnergy(
                boundary=meter.boundary, basis=meter.basis, meter=meter.name, valid=False,
                faults=(EnergyFault(code="no_readings", meter=meter.name, why=why),),
            )
            for meter in meters
        )  # fmt: skip
    return window_energies(meters, readings, system, start_ns, end_ns)


def _idle(run: Path, meters: Sequence[MeterFacts], system: System) -> tuple[IdlePower, ...]:
    """Power before and after the phases, where the run watched it."""
    path = run / rundir.IDLE_SPANS
    if not meters or not path.exists():
        return ()
    spans = rundir.read_record(path, IdleSpans, "a run with meters has one", "restore it, or remove it").spans
    return tuple(
        IdlePower(boundary=row.boundary, basis=row.basis, when=span.when, mean_w=row.mean_w)
        for span in spans
        for row in _energies(run / rundir.IDLE, meters, system, span.start_ns, span.end_ns)
    )


def history(run: Path, plan: Plan, tiers: TierSet) -> list[Judged]:
    """Every judged attempt of the ledger, in order, judged anew for `tiers`."""
    facts = read_run_facts(run)
    meters = read_meters(run, plan.system)
    judged = []
    for line in rundir.read_ledger(run):
        if line.event != "judged":
            continue
        folder = rundir.phase_folder(run, line.index, line.agents)
        try:
            judged.append(judge_phase(folder, plan, tiers, facts, meters))
        except OpenAgentPerfError:
            raise
        except Exception as error:
            # Tables that are whole and hold what no run writes: a column of another kind, or none of its name.
            raise StorageError(
                str(folder), f"cannot be judged ({type(error).__name__}: {error})", "rows that a run wrote",
                "restore the run folder",
            ) from error  # fmt: skip
    return judged


def derive(run: Path, tiers: TierSet | None = None) -> Result:
    """The result that a run folder's rows give, for its own tiers or for others. StorageError where a file is missing or broken."""
    plan = planfile.read(run / "plan.toml")
    chosen = tiers or plan.tiers
    judged = history(run, plan, chosen)
    facts = read_run_facts(run)
    standing = standings(judged, chosen, plan.search, plan.rigor)
    return capacity.result(
        msgspec.structs.replace(plan, tiers=chosen) if tiers else plan,
        judged,
        standing,
        CorpusFacts.of(facts),
        __version__,
        facts.corpus_notes,
        _idle(run, read_meters(run, plan.system), plan.system),
        account(run, chosen, judged, standing) if plan.simulate is not None else None,
    )


def differing(stored: object, derived: object, at: str = "$") -> Iterator[str]:
    """Where two JSON values differ, as `path: stored, derived`; floats to the last bit."""
    if isinstance(stored, dict) and isinstance(derived, dict):
        for name in sorted(stored.keys() | derived.keys()):
            yield from differing(stored.get(name, "(absent)"), derived.get(name, "(absent)"), f"{at}.{name}")
    elif isinstance(stored, list | tuple) and isinstance(derived, list | tuple) and len(stored) == len(derived):
        for i, (left, right) in enumerate(zip(stored, derived, strict=True)):
            yield from differing(left, right, f"{at}[{i}]")
    elif stored != derived or type(stored) is not type(derived):
        yield f"{at}: result.json has {stored!r}, the rows give {derived!r}"
