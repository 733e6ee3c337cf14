"""Capacity divided by what it takes: megawatts inside a named boundary, racks, dollars.

agents/MW           = agents / mean power of the tier's certifying phases, in MW;  mean power = sum of joules / sum of seconds
$/h, owned          = capex / (years x 8,766 h) + opex an hour + power in kW x $ per kWh;  power: measured, else modelled, else rated;
                      of that the facility's, else the outermost valid x PUE
$ per agent-hour    = $/h / agents
$ per 1M tokens     = $/h / (output tokens a second x 3,600) x 1,000,000, tokens of the certifying phases
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from openagentperf.records.phase import Judged
from openagentperf.records.power import Basis, Boundary, WindowEnergy
from openagentperf.records.result import Cost, TierPower
from openagentperf.system import System

HOURS_A_YEAR = 8_766.0
_OUTWARD: tuple[Boundary, ...] = ("accelerator", "node", "rack", "facility")
_BASES: tuple[Basis, ...] = ("measured", "modelled", "rated")
_WATTS_A_MW = 1_000_000.0


def accelerators(system: System) -> int:
    """The declared inventory; 0 where none is declared."""
    return system.accelerators or sum(pool.accelerators for pool in system.pools)


def tier_power(agents: int | None, phases: Sequence[Judged], system: System) -> tuple[TierPower, ...]:
    """A row for each boundary and basis that a meter of the run or a rating of the system covers; () where no capacity is established.

    phases  the tier's certifying ones
    """
    if agents is None or not phases:
        return ()
    seen: dict[tuple[Boundary, Basis], None] = {}
    for judged in phases:
        seen.update(dict.fromkeys((row.boundary, row.basis) for row in judged.energy))
    keys = sorted(seen, key=lambda key: (_OUTWARD.index(key[0]), key[1]))
    return (*(_measured(agents, phases, *key) for key in keys), *_rated(agents, system))


def agents_per_mw(agents: int, mean_w: float) -> float:
    """1,840 agents at 29.99 kW are 61,354 a megawatt."""
    return agents / (mean_w / _WATTS_A_MW)


def cost(agents: int | None, phases: Sequence[Judged], system: System, power: Sequence[TierPower]) -> Cost | None:
    """None where no price is declared or no capacity is established."""
    if agents is None or not phases or system.price is None:
        return None
    usd, basis = _usd_per_hour(system, power)
    tokens_per_s = _mean([j.output_tokens_per_s for j in phases])
    per_token = None if usd is None or not tokens_per_s else usd / (tokens_per_s * 3600)
    return Cost(
        usd_per_hour=usd,
        basis=basis,
        agents_per_usd_hour=agents / usd if usd else None,
        usd_per_agent_hour=usd / agents if usd is not None and agents else None,
        usd_per_million_output_tokens=None if per_token is None else per_token * 1_000_000,
    )


_NOTES = 6


def power_notes(phases: Sequence[Judged]) -> list[str]:
    """What was seen in the phases' measured windows and changes how their power is read: throttling, caps, drift, devices not counted.

    A facility repeats what its inner boundary says; a modelled sensor neither throttles nor has an inventory.
    """
    found: dict[str, list[str]] = {}
    for judged in phases:
        for row in judged.energy:
            if row.valid and row.basis == "measured" and row.boundary != "facility":
                for note in row.notes:
                    found.setdefault(f"power ({row.boundary}, measured): {note}", []).append(f"{judged.index}")
    lines = [f"{text} (phase{'s' if len(at) > 1 else ''} {', '.join(at)})" for text, at in found.items()]
    more = len(lines) - _NOTES
    return [
        *lines[:_NOTES],
        *([f"power: {more} more notes stand in phases[].energy[].notes of result.json"] if more > 0 else []),
    ]


def _measured(agents: int, phases: Sequence[Judged], boundary: Boundary, basis: Basis) -> TierPower:
    name = f"agents/MW ({boundary}, {basis})"
    rows: list[tuple[Judged, WindowEnergy]] = []
    why: list[str] = []
    for judged in phases:
        row = next((row for row in judged.energy if (row.boundary, row.basis) == (boundary, basis)), None)
        if row is None:
            why.append(
                f"phase {judged.index}: no reading of this boundary: the meter must run through all certifying phases"
            )
        elif row.energy_j is None or not row.mean_w:
            codes = row.faults or ()
            why += [f"phase {judged.index}: {fault.code}: {fault.why}" for fault in codes[:3]]
            if len(codes) > 3:
                why.append(f"phase {judged.index}: and {len(codes) - 3} more")
            if not codes:
                why.append(f"phase {judged.index}: no energy: the sensor showed none")
        else:
            rows.append((judged, row))
    if len(read_by := {row.meter for _, row in rows}) > 1:
        why.append(
            f"it is the PUE times {' in one phase and times '.join(sorted(read_by))} in another: each must be valid in all"
        )
    if why:
        return TierPower(name=name, boundary=boundary, basis=basis, agents_per_mw=None, why=tuple(why))
    joules = sum(row.energy_j or 0.0 for _, row in rows)
    seconds = [(row.energy_j or 0.0) / (row.mean_w or 1.0) for _, row in rows]
    mean_w = joules / sum(seconds)
    rates = [rate for j, _ in rows if (rate := j.output_tokens_per_s) is not None]
    tokens = sum(rate * s for rate, s in zip(rates, seconds, strict=True)) if len(rates) == len(rows) else None
    turns = sum(j.measured_turns for j, _ in rows)
    trajectories = sum(j.completed_trajectories for j, _ in rows)
    peaks = [row.p95_w for _, row in rows]
    return TierPower(
        name=name,
        boundary=boundary,
        basis=basis,
        agents_per_mw=agents_per_mw(agents, mean_w),
        mean_w=mean_w,
        p95_w=max(known) if len(known := [p for p in peaks if p is not None]) == len(peaks) else None,
        j_per_output_token=joules / tokens if tokens else None,
        j_per_turn=joules / turns if turns else None,
        j_per_trajectory=joules / trajectories if trajectories else None,
    )


def _rated(agents: int, system: System) -> Iterator[TierPower]:
    """Nameplates: what would be provisioned, whatever was drawn."""
    ratings: tuple[tuple[Boundary, float | None, float], ...] = (
        ("accelerator", system.rated_accelerator_w, accelerators(system)),
        ("rack", system.rated_rack_w, system.racks),
    )
    for boundary, each_w, count in ratings:
        if each_w is not None and count:
            watts = each_w * count
            yield TierPower(
                name=f"agents/MW ({boundary}, rated)",
                boundary=boundary,
                basis="rated",
                agents_per_mw=agents_per_mw(agents, watts),
                mean_w=watts,
            )


def _usd_per_hour(system: System, power: Sequence[TierPower]) -> tuple[float | None, str]:
    price = system.price
    assert price is not None
    if price.usd_per_hour is not None:
        return price.usd_per_hour + price.opex_usd_per_hour, "declared price an hour, power included"
    if price.capex_usd is None or price.years is None:
        return None, "no price: usd_per_hour, or capex_usd with years, is needed"
    owned = price.capex_usd / (price.years * HOURS_A_YEAR) + price.opex_usd_per_hour
    basis = f"declared: {price.capex_usd:,.0f} $ over {price.years:g} years"
    if price.usd_per_kwh is None:
        return owned, f"{basis}, without power"
    known = [row for row in power if row.mean_w is not None]
    # The surest basis first, then the widest boundary: a simulated rack must not take the place of a measured node.
    outer = min(known, key=lambda row: (_BASES.index(row.basis), -_OUTWARD.index(row.boundary)), default=None)
    if outer is None or outer.mean_w is None:
        return None, f"{basis}, and power at {price.usd_per_kwh:g} $/kWh, of which none is valid"
    scale = system.pue if system.pue is not None and outer.boundary != "facility" else 1.0
    times = f" x PUE {scale:g}" if scale != 1.0 else ""
    usd = owned + outer.mean_w * scale / 1000 * price.usd_per_kwh
    return usd, f"{basis}, and power ({outer.boundary}, {outer.basis}{times}) at {price.usd_per_kwh:g} $/kWh"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
