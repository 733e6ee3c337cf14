"""Entries in tables: one board for what may be compared, one table a tier, and what is best at what. Pure.

Two results stand on one board where both were asked the same: tier set, track, corpus, rigor, kind of target, and on the natural track the
cap on answers and the temperature. Watts inside different boundaries, or of a sensor and of a nameplate, are different columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from openagentperf.leaderboard.entries import Entry
from openagentperf.plan import digest_of
from openagentperf.records.result import TierPower, TierResult
from openagentperf.report.comparerules import inside
from openagentperf.units import significant


class Cell(NamedTuple):
    text: str
    sort: float | None = None
    """What a column of numbers is sorted by; None sorts last."""


NONE = Cell("-")


class Row(NamedTuple):
    number: int
    """On this board; pictures name points by it."""
    entry: Entry
    cells: tuple[Cell, ...]


class TierTable(NamedTuple):
    tier: str
    limits: str
    head: tuple[str, ...]
    """Of `Row.cells`."""
    rows: tuple[Row, ...]


class Point(NamedTuple):
    number: int
    x: float
    y: float
    best: bool
    """Nothing else on the board is better in one and no worse in the other."""


class Picture(NamedTuple):
    title: str
    text: str
    x_title: str
    y_title: str
    points: tuple[Point, ...]


class Board(NamedTuple):
    title: str
    identity: str
    """What tells it from another of the same title."""
    simulated: bool
    tiers: tuple[TierTable, ...]
    pictures: tuple[Picture, ...]


def boards(entries: Sequence[Entry]) -> tuple[Board, ...]:
    """Measured boards first, those with most entries before the others."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_key(entry), []).append(entry)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0] != "endpoint", -len(item[1]), item[0]))
    return tuple(_board(group) for _, group in ordered)


def _key(entry: Entry) -> tuple[str, ...]:
    result = entry.found.result
    return (result.target, result.tiers, result.rigor, result.corpus_digest, *entry.found.asked)


def _board(group: Sequence[Entry]) -> Board:
    result, rigor = group[0].found.result, digest_of(group[0].found.plan.rigor)
    numbered = list(enumerate(sorted(group, key=_rank), 1))
    what = "" if result.target == "endpoint" else f"{result.target}: "
    title = f"{what}{result.tiers}, {result.track} track, corpus {result.corpus_digest[:12]}, rigor {result.rigor}"
    return Board(
        title=title,
        identity=f"tier set {result.tiers_digest[:16]}, corpus {result.corpus_digest[:16]}, rigor {rigor[:16]}",
        simulated=result.target != "endpoint",
        tiers=tuple(_table(tier, numbered) for tier in result.results),
        pictures=(*_efficiency(numbered), *_prices(numbered)),
    )


def _rank(entry: Entry) -> tuple[bool, float, str]:
    """By agents an accelerator at the board's first tier; behind them, by agents, those that declare none; then by content."""
    tier = entry.found.result.results[0]
    ratio = tier.agents_per_accelerator
    return ratio is None, -((tier.agents or 0) if ratio is None else ratio), entry.found.content


