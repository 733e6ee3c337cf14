"""All figures that a report draws: computed here, apart from the drawing, so that `--format json` and a dashboard have them too."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from openagentperf.records.phase import Judged
from openagentperf.records.result import Result, TierResult
from openagentperf.report import phasefigures
from openagentperf.report.lanes import Lanes, lanes
from openagentperf.report.opened import Opened
from openagentperf.report.phasefigures import CacheFound, Distribution, Health, Prefills, distribution
from openagentperf.report.phaserows import BROKEN, Rows, read_rows
from openagentperf.report.timeline import Timeline, timeline
from openagentperf.rundir import phase_folder
from openagentperf.score.cache import Sharing
from openagentperf.score.view import View, look

CURVES = 6
"""Phases whose distributions are drawn: more lines cannot be told apart."""
DETAILS = 3
"""Of these, the phases that are shown along their time."""


class Detail(Struct, frozen=True, kw_only=True):
    """One phase at length."""

    why: str
    """Why this one is shown: `capacity of 30/10`, `next above 30/10`."""
    ttft_s: Distribution
    speed: Distribution
    """Output speed, tokens/s; turns with a speed."""
    e2e_speed: Distribution
    prefills: Prefills | None
    """None from the fourth phase on, as the two below."""
    timeline: Timeline | None
    lanes: Lanes | None


class PhaseFigures(Struct, frozen=True, kw_only=True):
    """What one phase's rows add to its judgement. None where they cannot be read."""

    index: int
    agents: int
    kind: str
    cache: CacheFound | None = None
    failures: dict[str, int] = {}
    """Measured turns by cause."""
    examples: dict[str, str] = {}
    """The words of the first failure of each cause, ramp and drain included."""
    health: Health | None = None
    detail: Detail | None = None


class Figures(Struct, frozen=True, kw_only=True):
    phases: tuple[PhaseFigures, ...]
    """One for each judged attempt, in order."""
    missing: tuple[str, ...]
    """What could not be read, in words."""
    contradictions: tuple[str, ...]
    """Where the rows of a phase give another figure than its judgement: a result that was edited, or rows that were."""

    @property
    def details(self) -> tuple[PhaseFigures, ...]:
        """Those shown at length, in the order of agents."""
        return tuple(sorted((p for p in self.phases if p.detail is not None), key=lambda p: (p.agents, p.index)))


def figures(run: Opened) -> Figures:
    """Reads one phase after the other: memory is that of the largest."""
    shown = chosen(run.result, run.phases)
    missing: list[str] = []
    contradictions: list[str] = []
    phases = []
    for judged in run.phases:
        rows = read_rows(phase_folder(run.folder, judged.index, judged.agents))
        found = PhaseFigures(index=judged.index, agents=judged.agents, kind=judged.kind)
        if isinstance(rows, str):
            missing.append(rows)
        else:
            missing += rows.missing
            try:
                along = list(shown).index(judged.index) < DETAILS if judged.index in shown else False
                found, differing = _phase(run, judged, rows, shown.get(judged.index, ""), along)
                contradictions += differing
            except BROKEN as error:
                missing.append(
                    f"phases/{judged.index:03d}: its rows make no sense ({type(error).__name__}: {str(error)[:160]})"
                )
        phases.append(found)
    return Figures(phases=tuple(phases), missing=tuple(missing), contradictions=tuple(contradictions))


def chosen(result: Result | None, history: Sequence[Judged]) -> dict[int, str]:
    """`Judged.index` -> why that phase is worth a picture; the most telling first, at most CURVES of them.

    Of each tier the certifying phase with the worst TTFT (it set the figure), and the last fail at the smallest failing level. Where
    nothing is established, the last phase that measured anything.
    """
    found: dict[int, str] = {}
    capacity = [(tier, _certifying(tier, history)) for tier in (result.results if result else ())]
    above = [(tier, _failing(tier, history)) for tier in (result.results if result else ())]
    pairs = [(judged, f"capacity of {tier.tier}") for tier, judged in capacity]
    pairs[1:1] = [(judged, f"next above {tier.tier}") for tier, judged in above[:1]]
    pairs += [(judged, f"next above {tier.tier}") for tier, judged in above[1:]]
    for judged, why in pairs:
        if judged is not None:
            found[judged.index] = f"{found[judged.index]}, {why}" if judged.index in found else why
    if not found:
        last = next((judged for judged in reversed(history) if judged.measured_turns), None)
        found = {} if last is None else {last.index: "the last phase"}
    return dict(list(found.items())[:CURVES])


