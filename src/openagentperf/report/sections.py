"""The parts of a report that show the search, the speeds, time, cache, power, failures and the client: a picture each, and its numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import partial

from openagentperf.records.result import Result, TierResult
from openagentperf.report import charts, runcharts
from openagentperf.report.figures import Detail, Figures, PhaseFigures
from openagentperf.report.marked import NONE, Marked, agents, number, percent, seconds, speed, watts
from openagentperf.report.page import Cell, Section, Table
from openagentperf.report.phasefigures import PERCENTILES, Distribution
from openagentperf.report.searchpicture import described, search_picture

SEARCH, SPEEDS, TIME, CACHE = "Search", "Speed at capacity and above", "Along time", "Cache"


def search(result: Result, marked: Marked) -> list[Section]:
    """A picture a tier, with its verdicts; and how far repeats of one level differ."""
    made = []
    for tier in result.results:
        if not result.phases:
            continue
        rows = tuple(_attempt(result, marked, k, tier) for k in range(len(result.phases)))
        made.append(
            Section(
                title=f"Tier {tier.tier}",
                text=_bracket(tier) + " Larger marks are certifying phases; bars join repeats of one level.",
                svg=partial(search_picture, tier, result.phases),
                svg_label=described(tier, result.phases),
                table=Table(head=("phase", "agents", "kind", "verdict", "TTFT P95", "speed P25"), rows=rows, words=(2, 3)),
                folded=True,
                group=SEARCH,
            )
        )  # fmt: skip
    repeats = _repeats(result)
    if repeats:
        made.append(
            Section(
                title="Noise between repeat phases",
                text="What the same number of agents gave in different phases. Thousands of turns share one queue, so this spread, and "
                "not that of the turns, says how sure a figure is.",
                table=Table(
                    head=("agents", "phases", "TTFT P95, least", "most", "speed P25, least", "most"), rows=repeats
                ),
                group=SEARCH,
            )
        )
    return made


def _bracket(tier: TierResult) -> str:
    if tier.agents is None:
        return "Nothing is established."
    if tier.agents == 0:
        return "Not even one agent is served within the limits."
    if tier.smallest_failing is None:
        return f"Established: {agents(tier.agents)}; no level failed."
    text = f"Shaded: from {tier.agents:,}, established, to {tier.smallest_failing:,}, which failed."
    if tier.estimate is not None:
        text += " The thick line at the foot is the 90 % interval of the crossing."
    return text


def _attempt(result: Result, marked: Marked, k: int, tier: TierResult) -> tuple[str | Cell, ...]:
    judged, at = result.phases[k], f"phases[{k}]"
    verdict = next((v.verdict for v in judged.verdicts if v.tier == tier.tier), NONE)
    infinite = judged.ttft_p95_s is None and judged.measured_turns > 0
    ttft = Cell(text="infinite", path=f"{at}.ttft_p95_s") if infinite else marked.cell(f"{at}.ttft_p95_s", seconds)
    cells = (marked.cell(f"{at}.index", number), marked.cell(f"{at}.agents", number))
    return (*cells, judged.kind, verdict, ttft, marked.cell(f"{at}.speed_p25", speed))


def _repeats(result: Result) -> tuple[tuple[str, ...], ...]:
    by_level: dict[int, list[tuple[float | None, float | None]]] = defaultdict(list)
    for judged in result.phases:
        if any(v.verdict != "invalid" for v in judged.verdicts):
            by_level[judged.agents].append((judged.ttft_p95_s, judged.speed_p25))
    rows = []
    for level, found in sorted(by_level.items()):
        if len(found) < 2:
            continue
        ttfts = [ttft for ttft, _ in found if ttft is not None]
        speeds = [value for _, value in found if value is not None]
        most = "infinite" if len(ttfts) < len(found) else seconds(max(ttfts))
        rows.append(
            (
                f"{level:,}", f"{len(found)}", seconds(min(ttfts)) if ttfts else "infinite", most,
                speed(min(speeds)) if speeds else NONE, speed(max(speeds)) if speeds else NONE,
            )
        )  # fmt: skip
    return tuple(rows)


def _named(phase: PhaseFigures) -> str:
    return f"{agents(phase.agents)}, phase {phase.index}"


_METRICS: tuple[tuple[str, str, charts.Axis, float | None, tuple[str, str], str], ...] = (
    # title, field of Detail, x, the share that a limit is asked of, (percentile, field of Judged), what the picture must show
    (
        "TTFT", "ttft_s", charts.Axis("seconds", format="~g"), 0.95, ("p95", "ttft_p95_s"),
        "95 % of the turns must lie left of a tier's limit.",
    ),
    (
        "Output speed", "speed", charts.Axis("tokens/s", format="~s"), 0.25, ("p25", "speed_p25"),
        "75 % of the turns must lie right of a tier's limit.",
    ),
    (
        "End-to-end speed", "e2e_speed", charts.Axis("tokens/s", format="~s"), None, ("p25", "e2e_speed_p25"),
        "Tokens / (last output - due). No limit is asked of it; the tiers' speed limits are drawn for comparison.",
    ),
)  # fmt: skip


def speeds(found: Figures, result: Result | None, marked: Marked | None) -> list[Section]:
    """Distributions of the telling phases, with the tiers' limits; then TTFT against what had to be prefilled."""
    details = [(phase, phase.detail) for phase in found.details if phase.detail is not None]
    if not details:
        return []
    tiers = result.results if result is not None else ()
    at = {judged.index: k for k, judged in enumerate(result.phases)} if result is not None else {}
    ttft_limits = _limits({tier.tier: tier.ttft_s for tier in tiers}, "s")
    speed_limits = _limits({tier.tier: tier.output_speed for tier in tiers}, "tok/s")
    shown = "; ".join(f"{_named(phase)}: {detail.why}" for phase, detail in details)
    made = []
    for title, field, axis, share, path, asks in _METRICS:
        limits = ttft_limits if field == "ttft_s" else speed_limits
        spreads = {_named(phase): getattr(detail, field) for phase, detail in details}
        # A failed turn's speed is 0, which a logarithmic axis has no place for: it stands at the left end, not four decades away.
        above = [x for spread in spreads.values() for x, _ in spread.curve if x > 0]
        least = min([*above, *limits.values()], default=1.0) / 1.5
        curves = {
            name: [(max(least, x), y) for x, y in spread.curve] for name, spread in spreads.items() if spread.curve
        }
        failed, endless = sum(spread.failed for spread in spreads.values()), ""
        if failed:
            where = (
                "have no end and keep a curve below 100 %"
                if field == "ttft_s"
                else "have a speed of 0 and stand at the left end"
            )
            endless = f" {failed:,} failed turns {where}."
        rows = tuple(
            _percentiles(phase, getattr(detail, field), at.get(phase.index), path, marked) for phase, detail in details
        )
        made.append(
            Section(
                title=title,
                text=f"{asks}{endless} Shown: {shown}." if field == "ttft_s" else f"{asks}{endless}",
                svg=partial(charts.distribution, curves, axis, "share of the turns with at most x", limits, share) if curves else "",
                svg_label=f"Curves: share of measured turns with at most so much, for {', '.join(spreads)}.",
                table=Table(head=("phase", "turns", "failed", *(f"P{p}" if p < 100 else "most" for p in PERCENTILES)), rows=rows),
                folded=True,
                group=SPEEDS,
            )
        )  # fmt: skip
    for phase, detail in details:
        if detail.prefills is not None and detail.prefills.sample:
            made.append(_prefill(phase, detail, {tier.tier: tier.ttft_s for tier in tiers}))
    return made


