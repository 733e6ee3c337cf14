"""The answer: what the attempts establish about each tier, as `result.json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from openagentperf.plan import Plan, Tier
from openagentperf.records.phase import Judged
from openagentperf.records.power import IdlePower
from openagentperf.records.result import Interval, Result, Target, TierResult, Workmix
from openagentperf.records.run import RunFacts
from openagentperf.records.simulated import Simulated
from openagentperf.records.standing import Standing
from openagentperf.score import normalise, worklength
from openagentperf.score.estimate import crossing

EXIT_HOLDS, EXIT_UNMET, EXIT_INVALID, EXIT_UNFINISHED = 0, 3, 4, 130


class CorpusFacts(Struct, frozen=True, kw_only=True):
    """What a result says of the set it was measured on."""

    digest: str
    sealed_root: str = ""
    input_tokens_mean: float
    """Over all turns of the set, by the corpus's own counts."""
    output_tokens_mean: float

    @classmethod
    def of(cls, facts: RunFacts) -> CorpusFacts:
        """As the run wrote them down."""
        return cls(
            digest=facts.corpus_digest,
            sealed_root=facts.sealed_root,
            input_tokens_mean=facts.set_input_tokens_mean,
            output_tokens_mean=facts.set_output_tokens_mean,
        )


def result(
    plan: Plan,
    history: Sequence[Judged],
    standings: Sequence[Standing],
    corpus: CorpusFacts,
    version: str,
    notes: Sequence[str] = (),
    idle_power: tuple[IdlePower, ...] = (),
    simulated: Simulated | None = None,
) -> Result:
    """The result of a run. A pure function of its arguments: the same rows give the same bytes.

    history    every judged attempt, in order
    standings  one for each of the plan's tiers, as the search left them
    version    of openagentperf
    notes      said by others (preflight, corpus); put first
    idle_power as the run watched it
    simulated  of a simulated cluster: what was simulated

    Source: docs/methodology.md#capacity
    """
    by_tier = {standing.tier: standing for standing in standings}
    by_index = {judged.index: judged for judged in history}
    found = {tier.name: by_tier[tier.name] for tier in plan.tiers.tier}
    certifying = [by_index[i] for i in sorted({i for s in found.values() for i in s.certifying})]
    answered = [j for j in history if j.measured_turns > j.failed_turns]
    verified = bool(answered) and all(j.cached_fraction is not None for j in answered)
    return Result(
        version=version,
        plan_digest=plan.digest,
        corpus_digest=corpus.digest,
        sealed_root=corpus.sealed_root,
        tiers=f"{plan.tiers.name} {plan.tiers.version}",
        tiers_digest=plan.tiers.digest,
        rigor=plan.rigor.preset,
        preliminary=plan.rigor.preliminary,
        track=plan.workload.track,
        target=_target(plan),
        cache="cache verified" if verified else "cache unverified",
        results=tuple(_tier(plan, tier, found[tier.name], history, by_index) for tier in plan.tiers.tier),
        phases=tuple(history),
        idle_power=idle_power,
        simulated=simulated,
        workmix=Workmix(
            input_tokens_mean=_mean_of(certifying, lambda j: j.input_tokens_mean),
            output_tokens_mean=_mean_of(certifying, lambda j: j.output_tokens_mean),
            set_input_tokens_mean=corpus.input_tokens_mean,
            set_output_tokens_mean=corpus.output_tokens_mean,
        ),
        notes=(*notes, *_notes(plan, history, certifying, verified), *normalise.power_notes(certifying)),
        exit_code=exit_code(tuple(found.values())),
    )


def _target(plan: Plan) -> Target:
    if plan.simulate is not None:
        return "simulated cluster"
    return "endpoint" if plan.endpoint is not None else "embedded simulated node"


def exit_code(standings: Sequence[Standing]) -> int:
    """4 where any tier ended invalid, else 130 where any is unfinished, else 3 where any is unmet at one agent, else 0.

    Invalid wins: an unmet tier beside it is a number, but of a run that could not be measured, and a script must not
    take it for the answer.
    """
    names = {standing.standing for standing in standings}
    if "invalid" in names:
        return EXIT_INVALID
    if "unfinished" in names:
        return EXIT_UNFINISHED
    return EXIT_UNMET if "unmet" in names else EXIT_HOLDS