def certifying(tier: TierResult, history: Sequence[Judged]) -> list[Judged]:
    """The phases that established the tier's number."""
    return [
        judged
        for judged in history
        if tier.agents and judged.agents == tier.agents and judged.kind == "certify" and _says(judged, tier, "pass")
    ]


def _certifying(tier: TierResult, history: Sequence[Judged]) -> Judged | None:
    phases = certifying(tier, history)
    if not phases:  # at_least and unfinished: a search phase passed there
        phases = [judged for judged in history if judged.agents == tier.agents and _says(judged, tier, "pass")]
    return max(phases, key=lambda judged: judged.ttft_p95_s or 0.0, default=None)


def _failing(tier: TierResult, history: Sequence[Judged]) -> Judged | None:
    failed = [judged for judged in history if judged.agents == tier.smallest_failing and _says(judged, tier, "fail")]
    return failed[-1] if failed else None


def _says(judged: Judged, tier: TierResult, verdict: str) -> bool:
    return any(v.tier == tier.tier and v.verdict == verdict for v in judged.verdicts)


def _phase(run: Opened, judged: Judged, rows: Rows, why: str, along: bool) -> tuple[PhaseFigures, list[str]]:
    found = PhaseFigures(
        index=judged.index, agents=judged.agents, kind=judged.kind, examples=rows.details,
        health=phasefigures.health(rows.facts, rows.samples),
    )  # fmt: skip
    if rows.turns is None:
        return found, []
    view = look(rows.facts, rows.turns, rows.samples)
    cache = None
    if run.facts is not None:
        sharing = Sharing.of(run.facts.lines, run.facts.first_turns, run.facts.shared_bytes)
        cache = phasefigures.cache_found(view, sharing)
    detail = _detail(run, rows, view, why, along) if why else None
    whole = PhaseFigures(
        index=found.index, agents=found.agents, kind=found.kind, cache=cache, failures=phasefigures.failures(view.measured),
        examples=found.examples, health=found.health, detail=detail,
    )  # fmt: skip
    return whole, _contradictions(judged, view, whole)


def _detail(run: Opened, rows: Rows, view: View, why: str, along: bool) -> Detail:
    known = view.pace.known
    return Detail(
        why=why,
        ttft_s=distribution(view.ttft_s, view.failed_turns),
        speed=distribution(view.speeds, view.failed_turns),
        e2e_speed=distribution(view.pace.end_to_end[known], view.failed_turns),
        prefills=phasefigures.prefills(view, rows.facts.order.seed) if along else None,
        timeline=timeline(rows.facts, view.everything, rows.watched, run.meters) if along else None,
        lanes=lanes(rows.facts, view.everything) if along else None,
    )


def _contradictions(judged: Judged, view: View, found: PhaseFigures) -> list[str]:
    pairs: list[tuple[str, float | None, float | None]] = [
        ("measured turns", judged.measured_turns, len(view.measured)),
        ("failed turns", judged.failed_turns, view.failed_turns),
    ]
    if found.cache is not None:
        pairs.append(("cached share", judged.cached_fraction, found.cache.found))
    if found.detail is not None:
        pairs += [
            ("TTFT P50", judged.ttft_p50_s, found.detail.ttft_s.percentiles["p50"]),
            ("TTFT P95", judged.ttft_p95_s, found.detail.ttft_s.percentiles["p95"]),
            ("output speed P25", judged.speed_p25, found.detail.speed.percentiles["p25"]),
            ("end-to-end speed P25", judged.e2e_speed_p25, found.detail.e2e_speed.percentiles["p25"]),
        ]
    return [
        f"phase {judged.index}: the judgement has {name} {said}, its rows give {rows}"
        for name, said, rows in pairs
        if said != rows
    ]
