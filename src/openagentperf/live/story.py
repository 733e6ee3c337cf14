"""What a run's ledger, plan and result say, as rows for a face: pure."""

from __future__ import annotations

from collections.abc import Sequence

from openagentperf.live.records import Asked, Attempt, Capacity, Power, Ratio, Shown, Snapshot, TierNow, TierReading
from openagentperf.plan import Plan
from openagentperf.records.phase import Judged
from openagentperf.records.progress import Progress
from openagentperf.records.result import Result
from openagentperf.records.result import Standing as StandingName
from openagentperf.records.run import RunFacts
from openagentperf.records.standing import Standing
from openagentperf.rundir import LedgerLine
from openagentperf.snapshot import bracket

_LONGEST = 500
"""Characters of a reason: a ledger of a hundred phases is sent as a whole."""


def asked(plan: Plan | None, facts: RunFacts | None) -> Asked:
    return Asked(
        target=facts.target if facts else "",
        model=facts.server.model if facts else "",
        tier_set=f"{plan.tiers.name} {plan.tiers.version}".strip() if plan else "",
        rigor=plan.rigor.preset if plan else "",
        preliminary=plan.rigor.preliminary if plan else True,
        track=plan.workload.track if plan else "",
    )


def tiers(plan: Plan, standings: Sequence[Standing]) -> tuple[TierNow, ...]:
    """The plan's tiers; those that the search has said nothing of stand as not begun."""
    known = {standing.tier: standing for standing in standings}
    rows = []
    for tier in plan.tiers.tier:
        at = known.get(tier.name) or Standing(
            tier=tier.name, standing="unfinished", agents=None, passing=0, failing=None
        )
        rows.append(
            TierNow(
                tier=tier.name,
                output_speed=tier.output_speed,
                ttft_s=tier.ttft_s,
                standing=_shown(at.standing, plan.simulate is not None),
                agents=at.agents,
                passing=at.passing,
                failing=at.failing,
                phases_left=at.phases_left,
                bracket=bracket(at),
            )
        )
    return tuple(rows)


def _shown(standing: StandingName, simulated: bool) -> Shown:
    return "simulated" if simulated and standing in ("certified", "confirmed") else standing


def attempts(lines: Sequence[LedgerLine]) -> tuple[Attempt, ...]:
    """One row a phase, in the order in which they were begun: what was last said of it."""
    rows: dict[int, Attempt] = {}
    for line in lines:
        if line.index < 0:
            continue
        before = rows.get(line.index)
        if line.event == "judged" and line.judged is not None:
            rows[line.index] = _judged(line.judged, before.why if before else "")
        elif line.event in ("begun", "broken"):
            rows[line.index] = Attempt(
                index=line.index, agents=line.agents, kind=line.kind, event=line.event, why=line.why[:_LONGEST]  # type: ignore[arg-type]
            )  # fmt: skip
    return tuple(rows.values())


def _judged(judged: Judged, why: str) -> Attempt:
    return Attempt(
        index=judged.index,
        agents=judged.agents,
        kind=judged.kind,
        event="judged",
        why=why,
        verdicts=tuple(
            TierReading(tier=v.tier, verdict=v.verdict, reasons=tuple(reason[:_LONGEST] for reason in v.reasons[:3]))
            for v in judged.verdicts
        ),
        measured_turns=judged.measured_turns,
        failed_turns=judged.failed_turns,
        ttft_p95_s=judged.ttft_p95_s,
        speed_p25=judged.speed_p25,
        output_tokens_per_s=judged.output_tokens_per_s,
        cached_share=judged.cached_fraction,
        power=tuple(
            Power(
                boundary=row.boundary, basis=row.basis, watts=row.mean_w, devices=row.devices,
                why="" if row.valid or not row.faults else row.faults[0].why[:_LONGEST],
            )
            for row in judged.energy
        ),
    )  # fmt: skip


def capacities(result: Result) -> tuple[Capacity, ...]:
    return tuple(
        Capacity(
            tier=row.tier,
            standing=_shown(row.standing, result.simulated is not None),
            agents=row.agents,
            agents_per_accelerator=row.agents_per_accelerator,
            per_mw=tuple(Ratio(name=power.name, agents_per_mw=power.agents_per_mw) for power in row.power),
            why=row.why[:_LONGEST],
        )
        for row in result.results
    )


def progress(seen: Snapshot) -> Progress:
    """The same as the run's own display shows; of a phase whose rows are still being read in, no figures."""
    now, phase = seen.now, seen.now.phase
    open_phase = phase if phase is not None and now.state in ("running", "silent") else None
    if open_phase is not None and now.behind:
        said = f"rows of phase {open_phase.index} are still being read in"
        return Progress(stage=now.stage, message=said, elapsed_s=now.elapsed_s or 0.0)
    said = now.message if now.state != "running" or open_phase is None else ""
    if open_phase is None:
        return Progress(stage=now.stage, message=said, elapsed_s=now.elapsed_s or 0.0)
    return Progress(
        stage=open_phase.stage,
        message=said,
        phase=open_phase.index,
        kind=open_phase.kind,
        agents=open_phase.agents,
        active_agents=min(open_phase.active_agents or 0, open_phase.agents),
        in_flight=open_phase.in_flight,
        measured_turns=open_phase.measured_turns,
        wanted_turns=open_phase.wanted_turns,
        failed_turns=open_phase.failed_turns,
        ttft_p95_s=open_phase.ttft_p95_s,
        speed_p25=open_phase.speed_p25,
        elapsed_s=now.elapsed_s or 0.0,
        phase_left_s=open_phase.left_s,
        run_left_s=now.run_left_s,
        last_error=open_phase.last_error,
        brackets=tuple(tier.bracket for tier in seen.about.tiers),
    )
