"""The card of a set as a page: its distributions beside what was published of AA-AgentPerf's set, and the distance of each figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from statistics import NormalDist

import msgspec

from openagentperf.corpus.published import OUTPUT_MEDIAN_TOKENS, OUTPUT_SIGMA
from openagentperf.records.card import Card, Comparison
from openagentperf.report import charts
from openagentperf.report.page import Section, Table, html

_NAMED = (5, 25, 50, 75, 95, 100)
_SECONDS = charts.Axis("seconds (1 ms or less at the left end)", format="~g")
_FIGURES = (
    # curve, title, axis, least value that the axis shows, the published figures that are upright lines
    (
        "input_tokens", "Input of a request", charts.Axis("tokens, system prompt to newest message"), 1.0,
        ("input, mean", "input, largest", "input, smallest"),
    ),
    ("output_tokens", "Output of a request", charts.Axis("tokens, reasoning included"), 1.0, ()),
    ("tool_delay_s", "Tool delay", _SECONDS, 0.001, ("tool delay, median", "tool delay, shortest", "tool delay, longest")),
    ("growth_tokens", "Growth a turn", charts.Axis("tokens more than the turn before (1 or less at the left end)"), 1.0, ()),
    ("turns_per_trajectory", "Turns of a trajectory", charts.Axis("requests, sub-agents included"), 1.0, ("turns, most",)),
    (
        "prefix_reuse", "Prefix reuse of a trajectory",
        charts.Axis("share of its input tokens that an endless cache could serve", log=False, format=".0%"), 0.0, (),
    ),
)  # fmt: skip


def card_html(card: Card, name: str, notes: Sequence[str] = ()) -> bytes:
    """One self-contained page. UsageError where the `report` extra is missing."""
    return html(f"Workload card: {name}", lead(card), sections(card), notes)


def sections(card: Card, group: str = "") -> list[Section]:
    """What the page shows, for a page that shows more."""
    sections = [_comparison(card)]
    sections += [_figure(card, *row) for row in _FIGURES if row[0] in card.curves]
    sections.append(
        Section(
            title="Languages",
            text="Share of trajectories by the main language of the files worked on.",
            svg=partial(charts.shares, card.languages, "of the trajectories"),
            svg_label="Bars: share of trajectories by language; the numbers stand in the table.",
            table=_share_table("language", card.languages),
            folded=True,
        )
    )
    sections.append(_makeup(card))
    return [msgspec.structs.replace(section, group=group) for section in sections] if group else sections


def lead(card: Card) -> str:
    size = f"{card.trajectories:,} trajectories, {card.turns:,} turns."
    worst = max(
        (row for row in card.published if row.distance is not None), key=lambda row: row.distance or 0, default=None
    )
    missing = [row.figure for row in card.published if row.distance is None]
    if worst is None or worst.distance is None:
        return size
    text = f"{size}\nFarthest from AA-AgentPerf's published figures: {worst.figure}, by a factor of {math.exp(worst.distance):.2f}."
    if missing:
        text += f" Not said by this set: {', '.join(missing)}."
    return text


def _comparison(card: Card) -> Section:
    rows = tuple(
        (row.figure, _value(row, row.this), _value(row, row.published), _number(row.ratio), _number(row.distance))
        for row in card.published
    )
    ks = (
        ""
        if card.output_ks is None
        else f" The whole distribution of outputs is off by at most {card.output_ks:.1%} of the turns (Kolmogorov-Smirnov)."
    )
    return Section(
        title="Beside the published figures",
        text="AgentPerf: what Artificial Analysis published of its set (rounded). Distance: the logarithm of the ratio, without "
        f"its sign; 0 is equal, 0.10 is 10 %, 0.69 a factor of 2. A set is as AgentPerf-like as its farthest figure.{ks}",
        table=Table(head=("figure", "this set", "AgentPerf", "ratio", "distance"), rows=rows),
    )


def _figure(card: Card, curve: str, title: str, axis: charts.Axis, least: float, published: tuple[str, ...]) -> Section:
    values = card.curves[curve]
    lines = {"this set": [(max(least, value), share / 100) for share, value in enumerate(values)]}
    text = ""
    if curve == "output_tokens":
        law = NormalDist(math.log(OUTPUT_MEDIAN_TOKENS), OUTPUT_SIGMA)
        lines["AgentPerf as published (log-normal)"] = [
            (math.exp(law.inv_cdf(p / 100)), p / 100) for p in range(1, 100)
        ]
    if curve == "tool_delay_s" and card.tool_delay_missing:
        text = f"{card.tool_delay_missing:.1%} of the delays are not recorded and not shown."
    rules = {
        f"AgentPerf: {row.figure.partition(', ')[2]}": row.published
        for row in card.published
        if row.figure in published
    }
    of = "trajectories" if curve in ("turns_per_trajectory", "prefix_reuse") else "turns"
    head = (curve.replace("_", " "), *(f"P{p}" if p < 100 else "most" for p in _NAMED))
    return Section(
        title=title,
        text=text,
        svg=partial(charts.distribution, lines, axis, f"share of {of} with at most x", rules),
        svg_label=f"Curve: share of {of} with at most x. P5, median and P95 of this set: "
        + ", ".join(_short(values[p]) for p in (5, 50, 95)),
        table=Table(head=head, rows=(("this set", *(_short(values[p]) for p in _NAMED)),)),
    )


def _makeup(card: Card) -> Section:
    parts = (("format", card.formats), ("licence", card.licences), ("token counts", card.counted))
    rows = tuple((f"{what}: {name}", f"{share:.1%}") for what, found in parts for name, share in found.items())
    cuts = tuple((f"turns that rewrite history: {kind}", f"{count:,}") for kind, count in card.cuts.items())
    return Section(title="Made of", table=Table(head=("", "share"), rows=rows + cuts))


def _share_table(head: str, shares: dict[str, float]) -> Table:
    return Table(head=(head, "share"), rows=tuple((name, f"{share:.1%}") for name, share in shares.items()))


def _value(row: Comparison, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f} tokens" if row.unit == "tokens" else f"{_short(value)} {row.unit}".strip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"
