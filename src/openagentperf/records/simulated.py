"""What stands beside a number that no hardware gave: of what it is a prediction, how sure it is, and what decided it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

Mark: TypeAlias = Literal["fact", "measured", "derived", "assumed", "calibrated", "unknown"]
"""Where a constant comes from (docs/catalog.md)."""
Resource: TypeAlias = Literal["prefill", "decode", "batch", "kv", "transfer", "context", "none"]
"""What runs out first: prefill compute, the decode step, slots of the batch, KV capacity, the link between prefill and decode workers;
`context`: turns are longer than a request may be, at every level; `none`: nothing does inside the levels tried."""


class Binding(Struct, frozen=True, kw_only=True):
    """What runs out first at a tier, by the two phases on either side of its capacity."""

    resource: Resource
    why: str
    """In words, with the numbers that say so."""


class Band(Struct, frozen=True, kw_only=True):
    """The capacity with every uncertain constant at its worst and at its best."""

    low: int | None
    """None: not established there."""
    high: int | None
    high_open: bool = False
    """At its best it still passed at the search limit."""
    how: str
    """Which constants were moved by how much, and how the levels were found."""


class SimulatedTier(Struct, frozen=True, kw_only=True):
    """One tier's prediction."""

    tier: str
    binds: Binding
    band: Band | None = None
    """None: not asked for."""
    hit_rate: float | None = None
    """Cached prompt tokens / prompt tokens over the certifying phases: an outcome of the simulated KV pools, never an input."""


class Named(Struct, frozen=True, kw_only=True):
    """A constant that is worth its name beside a number."""

    name: str
    value: float
    unit: str
    mark: Mark
    uncertainty: float
    """As a share: 0.15 is +-15 %."""


class Simulated(Struct, frozen=True, kw_only=True):
    """`Result.simulated`: none of the figures was measured on hardware."""

    system: str
    """For people: system, model, deployment."""
    spec_digest: str
    """sha256 of the compiled cluster: equal digests are the same simulation."""
    catalog_digest: str = ""
    """sha256 of the catalogue that it was compiled from; "" for one that was calibrated or given as it is."""
    calibrated_to: str = ""
    """Digest of the plan of the measured run that constants were fitted to; "": a prediction from constants alone."""
    marks: dict[str, int]
    """Constants that were used, by mark."""
    assumed: tuple[Named, ...]
    """Those that are assumed or calibrated, the most uncertain first."""
    tiers: tuple[SimulatedTier, ...]
    notes: tuple[str, ...] = ()
    """What the model of the cluster does not hold."""
