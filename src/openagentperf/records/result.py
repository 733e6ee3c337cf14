"""`result.json`: the answer. A pure function of the run folder's rows, plan and ledger: no clock, no host name, no path.

Its JSON Schema is docs/result.schema.json, generated from these classes (`openagentperf schema`).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from openagentperf.records.phase import Judged

Standing: TypeAlias = Literal["certified", "confirmed", "unmet", "at_least", "invalid", "unfinished"]


class Interval(Struct, frozen=True, kw_only=True):
    """Estimate of the crossing with its 90 % interval: log-log fit over at least six full phases around it."""

    estimate: float
    low: float
    high: float
    phases: int


class TierResult(Struct, frozen=True, kw_only=True):
    """Capacity at one tier."""

    tier: str
    output_speed: float
    """The tier's limit: P25 of output speed, tokens/s."""
    ttft_s: float
    """The tier's limit: P95 of TTFT."""
    standing: Standing
    """certified | confirmed (preliminary rigor) | unmet (fails at one agent) | at_least (passes at the search limit) |
    invalid (the measurement could not be made valid) | unfinished (the run ended early)."""
    agents: int | None
    """Largest certified (confirmed) number of agents; 0 where unmet; None where nothing is established."""
    smallest_failing: int | None
    """Smallest level that failed; None where none did."""
    estimate: Interval | None = None
    """None: not estimated (fewer than six full phases around the crossing)."""
    non_monotone: tuple[int, ...] = ()
    """Levels that passed above a repeated fail: reported, not believed."""
    agents_per_accelerator: float | None = None
    """agents / declared accelerators; None where none are declared or agents is None."""
    ttft_p95_s: float | None = None
    """Worst over the certifying phases."""
    speed_p25: float | None = None
    """Worst over the certifying phases."""
    e2e_speed_p25: float | None = None
    """Worst over the certifying phases."""
    why: str = ""
    """In words, where it is not certified or confirmed."""


class Workmix(Struct, frozen=True, kw_only=True):
    """The mix really run in the certifying phases, beside that of the whole set: inputs by the corpus's own count in both, so that they
    can be compared; outputs as generated beside as recorded.
    """

    input_tokens_mean: float | None
    output_tokens_mean: float | None
    set_input_tokens_mean: float
    set_output_tokens_mean: float


class Result(Struct, frozen=True, kw_only=True):
    """`result.json`."""

    schema: str = "openagentperf/result/1"
    version: str
    """Of openagentperf."""
    plan_digest: str
    corpus_digest: str
    tiers: str
    """Name and version of the tier set."""
    tiers_digest: str
    rigor: str
    preliminary: bool
    track: str
    target: Literal["endpoint", "embedded simulated node"]
    provenance: Literal["self-reported"] = "self-reported"
    quality: Literal["quality unverified"] = "quality unverified"
    cache: Literal["cache verified", "cache unverified"]
    """`cache unverified`: the server does not report cached tokens, so a warm cache could not be ruled out."""
    results: tuple[TierResult, ...]
    phases: tuple[Judged, ...]
    """Every attempt, in order."""
    workmix: Workmix
    notes: tuple[str, ...] = ()
    exit_code: int
