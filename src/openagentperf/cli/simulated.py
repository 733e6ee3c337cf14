"""What a simulated result says beside its numbers: how sure they are, what decided them, and what they rest on."""

from __future__ import annotations

import textwrap

from openagentperf.records.result import Result, TierResult
from openagentperf.records.simulated import Simulated, SimulatedTier
from openagentperf.units import significant

_RESOURCES = {
    "prefill": "prefill compute",
    "decode": "the decode step",
    "batch": "slots of the decode batch",
    "kv": "KV capacity",
    "transfer": "the link between prefill and decode workers",
    "context": "the length of the context",
    "none": "nothing",
}
"""In words; keys are records.simulated.Resource."""
_NAMED = 6
"""Assumed constants that are named on a terminal; simulation.json has all."""


def simulated_lines(result: Result, width: int) -> list[str]:
    """Empty for a result that is none."""
    said = result.simulated
    if said is None:
        return []
    lines = [f"Simulated, not measured: {said.system}"]
    by_tier = {tier.tier: tier for tier in said.tiers}
    for tier in result.results:
        if (known := by_tier.get(tier.tier)) is not None:
            for text in tier_sentences(tier, known):
                lines += _wrap(text, width)
    for text in foundation(said):
        lines += _wrap(text, width)
    return lines


def tier_sentences(tier: TierResult, said: SimulatedTier) -> list[str]:
    """Uncertainty next to the number; then what binds, and the hit rate."""
    count = "no number" if tier.agents is None else f"{tier.agents:,} agents"
    told = []
    if said.band is not None:
        low = "?" if said.band.low is None else f"{said.band.low:,}"
        high = "?" if said.band.high is None else f"{said.band.high:,}{' or more' if said.band.high_open else ''}"
        told.append(f"{tier.tier}: {count}; {low} to {high} {said.band.how}")
    told.append(f"{tier.tier}: {resource_words(said.binds.resource)} binds first: {said.binds.why}")
    if said.hit_rate is not None:
        told.append(
            f"{tier.tier}: {said.hit_rate:.1%} of the prompt tokens came from the prefix cache (simulated, not assumed)"
        )
    return told


def resource_words(resource: str) -> str:
    return _RESOURCES[resource]


def foundation(said: Simulated) -> list[str]:
    """Prediction against calibration: how many constants of which kind, and the names of those that are weakest."""
    kinds = ", ".join(f"{count} {mark}" for mark, count in said.marks.items() if count)
    told = [f"constants: {kinds or 'none listed'}"]
    weak = [
        f"{c.name} {significant(c.value)} {c.unit} ({c.mark}, +-{c.uncertainty:.0%})".replace("  ", " ")
        for c in said.assumed
    ]
    if weak:
        more = f"; and {len(weak) - _NAMED} more in simulation.json" if len(weak) > _NAMED else ""
        told.append(f"the least certain: {', '.join(weak[:_NAMED])}{more}")
    told.append(
        f"calibrated: constants were fitted to a run (plan {said.calibrated_to[:12]}); levels that it did not run are predictions"
        if said.calibrated_to
        else "a prediction: no constant was fitted to a measured capacity"
        if not said.marks.get("calibrated")
        else "calibrated constants are among them: not a pure prediction"
    )
    return told + list(said.notes)


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
