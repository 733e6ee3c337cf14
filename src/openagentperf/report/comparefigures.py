"""The figures of two runs side by side: capacities per tier, and what both did at equal numbers of agents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from openagentperf.errors import OpenAgentPerfError
from openagentperf.records.phase import Judged
from openagentperf.records.result import ESTABLISHED, Interval, TierResult
from openagentperf.report.comparepaired import Matched, Ratio, matched, of_phases
from openagentperf.report.comparerules import Refusal, blocked, inside
from openagentperf.report.comparerun import MAX_FAILED, Answered, Side

WITH_NUMBER = (*ESTABLISHED, "unmet")


class Figure(Struct, frozen=True, kw_only=True):
    """One figure of A and of B."""

    figure: str
    """One of comparerules.METRICS."""
    tier: str = ""
    detail: str = ""
    """Boundary and basis of agents/MW: `accelerator, measured`."""
    level: int | None = None
    """Number of agents that both ran; None for a capacity."""
    a: float | None = None
    b: float | None = None
    standing: tuple[str, str] = ("", "")
    """Of a capacity: certified | confirmed | unmet | at_least | invalid | unfinished | missing."""
    phases: tuple[int, int] = (0, 0)
    """Of a figure at a level."""
    matched_turns: int = 0
    """Of a paired figure: turns that both answered."""
    ratio: Ratio | None = None
    """B over A; None where it is not compared."""
    refused: str = ""
    """Why the two are not comparable; with a ratio beside it, it was forced."""
    why: str = ""
    """Why there is no ratio, where they are comparable."""

    @property
    def name(self) -> str:
        """`agents_per_mw(accelerator, measured)`."""
        return f"{self.figure}({self.detail})" if self.detail else self.figure


def capacities(a: Side, b: Side, refused: tuple[Refusal, ...], force: bool) -> Iterator[Figure]:
    """Per tier of A, then those that only B has."""
    names = [tier.tier for tier in a.result.results]
    names += [tier.tier for tier in b.result.results if tier.tier not in names]
    for name in names:
        yield from _tier(name, a.tier(name), b.tier(name), refused, force)


def _tier(
    name: str, a: TierResult | None, b: TierResult | None, refused: tuple[Refusal, ...], force: bool
) -> Iterator[Figure]:
    values: list[tuple[str, str, float | None, float | None]] = [
        (figure, "", _get(a, read), _get(b, read)) for figure, read in _CAPACITIES
    ]
    insides = sorted({inside(row.name) for tier in (a, b) if tier for row in tier.power})
    values += [("agents_per_mw", where, _per_mw(a, where), _per_mw(b, where)) for where in insides]
    standing = (a.standing if a else "missing", b.standing if b else "missing")
    for figure, detail, left, right in values:
        if left is None and right is None and figure not in ("agents", "agents_per_mw"):
            continue
        against = blocked(refused, figure, name, detail)
        ratio, why = (None, "") if against and not force else _capacity_ratio(figure, detail, left, right, a, b)
        yield Figure(
            figure=figure, tier=name, detail=detail, a=left, b=right, standing=standing, ratio=ratio, refused=against,
            why=why,
        )  # fmt: skip


_CAPACITIES: tuple[tuple[str, Callable[[TierResult], float | None]], ...] = (
    ("agents", lambda tier: tier.agents),
    ("crossing", lambda tier: tier.estimate.estimate if tier.estimate else None),
    ("agents_per_accelerator", lambda tier: tier.agents_per_accelerator),
    ("agents_per_rack", lambda tier: tier.agents_per_rack),
    ("agents_per_usd_hour", lambda tier: tier.cost.agents_per_usd_hour if tier.cost else None),
)


def _get(tier: TierResult | None, read: Callable[[TierResult], float | None]) -> float | None:
    return None if tier is None else read(tier)


def _per_mw(tier: TierResult | None, where: str) -> float | None:
    rows = tier.power if tier else ()
    return next((row.agents_per_mw for row in rows if inside(row.name) == where), None)


def _capacity_ratio(
    figure: str, detail: str, left: float | None, right: float | None, a: TierResult | None, b: TierResult | None
) -> tuple[Ratio | None, str]:
    """The ratio, or why there is none."""
    if a is None or b is None:
        return None, "one side has no such tier"
    for side, tier in (("A", a), ("B", b)):
        if tier.standing not in WITH_NUMBER or tier.agents is None:
            return None, f"{side} is {tier.standing}: {tier.why or 'no capacity is established'}"
    for side, value, tier in (("A", left, a), ("B", right, b)):
        if value is None:
            said = [why for row in tier.power if inside(row.name) == detail for why in row.why[:1]]
            return None, f"{side} has no such figure" + "".join(f": {why}" for why in said)
    assert left is not None
    assert right is not None
    if a.standing == "at_least":
        return (
            None,
            "A still passes at its search limit, so a change from it is not known: raise search.limit of both runs",
        )
    if left == 0:
        return None, "A serves no agent at this tier: there is no share of nothing"
    if figure == "crossing":
        assert a.estimate is not None
        assert b.estimate is not None
        return _estimates(a.estimate, b.estimate), ""
    return _bracket(figure, right / left, a, b), ""


def _bracket(figure: str, ratio: float, a: TierResult, b: TierResult) -> Ratio:
    """Each system's limit lies between what was certified and the smallest level that failed: the least and the most that this leaves.

    An end is open where nothing failed (`at_least`). No statistics: a certified number is biased low on both sides alike. Where B serves no
    agent the most is what its smallest failing level would be of A's agents; of another figure than these B's share is not known.
    """
    assert a.agents
    assert b.agents is not None
    low = ratio * a.agents / a.smallest_failing if a.smallest_failing else None
    high = None
    if b.smallest_failing and (b.agents or figure == "agents"):
        high = ratio * b.smallest_failing / b.agents if b.agents else b.smallest_failing / a.agents
    return Ratio(ratio=ratio, low=low, high=high, unit="bracket")


def _estimates(a: Interval, b: Interval) -> Ratio:
    """Two independent 90 % intervals into one of the ratio: the distances to their ends, in logarithms, add up as squares (Zou and Donner
    2008, MOVER), so that an interval that is wider on one side stays so."""
    ln = math.log
    middle = ln(b.estimate / a.estimate)
    down = math.hypot(ln(b.estimate / b.low), ln(a.high / a.estimate))
    up = math.hypot(ln(b.high / b.estimate), ln(a.estimate / a.low))
    return Ratio(
        ratio=math.exp(middle), low=math.exp(middle - down), high=math.exp(middle + up), unit="estimate"
    )  # fmt: skip


def at_levels(a: Side, b: Side, refused: tuple[Refusal, ...], force: bool) -> Iterator[Figure]:
    """Per number of agents that both ran in a phase that was not spoiled, from the least."""
    left, right = a.levels, b.levels
    for level in sorted(left.keys() & right.keys()):
        yield from _paired(level, a, b, refused, force)
        for figure, read in _OF_PHASES:
            yield _of_phases(figure, level, left[level], right[level], read, blocked(refused, figure), force)


_OF_PHASES: tuple[tuple[str, Callable[[Judged], float | None]], ...] = (
    ("ttft_p95", lambda judged: judged.ttft_p95_s),
    ("speed_p25", lambda judged: judged.speed_p25),
    ("e2e_speed_p25", lambda judged: judged.e2e_speed_p25),
)


def _of_phases(
    figure: str, level: int, a: Sequence[Judged], b: Sequence[Judged], read: Callable[[Judged], float | None],
    against: str, force: bool,
) -> Figure:  # fmt: skip
    left, right = ([read(judged) for judged in side] for side in (a, b))
    known = [[value for value in side if value is not None] for side in (left, right)]
    whole = len(known[0]) == len(left) and len(known[1]) == len(right)
    ratio = of_phases(known[0], known[1]) if whole and (force or not against) else None
    why = "" if whole or against else "in a phase of one side failures push it to infinity, or nothing has it"
    return Figure(
        figure=figure, level=level, a=_mean(left), b=_mean(right), phases=(len(a), len(b)), ratio=ratio,
        refused=against, why=why or ("" if ratio or against else "one side is 0"),
    )  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    """Geometric; None where a phase has no figure."""
    known = [value for value in values if value is not None and value > 0]
    return math.exp(math.fsum(map(math.log, known)) / len(known)) if known and len(known) == len(values) else None


def _paired(level: int, a: Side, b: Side, refused: tuple[Refusal, ...], force: bool) -> Iterator[Figure]:
    sizes = (len(a.levels[level]), len(b.levels[level]))
    against = {figure: blocked(refused, figure) for figure in ("ttft", "speed")}
    if a.result.corpus_digest != b.result.corpus_digest or (all(against.values()) and not force):
        # Forced or not: the same number of a turn is another turn in another corpus.
        for figure, why in against.items():
            none = "" if why else "no turn is common to the two"
            yield Figure(figure=figure, level=level, phases=sizes, refused=why, why=none)
        return
    try:
        sides = a.answered(level, keep=True), b.answered(level)
    except Exception as error:  # noqa: BLE001 - a table of somebody else may hold columns of any kind: the other figures stay
        told = error.sentence() if isinstance(error, OpenAgentPerfError) else f"its rows cannot be read ({error})"
        for figure, why in against.items():
            yield Figure(figure=figure, level=level, phases=sizes, refused=why, why=told)
        return
    for figure, why in against.items():
        yield _paired_figure(figure, level, sizes, sides, why)


def _paired_figure(
    figure: str, level: int, sizes: tuple[int, int], sides: tuple[Answered, Answered], against: str
) -> Figure:
    failed = [f"{name} failed {side.failed_share:.1%} of its turns" for name, side in zip("AB", sides, strict=True)
              if side.failed_share > MAX_FAILED]  # fmt: skip
    found: Matched | None = None
    if not failed:
        found = matched(*(side.ttft if figure == "ttft" else side.speed for side in sides))
    why = f"{' and '.join(failed)}: those that lived would be compared" if failed else ""
    return Figure(
        figure=figure, level=level, phases=sizes, refused=against,
        ratio=found.ratio if found else None, matched_turns=found.keys if found else 0,
        why=why or ("" if found else "no turn was answered by both"),
    )  # fmt: skip
