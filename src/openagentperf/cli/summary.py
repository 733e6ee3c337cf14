"""The answer in words: what was established, at which tier, how far it can be trusted, and what to do next."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from openagentperf.cli.output import printable
from openagentperf.records.result import Result, TierResult

WIDTH = 80

_SAID = ("preliminary:", "the target is a simulated node", "cache unverified:")
"""Openings of notes that repeat a field of the result: the labels come from the fields, and say it once."""

_ESTABLISHED = ("certified", "confirmed", "at_least")


def summary(result: Result, folder: str, width: int = WIDTH) -> str:
    """The summary as text, no line longer than `width` except paths and commands, which are never broken."""
    parts = [
        _head(result),
        _table(result.results),
        power_lines(result.results, width),
        [line for tier in result.results for line in _details(tier, width)],
        ["What it means", *_wrap(_meaning(result), width)],
        ["Labels", *(line for label in _labels(result) for line in _wrap(label, width, bullet="- "))],
        ["Next", *_next(result, folder)],
    ]
    return printable("\n\n".join("\n".join(part) for part in parts if part))


def _head(result: Result) -> list[str]:
    against = "an endpoint" if result.target == "endpoint" else "the embedded simulated node"
    return [
        f"How many agents at once? Against {against}, {result.track} track",
        f"tiers {result.tiers}, rigor {result.rigor}, openagentperf {result.version}",
    ]


def _table(tiers: Sequence[TierResult]) -> list[str]:
    name = max(4, *(len(t.tier) for t in tiers))
    head = f"  {'tier':<{name}}  agents  standing    next fails  TTFT P95  speed P25  e2e speed P25"
    rows = [
        f"  {t.tier:<{name}}  {_count(t):>6}  {t.standing.replace('_', ' '):<10}  {_or_dash(t.smallest_failing):>10}"
        f"  {_seconds(t.ttft_p95_s):>8}  {_speed(t.speed_p25):>9}  {_speed(t.e2e_speed_p25):>13}"
        for t in tiers
    ]
    asks = [
        f"  tier {t.tier} asks for P25 output speed >= {t.output_speed:g} tokens/s and P95 TTFT <= {t.ttft_s:g} s"
        for t in tiers
    ]
    return [head, *rows, "  figures: worst over the phases that established the number, speeds in tokens/s", *asks]


def power_lines(tiers: Sequence[TierResult], width: int = WIDTH) -> list[str]:
    """Agents per megawatt, a line a tier and boundary, each with what it covers and where the watts come from; and why there is none."""
    rows = [(tier, power) for tier in tiers for power in tier.power]
    if not rows:
        return []
    name = max(4, *(len(tier.tier) for tier, _ in rows))
    lines = [f"  {'tier':<{name}}  agents/MW  boundary     power     mean W     P95 W  J/token"]
    whys: list[str] = []
    for tier, power in rows:
        lines.append(
            f"  {tier.tier:<{name}}  {_whole(power.agents_per_mw):>9}  {power.boundary:<11}  {power.basis:<8}"
            f"  {_whole(power.mean_w):>6}  {_whole(power.p95_w):>8}  {_figures(power.j_per_output_token):>7}"
        )
        whys += [why for why in power.why if why not in whys]
    shown = whys[:_WHYS]
    lines += [line for why in shown for line in _wrap(f"no agents/MW: {why}", width)]
    if len(whys) > len(shown):
        lines.append(f"  and {len(whys) - len(shown)} more reasons: result.json has all")
    for tier in tiers:
        if tier.cost is not None:
            lines += _wrap(f"{tier.tier}: {_cost(tier)}", width)
    return lines


_WHYS = 3


def _cost(tier: TierResult) -> str:
    cost = tier.cost
    assert cost is not None
    if cost.usd_per_hour is None:
        return f"no price an hour ({cost.basis})"
    parts = [f"{cost.usd_per_hour:,.2f} $/h"]
    if cost.usd_per_agent_hour is not None:
        parts.append(f"{cost.usd_per_agent_hour:,.3g} $ an agent-hour")
    if cost.usd_per_million_output_tokens is not None:
        parts.append(f"{cost.usd_per_million_output_tokens:,.3g} $ a million output tokens")
    return f"{', '.join(parts)} ({cost.basis})"


def _details(tier: TierResult, width: int) -> list[str]:
    said = []
    if tier.why:
        said.append(tier.why)
    if tier.estimate:
        e = tier.estimate
        said.append(
            f"crossing estimated at {e.estimate:.1f} agents, 90 % interval {e.low:.1f} to {e.high:.1f}, {e.phases} phases"
        )
    if tier.non_monotone:
        levels = ", ".join(map(str, tier.non_monotone))
        said.append(f"not monotone: passed at {levels}, above a level that failed twice; not believed")
    if tier.agents_per_accelerator is not None:
        said.append(f"{tier.agents_per_accelerator:.3g} agents per declared accelerator")
    if tier.agents_per_rack is not None:
        said.append(f"{tier.agents_per_rack:,.4g} agents per rack")
    return [line for text in said for line in _wrap(f"{tier.tier}: {text}", width)]


def _meaning(result: Result) -> str:
    found = next((t for t in result.results if t.standing in _ESTABLISHED and t.agents), None)
    if found is None:
        unmet = all(t.standing == "unmet" for t in result.results)
        return (
            "Not even one agent is served within the limits of any tier." if unmet
            else "No capacity is established; every attempt and its reason stand in ledger.jsonl."
        )  # fmt: skip
    limits = f"at most a quarter of all turns ran below {found.output_speed:g} tokens/s and 95 % began within {found.ttft_s:g} s"
    if found.standing == "at_least":
        return f"At tier {found.tier}, {found.agents} agents at once still passed, and no more were tried: {limits}."
    return (
        f"At tier {found.tier}, {found.agents} agents working at once were {found.standing}: in every further phase at that number "
        f"{limits}, failed turns counted as infinitely slow."
    )


def _labels(result: Result) -> list[str]:
    """Every limit of what the number claims; docs/limits.md has them at length."""
    labels = [f"{result.provenance}: no other party has re-scored or re-run it"]
    if result.preliminary:
        labels.append("preliminary: shorter or fewer phases than rigor `standard`; confirmed, not certified")
    if result.target != "endpoint":
        labels.append("simulated target: a property of the simulation, not of any hardware")
    if result.cache == "cache unverified":
        labels.append(
            "cache unverified: the server does not report cached tokens, so a warm cache could not be ruled out"
        )
    labels.append(f"{result.quality}: the answers' quality under load was not looked at")
    return labels + [note for note in result.notes if not note.startswith(_SAID)]


def _next(result: Result, folder: str) -> list[str]:
    todo = [
        ("everything of this run, rows included:", folder),
        ("derive the same result again from its rows:", f"openagentperf score {folder}"),
    ]
    if any(t.standing == "unfinished" for t in result.results):
        todo.append(("go on with it:", f"openagentperf run --resume {folder}"))
    if result.target != "endpoint":
        todo.append(("measure your own server:", "openagentperf run --endpoint http://HOST:PORT/v1 --rigor quick"))
    elif result.preliminary:
        todo.append(("certify (hours):", "openagentperf run --endpoint URL --corpus agentperf --rigor standard"))
    return [line for why, what in todo for line in (f"  {why}", f"    {what}")]


def _wrap(text: str, width: int, bullet: str = "") -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent="  " + bullet, subsequent_indent="  " + " " * len(bullet),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _count(tier: TierResult) -> str:
    if tier.agents is None:
        return "-"
    return f">={tier.agents}" if tier.standing == "at_least" else str(tier.agents)


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _figures(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _speed(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
