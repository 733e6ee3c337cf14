"""What a simulated run leaves beside its rows, and the account of it that its result carries: a pure function of those files.

simulation.json        the cluster in numbers, every constant with its mark and source, the catalogue's digest
phases/*/usage.json    what its workers were busy with (sim.usage)
bands.json             the search once more with the uncertain constants at their worst and best; only where it was asked for
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from openagentperf import rundir
from openagentperf.plan import TierSet, digest_of
from openagentperf.records.phase import Judged
from openagentperf.records.simulated import Band, Mark, Named, Simulated, SimulatedTier
from openagentperf.records.standing import Standing
from openagentperf.sim.binding import Seen, binding
from openagentperf.sim.deployment import Compiled
from openagentperf.sim.usage import Usage

SIMULATION, USAGE, BANDS = "simulation.json", "usage.json", "bands.json"
_MARKS: tuple[Mark, ...] = ("fact", "measured", "derived", "assumed", "calibrated")
_WEAK = ("assumed", "calibrated")


class Simulation(Struct, frozen=True, kw_only=True):
    """`simulation.json`."""

    schema: str = "openagentperf/simulation/1"
    compiled: Compiled
    catalog_digest: str = ""
    """"" where no catalogue was read."""
    calibrated_to: str = ""
    """Digest of the plan of the measured run that its constants were fitted to."""
    endless_hit_rate: float | None = None
    """Of the whole set in order: what a cache without end would give. None until the corpus is known."""


class Banded(Struct, frozen=True, kw_only=True):
    """One tier's band."""

    tier: str
    band: Band


class Bands(Struct, frozen=True, kw_only=True):
    """`bands.json`."""

    schema: str = "openagentperf/bands/1"
    tiers_digest: str
    """Of the tiers that were searched: other ones have no band."""
    bands: tuple[Banded, ...]


def account(run: Path, tiers: TierSet, history: Sequence[Judged], standings: Sequence[Standing]) -> Simulated:
    """Of a run folder, judged for `tiers`. StorageError where one of the files is missing or broken."""
    told = read_simulation(run)
    constants = told.compiled.constants
    by_mark = Counter(constant.mark for constant in constants)
    weak = sorted((c for c in constants if c.mark in _WEAK), key=lambda c: (-c.uncertainty, c.name))
    bands = _bands(run, tiers)
    return Simulated(
        system=told.compiled.spec.name,
        spec_digest=digest_of(told.compiled.spec),
        catalog_digest=told.catalog_digest,
        calibrated_to=told.calibrated_to,
        marks={mark: by_mark[mark] for mark in _MARKS},
        assumed=tuple(
            Named(name=c.name, value=c.value, unit=c.unit, mark=c.mark, uncertainty=c.uncertainty) for c in weak
        ),
        tiers=tuple(_tier(run, tiers, told, history, standing, bands) for standing in standings),
        notes=(*_power_error(told.compiled), *told.compiled.notes),
    )


def _power_error(compiled: Compiled) -> tuple[str, ...]:
    errors = [c.value for c in compiled.constants if c.name.endswith(".power_error")]
    if not errors:
        return ()
    beyond = compiled.ratios.uncertainty
    return (
        f"modelled power may be off by +-{max(errors):.0%}, beyond the accelerators by +-{beyond:.0%} more: ratios of ratings",
    )


def read_simulation(run: Path) -> Simulation:
    return rundir.read_record(run / SIMULATION, Simulation, "a simulated run has one", "restore the run folder")


def _bands(run: Path, tiers: TierSet) -> dict[str, Band]:
    if not (run / BANDS).exists():
        return {}
    bands = rundir.read_record(run / BANDS, Bands, "it was written by this run", "restore it, or remove it")
    return {row.tier: row.band for row in bands.bands} if bands.tiers_digest == tiers.digest else {}


def _tier(
    run: Path, tiers: TierSet, told: Simulation, history: Sequence[Judged], standing: Standing, bands: dict[str, Band]
) -> SimulatedTier:
    tier = next(tier for tier in tiers.tier if tier.name == standing.tier)
    certifying = [judged for judged in history if judged.index in standing.certifying]
    at = certifying[-1] if certifying else _last(history, standing.passing)
    above = None if standing.failing is None else _last(history, standing.failing)
    return SimulatedTier(
        tier=tier.name,
        binds=binding(tier, told.compiled.spec, told.endless_hit_rate, _seen(run, at), _seen(run, above)),
        band=bands.get(tier.name),
        hit_rate=hit_rate(certifying or ([at] if at else [])),
    )


def hit_rate(phases: Sequence[Judged]) -> float | None:
    """Mean over phases; None where there is none, or one does not know."""
    rates = [judged.cached_fraction for judged in phases]
    known = [rate for rate in rates if rate is not None]
    return sum(known) / len(known) if known and len(known) == len(rates) else None


def _last(history: Sequence[Judged], agents: int) -> Judged | None:
    return next((judged for judged in reversed(history) if judged.agents == agents), None)


def _seen(run: Path, judged: Judged | None) -> Seen | None:
    if judged is None:
        return None
    path = rundir.phase_folder(run, judged.index, judged.agents) / USAGE
    return Seen(judged, rundir.read_record(path, Usage, "a simulated phase has one", "restore the run folder"))
