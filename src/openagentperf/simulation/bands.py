"""How sure a simulated capacity is: the search once more with every uncertain constant at its worst, and at its best.

Each side moves all constants of a kind at once by the largest uncertainty that one of them has, so that the band is a most and not a
standard deviation: nobody knows how the errors of a catalogue hang together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from openagentperf.errors import UsageError
from openagentperf.plan import Plan
from openagentperf.records.progress import Progress
from openagentperf.records.simulated import Band
from openagentperf.records.standing import Standing
from openagentperf.sim.account import Banded, Bands
from openagentperf.sim.catalog import Catalog
from openagentperf.sim.cells import Constant
from openagentperf.sim.deployment import Scale
from openagentperf.sim.spec import ClusterSpec
from openagentperf.simulation.explore import Found, Load, explore
from openagentperf.simulation.job import Banding, Observe
from openagentperf.simulation.sweep import sweeping
from openagentperf.simulation.wish import compiled

_KINDS: dict[str, tuple[str, ...]] = {
    "compute": ("mfu", "decode_compute", "prefill_slowdown", "decode_slowdown"),
    "bandwidth": ("memory_efficiency", "link_efficiency"),
    "overhead": ("layer_start", "collective_start", "prefill_start"),
    "acceptance": ("acceptance",),
    "memory": ("runtime_memory",),
    "memory_share": ("memory_share",),
}
"""Factor of Scale, and the parts of a constant's name that it stands for; `memory` is what an engine takes for itself, `memory_share` what
it is given, and the KV pool is the remainder."""


def for_catalogue() -> Banding:
    """The band of a cluster that the plan's [simulate] table names."""

    def banded(plan: Plan, load: Load, standing: tuple[Standing, ...], observe: Observe) -> Bands:
        wish = plan.simulate
        assert wish is not None
        catalog = Catalog.load([Path(file) for file in wish.catalog])
        deployment = catalog.deployment(wish.system, wish.model, wish.deployment)
        shares = uncertainties(compiled(wish, catalog, deployment, Scale()).compiled.constants)
        sides: dict[str, dict[str, Found]] = {}
        for name, sign in (("worst", -1), ("best", 1)):
            observe(
                Progress(stage="done", message=f"uncertainty: searching with the uncertain constants at their {name}")
            )
            scale, sides[name] = scaled(shares, sign), {}
            if not (scale.compute and scale.bandwidth):  # at its worst nothing is ever computed, or read
                continue
            given = max(0.0, min(1.0, deployment.memory_share * (1 + sign * shares["memory_share"])))
            changed = replace(deployment, memory_share=given)
            try:
                cluster = compiled(wish, catalog, changed, scale, max(0.0, 1 - sign * shares["memory"]))
            except UsageError:  # at their worst the weights leave no room for one sequence
                continue
            sides[name] = searched(plan, cluster.compiled.spec, load, standing)
        return Bands(
            tiers_digest=plan.tiers.digest, bands=banded_rows(standing, sides["worst"], sides["best"], how(shares))
        )

    return banded


def uncertainties(constants: Sequence[Constant]) -> dict[str, float]:
    """By factor of Scale, the largest uncertainty of the constants that it stands for, as a share; 0 where none was used."""
    return {
        factor: max((c.uncertainty for c in constants if set(c.name.split(".")) & set(parts)), default=0.0)
        for factor, parts in _KINDS.items()
    }


def scaled(shares: dict[str, float], sign: int) -> Scale:
    """All factors at once, to the worse (-1) or the better (1): a fixed time is worse where it is longer. None is below 0: a value that
    may be off by more than itself may be nothing."""
    return Scale(
        compute=max(0.0, 1 + sign * shares["compute"]),
        bandwidth=max(0.0, 1 + sign * shares["bandwidth"]),
        overhead=max(0.0, 1 - sign * shares["overhead"]),
        acceptance=max(0.0, 1 + sign * shares["acceptance"]),
    )


def how(shares: dict[str, float]) -> str:
    moved = ", ".join(f"{name} +-{share:.0%}" for name, share in shares.items() if share)
    return f"with {moved}, all at once"


def searched(plan: Plan, spec: ClusterSpec, load: Load, standing: Sequence[Standing]) -> dict[str, Found]:
    """Where each tier's limit lies on `spec`; by itself, from half of what it had: a ramp from 1 for each would meet nothing new."""
    found: dict[str, Found] = {}
    for each in standing:
        tier = next(tier for tier in plan.tiers.tier if tier.name == each.tier)
        alone = replace(plan, tiers=replace(plan.tiers, tier=(tier,)))
        start = max(1, (each.agents or each.passing) // 2)
        found |= {row.tier: row for row in explore(sweeping(alone, spec.accelerators, start), spec, load)}
    return found


def banded_rows(
    standing: Sequence[Standing], worst: dict[str, Found], best: dict[str, Found], words: str
) -> tuple[Banded, ...]:
    """The bands from what was `searched` at both ends."""
    rows = []
    for each in standing:
        low, high = (side[each.tier].agents if side else 0 for side in (worst, best))
        at = each.agents
        # A search phase is a single say: its level may miss the certified one that lies between the two.
        rows.append(
            Banded(
                tier=each.tier,
                band=Band(
                    low=low if low is None or at is None else min(low, at),
                    high=high if high is None or at is None else max(high, at),
                    high_open=bool(best) and best[each.tier].standing.failing is None,
                    how=words,
                ),
            )
        )
    return tuple(rows)
