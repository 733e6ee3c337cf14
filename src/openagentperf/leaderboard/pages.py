"""The pages of the site. All that a submission brought is escaped; one script of our own sorts tables, and a page without it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from openagentperf.leaderboard.boards import Board, Picture, provenance
from openagentperf.leaderboard.entries import Collected, Entry
from openagentperf.leaderboard.published import published
from openagentperf.records.result import Result, labels
from openagentperf.report import charts, page
from openagentperf.report.page import clean
from openagentperf.score.capacity import other_notes
from openagentperf.units import significant

_LONGEST_NAME = 80
_PHASES = 200
"""Rows of a result's table of attempts."""


def file_name(entry: Entry) -> str:
    """Of the result's page, from the site's root."""
    return f"results/{entry.found.content[:16]}.html"


def index(boards: Sequence[Board], collected: Collected) -> bytes:
    drawn = [[_drawn(picture) for picture in board.pictures] for board in boards]
    return _render(
        "index.html.j2", boards=boards, drawn=drawn, published=published(), refused=collected.refused,
        unheeded=collected.unheeded, count=len(collected.entries), file_name=file_name, short=short,
    )  # fmt: skip


def result(entry: Entry, entries: Sequence[Entry]) -> bytes:
    found = entry.found
    rerun = next((other for other in entries if other.found.content == entry.label.rerun), None)
    return _render(
        "result.html.j2", entry=entry, found=found, result=found.result, tiers=_tier_tables(found.result),
        phases=_phases(found.result), claims=claims(entry), environment=found.environment, provenance=provenance(entry),
        rerun=rerun, file_name=file_name, short=short,
    )  # fmt: skip


def short(entry: Entry) -> str:
    """What a table calls a result."""
    found = entry.found
    system = found.plan.system
    what = system.name or system.accelerator or "system not named"
    return f"{clean(found.model or 'model not named', _LONGEST_NAME)} on {clean(what, _LONGEST_NAME)}"


def claims(entry: Entry) -> tuple[str, ...]:
    """Every limit of what the number says, in words."""
    found, result = entry.found, entry.found.result
    checked = {
        "reviewed": f"reviewed by {entry.label.by}: derived again from the signed bundle by another party",
        "verified": f"verified by {entry.label.by}: run again by another party, on a sealed set",
    }.get(entry.label.provenance)
    told = list(labels(result) if checked is None else labels(result, checked))
    if found.other_version:
        told.append(
            f"written by openagentperf {found.other_version}, derived again by {result.version}: equal but for that"
        )
    if found.abandoned:
        told.append(
            f"{found.abandoned} attempts were broken off before they were judged: what they would have shown is not known"
        )
    if not found.signed_by:
        told.append("the submission is not signed")
    return (*told, *other_notes(result))


def _tier_tables(result: Result) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(tier, its limits, (figure, value)...)."""
    tables = []
    for tier in result.results:
        rows: list[tuple[str, object]] = [
            ("agents", (">=" if tier.standing == "at_least" else "") + _text(tier.agents)),
            ("standing", result.standing_words(tier)),
            ("smallest level that failed", tier.smallest_failing),
            ("agents / accelerator", tier.agents_per_accelerator),
            ("agents / rack", tier.agents_per_rack),
            ("TTFT P95, s", tier.ttft_p95_s),
            ("output speed P25, tokens/s", tier.speed_p25),
            ("end-to-end speed P25, tokens/s", tier.e2e_speed_p25),
        ]
        if tier.estimate:
            e = tier.estimate
            rows.append(
                (
                    "limit crossed at, estimated",
                    f"{e.estimate:.1f} (90 %: {e.low:.1f} to {e.high:.1f}, {e.phases} phases)",
                )
            )
        for power in tier.power:
            rows.append(
                (power.name, power.agents_per_mw if power.agents_per_mw is not None else "; ".join(power.why) or None)
            )
            rows.append((f"mean power, W ({power.boundary}, {power.basis})", power.mean_w))
        if tier.cost:
            rows.append((f"$/h ({tier.cost.basis})", tier.cost.usd_per_hour))
            rows.append(("$ an agent-hour", tier.cost.usd_per_agent_hour))
        rows += _predicted(result, tier.tier)
        if tier.why:
            rows.append(("why", tier.why))
        limits = f"P25 of output speed at least {tier.output_speed:g} tokens/s, P95 of TTFT at most {tier.ttft_s:g} s"
        tables.append((tier.tier, limits, [(name, _text(value)) for name, value in rows]))
    return tables


def _predicted(result: Result, name: str) -> list[tuple[str, object]]:
    """Of a simulated cluster: how sure the number is, and what decided it."""
    told = [tier for tier in result.simulated.tiers if tier.tier == name] if result.simulated else []
    rows: list[tuple[str, object]] = []
    for tier in told:
        rows.append(("what runs out first", f"{tier.binds.resource}: {tier.binds.why}"))
        if tier.band:
            high = f"{_text(tier.band.high)}{' or more' if tier.band.high_open else ''}"
            rows.append(("with uncertain constants at their worst and best", f"{_text(tier.band.low)} to {high}"))
    return rows


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return significant(value, 4)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _phases(result: Result) -> list[tuple[str, ...]]:
    return [
        (
            str(j.index), str(j.agents), j.kind, ", ".join(f"{v.tier}: {v.verdict}" for v in j.verdicts), f"{j.measured_turns:,}",
            f"{j.failed_turns:,}", _text(j.ttft_p95_s), _text(j.speed_p25),
        )
        for j in result.phases[:_PHASES]
    ]  # fmt: skip


def _drawn(picture: Picture) -> str:
    rows = [{"x": p.x, "y": p.y, "number": str(p.number)} for p in picture.points]
    best = [row for row, p in zip(rows, picture.points, strict=True) if p.best]
    zero: charts.Spec = {"zero": False, "nice": True, "padding": 14}
    where: charts.Spec = {
        "x": {"field": "x", "type": "quantitative", "title": picture.x_title, "scale": zero},
        "y": {"field": "y", "type": "quantitative", "title": picture.y_title, "scale": zero},
    }
    front = {"type": "line", "color": "var(--soft)", "strokeDash": [4, 3], "strokeWidth": 1}
    open_ = {"type": "point", "size": 70, "color": "var(--accent)", "filled": False, "strokeWidth": 2}
    text = {"type": "text", "dx": 9, "dy": -8, "color": "var(--ink)", "fontSize": 12}
    layers: list[charts.Spec] = [
        {"data": {"values": best}, "mark": front, "encoding": where},
        {"data": {"values": rows}, "mark": open_, "encoding": where},
        {"data": {"values": best}, "mark": {**open_, "filled": True}, "encoding": where},
        {"data": {"values": rows}, "mark": text, "encoding": {**where, "text": {"field": "number"}}},
    ]
    return charts.svg({"layer": layers})


# -- filling the templates -----------------------------------------------------------------------------------------------------


def _render(name: str, **values: Any) -> bytes:
    text: str = _templates().get_template(name).render(**values)
    return text.encode()


@cache
def _templates() -> Any:
    """Read and compiled once, for a site has a page a result."""
    own = resources.files(__package__)
    style = page.style() + (own / "site.css").read_text()
    script = (own / "sort.js").read_text()
    made = page.environment(__package__)
    made.globals |= {"style": style, "script": script, "policy": page.policy(style, script)}
    return made