def _tier(
    plan: Plan, tier: Tier, standing: Standing, history: Sequence[Judged], by_index: dict[int, Judged]
) -> TierResult:
    phases = [by_index[i] for i in standing.certifying]
    agents, system = standing.agents, plan.system
    accelerators = normalise.accelerators(system)
    power = normalise.tier_power(agents, phases, system)
    return TierResult(
        tier=tier.name,
        output_speed=float(
            tier.output_speed
        ),  # a plan made in Python may say 30, which JSON would keep apart from 30.0
        ttft_s=float(tier.ttft_s),
        standing=standing.standing,
        agents=standing.agents,
        smallest_failing=standing.failing,
        estimate=_beside(crossing(history, tier), standing),
        non_monotone=standing.non_monotone,
        agents_per_accelerator=agents / accelerators if agents is not None and accelerators else None,
        agents_per_rack=agents / system.racks if agents is not None and system.racks else None,
        power=power,
        cost=normalise.cost(agents, phases, system, power),
        ttft_p95_s=_worst(max, [j.ttft_p95_s for j in phases]),
        speed_p25=_worst(min, [j.speed_p25 for j in phases]),
        e2e_speed_p25=_worst(min, [j.e2e_speed_p25 for j in phases]),
        why=_why(standing, tier, history),
    )


def _why(standing: Standing, tier: Tier, history: Sequence[Judged]) -> str:
    """The search's own words; for an unmet tier also what the phase missed that failed with one agent."""
    if standing.standing != "unmet":
        return standing.why
    failed = (
        verdict.reasons
        for judged in reversed(history)
        for verdict in judged.verdicts
        if judged.agents == standing.failing and verdict.tier == tier.name and verdict.verdict == "fail"
    )
    return ": ".join([standing.why, *filter(None, ["; ".join(next(failed, ()))])])


def _beside(estimate: Interval | None, standing: Standing) -> Interval | None:
    """The estimate, or None where its interval lies wholly outside of what was found: certified number to smallest failing level.

    A system that falls off a cliff is no straight line. An interval of 17.9 to 22.4 beside a fail at 16 would be read as room for two more.
    """
    if estimate is None:
        return None
    above = standing.failing is not None and estimate.low > standing.failing
    below = standing.agents is not None and estimate.high < standing.agents
    return None if above or below else estimate


def _worst(pick: Callable[[list[float]], float], values: Sequence[float | None]) -> float | None:
    """None where there is no phase, or one of them has no figure: the worst of an unknown is unknown."""
    known = [value for value in values if value is not None]
    return pick(known) if known and len(known) == len(values) else None


def _mean_of(phases: Sequence[Judged], figure: Callable[[Judged], float | None]) -> float | None:
    """Mean over phases, each weighted by its answered turns; None where none has the figure."""
    weighted = [(value, j.measured_turns - j.failed_turns) for j in phases if (value := figure(j)) is not None]
    weight = sum(turns for _, turns in weighted)
    return sum(value * turns for value, turns in weighted) / weight if weight else None


_OF_LABELS = ("preliminary:", "simulated:", "the target is a simulated node", "cache unverified:")
"""Openings of the notes below that a label says too (records.result.labels)."""


def other_notes(result: Result) -> list[str]:
    """The result's notes that no label says: a face that shows the labels shows these beside them."""
    return [note for note in result.notes if not note.startswith(_OF_LABELS)]


def _notes(plan: Plan, history: Sequence[Judged], certifying: Sequence[Judged], verified: bool) -> list[str]:
    notes: list[str] = []
    if plan.rigor.preliminary:
        notes.append(f"preliminary: rigor `{plan.rigor.preset}` confirms a capacity, it does not certify it")
    if plan.simulate is not None:
        notes.append("simulated: every figure is a prediction of a model of the cluster, none was measured on hardware")
    elif plan.endpoint is None:
        notes.append("the target is a simulated node: its capacity says nothing of any real system")
    if not verified:
        notes.append(
            "cache unverified: a warm cache cannot be ruled out where the server does not report cached tokens"
        )
    if noted := _sub_agents(certifying):
        notes.append(noted)
    if plan.workload.track == "natural":
        notes.extend(worklength.unequal(history, certifying))
    return notes


def _sub_agents(certifying: Sequence[Judged]) -> str:
    """How much of the certifying phases was sub-agents', and the requests in flight that came of it; "" where there were none."""
    share = _mean_of(certifying, lambda j: j.subagent_share)
    most = max(certifying, key=lambda j: j.in_flight_max or 0, default=None)
    if not share or most is None:
        return ""
    return (
        f"sub-agents run beside their agents, who are what is counted: {share:.1%} of the measured turns were theirs, "
        f"and up to {most.in_flight_max} requests in flight at {most.agents} agents"
    )
