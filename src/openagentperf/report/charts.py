"""Charts as SVG text that goes inside a page. Colours are the page's CSS variables, so that one picture serves light, dark and paper."""

from __future__ import annotations

import hashlib
import importlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from openagentperf.errors import UsageError
from openagentperf.report.page import clean

Spec: TypeAlias = dict[str, Any]
"""A Vega-Lite view, without data source, size and theme where `svg` gives them."""

WIDTH, HEIGHT = 420, 220
COLOURS = tuple(f"var(--{name})" for name in ("accent", "second", "third", "fourth", "fifth", "sixth"))
DASHES = ([1, 0], [6, 4], [2, 3], [10, 3], [8, 3, 2, 3], [4, 2])
"""Lines are told apart by dash as well as by colour."""
_THEME: Spec = {
    "aria": False,  # a picture has one description, its section's; a thousand marks with one each say nothing and double the page
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--ink)",
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 12,
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelOverlap": "greedy",
        "labelSeparation": 5,
        "titlePadding": 10,
    },
    "legend": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--ink)",
        "orient": "top",
        "title": None,
        "labelLimit": 300,
        "labelFontSize": 11,
        "columnPadding": 36,  # the browser's font may be a third wider than the one that the legend was laid out with
    },
    "line": {"strokeWidth": 2},
}


def vl_convert() -> Any:
    """The library that draws. UsageError where the `report` extra is missing."""
    try:
        # Imported here: an extra of 30 MB that a run never needs.
        return importlib.import_module("vl_convert")
    except ImportError as error:
        raise UsageError(
            "charts", f"vl-convert cannot be imported ({error})", "it draws them", "pip install 'openagentperf[report]'"
        ) from error


def svg(spec: Spec, *, width: int = WIDTH, height: int = HEIGHT) -> str:
    """The view drawn. UsageError where the `report` extra is missing."""
    drawn: str = vl_convert().vegalite_to_svg(whole(spec, width, height), allowed_base_urls=[])
    return _own_clips(drawn)


def _own_clips(drawn: str) -> str:
    """Clipping paths under names of this picture's own. They are numbered by process: two pictures of one page may share a name, and both
    are then clipped by the first one's; and the second time the same picture is drawn it is another text."""
    names = dict.fromkeys(re.findall(r'<clipPath id="(\w+)"', drawn))
    numbers = {name: f"{n}" for n, name in enumerate(names)}

    def named(text: str, prefix: str) -> str:
        return re.sub(
            r'(<clipPath id="|clip-path="url\(#)(\w+)',
            lambda found: f"{found[1]}{prefix}{numbers.get(found[2], found[2])}",
            text,
        )

    own = hashlib.sha256(named(drawn, "").encode()).hexdigest()[:8]
    return named(drawn, f"c{own}-")


def whole(spec: Spec, width: int = WIDTH, height: int = HEIGHT) -> Spec:
    """The view with what it leaves out: schema, theme, and the size where it is not made of several views that have their own."""
    size = {} if "vconcat" in spec else {"width": width, "height": height}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "config": _THEME,
        "padding": {"left": 16, "right": 8, "top": 5, "bottom": 5},  # for labels that are wider in the browser's font
        **size,
        **spec,
    }


def log_ticks(low: float, high: float) -> list[float]:
    """Round values of a logarithmic axis from `low` to `high`: 1, 2, 5 of each decade, or powers of ten where there are many. Vega's own
    are a grid line for each of 1 to 9."""
    if not 0 < low < high:
        return []
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    parts = (1, 2, 5) if math.log10(high / low) < _FEW_DECADES else (1,)
    found = [float(f"{part}e{k}") for k in decades for part in parts]
    return [tick for tick in found if low <= tick <= high]


_FEW_DECADES = 2.6


def by_value(limits: Mapping[str, float]) -> list[tuple[float, str]]:
    """Each different limit, and the names of the tiers that have it."""
    names: dict[float, list[str]] = {}
    for name, value in limits.items():
        names.setdefault(value, []).append(label(name))
    return [(value, ", ".join(tiers)) for value, tiers in names.items()]


def level_ticks(levels: Sequence[int], first: Sequence[int] = ()) -> list[int]:
    """Those of the levels that a logarithmic axis has room for: `first` ones before others, none nearer to another than a number needs."""
    if not levels:
        return []
    apart = max(math.log(max(levels) / min(levels)) * _APART, 1e-9)
    taken: list[int] = []
    for level in (*first, *sorted(levels)):
        if level in levels and all(abs(math.log(level / other)) >= apart for other in taken):
            taken.append(level)
    return sorted(taken)