def _table(tier: TierResult, numbered: Sequence[tuple[int, Entry]]) -> TierTable:
    of = [
        (number, entry, next(t for t in entry.found.result.results if t.tier == tier.tier))
        for number, entry in numbered
    ]
    insides = sorted({inside(row.name) for _, _, found in of for row in found.power})
    columns: list[tuple[str, Callable[[Entry, TierResult], Cell]]] = [
        ("agents", lambda _, t: _number(t.agents, ">=" if t.standing == "at_least" else "")),
        ("standing", lambda entry, t: Cell(entry.found.result.standing_words(t))),
        *((f"agents/MW ({where})", _per_mw(where)) for where in insides),
        ("next fails", lambda _, t: _number(t.smallest_failing)),
        ("limit crossed at (90 %)", lambda _, t: _crossing(t)),
        ("agents / accelerator", lambda _, t: _number(t.agents_per_accelerator)),
        ("agents / rack", lambda _, t: _number(t.agents_per_rack)),
        ("agents per $/h", lambda _, t: _number(t.cost.agents_per_usd_hour if t.cost else None)),
        ("TTFT P95, s", lambda _, t: _number(t.ttft_p95_s)),
        ("speed P25, tokens/s", lambda _, t: _number(t.speed_p25)),
    ]
    if numbered[0][1].found.result.track == "natural":
        # A model that says less serves more: what each said stands beside what it served.
        columns.append(("output tokens, mean", lambda entry, _: _number(entry.found.result.workmix.output_tokens_mean)))
    made = [[read(entry, found) for _, read in columns] for _, entry, found in of]
    kept = [
        n for n, (name, _) in enumerate(columns) if name in _ALWAYS or any(cells[n].sort is not None for cells in made)
    ]
    return TierTable(
        tier=tier.tier,
        limits=f"P25 of output speed at least {tier.output_speed:g} tokens/s, P95 of TTFT at most {tier.ttft_s:g} s",
        head=tuple(columns[n][0] for n in kept),
        rows=tuple(
            Row(number, entry, tuple(cells[n] for n in kept))
            for (number, entry, _), cells in zip(of, made, strict=True)
        ),
    )


_ALWAYS = ("agents", "standing")


def provenance(entry: Entry) -> str:
    label = entry.label
    return f"{label.provenance} by {label.by}" if label.by else label.provenance


def _per_mw(where: str) -> Callable[[Entry, TierResult], Cell]:
    return lambda _, tier: _number(_mw(tier, where))


def _mw(tier: TierResult, where: str) -> float | None:
    row: TierPower | None = next((row for row in tier.power if inside(row.name) == where), None)
    return None if row is None else row.agents_per_mw


def _crossing(tier: TierResult) -> Cell:
    e = tier.estimate
    return NONE if e is None else Cell(f"{e.estimate:.1f} ({e.low:.1f} to {e.high:.1f})", e.estimate)


def _number(value: float | None, before: str = "") -> Cell:
    if value is None:
        return NONE
    return Cell(before + significant(value), float(value))


# -- pictures ------------------------------------------------------------------------------------------------------------------


def _efficiency(numbered: Sequence[tuple[int, Entry]]) -> list[Picture]:
    """Agents per megawatt against the speed that a tier asks for, a picture a boundary and basis."""
    insides = sorted({inside(row.name) for _, e in numbered for t in e.found.result.results for row in t.power})
    found = []
    for where in insides:
        points = [
            (number, tier.output_speed, value)
            for number, entry in numbered for tier in entry.found.result.results if (value := _mw(tier, where))
        ]  # fmt: skip
        if points:
            found.append(
                Picture(
                    f"Agents per megawatt against speed ({where})",
                    "One point a result and tier, by its number. Filled: no other result is at least as good in both and better in one.",
                    "output speed that the tier asks for, tokens/s",
                    f"agents/MW ({where})",
                    _best(points, cheap=False),
                )
            )
    return found


def _prices(numbered: Sequence[tuple[int, Entry]]) -> list[Picture]:
    """Dollars an hour against agents, a picture a tier."""
    found = []
    for tier in numbered[0][1].found.result.results:
        points = []
        for number, entry in numbered:
            own = next(t for t in entry.found.result.results if t.tier == tier.tier)
            if own.agents and own.cost and own.cost.usd_per_hour:
                points.append((number, own.cost.usd_per_hour, float(own.agents)))
        if points:
            found.append(
                Picture(
                    f"Dollars an hour against agents (tier {tier.tier})",
                    "By declared prices. Filled: nothing else serves as many for as little.",
                    "$ an hour, whole system",
                    "agents",
                    _best(points, cheap=True),
                )
            )
    return found


def _best(points: Sequence[tuple[int, float, float]], *, cheap: bool) -> tuple[Point, ...]:
    """Marks the Pareto front: more of y is better; of x more, or less where it is a price."""
    sign = -1 if cheap else 1
    return tuple(
        Point(n, x, y, not any(sign * u >= sign * x and v >= y and (u != x or v != y) for _, u, v in points))
        for n, x, y in points
    )
