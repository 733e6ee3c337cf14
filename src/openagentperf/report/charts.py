"""Charts as SVG text that goes inside a page. Colours are the page's CSS variables, so that one picture serves light, dark and paper."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from openagentperf.errors import UsageError
from openagentperf.report.page import clean

Spec: TypeAlias = dict[str, Any]
"""A Vega-Lite view, without data source, size and theme where `svg` gives them."""

WIDTH, HEIGHT = 420, 220
_THEME: Spec = {
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
    },
    "legend": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--ink)",
        "orient": "top",
        "title": None,
        "labelLimit": 300,
    },
    "line": {"strokeWidth": 2},
}


def svg(spec: Spec, *, width: int = WIDTH, height: int = HEIGHT) -> str:
    """The view drawn. UsageError where the `report` extra is missing."""
    try:
        # Imported here: an extra of 30 MB that a run never needs.
        vl_convert = importlib.import_module("vl_convert")
    except ImportError as error:
        raise UsageError(
            "charts",
            f"vl-convert cannot be imported ({error})",
            "it draws them",
            "pip install 'openagentperf[report]', or leave --html out",
        ) from error
    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": width,
        "height": height,
        "config": _THEME,
        **spec,
    }
    drawn: str = vl_convert.vegalite_to_svg(whole, allowed_base_urls=[])
    return drawn


class Axis(NamedTuple):
    """How x is drawn."""

    title: str
    log: bool = True
    format: str = "~s"
    """A d3 number format: `~s` writes 131k, `~g` 0.01, `.0%` 97 %."""


def distribution(
    curves: Mapping[str, Sequence[tuple[float, float]]], x: Axis, y_title: str, rules: Mapping[str, float] | None = None
) -> str:
    """Shares of at most x: a line for each of `curves` ((x, share 0..1) in rising order; x > 0 on a logarithmic axis), the first solid and
    the others dashed, and a dotted upright line for each of `rules`."""
    names = list(curves)
    rows = [{"x": x, "share": share, "line": name} for name in names for x, share in curves[name]]
    at: Spec = {
        "type": "quantitative", "title": x.title, "axis": {"format": x.format, "tickCount": 6},
        "scale": {"type": "log", "nice": False} if x.log else {"nice": False, "zero": False},
    }  # fmt: skip
    share = {"type": "quantitative", "title": y_title, "scale": {"domain": [0, 1]}, "axis": {"format": ".0%"}}
    colours = {"domain": names, "range": ["var(--accent)", "var(--second)", "var(--third)"][: len(names)]}
    dashes = {"domain": names, "range": [[1, 0], [6, 4], [2, 3]][: len(names)]}
    legend = {} if len(names) > 1 else {"legend": None}
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
    marks = [{"x": value, "name": name} for name, value in (rules or {}).items() if value > 0]
    if marks:
        rule = {"type": "rule", "color": "var(--second)", "strokeDash": [2, 3]}
        text = {
            "type": "text",
            "angle": 270,
            "align": "left",
            "dx": 4,
            "dy": -5,
            "fontSize": 10,
            "color": "var(--second)",
        }
        where = {"field": "x", **at}
        layers.append({"data": {"values": marks}, "mark": rule, "encoding": {"x": where}})
        layers.append(
            {
                "data": {"values": marks},
                "mark": text,
                "encoding": {"x": where, "y": {"datum": 0}, "text": {"field": "name"}},
            }
        )
    return svg({"layer": layers})


def shares(parts: Mapping[str, float], title: str) -> str:
    """A bar for each part, the largest first; names as far as there is room."""
    rows = [
        {"name": _label(name), "share": share}
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


def _label(text: str) -> str:
    """vl-convert 1.9 aborts the process on a label with what is no character in XML, and Vega cuts a long one between the two halves of
    a character beyond U+FFFF."""
    return "".join(c if c <= "\uffff" else "\ufffd" for c in clean(text, 40).replace("\n", " "))
