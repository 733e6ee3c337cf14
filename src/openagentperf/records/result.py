"""`result.json`: the answer. A pure function of the run folder's rows, plan and ledger: no clock, no host name, no path.

Its JSON Schema is docs/result.schema.json, generated from these classes (`openagentperf schema`).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from openagentperf.records.phase import Judged
from openagentperf.records.power import Basis, Boundary, IdlePower
from openagentperf.records.simulated import Simulated

Target: TypeAlias = Literal["endpoint", "embedded simulated node", "simulated cluster"]
"""Only the first is a system that can be bought."""
SIMULATED: Target = "simulated cluster"
Standing: TypeAlias = Literal["certified", "confirmed", "unmet", "at_least", "invalid", "unfinished"]
ESTABLISHED: tuple[Standing, ...] = ("certified", "confirmed", "at_least")
"""Standings with a number that agents were served at."""


class Interval(Struct, frozen=True, kw_only=True):
    """Estimate of the crossing with its 90 % interval: log-log fit over at least six full phases around it."""

    estimate: float
    low: float
    high: float
    phases: int


class TierPower(Struct, frozen=True, kw_only=True):
    """Agents per megawatt at one tier, inside one boundary. Energy is that of the tier's certifying phases, over their measure windows."""

    name: str
    """`agents/MW (accelerator, measured)`: a figure without its boundary means nothing."""
    boundary: Boundary
    basis: Basis
    agents_per_mw: float | None
    """agents / (mean_w / 1,000,000); None where the energy of any certifying phase is not valid: missing is not zero."""
    mean_w: float | None = None
    """Joules of all certifying phases / their seconds."""
    p95_w: float | None = None
    """Largest of the phases' 95th percentiles of power over time: what has to be provisioned. None for a rating, or slow sensors."""
    j_per_output_token: float | None = None
    j_per_turn: float | None = None
    """Per measured turn, failed ones too."""
    j_per_trajectory: float | None = None
    """Per completed trajectory; None where none was completed."""
    why: tuple[str, ...] = ()
    """Why there is no figure, and what to do."""


class Cost(Struct, frozen=True, kw_only=True):
    """What capacity costs at one tier, by declared prices."""

    usd_per_hour: float | None
    """Of the whole system; None where prices need power and none is valid."""
    basis: str
    """How the hour was priced, in words."""
    agents_per_usd_hour: float | None = None
    """agents / usd_per_hour; None where the hour is free or not known."""
    usd_per_agent_hour: float | None = None
    """None at 0 agents."""
    usd_per_million_output_tokens: float | None = None
    """At capacity: output tokens of the certifying phases' measure windows."""


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
    agents_per_rack: float | None = None
    """agents / declared racks (which may be a part of one); None where none are declared."""
    power: tuple[TierPower, ...] = ()
    """One row a boundary and basis. Empty where no meter and no rating is declared, or no capacity is established."""
    cost: Cost | None = None
    """None where no price is declared or no capacity is established."""
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
    sealed_root: str = ""
    """Root of the commitment (docs/seal.md) to the set that the corpus was compiled from; "" where it was no sealed set."""
    tiers: str
    """Name and version of the tier set."""
    tiers_digest: str
    rigor: str
    preliminary: bool
    track: str
    target: Target
    provenance: Literal["self-reported"] = "self-reported"
    quality: Literal["quality unverified"] = "quality unverified"
    cache: Literal["cache verified", "cache unverified"]
    """`cache unverified`: the server does not report cached tokens, so a warm cache could not be ruled out."""
    results: tuple[TierResult, ...]
    phases: tuple[Judged, ...]
    """Every attempt, in order."""
    idle_power: tuple[IdlePower, ...] = ()
    """Before the first phase and after the last."""
    workmix: Workmix
    simulated: Simulated | None = None
    """Of a simulated cluster: what its figures are a prediction of. None: requests were really sent."""
    notes: tuple[str, ...] = ()
    exit_code: int

    def standing_words(self, tier: TierResult) -> str:
        """How a tier's number was established, as a face must show it."""
        return standing_words(tier.standing, self.target)


def standing_words(standing: str, target: str) -> str:
    """`at least` of `at_least`. What a simulator certifies is *simulated*, and nothing more: by the target, for a run that has not
    finished has no `simulated` yet."""
    return "simulated" if target == SIMULATED and standing in ESTABLISHED else standing.replace("_", " ")


def labels(
    result: Result, provenance: str = "self-reported: no other party has scored or run it again"
) -> tuple[str, ...]:
    """Every limit of what the number claims, a sentence each, as every face shows them; docs/limits.md has them at length.

    provenance   the sentence of a site, which knows who else has scored or run it
    """
    simulated = result.target == SIMULATED
    told = [provenance]
    if result.preliminary:
        ends = "" if simulated else "; confirmed, not certified"
        told.append(f"preliminary: shorter or fewer phases than rigor `standard`{ends}")
    if simulated:
        told.append("simulated: a prediction of a model of the cluster; none of the figures was measured on hardware")
    elif result.target != "endpoint":
        told.append("simulated target: a property of the simulation, not of any hardware")
    if result.cache == "cache unverified":
        told.append(
            "cache unverified: the server does not report cached tokens, so a warm cache could not be ruled out"
        )
    told.append(f"{result.quality}: nobody looked at the answers")
    return tuple(told)
