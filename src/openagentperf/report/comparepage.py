"""A comparison as a page of its own."""

from __future__ import annotations

from collections.abc import Iterator

from openagentperf.report import comparewords as words
from openagentperf.report.compare import Comparison, Pair
from openagentperf.report.comparefigures import Figure
from openagentperf.report.page import Section, Table, clean, html


def comparison_html(comparison: Comparison) -> bytes:
    """One self-contained page. UsageError where the `report` extra is missing."""
    sections = [section for pair in comparison.pairs for section in _sections(comparison, pair)]
    others = ", ".join(pair.b.run for pair in comparison.pairs)
    lead = f"A, the baseline: {comparison.pairs[0].a.run}. Held against it: {others}."
    if comparison.forced:
        lead += "\nForced: figures that are not comparable were compared all the same, and are marked `!`."
    foot = (
        "`openagentperf compare` made this page from the run folders; docs/compare.md says how its intervals are made.",
    )
    return html("Comparison of runs", lead, sections, foot)


def _sections(comparison: Comparison, pair: Pair) -> Iterator[Section]:
    group = f"{pair.b.run} against {pair.a.run}"
    if pair.gates:
        rows = tuple((g.gate, words.outcome(g.verdict), g.sentence) for g in pair.gates)
        table = Table(head=("gate", "", "found"), rows=rows, words=(1, 2))
        yield Section(group=group, title="Gates", table=table)
    who = Table(
        head=("", "A", "B"), words=(1, 2),
        rows=tuple(
            (name, *(clean(str(getattr(side, name)), 200) or words.NONE for side in (pair.a, pair.b)))
            for name in ("run", "model", "system", "tiers", "rigor", "track", "target", "provenance")
        ),
    )  # fmt: skip
    yield Section(group=group, title="Who", notes=pair.cautions, table=who)
    if told := words.refused(comparison, pair):
        yield Section(group=group, title="Not comparable", notes=tuple(told))
    marks = "; ".join(words.unit_words(pair))
    capacities = tuple(
        (figure.tier, words.label(figure), *_numbers(figure), words.standing(pair, figure))
        for tier in words.tiers(pair) for figure in words.capacities(pair, tier)
    )  # fmt: skip
    head = ("tier", "figure", "A", "B", "B/A - 1", "interval", "standing")
    text = f"The interval's letter says what it is. {marks}." if marks else ""
    yield Section(group=group, title="Capacity", text=text, table=Table(head=head, rows=capacities, words=(1, 6)))
    levels = tuple((str(f.level), words.label(f), *_numbers(f), words.phases(f)) for f in words.levels(pair))
    if levels:
        head = ("agents", "figure", "A", "B", "B/A - 1", "interval", "phases A, B")
        yield Section(
            group=group, title="At equal numbers of agents", table=Table(head=head, rows=levels, words=(1, 6)),
            text="Paired: over the same turns of the same trajectories. A and B: geometric means over phases.",
        )  # fmt: skip
    if told := words.whys(pair):
        yield Section(group=group, title="Without a difference", notes=tuple(told))
    rows = tuple((f"{d.group}: {d.name}", d.a, d.b) for d in pair.differences)
    yield Section(
        group=group, title="What differs", text="" if rows else "Nothing in plan, system, server, corpus and environment.",
        table=Table(head=("setting", "A", "B"), rows=rows, words=(1, 2)) if rows else None,
    )  # fmt: skip


def _numbers(figure: Figure) -> tuple[str, str, str, str]:
    values = ("", "") if figure.figure in words.PAIRED else (words.value(figure, 0), words.value(figure, 1))
    return (*values, words.change(figure), words.interval(figure))
