"""The top of a report: whether the number can be used, in words; then the number, with everything that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from openagentperf.records.phase import Judged
from openagentperf.records.result import ESTABLISHED, SIMULATED, Result, TierResult, labels
from openagentperf.report.figures import Figures
from openagentperf.report.marked import NONE, Marked, agents, number, percent, seconds, speed, usd
from openagentperf.report.opened import Opened
from openagentperf.report.page import Cell, Headline, Section
from openagentperf.score.capacity import other_notes

ANSWER = "Answer"


def title(run: Opened) -> str:
    result = run.result
    system = run.plan.system.name if run.plan is not None else ""
    model = run.facts.server.model if run.facts is not None else ""
    about = " on ".join(part for part in (model, system) if part)
    if result is not None and result.target == SIMULATED:
        about = f"Simulated: {result.simulated.system if result.simulated else about}"
    return f"How many agents at once? {about}" if about else "How many agents at once?"


def lead(run: Opened, found: Figures) -> str:
    """Validity first, then what was found, each a sentence."""
    return "\n".join((_validity(run, found), _found(run.result), _labels_line(run.result))).rstrip()


def _validity(run: Opened, found: Figures) -> str:
    history = run.phases
    invalid = _invalid(history)
    phases = "1 phase" if len(history) == 1 else f"{len(history):,} phases"
    judged = f"{phases} judged, {invalid or 'none'} invalid{' for some tier' if invalid else ''}"
    if not run.finished:
        return f"NOT FINISHED: there is no result yet ({judged}). What follows is what is known so far."
    if found.contradictions:
        return (
            f"DO NOT QUOTE: rows contradict the judgement of {len({c.partition(':')[0] for c in found.contradictions})} of the phases "
            f"({judged})."
        )
    assert run.result is not None
    spoiled = [tier.tier for tier in run.result.results if tier.standing == "invalid"]
    if spoiled:
        return f"NOT VALID at tier {', '.join(spoiled)}: the measurement could not be made valid there ({judged})."
    if run.missing or found.missing:
        lost = len(run.missing) + len(found.missing)
        return f"Finished, and parts of the run folder cannot be read any more ({lost}, listed below; {judged})."
    return f"Finished and valid: {judged}; the rows that were read give the same figures as result.json."


def _found(result: Result | None) -> str:
    if result is None:
        return "No capacity is known."
    parts = [f"{quantity(tier)} at {tier.tier} ({result.standing_words(tier)})" for tier in result.results]
    return f"Agents at once: {'; '.join(parts)}."


def quantity(tier: TierResult) -> str:
    """`12 agents`, `at least 64 agents`, `no figure`."""
    if tier.agents is None:
        return "no figure"
    return f"{'at least ' if tier.standing == 'at_least' else ''}{agents(tier.agents)}"


def _labels_line(result: Result | None) -> str:
    if result is None:
        return ""
    marks = [result.provenance, "preliminary" if result.preliminary else "", result.cache, result.quality]
    if result.target == SIMULATED:
        marks.insert(0, "simulated: no hardware was measured")
    elif result.target != "endpoint":
        marks.insert(0, "simulated target: says nothing of any hardware")
    return f"Labels: {', '.join(mark for mark in marks if mark)}; rigor {result.rigor}, {result.track} track, tiers {result.tiers}."


_Line: TypeAlias = tuple[str, tuple[str | Cell, ...]]


def headline_section(result: Result, marked: Marked) -> Section:
    """A card a tier."""
    return Section(
        title="Agents at once, by tier",
        text="The largest number of agents at which every limit of the tier held, failed turns counted as infinitely slow. "
        "Each figure below is that of result.json.",
        headlines=tuple(_headline(result, marked, i) for i in range(len(result.results))),
        group=ANSWER,
    )


def _headline(result: Result, marked: Marked, i: int) -> Headline:
    tier, at = result.results[i], f"results[{i}]"
    lines: list[_Line] = [
        ("asks for P25 output speed", ("≥ ", marked.cell(f"{at}.output_speed", speed))),
        ("asks for P95 TTFT", ("≤ ", marked.cell(f"{at}.ttft_s", seconds))),
        ("next level that failed", (marked.cell(f"{at}.smallest_failing", number),)),
        ("TTFT P95, worst", (marked.cell(f"{at}.ttft_p95_s", seconds),)),
        ("output speed P25, worst", (marked.cell(f"{at}.speed_p25", speed),)),
        ("end-to-end speed P25, worst", (marked.cell(f"{at}.e2e_speed_p25", speed),)),
    ]
    if tier.estimate is not None:
        low, high = marked.cell(f"{at}.estimate.low", number), marked.cell(f"{at}.estimate.high", number)
        crossing = marked.cell(f"{at}.estimate.estimate", number)
        lines.append(("crossing (90 % interval)", (crossing, " (", low, " to ", high, ")")))
        lines.append(("phases of the estimate", (marked.cell(f"{at}.estimate.phases", number),)))
    else:
        lines.append(("crossing", ("not estimated",)))
    if tier.agents_per_accelerator is not None:
        lines.append(("agents per accelerator", (marked.cell(f"{at}.agents_per_accelerator", number),)))
    if tier.agents_per_rack is not None:
        lines.append(("agents per rack", (marked.cell(f"{at}.agents_per_rack", number),)))
    lines += [
        (power.name, (marked.cell(f"{at}.power[{k}].agents_per_mw", number),)) for k, power in enumerate(tier.power)
    ]
    if not tier.power and tier.agents:
        lines.append(("agents/MW", (f"{NONE} (no power meter, no rating)",)))
    if tier.cost is not None and tier.cost.usd_per_agent_hour is not None:
        lines.append(("an agent-hour", (marked.cell(f"{at}.cost.usd_per_agent_hour", usd),)))
    lines += _predicted(result, marked, tier)
    if tier.standing == "unfinished":
        lines.insert(2, ("passed so far, not certified", (_passed(result, tier),)))
    noun = "agent" if tier.agents == 1 else "agents"
    unit = f"{noun} or more" if tier.standing == "at_least" else noun
    return Headline(
        title=f"Tier {tier.tier}", value=marked.cell(f"{at}.agents", number), unit=unit, text=_standing(result, tier), state=_state(tier),
        lines=tuple(lines),
    )  # fmt: skip


def _passed(result: Result, tier: TierResult) -> str:
    """Largest level with a pass below the smallest that failed."""
    levels = [
        judged.agents
        for judged in result.phases
        if any(v.tier == tier.tier and v.verdict == "pass" for v in judged.verdicts)
        and (tier.smallest_failing is None or judged.agents < tier.smallest_failing)
    ]
    return number(max(levels)) if levels else NONE


def _predicted(result: Result, marked: Marked, tier: TierResult) -> list[_Line]:
    """How sure a simulator is, and what decided it."""
    if result.simulated is None:
        return []
    lines: list[_Line] = []
    for k, predicted in enumerate(result.simulated.tiers):
        if predicted.tier != tier.tier:
            continue
        at = f"simulated.tiers[{k}]"
        lines.append(("binds", (predicted.binds.resource,)))
        if predicted.band is not None:
            lines.append(("band, worst constants", (marked.cell(f"{at}.band.low", number),)))
            beyond = " (and passed)" if predicted.band.high_open else ""
            lines.append((f"band, best constants{beyond}", (marked.cell(f"{at}.band.high", number),)))
        if predicted.hit_rate is not None:
            lines.append(("cache hits, simulated", (marked.cell(f"{at}.hit_rate", percent),)))
    return lines


def _state(tier: TierResult) -> Literal["good", "bad", "open"]:
    if tier.standing in ESTABLISHED and tier.agents:
        return "good"
    return "bad" if tier.standing in ("unmet", "invalid") else "open"


def _standing(result: Result, tier: TierResult) -> str:
    words = result.standing_words(tier)
    return f"{words}, preliminary" if result.preliminary and tier.standing in ESTABLISHED else words


def validity_section(run: Opened, found: Figures) -> Section:
    """Everything that bears on whether the number can be used, a sentence each."""
    notes: list[str] = []
    history = run.phases
    notes += [f"Rows against judgement: {note}." for note in found.contradictions]
    if run.result is not None:
        for tier in run.result.results:
            if tier.why:
                notes.append(f"Tier {tier.tier}, {run.result.standing_words(tier)}: {tier.why}.")
            if tier.non_monotone:
                levels = ", ".join(map(str, tier.non_monotone))
                notes.append(f"Tier {tier.tier} passed at {levels} above a level that failed twice: not believed.")
            whys = dict.fromkeys(why for power in tier.power for why in power.why)
            notes += [f"Tier {tier.tier}, no agents/MW: {why}." for why in whys]
    notes += _invalid_reasons(history)
    if run.result is None or run.result.target != SIMULATED:
        notes += _shared_reading(history)
    if run.facts is not None:
        for check in run.facts.checks:
            if check.status != "ok":
                notes.append(f"Preflight, {check.name} ({check.status}): {check.found}.")
    broken = [line for line in run.ledger if line.event == "broken"]
    if broken:
        notes.append(f"Attempts that were broken off, and stand in the ledger: {len(broken)}.")
    if run.result is not None:
        notes += [*labels(run.result), *other_notes(run.result)]
    notes += [f"Missing: {text}." for text in (*run.missing, *found.missing)]
    return Section(
        title="Can this number be used?",
        text=_validity(run, found),
        notes=tuple(_sentence(note) for note in notes),
        group=ANSWER,
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."


def _invalid(history: Sequence[Judged]) -> int:
    return sum(any(v.verdict == "invalid" for v in judged.verdicts) for judged in history)


def _invalid_reasons(history: Sequence[Judged]) -> list[str]:
    """Each phase that was invalid for some tier, with its first reason."""
    notes: list[str] = []
    for judged in history:
        invalid = [v for v in judged.verdicts if v.verdict == "invalid"]
        if invalid:
            tiers = ", ".join(v.tier for v in invalid)
            why = next((v.reasons[0] for v in invalid if v.reasons), "no reason stands in its judgement")
            notes.append(f"Phase {judged.index} ({agents(judged.agents)}) is invalid for {tiers}: {why}.")
    if len(notes) > _LISTED:
        notes[_LISTED:] = [f"And {len(notes) - _LISTED} more invalid phases: the table of attempts has all."]
    return notes


_LISTED = 12


def _shared_reading(history: Sequence[Judged]) -> list[str]:
    late = [judged.lateness_p99_s for judged in history if judged.lateness_p99_s is not None]
    lag = [judged.read_lag_p99_s for judged in history if judged.read_lag_p99_s is not None]
    if not late and not lag:
        return []
    worst = f"{seconds(max(late, default=0.0))} late in sending, {seconds(max(lag, default=0.0))} late in reading"
    return [f"The load generator's own error, worst of all phases (P99): {worst}."]
