"""Pictures of a run's figures: timelines, lanes, TTFT against prefill, cache, power, the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from openagentperf.report import charts
from openagentperf.report.charts import COLOURS, DASHES, Spec, label
from openagentperf.report.lanes import Lanes
from openagentperf.report.phasefigures import Prefills
from openagentperf.report.timeline import Timeline

_LANE = 17
_TIME: Spec = {"type": "quantitative", "scale": {"nice": False}, "axis": {"format": ".4~r", "tickCount": 8}}


def prefill(found: Prefills, limits: Mapping[str, float]) -> str:
    """A point a turn (sampled), the median of each power of two as a line, the tiers' limits as level lines."""
    title = (
        "uncached prompt tokens" if found.cache_reported else "prompt tokens (the server does not say which are cached)"
    )
    dots = [{"tokens": max(1, tokens), "ttft": max(1e-4, ttft)} for tokens, ttft in found.sample]
    line = [
        {"tokens": max(1.0, (b.tokens_from * b.tokens_to) ** 0.5), "ttft": b.ttft_p50_s}
        for b in found.bins
        if b.ttft_p50_s is not None
    ]
    x: Spec = {"type": "quantitative", "title": title, **_log([row["tokens"] for row in (*dots, *line)], "~s")}
    y: Spec = {
        "type": "quantitative",
        "title": "TTFT (s)",
        **_log([*(d["ttft"] for d in dots), *limits.values()], "~g"),
    }
    rules = _rules(limits, "ttft", y)
    return charts.svg(
        {
            "layer": [
                {
                    "data": {"values": dots},
                    "mark": {"type": "point", "filled": True, "size": 14, "opacity": 0.45, "color": "var(--accent)"},
                    "encoding": {"x": {"field": "tokens", **x}, "y": {"field": "ttft", **y}},
                },
                {
                    "data": {"values": line},
                    "mark": {"type": "line", "point": {"size": 30}, "color": "var(--second)", "interpolate": "linear"},
                    "encoding": {"x": {"field": "tokens", **x}, "y": {"field": "ttft", **y}},
                },
                *rules,
            ]
        }
    )  # fmt: skip


def _log(values: Sequence[float], format: str) -> Spec:
    """A logarithmic axis that holds all values, with a little room on both sides."""
    low, high = min(values, default=1.0) / 1.15, max(values, default=1.0) * 1.15
    ticks = charts.log_ticks(low, high)
    return {"scale": {"type": "log", "domain": [low, high], "nice": False}, "axis": {"format": format, "values": ticks}}


def _rules(limits: Mapping[str, float], field: str, y: Spec) -> list[Spec]:
    """Level lines with their names at the left end; of equal limits one line with all the names."""
    rows = [{field: value, "name": f"limit of {names}"} for value, names in charts.by_value(limits)]
    upward = {"field": field, **y}
    return [
        {"data": {"values": rows}, "mark": {"type": "rule", "color": "var(--ink)", "strokeDash": [5, 3]}, "encoding": {"y": upward}},
        *charts.words(
            rows, {"x": {"value": 0}, "y": upward, "text": {"field": "name"}}, align="left", dx=3, dy=-6, fontSize=10, color="var(--ink)"
        ),
    ]  # fmt: skip


def along_time(found: Timeline) -> str:
    """Panels under one another with one time: requests, tokens, cache, power. The measure window is shaded."""
    middle = [(i + 0.5) * found.bin_s for i in range(len(found.in_flight))]
    panels = [
        _time_panel(found, middle, {"in flight": found.in_flight, "waiting for the first token": found.waiting}, "requests", 110),
        _time_panel(found, middle, {"": found.output_tokens_per_s}, "output tokens/s", 80),
    ]  # fmt: skip
    if any(value is not None for value in found.cached_share):
        panels.append(_time_panel(found, middle, {"": found.cached_share}, "cached share", 70, share=True))
    power = {line.name: line.watts for line in found.power if any(w is not None for w in line.watts)}
    if power:
        panels.append(_time_panel(found, middle, power, "power (W)", 80))
    for layer in panels[-1]["layer"]:
        layer["encoding"]["x"]["title"] = "seconds from the start of the phase"
    apart = {"scale": {"color": "independent", "strokeDash": "independent"}}
    return charts.svg({"vconcat": panels, "spacing": 10, "resolve": apart})


def _time_panel(
    found: Timeline, middle: list[float], lines: Mapping[str, Sequence[float | None]], title: str, height: int, *,
    share: bool = False,
) -> Spec:  # fmt: skip
    rows = [
        {"t": t, "value": value, "line": label(name)}
        for name, values in lines.items()
        for t, value in zip(middle, values, strict=True)
        if value is not None
    ]
    names = [label(name) for name in lines]
    end = found.bin_s * len(found.in_flight)
    x = {**_TIME, "scale": {"domain": [0, end], "nice": False}, "title": None}
    y: Spec = {"type": "quantitative", "title": title, "axis": {"tickCount": 4, "format": ".0%" if share else "~s"}}
    y["scale"] = {"domain": [0, 1]} if share else {"zero": True}
    line = {"field": "line", "type": "nominal", "sort": names}
    legend: Spec = {} if len(names) > 1 else {"legend": None}
    window = [{"from": max(0.0, found.window_from_s), "to": min(end, found.window_to_s)}]
    return {
        "width": charts.WIDTH,
        "height": height,
        "layer": [
            {
                "data": {"values": window},
                "mark": {"type": "rect", "color": "var(--accent)", "opacity": 0.1},
                "encoding": {"x": {"field": "from", **x}, "x2": {"field": "to"}},
            },
            {
                "data": {"values": rows},
                "mark": {"type": "line", "strokeWidth": 1.5},
                "encoding": {
                    "x": {"field": "t", **x},
                    "y": {"field": "value", **y},
                    "color": {**line, "scale": {"domain": names, "range": list(COLOURS[: len(names)])}, **legend},
                    "strokeDash": {**line, "scale": {"domain": names, "range": list(DASHES[: len(names)])}, **legend},
                },
            },
        ],
    }


