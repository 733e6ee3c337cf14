"""The search and the answer as one picture, for a slide or a message: colours are fixed, for there is no page around it."""

from __future__ import annotations

import json
import re

from openagentperf.errors import UsageError
from openagentperf.records.result import Result, TierResult
from openagentperf.report import charts, headline
from openagentperf.report.charts import Spec, label
from openagentperf.report.figures import Figures
from openagentperf.report.opened import Opened
from openagentperf.report.page import clean, style
from openagentperf.report.searchpicture import search_spec

_SCALE = 2.0
_LINE = 150
"""Characters a line of the text above the pictures, which are two beside each other."""


def run_png(run: Opened, found: Figures) -> bytes:
    """UsageError where there is nothing to draw, or the `report` extra is missing."""
    if run.result is None or not run.result.phases:
        raise UsageError(
            str(run.folder), "has no judged phase to draw", "the picture shows the search", "use --format html for what there is"
        )  # fmt: skip
    vl_convert = charts.vl_convert()
    result = run.result
    panels = [_panel(tier, result) for tier in result.results]
    lines = [line for text in headline.lead(run, found).split("\n") for line in _wrapped(text)]
    spec: Spec = {
        "vconcat": [{"hconcat": panels[i : i + 2], "spacing": 30} for i in range(0, len(panels), 2)],
        "title": {
            "text": _wrapped(headline.title(run)), "subtitle": lines, "anchor": "start", "fontSize": 18, "subtitleFontSize": 12,
            "color": "var(--ink)", "subtitleColor": "var(--ink)", "offset": 14,
        },
        "padding": 18,
    }  # fmt: skip
    whole = charts.whole(spec)
    whole["config"] = {**whole["config"], "background": "var(--paper)"}
    drawn: bytes = vl_convert.vegalite_to_png(_with_colours(whole), scale=_SCALE, allowed_base_urls=[])
    return drawn


def _panel(tier: TierResult, result: Result) -> Spec:
    text = label(f"tier {tier.tier}") + f": {headline.quantity(tier)}, {result.standing_words(tier)}"
    return {**search_spec(tier, result.phases), "title": {"text": text, "color": "var(--ink)", "anchor": "start"}}


def _wrapped(text: str) -> list[str]:
    """Lines of about `_LINE` characters, whatever is in them; a word that is longer is cut."""
    # vl-convert aborts the process on what is no character in XML: only what `clean` lets through, and nothing beyond U+FFFF.
    text = "".join(c if c <= "\uffff" else "\ufffd" for c in clean(text, 4 * _LINE)).replace("\n", " ")
    lines, line = [], ""
    for word in text.split(" "):
        for part in [word[i : i + _LINE] for i in range(0, len(word), _LINE)] or [""]:
            if line and len(line) + 1 + len(part) > _LINE:
                lines.append(line)
                line = part
            else:
                line = f"{line} {part}" if line else part
    return [*lines, line]


def _with_colours(spec: Spec) -> Spec:
    """The page's variables replaced by their values on light paper."""
    colours = dict(re.findall(r"--(\w+): (#\w+)", style().split("@media")[0]))
    text = re.sub(r'"var\(--(\w+)\)"', lambda found: f'"{colours[found[1]]}"', json.dumps(spec))
    replaced: Spec = json.loads(text)
    return replaced
