"""The answer in words: what was established, at which tier, how far it can be trusted, and what to do next."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from openagentperf.cli.output import printable
from openagentperf.cli.simulated import simulated_lines
from openagentperf.records.result import ESTABLISHED, SIMULATED, Result, TierResult, labels
from openagentperf.report.marked import agents
from openagentperf.score.capacity import other_notes
from openagentperf.units import significant

WIDTH = 80


def summary(result: Result, folder: str, width: int = WIDTH, page: str = "") -> str:
    """The summary as text, no line longer than `width` except paths and commands, which are never broken. `page`: its report, if drawn."""
    parts = [
        _head(result, width),
        _table(result),
        simulated_lines(result, width),
        power_lines(result.results, width),
        [line for tier in result.results for line in _details(tier, width)],
        ["What it means", *_wrap(_meaning(result), width)],
        [
            "Labels",
            *(line for label in (*labels(result), *other_notes(result)) for line in _wrap(label, width, bullet="- ")),
        ],
        ["Next", *_next(result, folder, page)],
    ]
    return printable("\n\n".join("\n".join(part) for part in parts if part))


def _head(result: Result, width: int) -> list[str]:
    against = {"endpoint": "an endpoint", "simulated cluster": "a SIMULATED cluster"}.get(
        result.target, "the embedded simulated node"
    )
    lines = (
        f"How many agents at once? Against {against}, {result.track} track",
        f"tiers {result.tiers}, rigor {result.rigor}, openagentperf {result.version}",
    )
    return [part for line in lines for part in textwrap.wrap(line, width, subsequent_indent="  ")]


def _table(result: Result) -> list[str]:
    tiers = result.results
    name = max(4, *(len(t.tier) for t in tiers))
    head = f"  {'tier':<{name}}  agents  standing    next fails  TTFT P95  speed P25  e2e speed P25"
    rows = [
        f"  {t.tier:<{name}}  {_count(t):>6}  {result.standing_words(t):<10}  {_or_dash(t.smallest_failing):>10}"
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
        parts.append(f"{significant(cost.usd_per_agent_hour)} $ an agent-hour")
    if cost.usd_per_million_output_tokens is not None:
        parts.append(f"{significant(cost.usd_per_million_output_tokens)} $ a million output tokens")
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
        said.append(f"{significant(tier.agents_per_accelerator)} agents per declared accelerator")
    if tier.agents_per_rack is not None:
        said.append(f"{significant(tier.agents_per_rack, 4)} agents per rack")
    return [line for text in said for line in _wrap(f"{tier.tier}: {text}", width)]


def _meaning(result: Result) -> str:
    found = next((t for t in result.results if t.standing in ESTABLISHED and t.agents), None)
    if found is None:
        unmet = all(t.standing == "unmet" for t in result.results)
        return (
            "Not even one agent is served within the limits of any tier." if unmet
            else "No capacity is established; every attempt and its reason stand in ledger.jsonl."
        )  # fmt: skip
    assert found.agents is not None
    limits = f"at most a quarter of all turns ran below {found.output_speed:g} tokens/s and 95 % began within {found.ttft_s:g} s"
    least = ">=" if found.standing == "at_least" else ""
    if result.simulated is not None:
        return (
            f"A model of {result.simulated.system} served {least}{agents(found.agents)} at once at tier {found.tier}, where {limits}. "
            "It is a prediction: nothing was measured, and how sure it is stands beside the number."
        )
    if found.standing == "at_least":
        return f"At tier {found.tier}, {agents(found.agents)} at once still passed, and no more were tried: {limits}."
    were = "was" if found.agents == 1 else "were"
    return (
        f"At tier {found.tier}, {agents(found.agents)} working at once {were} {found.standing}: in every further phase at that number "
        f"{limits}, failed turns counted as infinitely slow."
    )


def _next(result: Result, folder: str, page: str) -> list[str]:
    todo = [
        ("the same with pictures:", page or f"openagentperf report {folder}"),
        ("everything of this run, rows included:", folder),
        ("derive the same result again from its rows:", f"openagentperf score {folder}"),
    ]
    if result.target != SIMULATED and any(t.standing == "unfinished" for t in result.results):
        todo.append(("go on with it:", f"openagentperf run --resume {folder}"))
    if result.target == SIMULATED:
        todo.append(("what decides it:", "openagentperf whatif --help"))
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
    return "-" if value is None else significant(value)


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f} s" if value >= _SMALL_S or value == 0 else f"{value:.2g} s"


_SMALL_S = 0.095
"""From here on two decimals lose no more than two significant digits: 4 ms are not 0.00 s."""


def _speed(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
