"""The search as a picture: every judged phase at its number of agents, against the two limits of a tier."""

from __future__ import annotations

from collections.abc import Sequence

from openagentperf.records.phase import Judged
from openagentperf.records.result import TierResult
from openagentperf.report import charts
from openagentperf.report.charts import Spec

_SHAPES = {"pass": "circle", "fail": "cross", "invalid": "triangle-up"}
_COLOURS = {"pass": "var(--third)", "fail": "var(--second)", "invalid": "var(--soft)"}
_PANEL = 170
_LEAST_TTFT_S = 0.001


def search_spec(tier: TierResult, history: Sequence[Judged]) -> Spec:
    """P95 of TTFT above, P25 of output speed below; the same agents under each other. A phase without a figure has no mark."""
    points = [_point(judged, tier) for judged in history if judged.measured_turns > 0]
    known = [p["ttft"] for p in points if p["ttft"] is not None]
    fast = [p for p in points if p["speed"] is not None]
    top = 2.2 * max([tier.ttft_s, *known])
    for point in points:
        # A percentile that failures push to infinity has no place on an axis: at its upper end, with a word.
        point["ttft_at"] = top if point["ttft"] is None else max(_LEAST_TTFT_S, point["ttft"])
    levels = sorted({judged.agents for judged in history})
    edge = [min(levels) / 1.25, max(levels) * 1.25] if levels else [0.8, 1.25]
    important = [level for level in (tier.agents, tier.smallest_failing) if level]
    ticks = charts.level_ticks(levels, important)
    x: Spec = {
        "type": "quantitative", "scale": {"type": "log", "domain": edge, "nice": False},
        "axis": {"values": ticks, "format": "d", "title": "agents"},
    }  # fmt: skip
    bottom = min([tier.ttft_s / 4, *[p["ttft_at"] for p in points]]) / 1.5
    ttft: Spec = {
        "type": "quantitative", "title": "TTFT P95 (s)", "axis": {"format": "~g", "values": charts.log_ticks(bottom, top * 1.15)},
        "scale": {"type": "log", "domain": [bottom, top * 1.15], "nice": False},
    }  # fmt: skip
    fastest = max([tier.output_speed, *[p["speed"] for p in fast]])
    speed: Spec = {
        "type": "quantitative", "title": "output speed P25 (tok/s)", "axis": {"tickCount": 5},
        "scale": {"domain": [0, fastest * 1.12], "nice": False},
    }  # fmt: skip
    below = 11 if tier.output_speed > 0.2 * fastest else -6  # a limit near the foot of the panel has its name above it
    never = [p for p in points if p["ttft"] is None]
    return {
        "vconcat": [
            _panel(tier, points, x, ttft, "ttft_at", tier.ttft_s, f"at most {tier.ttft_s:g} s", -5, never, legend=True),
            _panel(tier, fast, x, speed, "speed", tier.output_speed, f"at least {tier.output_speed:g} tok/s", below, [], legend=False),
        ],
        "spacing": 14,
    }  # fmt: skip


def search_picture(tier: TierResult, history: Sequence[Judged]) -> str:
    return charts.svg(search_spec(tier, history))


def described(tier: TierResult, history: Sequence[Judged]) -> str:
    """The picture in a sentence."""
    counts = dict.fromkeys(_SHAPES, 0)
    for judged in history:
        counts[_verdict(judged, tier)] += 1
    unmeasured = sum(judged.measured_turns == 0 for judged in history)
    without = f" ({unmeasured} measured nothing and have no mark)" if unmeasured else ""
    return (
        f"Every phase of the search by its number of agents, TTFT P95 above and output speed P25 below, for tier {tier.tier}: "
        f"{counts['pass']} pass, {counts['fail']} fail, {counts['invalid']} invalid{without}. The numbers stand in the table."
    )


def _verdict(judged: Judged, tier: TierResult) -> str:
    return next((v.verdict for v in judged.verdicts if v.tier == tier.tier), "invalid")


