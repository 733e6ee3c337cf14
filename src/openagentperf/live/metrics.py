"""Live figures as named series with units and labels, and as a Prometheus page. What is not known has no sample: never 0, never NaN."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

from openagentperf.live.records import Now, PhaseView, Snapshot, State

PREFIX = "openagentperf_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LONGEST = 200
"""Characters of a label's value: a model's name may be a megabyte."""


class Family(NamedTuple):
    """A series' name (without `PREFIX`), its unit as OpenTelemetry writes it, and what it means."""

    name: str
    unit: str
    about: str
    kind: Literal["gauge", "counter"] = "gauge"


FAMILIES = (
    Family("run_info", "1", "1, with what the run is in its labels"),
    Family("run_state", "1", "1 for the state that the run is in, 0 for the others"),
    Family("run_elapsed_seconds", "s", "Since the run was begun"),
    Family("run_left_seconds", "s", "Estimate over the phases that the search still needs at most"),
    Family("phase_info", "1", "1, with number, kind and stage of the open phase in its labels"),
    Family("phase_agents", "{agent}", "Agents that the open phase was ordered to run"),
    Family("phase_agents_active", "{agent}", "Agents in their loop, with a turn in flight or a tool running"),
    Family("phase_agents_waiting", "{agent}", "Agents between two requests"),
    Family("phase_requests_in_flight", "{request}", "Requests open, all load workers together"),
    Family("phase_turns_measured", "{turn}", "Measured turns of the open phase that have ended"),
    Family("phase_turns_wanted", "{turn}", "Measured turns that the open phase needs at least"),
    Family("phase_turns_failed", "{turn}", "Of the measured turns, those that failed, by cause"),
    Family("phase_ttft_p50_seconds", "s", "Median time to first token of the open phase's measured turns"),
    Family("phase_ttft_p95_seconds", "s", "95th percentile of the same; no sample where failed turns reach it"),
    Family("phase_output_speed_p25_tokens_per_second", "{token}/s", "25th percentile of output speed"),
    Family("phase_e2e_speed_p25_tokens_per_second", "{token}/s", "25th percentile of end-to-end speed"),
    Family("phase_output_tokens_per_second", "{token}/s", "Output tokens of measured turns / the window so far"),
    Family("phase_cache_hit_ratio", "1", "Cached prompt tokens / prompt tokens of measured turns"),
    Family("power_watts", "W", "Power of all devices inside a boundary"),
    Family("tier_passing_agents", "{agent}", "Largest level believed to pass so far, by tier"),
    Family("tier_failing_agents", "{agent}", "Smallest level whose fail stands, by tier"),
    Family("tier_capacity_agents", "{agent}", "Capacity, by tier and standing, once the search has established it"),
    Family("phases_judged_total", "{phase}", "Judged phases, by tier and verdict", "counter"),
)  # fmt: skip
Labels: TypeAlias = Mapping[str, str]
Sample: TypeAlias = tuple[Labels, float]
_LIVE = ("running", "silent")


def samples(seen: Iterable[Snapshot]) -> dict[str, list[Sample]]:
    """By name of the family; a family without a sample is left out."""
    found: dict[str, list[Sample]] = {}
    for one in seen:
        run = {"run": one.about.name}
        for name, labels, value in _of(one):
            if value is not None and math.isfinite(value):
                found.setdefault(name, []).append((run | labels, float(value)))
    return found


def _of(seen: Snapshot) -> Iterator[tuple[str, dict[str, str], float | None]]:
    about, now = seen.about, seen.now
    told = {
        "target": about.target,
        "model": about.model,
        "tiers": about.tier_set,
        "rigor": about.rigor,
        "track": about.track,
    }
    yield "run_info", told, 1
    for state in get_args(State):
        yield "run_state", {"state": state}, now.state == state
    yield "run_elapsed_seconds", {}, now.elapsed_s
    yield "run_left_seconds", {}, now.run_left_s
    if not now.behind:  # else they are of the part that has been read in
        if now.phase is not None and now.state in _LIVE:
            yield from _of_phase(now.phase, now)
        for power in now.power:
            yield "power_watts", {"boundary": power.boundary, "basis": power.basis}, power.watts
    for tier in about.tiers:
        yield "tier_passing_agents", {"tier": tier.tier}, tier.passing
        yield "tier_failing_agents", {"tier": tier.tier}, tier.failing
        yield "tier_capacity_agents", {"tier": tier.tier, "standing": tier.standing}, tier.agents
    counts: dict[tuple[str, str], int] = {
        (tier.tier, verdict): 0 for tier in about.tiers for verdict in ("pass", "fail", "invalid")
    }
    for attempt in about.attempts:
        for reading in attempt.verdicts:
            counts[reading.tier, reading.verdict] = counts.get((reading.tier, reading.verdict), 0) + 1
    for (tier_name, verdict), count in counts.items():
        yield "phases_judged_total", {"tier": tier_name, "verdict": verdict}, count


def _of_phase(phase: PhaseView, now: Now) -> Iterator[tuple[str, dict[str, str], float | None]]:
    yield "phase_info", {"index": str(phase.index), "kind": phase.kind, "stage": now.stage}, 1
    yield "phase_agents", {}, phase.agents
    yield "phase_agents_active", {}, phase.active_agents
    yield "phase_agents_waiting", {}, phase.waiting
    yield "phase_requests_in_flight", {}, phase.in_flight
    yield "phase_turns_measured", {}, phase.measured_turns
    yield "phase_turns_wanted", {}, phase.wanted_turns
    for error in phase.errors:
        yield "phase_turns_failed", {"cause": error.cause}, error.turns
    yield "phase_ttft_p50_seconds", {}, phase.ttft_p50_s
    yield "phase_ttft_p95_seconds", {}, phase.ttft_p95_s
    yield "phase_output_speed_p25_tokens_per_second", {}, phase.speed_p25
    yield "phase_e2e_speed_p25_tokens_per_second", {}, phase.e2e_speed_p25
    yield "phase_output_tokens_per_second", {}, phase.output_tokens_per_s
    yield "phase_cache_hit_ratio", {}, phase.cached_share


def page(seen: Sequence[Snapshot]) -> bytes:
    """The Prometheus text format, version 0.0.4."""
    found = samples(seen)
    lines = []
    for family in FAMILIES:
        rows = found.get(family.name)
        if not rows:
            continue
        name = PREFIX + family.name
        lines += [f"# HELP {name} {family.about}", f"# TYPE {name} {family.kind}"]
        for labels, value in rows:
            inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
            lines.append(f"{name}{{{inside}}} {value!r}")
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def label_text(text: str) -> str:
    """A label's value: `_LONGEST` characters at most."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _escaped(text: str) -> str:
    return label_text(text).replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
