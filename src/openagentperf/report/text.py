"""A report as text: GitHub-flavoured Markdown, and tables for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import msgspec

from openagentperf.report import gfm, headline
from openagentperf.report.figures import Figures
from openagentperf.report.opened import Opened
from openagentperf.report.page import Cell, Section, Table, clean
from openagentperf.report.runpage import run_sections

_SENTENCE, _LONGEST_CODE = 400, 20_000


def run_md(run: Opened, found: Figures) -> str:
    """The page without its pictures; long tables are folded."""
    lines = [f"# {_escaped(headline.title(run))}", ""]
    lines += [f"- {_escaped(line)}" for line in headline.lead(run, found).split("\n")]
    group = ""
    for section in run_sections(run, found):
        if section.group != group:
            group = section.group
            lines += ["", f"## {_escaped(group)}"]
        lines += _section(section)
    return "\n".join(lines) + "\n"


def _section(section: Section) -> list[str]:
    lines = ["", f"### {_escaped(section.title)}", ""]
    if section.text:
        lines += [_escaped(section.text), ""]
    for answer in section.headlines:
        rows = [(answer.title, f"{answer.value.text} {answer.unit}, {answer.text}")]
        rows += [
            (name, "".join(part if isinstance(part, str) else part.text for part in parts))
            for name, parts in answer.lines
        ]
        lines += [*_table(Table(head=("", ""), rows=tuple(rows))), ""]
    lines += [f"- {_escaped(note)}" for note in section.notes]
    if section.notes:
        lines.append("")
    body: list[str] = []
    if section.code:
        body += [*gfm.block(section.code, _LONGEST_CODE), ""]
    if section.table is not None:
        body += [*_table(section.table), ""]
    if section.folded and body:
        body = ["<details><summary>numbers</summary>", "", *body, "</details>", ""]
    return lines + body


def _table(table: Table) -> list[str]:
    rows = [
        [_escaped(cell.text if isinstance(cell, Cell) else cell) for cell in row] for row in (table.head, *table.rows)
    ]
    return gfm.table(rows[0], rows[1:], set(range(1, len(table.head))) - set(table.words))


def _escaped(text: str) -> str:
    return gfm.escape(text, _SENTENCE)


def run_csv(run: Opened, found: Figures) -> dict[str, bytes]:
    """`tiers.csv` and `phases.csv`: one row a tier, and one row a phase and tier."""
    result = run.result
    tiers, phases = [], []
    if result is not None:
        for tier in result.results:
            plain = _flat(msgspec.to_builtins(tier), skip=("power", "why"))
            for power in tier.power:
                name = f"{power.boundary}_{power.basis}"
                named = _flat(msgspec.to_builtins(power), skip=("name", "why", "boundary", "basis"))
                plain |= {f"{name}_{key}": value for key, value in named.items()}
            tiers.append(
                plain | {"standing": result.standing_words(tier), "provenance": result.provenance, "why": tier.why}
            )
    health = {phase.index: phase for phase in found.phases}
    for judged in run.phases:
        figures = _flat(msgspec.to_builtins(judged), skip=("verdicts", "energy", "notes"))
        for energy in judged.energy:
            figures[f"{energy.boundary}_{energy.basis}_mean_w"] = energy.mean_w
        own = health[judged.index]
        figures["cache_possible"] = None if own.cache is None else own.cache.possible
        if own.health is not None:
            figures |= _flat(msgspec.to_builtins(own.health), skip=("faults",))
        phases += [
            figures | {"tier": v.tier, "verdict": v.verdict, "reasons": "; ".join(v.reasons)} for v in judged.verdicts
        ]
    return {"tiers.csv": _csv(tiers), "phases.csv": _csv(phases)}


def _flat(value: dict[str, object], skip: Sequence[str], before: str = "") -> dict[str, object]:
    """Nested figures by joined names: `estimate_low`."""
    found: dict[str, object] = {}
    for name, item in value.items():
        if name in skip:
            continue
        if isinstance(item, dict):
            found |= _flat(item, (), f"{before}{name}_")
        elif isinstance(item, list | tuple):
            found[f"{before}{name}"] = " ".join(map(str, item))
        else:
            found[f"{before}{name}"] = item
    return found


def _csv(rows: Sequence[dict[str, object]]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_plain(row.get(name)) for name in names] for row in rows)
    return page.getvalue().encode()


def _plain(value: object) -> object:
    """Exact numbers; text that a spreadsheet would take for a formula begins with an apostrophe."""
    if not isinstance(value, str):
        return "" if value is None else value
    text = clean(value).replace("\n", " ")
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
