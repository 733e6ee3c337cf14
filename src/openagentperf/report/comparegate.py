"""Gates: a bound on how far a figure may move from A to B, for a pipeline that must stop by itself.

    [tier:NAME ]FIGURE[(BOUNDARY[, BASIS])] >=|<= PERCENT%

    agents>=-5%    tier:easy ttft_p95<=+10%    agents_per_mw(node, measured)>=-3%

The change is B/A - 1, of the figure itself, not of an end of its interval. What cannot be decided fails: a gate that lets pass what it does
not know is none. `--force` does not change that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from openagentperf.errors import UsageError
from openagentperf.report.comparefigures import Figure
from openagentperf.report.comparerules import AT_LEVEL, CAPACITY, METRICS
from openagentperf.report.marked import agents

_FORM = re.compile(
    r"\s*(?:tier:(?P<tier>.+?)\s+)?(?P<figure>[a-z0-9_]+)\s*(?:\((?P<boundary>\w+)(?:\s*,\s*(?P<basis>\w+))?\s*\))?"
    r"\s*(?P<op>>=|<=)\s*(?P<limit>[+-]?\d+(?:\.\d+)?)\s*%\s*"
)


class Gate(Struct, frozen=True, kw_only=True):
    text: str
    figure: str
    tier: str = ""
    """"" asks every tier."""
    boundary: str = ""
    basis: str = ""
    op: Literal[">=", "<="]
    limit: float
    """Of the change: -0.05."""

    def holds(self, change: float) -> bool:
        """Inclusive, to a billionth: 95 of 100 agents are -5 %, whatever floats make of it."""
        return change >= self.limit - 1e-9 if self.op == ">=" else change <= self.limit + 1e-9

    def takes(self, figure: Figure) -> bool:
        boundary, _, basis = figure.detail.partition(", ")
        return (
            figure.figure == self.figure
            and (not self.tier or not figure.tier or figure.tier == self.tier)
            and (not self.boundary or boundary == self.boundary)
            and (not self.basis or basis == self.basis)
        )


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a gate, for one tier and one boundary."""

    gate: str
    verdict: Literal["pass", "fail", "undecided"]
    """`undecided` fails the pipeline too."""
    change: float | None = None
    sentence: str


def parse(text: str) -> Gate:
    """UsageError for what is no gate."""
    found = _FORM.fullmatch(text)
    if found is None or found["figure"] not in METRICS:
        what = "is no gate" if found is None else f"names no figure `{found['figure'][:40]}`"
        raise UsageError(
            f"--gate {text[:80]!r}",
            what,
            "`[tier:NAME ]FIGURE>=-5%` or `<=+5%` was needed",
            f"figures: {', '.join(METRICS)}",
        )
    if found["boundary"] and found["figure"] != "agents_per_mw":
        raise UsageError(
            f"--gate {text[:80]!r}",
            f"asks `{found['figure']}` for a boundary",
            "only agents_per_mw has one",
            "leave it out",
        )
    return Gate(
        text=" ".join(text.split()), figure=found["figure"], tier=found["tier"] or "", boundary=found["boundary"] or "",
        basis=found["basis"] or "", op=">=" if found["op"] == ">=" else "<=", limit=float(found["limit"]) / 100,
    )  # fmt: skip


def decide(gates: Sequence[Gate], figures: Sequence[Figure], moot: str = "") -> tuple[Outcome, ...]:
    """One outcome a gate, tier and boundary; at least one a gate. `moot`: why none of them can be decided whatever the figures say."""
    found = (outcome for gate in gates for outcome in _decide(gate, figures))
    if not moot:
        return tuple(found)
    undecided = f"cannot be decided: {moot}"
    return tuple(
        outcome
        if outcome.verdict == "undecided"
        else Outcome(gate=outcome.gate, verdict="undecided", sentence=undecided)
        for outcome in found
    )


def _decide(gate: Gate, figures: Sequence[Figure]) -> Iterator[Outcome]:
    tiers = [f for f in figures if f.figure == "agents" and (not gate.tier or f.tier == gate.tier)]
    if not tiers:
        yield _undecided(gate, f"no run has a tier {gate.tier}" if gate.tier else "no run has a tier")
    elif gate.figure in CAPACITY:
        taken = [figure for figure in figures if gate.takes(figure)]
        for figure in taken:
            yield _capacity(gate, figure)
        for tier in tiers:
            if not any(figure.tier == tier.tier for figure in taken):
                yield _undecided(gate, f"tier {tier.tier}: neither run has {_asked(gate)}")
    else:
        for tier in tiers:
            yield _at_level(gate, tier, figures)


def _asked(gate: Gate) -> str:
    where = ", ".join(part for part in (gate.boundary, gate.basis) if part)
    return f"{gate.figure}({where})" if where else gate.figure


def _capacity(gate: Gate, figure: Figure) -> Outcome:
    where = f"tier {figure.tier}, {figure.name}"
    if figure.refused:
        return _undecided(gate, f"{where}: not comparable: {figure.refused}")
    if figure.ratio is None:
        return _undecided(gate, f"{where}: {figure.why}")
    change = figure.ratio.change
    if figure.standing[1] == "at_least" and not (gate.op == ">=" and gate.holds(change)):
        return _undecided(gate, f"{where}: B still passes at its search limit: raise search.limit")
    return _judged(gate, where, figure)


def _at_level(gate: Gate, tier: Figure, figures: Sequence[Figure]) -> Outcome:
    """At the largest number of agents that both runs hold at the tier, and both measured."""
    assert gate.figure in AT_LEVEL
    at = [f for f in figures if f.figure == gate.figure]
    refused = next((f.refused for f in at if f.refused), "")
    if refused:
        return _undecided(gate, f"tier {tier.tier}, {gate.figure}: not comparable: {refused}")
    if tier.refused:
        return _undecided(gate, f"tier {tier.tier}, {gate.figure}: the tiers are not comparable: {tier.refused}")
    if tier.a is None or tier.b is None:
        return _undecided(gate, f"tier {tier.tier}, {gate.figure}: {tier.why or 'no capacity is established'}")
    held = min(tier.a, tier.b)
    levels = [f for f in at if f.level is not None and f.level <= held]
    if not levels:
        return _undecided(
            gate, f"tier {tier.tier}, {gate.figure}: no number of agents up to {held:g} was measured by both"
        )
    figure = max(levels, key=lambda f: f.level or 0)
    where = f"tier {tier.tier}, {gate.figure} at {agents(figure.level or 0)}"
    return _judged(gate, where, figure) if figure.ratio else _undecided(gate, f"{where}: {figure.why}")


def _judged(gate: Gate, where: str, figure: Figure) -> Outcome:
    assert figure.ratio is not None
    change, ends = figure.ratio.change, figure.ratio.ends
    ok = gate.holds(change)
    told = f"{where} changed by {change:+.1%}{f' ({ends})' if ends else ''}, {gate.op} {gate.limit * 100:+.4g}% was asked for"
    return Outcome(gate=gate.text, verdict="pass" if ok else "fail", change=change, sentence=told)


def _undecided(gate: Gate, why: str) -> Outcome:
    return Outcome(gate=gate.text, verdict="undecided", sentence=f"cannot be decided: {why}")