def _limits(values: Mapping[str, float], unit: str) -> dict[str, float]:
    """One line for each different limit, named after its tiers."""
    return {f"{names}: {value:g} {unit}": value for value, names in charts.by_value(values)}


def _percentiles(
    phase: PhaseFigures, spread: Distribution, k: int | None, path: tuple[str, str], marked: Marked | None
) -> tuple[str | Cell, ...]:
    cells: list[str | Cell] = [_named(phase), f"{spread.turns:,}", f"{spread.failed:,}"]
    for name, value in spread.percentiles.items():
        text = ("infinite" if spread.infinite else NONE) if value is None else number(value)
        here = marked is not None and k is not None and name == path[0] and value is not None
        # Only a figure that equals the judgement's is marked as it; one that does not is said to contradict it.
        if here and marked is not None and marked.value(f"phases[{k}].{path[1]}") == value:
            cells.append(Cell(text=text, path=f"phases[{k}].{path[1]}", value=value))
        else:
            cells.append(text if value is None else Cell(text=text, value=value))
    return tuple(cells)


def _prefill(phase: PhaseFigures, detail: Detail, limits: Mapping[str, float]) -> Section:
    assert detail.prefills is not None
    head = ("tokens from", "to below", "turns", "TTFT P5", "P50", "P95")
    rows = tuple(
        (f"{b.tokens_from:,}", f"{b.tokens_to:,}", f"{b.turns:,}", *(_maybe(v) for v in (b.ttft_p5_s, b.ttft_p50_s, b.ttft_p95_s)))
        for b in detail.prefills.bins
    )  # fmt: skip
    return Section(
        title=f"TTFT against uncached input: {_named(phase)}",
        text="A point a turn (a sample), and the median of each doubling. A server that computes its answers takes longer for more tokens.",
        svg=partial(runcharts.prefill, detail.prefills, limits),
        svg_label="Scatter: TTFT of turns by the prompt tokens that were not in the cache.",
        table=Table(head=head, rows=rows),
        folded=True,
        group=SPEEDS,
    )