_APART = 0.065
"""Share of the axis that a number of three digits and its room take up."""


def words(data: Sequence[Spec], encoding: Spec, **mark: Any) -> list[Spec]:
    """Text on a halo of paper, so that a curve behind it does not strike it out."""
    base: Spec = {"data": {"values": data}, "encoding": encoding}
    halo = {"type": "text", **mark, "stroke": "var(--paper)", "strokeWidth": 3, "color": "var(--paper)"}
    return [{**base, "mark": halo}, {**base, "mark": {"type": "text", **mark}}]


class Axis(NamedTuple):
    """How x is drawn."""

    title: str
    log: bool = True
    format: str = "~s"
    """A d3 number format: `~s` writes 131k, `~g` 0.01, `.0%` 97 %."""


def distribution(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    x: Axis,
    y_title: str,
    rules: Mapping[str, float] | None = None,
    level: float | None = None,
) -> str:
    """Shares of at most x: a line for each of `curves` ((x, share 0..1) in rising order; x > 0 on a logarithmic axis), the first solid and
    the others dashed, a dotted upright line for each of `rules`, and a level one at the share that a limit is asked of."""
    names = list(curves)
    rows: list[Spec] = [{"x": x, "share": share, "line": name} for name in names for x, share in curves[name]]
    at: Spec = {
        "type": "quantitative", "title": x.title, "axis": {"format": x.format, "tickCount": 6},
        "scale": {"type": "log", "nice": False} if x.log else {"nice": False, "zero": False},
    }  # fmt: skip
    if x.log:
        every = [row["x"] for row in rows] + [value for value in (rules or {}).values() if value > 0]
        at["axis"]["values"] = log_ticks(min(every, default=0), max(every, default=0))
    share = {"type": "quantitative", "title": y_title, "scale": {"domain": [0, 1]}, "axis": {"format": ".0%"}}
    colours = {"domain": names, "range": list(COLOURS[: len(names)])}
    dashes = {"domain": names, "range": list(DASHES[: len(names)])}
    legend: Spec = {"legend": None} if len(names) < 2 else {"legend": {"columns": 2}} if len(names) > 2 else {}
    line = {"field": "line", "type": "nominal", "sort": names}
    layers: list[Spec] = [
        {
            "data": {"values": rows},
            "mark": {"type": "line", "clip": True},
            "encoding": {
                "x": {"field": "x", **at},
                "y": {"field": "share", **share},
                "color": {**line, "scale": colours, **legend},
                "strokeDash": {**line, "scale": dashes, **legend},
            },
        }
    ]
    if level is not None:
        layers.append(
            {
                "data": {"values": [{"share": level}]},
                "mark": {"type": "rule", "color": "var(--soft)", "strokeDash": [2, 3]},
                "encoding": {"y": {"field": "share", **share}},
            }
        )
    marks = [{"x": value, "name": name} for name, value in (rules or {}).items() if value > 0]
    if marks:
        rule = {"type": "rule", "color": "var(--second)", "strokeDash": [2, 3]}
        where = {"field": "x", **at}
        layers.append({"data": {"values": marks}, "mark": rule, "encoding": {"x": where}})
        upward = {"x": where, "y": {"datum": 0}, "text": {"field": "name"}}
        layers += words(marks, upward, angle=270, align="left", dx=4, dy=-5, fontSize=10, color="var(--second)")
    return svg({"layer": layers})


def shares(parts: Mapping[str, float], title: str) -> str:
    """A bar for each part, the largest first; names as far as there is room."""
    rows = [
        {"name": label(name), "share": share}
        for name, share in sorted(parts.items(), key=lambda item: (-item[1], item[0]))
    ]
    return svg(
        {
            "data": {"values": rows},
            "mark": {"type": "bar", "color": "var(--accent)"},
            "encoding": {
                "y": {"field": "name", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 160}},
                "x": {"field": "share", "type": "quantitative", "title": title, "axis": {"format": ".0%"}},
            },
        },
        height=max(40, 20 * len(rows)),
    )


def label(text: str) -> str:
    """vl-convert 1.9 aborts the process on a label with what is no character in XML, and Vega cuts a long one between the two halves of
    a character beyond U+FFFF."""
    return "".join(c if c <= "\uffff" else "\ufffd" for c in clean(text, 40).replace("\n", " "))