def _point(judged: Judged, tier: TierResult) -> Spec:
    return {
        "agents": judged.agents,
        "ttft": judged.ttft_p95_s,
        "speed": judged.speed_p25,
        "verdict": _verdict(judged, tier),
        "size": 90 if judged.kind == "certify" else 45,
    }


def _panel(
    tier: TierResult, points: list[Spec], x: Spec, y: Spec, field: str, limit: float, limit_name: str, limit_dy: int,
    never: list[Spec], *, legend: bool,
) -> Spec:  # fmt: skip
    at, upward = {"field": "agents", **x}, {"field": field, **y}
    layers: list[Spec] = []
    bracket = _bracket(tier, x)
    if bracket is not None:
        layers.append(
            {
                "data": {"values": [bracket]},
                "mark": {"type": "rect", "color": "var(--accent)", "opacity": 0.13},
                "encoding": {"x": {"field": "from", **x}, "x2": {"field": "to"}},
            }
        )
    line = [{field: limit, "name": limit_name, "agents": x["scale"]["domain"][0]}]
    layers += [
        {"data": {"values": line}, "mark": {"type": "rule", "color": "var(--ink)", "strokeDash": [5, 3]}, "encoding": {"y": upward}},
        {
            "data": {"values": _ranges(points, field)},
            "mark": {"type": "rule", "color": "var(--soft)", "strokeWidth": 3, "opacity": 0.6},
            "encoding": {"x": at, "y": {**upward, "field": "low"}, "y2": {"field": "high"}},
        },
    ]  # fmt: skip
    if tier.estimate is not None:
        e, edge = tier.estimate, x["scale"]["domain"]
        span = [{"from": min(max(e.low, edge[0]), edge[1]), "to": max(min(e.high, edge[1]), edge[0])}]
        layers.append(
            {
                "data": {"values": span},
                "mark": {"type": "rule", "color": "var(--accent)", "strokeWidth": 5},
                "encoding": {"x": {"field": "from", **x}, "x2": {"field": "to"}, "y": {"value": _PANEL - 3}},
            }
        )
    names = list(_SHAPES)
    verdict: Spec = {"field": "verdict", "type": "nominal", "legend": {} if legend else None}
    layers.append(
        {
            "data": {"values": points},
            "mark": {"type": "point", "filled": True, "opacity": 0.9},
            "encoding": {
                "x": at,
                "y": upward,
                "size": {"field": "size", "type": "quantitative", "scale": None, "legend": None},
                "shape": {**verdict, "scale": {"domain": names, "range": list(_SHAPES.values())}},
                "color": {**verdict, "scale": {"domain": names, "range": list(_COLOURS.values())}},
            },
        }
    )  # fmt: skip
    layers += charts.words(
        line,
        {"x": at, "y": upward, "text": {"field": "name"}},
        align="left",
        dx=4,
        dy=limit_dy,
        fontSize=11,
        color="var(--ink)",
    )
    if never:
        named = [{**never[-1], "name": "infinite"}]
        layers += charts.words(
            named,
            {"x": at, "y": upward, "text": {"field": "name"}},
            align="right",
            dx=-8,
            fontSize=11,
            color="var(--second)",
        )
    return {"layer": layers, "width": charts.WIDTH, "height": _PANEL}


def _bracket(tier: TierResult, x: Spec) -> Spec | None:
    """From what is established to what failed; None where one of them is not known."""
    if not tier.agents or tier.smallest_failing is None:
        return None
    return {"from": max(tier.agents, x["scale"]["domain"][0]), "to": tier.smallest_failing}


def _ranges(points: list[Spec], field: str) -> list[Spec]:
    """Lowest to highest of the phases at one level that could be read: how far repeats of one thing differ."""
    found: list[Spec] = []
    for agents in sorted({p["agents"] for p in points}):
        values = [p[field] for p in points if p["agents"] == agents and p["verdict"] != "invalid"]
        if len(values) > 1:
            found.append({"agents": agents, "low": min(values), "high": max(values)})
    return found
