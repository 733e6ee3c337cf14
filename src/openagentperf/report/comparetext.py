"""A comparison as 80-column text, and as GitHub-flavoured Markdown for a comment under a pull request. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from openagentperf.report import comparewords as words
from openagentperf.report import gfm
from openagentperf.report.compare import Comparison, Pair
from openagentperf.report.comparefigures import Figure
from openagentperf.report.gfm import one_line
from openagentperf.report.page import clean

WIDTH = 80
_CLIP = 60
_LONGEST_COMMENT = 60_000
"""Characters: GitHub takes 65,536."""
_MOST_DIFFERENCES = 40
"""In text and Markdown: JSON and the page have all."""


def text(comparison: Comparison) -> str:
    """Lines of at most 80 columns, but for words that are longer themselves."""
    return "\n\n".join("\n".join(part) for pair in comparison.pairs for part in _text(comparison, pair) if part)


def _text(comparison: Comparison, pair: Pair) -> list[list[str]]:
    parts = [[f"A  {one_line(pair.a.run)}", *_wrapped(words.about(pair.a), "   "),
              f"B  {one_line(pair.b.run)}", *_wrapped(words.about(pair.b), "   ")]]  # fmt: skip
    parts.append(_listed("NOT COMPARABLE", words.refused(comparison, pair)))
    parts.append(_listed("Beside every difference", pair.cautions))
    for tier in words.tiers(pair):
        figures = words.capacities(pair, tier)
        head = f"{_fit(tier, 14)} ({words.standing(pair, figures[0])})"
        parts.append([_row(head, "A", "B", "B/A - 1", "interval"), *map(_figure, figures)])
    parts += _levels(pair)
    parts.append([f"  {line}" for line in words.unit_words(pair)])
    parts.append(_listed("Without a difference", words.whys(pair)))
    shown = pair.differences[:_MOST_DIFFERENCES]
    differing = [
        line for d in shown
        for line in _wrapped(f"{d.group}: {d.name}: {clean(d.a, _CLIP)} | {clean(d.b, _CLIP)}", "    ", "  ")
    ]  # fmt: skip
    more = len(pair.differences) - len(shown)
    parts.append(["What differs (A | B)", *(differing or ["  nothing"]), *([f"  and {more} more"] if more else [])])
    if pair.gates:
        told = [f"{words.outcome(g.verdict)}  {g.gate}: {g.sentence}" for g in pair.gates]
        parts.append(_listed("Gates", told))
    return parts


def _levels(pair: Pair) -> list[list[str]]:
    parts: list[list[str]] = []
    figures = words.levels(pair)
    for level in dict.fromkeys(figure.level for figure in figures):
        rows = [figure for figure in figures if figure.level == level]
        counts = rows[0].phases
        head = f"at {level} ({counts[0]} and {counts[1]} phases)"
        parts.append([_row(head, "A", "B", "B/A - 1", "interval"), *map(_figure, rows)])
    return parts


def _figure(figure: Figure) -> str:
    values = ("", "") if figure.figure in words.PAIRED else (words.value(figure, 0), words.value(figure, 1))
    return _row("  " + words.label(figure), *values, words.change(figure), words.interval(figure))


def _row(name: str, a: str, b: str, change: str, interval: str) -> str:
    line = f"{name:<35} {a:>7} {b:>7} {change:>8}"
    if len(line) + len(interval) + 1 > WIDTH:
        return f"{line}\n{interval:>{WIDTH}}"
    return f"{line} {interval}".rstrip()


def _fit(words: str, columns: int) -> str:
    told = one_line(words)
    return told if len(told) <= columns else f"{told[: columns - 3]}..."


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *(row for line in lines for row in _wrapped(line, "    ", "  - "))] if lines else []


def _wrapped(line: str, indent: str, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        one_line(line), WIDTH, initial_indent=indent if first is None else first, subsequent_indent=indent,
        break_on_hyphens=False, break_long_words=True,
    )  # fmt: skip


# -- Markdown ----------------------------------------------------------------------------------------------------------------


def markdown(comparison: Comparison) -> str:
    """Nothing that a run brought with it can mention anybody, link anywhere, open a tag or break a table.

    What is folded is left out, and that is said, where the whole would be longer than a comment may be.
    """
    whole = _joined([_markdown(comparison, pair) for pair in comparison.pairs])
    if len(whole) <= _LONGEST_COMMENT:
        return whole
    parts = [_markdown(comparison, pair, folded=False) for pair in comparison.pairs]
    left_out = "figures at equal numbers of agents and settings that differ are left out"
    for at in range(len(parts) - 1, -1, -1):  # of the last ones only what they are of, and whether their gates hold
        if len(_joined(parts)) <= _LONGEST_COMMENT:
            break
        parts[at] = parts[at][: 2 if comparison.pairs[at].gates else 1]
        left_out = "figures that differ, and all figures of the comparisons that show none, are left out"
    return f"{_joined(parts)[:_LONGEST_COMMENT]}\n\nToo long for a comment: {left_out}; `--format html` has them."


def _joined(pairs: Sequence[Sequence[str]]) -> str:
    return "\n\n".join("\n\n".join(parts) for parts in pairs)


def _markdown(comparison: Comparison, pair: Pair, folded: bool = True) -> list[str]:
    parts = [f"### {gfm.code(pair.b.run)} against {gfm.code(pair.a.run)}"]
    if pair.gates:
        held = all(g.verdict == "pass" for g in pair.gates)
        parts.append(f"**{'Every gate holds' if held else 'A gate fails'}**")
        outcomes = [(words.outcome(g.verdict), gfm.code(g.gate), gfm.escape(g.sentence)) for g in pair.gates]
        parts.append(_grid(("gate", "asked", "found"), outcomes))
    parts.append(f"- A: {gfm.escape(words.about(pair.a))}\n- B: {gfm.escape(words.about(pair.b))}")
    parts += _bullets("Not comparable", words.refused(comparison, pair))
    parts += _bullets("Beside every difference", pair.cautions)
    capacities = [
        (gfm.escape(figure.tier), gfm.escape(words.label(figure)), words.value(figure, 0), words.value(figure, 1), words.change(figure),
         words.interval(figure), words.standing(pair, figure))
        for tier in words.tiers(pair) for figure in words.capacities(pair, tier)
    ]  # fmt: skip
    parts.append(
        _grid(("tier", "figure", "A", "B", "B/A - 1", "interval", "standing"), capacities, numbers=(2, 3, 4, 5))
    )
    levels = [
        (str(figure.level), words.label(figure), words.value(figure, 0), words.value(figure, 1), words.change(figure),
         words.interval(figure), words.phases(figure))
        for figure in words.levels(pair)
    ]  # fmt: skip
    if levels and folded:
        head = ("agents", "figure", "A", "B", "B/A - 1", "interval", "phases A, B")
        parts.append(_folded("At equal numbers of agents", _grid(head, levels, numbers=(0, 2, 3, 4, 5))))
    parts += ["<sub>" + "; ".join(map(gfm.escape, marks)) + "</sub>" for marks in [words.unit_words(pair)] if marks]
    parts += _bullets("Without a difference", words.whys(pair))
    shown = pair.differences[:_MOST_DIFFERENCES]
    rows = [
        (d.group, gfm.code(clean(d.name, _CLIP)), gfm.code(clean(d.a, _CLIP)), gfm.code(clean(d.b, _CLIP)))
        for d in shown
    ]
    if rows and folded:
        more = len(pair.differences) - len(shown)
        title = f"What differs ({len(pair.differences)})" + (f", the first {len(shown)}" if more else "")
        parts.append(_folded(title, _grid(("", "setting", "A", "B"), rows)))
    return parts


def _bullets(title: str, lines: Sequence[str]) -> list[str]:
    return [f"**{title}**\n\n" + "\n".join(f"- {gfm.escape(line)}" for line in lines)] if lines else []


def _folded(title: str, inner: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{inner}\n\n</details>"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    return "\n".join(gfm.table(head, rows, numbers))