_PARTS = {
    "waiting for the first token": "var(--second)",
    "answer arriving": "var(--accent)",
    "sub-agent": "var(--fourth)",
    "failed": "var(--ink)",
}


def swim_lanes(found: Lanes) -> str:
    """A lane an agent: its requests as bars, blank while its tools run; its sub-agents' as thin bars below."""
    rows: list[Spec] = []
    for bar in found.bars:
        lane = f"agent {bar.agent}"
        first = bar.closed_s if bar.first_output_s is None else bar.first_output_s
        low, high = max(bar.due_s, found.from_s), min(bar.closed_s, found.to_s)
        if bar.failure:
            rows.append({"lane": lane, "from": low, "to": high, "part": "failed"})
        elif bar.line:
            rows.append({"lane": lane, "from": low, "to": high, "part": "sub-agent"})
        else:
            rows.append(
                {"lane": lane, "from": low, "to": min(first, found.to_s), "part": "waiting for the first token"}
            )
            rows.append({"lane": lane, "from": max(first, found.from_s), "to": high, "part": "answer arriving"})
    rows = [row for row in rows if row["to"] > row["from"]]
    shown = [part for part in _PARTS if any(row["part"] == part for row in rows)]
    lanes = [f"agent {agent}" for agent in found.agents]
    x = {**_TIME, "title": "seconds from the start of the phase"}
    x["scale"] = {"domain": [found.from_s, max(found.to_s, found.from_s + 1e-3)], "nice": False}
    y = {"field": "lane", "type": "nominal", "sort": lanes, "title": None, "scale": {"domain": lanes}}
    part = {"field": "part", "type": "nominal", "sort": shown}
    colours = {"domain": shown, "range": [_PARTS[name] for name in shown]}

    def bars(which: Sequence[str], thickness: float, down: int) -> Spec:
        return {
            "data": {"values": [row for row in rows if row["part"] in which]},
            "mark": {"type": "bar", "height": {"band": thickness}, "clip": True, "yOffset": down},
            "encoding": {
                "x": {"field": "from", **x},
                "x2": {"field": "to"},
                "y": y,
                "color": {**part, "scale": colours, "legend": {"columns": 2}},
            },
        }

    layers = [bars([name for name in shown if name != "sub-agent"], 0.55, 0)]
    if "sub-agent" in shown:
        layers.append(bars(["sub-agent"], 0.18, 7))
    return charts.svg({"layer": layers}, height=max(60, _LANE * len(lanes)))


def by_level(
    lines: Mapping[str, Sequence[tuple[int, float]]], title: str, *, share: bool = False, log: bool = False
) -> str:
    """Points of every phase by its number of agents, a colour and a shape a line."""
    names = [label(name) for name in lines]
    rows: list[Spec] = [
        {"agents": a, "value": v, "line": label(name)} for name, points in lines.items() for a, v in points
    ]
    levels = sorted({row["agents"] for row in rows})
    edge = [levels[0] / 1.25, levels[-1] * 1.25]
    x: Spec = {
        "field": "agents", "type": "quantitative", "title": "agents", "axis": {"values": charts.level_ticks(levels), "format": "d"},
        "scale": {"type": "log", "domain": edge, "nice": False},
    }  # fmt: skip
    y: Spec = {"type": "quantitative", "title": title, "axis": {"tickCount": 5, "format": ".0%" if share else "~s"}}
    y["scale"] = {"domain": [0, 1]} if share else {"zero": True}
    if log:
        y |= _log([row["value"] for row in rows], "~g")
    line = {"field": "line", "type": "nominal", "sort": names}
    legend: Spec = {"legend": {"columns": 2}} if len(names) > 1 else {"legend": None}
    shapes = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
    points: Spec = {
        "data": {"values": rows},
        "mark": {"type": "point", "filled": True, "size": 45, "opacity": 0.85},
        "encoding": {
            "x": x,
            "y": {"field": "value", **y},
            "color": {**line, "scale": {"domain": names, "range": list(COLOURS[: len(names)])}, **legend},
            "shape": {**line, "scale": {"domain": names, "range": list(shapes[: len(names)])}, **legend},
        },
    }
    return charts.svg(points)


def counts(parts: Mapping[str, int], title: str) -> str:
    """A bar for each cause."""
    rows = [{"name": label(name), "count": count} for name, count in parts.items()]
    return charts.svg(
        {
            "data": {"values": rows},
            "mark": {"type": "bar", "color": "var(--second)"},
            "encoding": {
                "y": {"field": "name", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 160}},
                "x": {"field": "count", "type": "quantitative", "title": title, "axis": {"format": "~s", "tickMinStep": 1}},
            },
        },
        height=max(40, 20 * len(rows)),
    )  # fmt: skip
