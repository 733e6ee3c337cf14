"""A comparison in words: the same labels, numbers and sentences for the terminal, Markdown and the page. Pure."""

from __future__ import annotations

from openagentperf.records.result import standing_words
from openagentperf.report.compare import Compared, Comparison, Pair
from openagentperf.report.comparefigures import Figure
from openagentperf.report.marked import agents
from openagentperf.report.page import clean
from openagentperf.units import significant

NONE = "-"
_LONGEST_NAME = 80
LABELS = {
    "agents": "agents",
    "crossing": "limit crossed at, estimated",
    "agents_per_accelerator": "agents/accelerator",
    "agents_per_rack": "agents/rack",
    "agents_per_mw": "agents/MW",
    "agents_per_usd_hour": "agents per $/h",
    "ttft": "TTFT, paired",
    "speed": "output speed, paired",
    "ttft_p95": "TTFT P95, s",
    "speed_p25": "output speed P25, tokens/s",
    "e2e_speed_p25": "end-to-end speed P25, tokens/s",
}
PAIRED = ("ttft", "speed")
UNITS = {
    "phase": "90 % interval over phases",
    "block": "90 % interval over blocks of time of one phase, widened by 1.8",
    "estimate": "90 % interval of the two estimates",
    "bracket": "from what failed to what was certified: a bracket, no statistics",
}
MARKS = {"phase": "p", "block": "t", "estimate": "e", "bracket": "b", "": ""}
"""One letter behind an interval says what kind it is."""


def label(figure: Figure) -> str:
    name = LABELS[figure.figure]
    return f"{name} ({figure.detail})" if figure.detail else name


def value(figure: Figure, side: int) -> str:
    """A's (0) or B's (1) value; `>=` before a capacity that still passed at the search limit."""
    number = (figure.a, figure.b)[side]
    if number is None:
        return NONE
    return f">={significant(number)}" if figure.standing[side] == "at_least" else significant(number)


def change(figure: Figure) -> str:
    """`-12.5%`; `>=` where B still passed at its search limit, `!` where it was forced."""
    if figure.ratio is None:
        return "refused" if figure.refused else NONE
    least = ">=" if figure.standing[1] == "at_least" else ""
    return f"{least}{figure.ratio.change:+.1%}" + ("!" if figure.refused else "")


def interval(figure: Figure) -> str:
    """`-22.2% to +0.0% b`: its ends, and a letter for what it is."""
    ratio = figure.ratio
    return f"{ratio.ends} {MARKS[ratio.unit]}" if ratio and ratio.ends else ""


def phases(figure: Figure) -> str:
    """`3, 1`: phases of A and of B; with the turns that are matched."""
    counts = f"{figure.phases[0]}, {figure.phases[1]}"
    return f"{counts}; {figure.matched_turns:,} turns" if figure.matched_turns else counts


def standing(pair: Pair, figure: Figure) -> str:
    """Of both sides: `confirmed`, or `certified / unmet` where they differ."""
    words = [standing_words(name, about.target) for about, name in zip((pair.a, pair.b), figure.standing, strict=True)]
    return words[0] if words[0] == words[1] else " / ".join(words)


def about(side: Compared) -> str:
    """`llama-70b on HGX H200; agentperf 1, exact track, rigor standard; an endpoint; self-reported`."""
    model = clean(side.model or "unnamed model", _LONGEST_NAME)
    system = f" on {clean(side.system, _LONGEST_NAME)}" if side.system else ""
    state = "" if side.finished else "; NOT FINISHED"
    rigor = f"rigor {side.rigor}" + (" (preliminary)" if side.preliminary else "")
    return f"{model}{system}; {clean(side.tiers, _LONGEST_NAME)}, {side.track} track, {rigor}; {side.target}; {side.provenance}{state}"


def tiers(pair: Pair) -> list[str]:
    return list(dict.fromkeys(figure.tier for figure in pair.figures if figure.level is None))


def capacities(pair: Pair, tier: str) -> list[Figure]:
    return [figure for figure in pair.figures if figure.level is None and figure.tier == tier]


def levels(pair: Pair) -> list[Figure]:
    return [figure for figure in pair.figures if figure.level is not None]


def unit_words(pair: Pair) -> list[str]:
    """What the letters behind the intervals mean, those in use."""
    used = {figure.ratio.unit for figure in pair.figures if figure.ratio and figure.ratio.ends}
    return [f"{MARKS[unit]}: {words}" for unit, words in UNITS.items() if unit in used]


def refused(comparison: Comparison, pair: Pair) -> list[str]:
    """Why figures are not compared, each reason once, with what it concerns."""
    said = []
    for refusal in pair.refused:
        what = (
            "everything"
            if len(refusal.figures) > 5 and "ttft" in refusal.figures
            else _figures(refusal.figures, refusal.detail)
        )
        where = f" at tier {refusal.tier}" if refusal.tier else ""
        said.append(f"{what}{where}: {refusal.why}")
    if said and comparison.forced:
        said.append("--force: compared all the same, and marked `!`")
    return said


def _figures(figures: tuple[str, ...], detail: str) -> str:
    if len(figures) > 1:
        return "capacities"
    return LABELS[figures[0]] + (f" ({detail})" if detail else "")


def whys(pair: Pair) -> list[str]:
    """Why a figure that is comparable has no difference."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for figure in pair.figures:
        if figure.why and not figure.refused:
            where = f"at {agents(figure.level)}" if figure.level else f"at tier {figure.tier}"
            grouped.setdefault((where, figure.why), []).append(label(figure))
    return [f"{where}: {', '.join(names)}: {why}" for (where, why), names in grouped.items()]


def outcome(verdict: str) -> str:
    return {"pass": "PASS", "fail": "FAIL", "undecided": "FAIL (undecided)"}[verdict]