def _maybe(value: float | None) -> str:
    return "infinite" if value is None else seconds(value)


def time(found: Figures) -> list[Section]:
    """Timelines and lanes of the telling phases."""
    made = []
    for phase in found.details:
        detail = phase.detail
        if detail is None or detail.timeline is None or detail.lanes is None:
            continue
        line = detail.timeline
        power = [p for p in line.power if any(w is not None for w in p.watts)]
        head = ("from", "in flight", "waiting", "output tok/s", "cached", *(p.name for p in power))
        rows = tuple(
            (
                f"{i * line.bin_s:.4g} s", f"{line.in_flight[i]:.2f}", f"{line.waiting[i]:.2f}", f"{line.output_tokens_per_s[i]:,.0f}",
                NONE if (hit := line.cached_share[i]) is None else percent(hit),
                *(NONE if (w := p.watts[i]) is None else watts(w) for p in power),
            )
            for i in range(len(line.in_flight))
        )  # fmt: skip
        made.append(
            Section(
                title=f"Timeline: {_named(phase)}",
                text=f"{detail.why[:1].upper()}{detail.why[1:]}. Means over {line.bin_s:.3g} s; the measure window is shaded."
                + (" Power as it was read, not judged." if power else ""),
                svg=partial(runcharts.along_time, line),
                svg_label="Lines along the phase: requests in flight, requests waiting for their first token, output tokens a second, "
                + ("cached share, power." if power else "cached share."),
                table=Table(head=head, rows=rows),
                folded=True,
                group=TIME,
            )
        )
        lanes = detail.lanes
        if not lanes.bars:
            continue
        head = (
            "agent",
            "line",
            "trajectory",
            "turn",
            "due",
            "first output",
            "closed",
            "prompt",
            "cached",
            "output",
            "failure",
        )
        rows = tuple(
            (
                str(bar.agent), str(bar.line), str(bar.trajectory), str(bar.turn), f"{bar.due_s:.3f} s",
                NONE if bar.first_output_s is None else f"{bar.first_output_s:.3f} s", f"{bar.closed_s:.3f} s",
                *(NONE if n is None else f"{n:,}" for n in (bar.prompt_tokens, bar.cached_tokens, bar.output_tokens)), bar.failure,
            )
            for bar in lanes.bars
        )  # fmt: skip
        made.append(
            Section(
                title=f"Agents: {_named(phase)}",
                text=f"{len(lanes.agents)} of {agents(lanes.of_agents)}, drawn by the phase's seed, from the beginning of the window on. "
                "Blank: the agent's tool runs.",
                svg=partial(runcharts.swim_lanes, lanes),
                svg_label="Lanes: the requests of each sampled agent along time, waiting and answering.",
                table=Table(head=head, rows=rows),
                folded=True,
                group=TIME,
            )
        )
    return made


def cache(found: Figures) -> list[Section]:
    """Hits measured against what could have been found."""
    known = [(phase, phase.cache) for phase in found.phases if phase.cache is not None]
    if not known:
        return []
    lines = {
        "found": [(p.agents, c.found) for p, c in known if c.found is not None],
        "could have been found": [(p.agents, c.possible) for p, c in known if c.possible is not None],
    }
    drawn = {name: points for name, points in lines.items() if points}
    silent = "" if lines["found"] else " The server does not report cached tokens, so only the bound is known."
    rows = tuple(
        (f"{p.index}", f"{p.agents:,}", *(NONE if v is None else percent(v) for v in (c.found, c.possible)), _lost(c.found, c.possible))
        for p, c in known
    )  # fmt: skip
    return [
        Section(
            title="Cache hits, found and possible",
            text="Cached prompt tokens / prompt tokens of the measured turns, beside what an endless cache could have held: at a line's "
            f"first turn what its system prompt and tools share, later the whole prompt of the turn before.{silent}",
            svg=partial(runcharts.by_level, drawn, "share of prompt tokens", share=True) if drawn else "",
            svg_label="Points by number of agents: share of prompt tokens found in the cache, and share that could have been.",
            table=Table(head=("phase", "agents", "found", "possible", "lost"), rows=rows),
            folded=True,
            group=CACHE,
        )
    ]


def _lost(found: float | None, possible: float | None) -> str:
    return NONE if found is None or possible is None else percent(max(0.0, possible - found))
