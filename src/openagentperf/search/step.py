"""Which phase to run next, over all tiers, and where each tier stands: pure functions of the judged history.

Nothing is remembered between calls, so resuming a run and scoring it again are replays of its ledger.

Order: doubted fails first (they decide where to look), then the ramp, then bisections, then certifications. All search
comes before any certification because a certifying phase costs ten times a search phase and a search phase for another
tier can still move this one's candidate. Among search phases the lowest level goes first. In a monotone system the
order changes nothing: every tier bisects the same ramp's brackets at the same midpoints, so two tiers' brackets are
equal or disjoint and the phases of all together are the union of what each would measure alone. Certification starts
at the highest candidate: a tier that steps down onto another's candidate then shares its phases.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from openagentperf import plan
from openagentperf.errors import PlanError
from openagentperf.plan import TierSet
from openagentperf.records.phase import Judged, PhaseKind
from openagentperf.records.result import Standing as StandingName
from openagentperf.records.standing import Standing
from openagentperf.search.belief import Belief, Need, Want

_ORDER: dict[Want, int] = {"repeat": 0, "ramp": 1, "bisect": 2, "certify": 3}


class Step(Struct, frozen=True, kw_only=True):
    """The next phase to run."""

    agents: int
    kind: PhaseKind
    why: str
    """In words, for the display and the ledger's reader."""


def next_step(history: Sequence[Judged], tiers: TierSet, rules: plan.Search, rigor: plan.Rigor) -> Step | None:
    """The phase that the search wants next; None when every tier is finished.

    history  every judged phase in the order it ran, invalid ones too

    Ends for any verdicts: with T tiers, C certifying phases and R invalid repeats, after at most
    T x limit x (3 + 2 C) x (1 + R) phases; a monotone system takes the ramp, ceil(log2(bracket / step)) bisections and
    C phases for each tier.

    Source: docs/methodology.md#capacity.
    """
    wanted = [(need, belief) for belief in _beliefs(history, tiers, rules, rigor) if (need := belief.need())]
    if not wanted:
        return None
    first, _ = min(wanted, key=lambda pair: _rank(pair[0]))
    served = [belief for need, belief in wanted if need.agents == first.agents and need.want == first.want]
    return Step(agents=first.agents, kind=first.kind, why=_why(first, served))


def standings(history: Sequence[Judged], tiers: TierSet, rules: plan.Search, rigor: plan.Rigor) -> tuple[Standing, ...]:
    """Where the search stands for each tier, in the order of the tier set; complete or not.

    PlanError where a phase was not judged for one of the tiers: the plan has been changed since.
    Source: docs/methodology.md#capacity.
    """
    return tuple(_standing(belief, rules, rigor) for belief in _beliefs(history, tiers, rules, rigor))


def _beliefs(history: Sequence[Judged], tiers: TierSet, rules: plan.Search, rigor: plan.Rigor) -> list[Belief]:
    beliefs = [Belief(tier.name, rules, rigor.certify_phases) for tier in tiers.tier]
    for phase in history:
        judged = {verdict.tier for verdict in phase.verdicts}
        if missing := [belief.tier for belief in beliefs if belief.tier not in judged]:
            raise PlanError(
                "plan.toml", f"asks for the tier {missing[0][:100]!r}, for which phase {phase.index} was not judged",
                "the plan that the ledger was written by was needed", "restore it",
            )  # fmt: skip
        for belief in beliefs:
            belief.see(phase)
    return beliefs


def _rank(need: Need) -> tuple[int, int]:
    return _ORDER[need.want], -need.agents if need.want == "certify" else need.agents


def _why(need: Need, served: Sequence[Belief]) -> str:
    names = ", ".join(belief.tier for belief in served)
    one = served[0]
    match need.want:
        case "ramp":
            return f"ramp: no fail yet for {names}"
        case "bisect" if need.agents == one.floor:
            return f"bisect: {names} had too few turns at {need.agents} agents and failed at {one.failing}"
        case "bisect":
            return f"bisect: {names} between {one.floor} and {one.failing} agents"
        case "repeat":
            return f"repeat: {names} failed at {need.agents} agents and passed above"
        case "certify":
            return f"certify: {names}, phase {need.done + 1} of {one.certify_phases}"


def _standing(belief: Belief, rules: plan.Search, rigor: plan.Rigor) -> Standing:
    def at(standing: StandingName, agents: int | None, why: str = "", certifying: tuple[int, ...] = ()) -> Standing:
        return Standing(
            tier=belief.tier,
            standing=standing,
            agents=agents,
            passing=belief.passing,
            failing=belief.failing,
            certifying=certifying,
            non_monotone=belief.non_monotone,
            phases_left=belief.phases_left(),
            why=why,
        )

    if belief.ended:
        return at("invalid", None, belief.ended)
    if belief.need() is not None:
        return at("unfinished", None)
    candidate, certifying = belief.candidate, belief.certifying()
    if candidate == 0:
        return at("unmet", 0, "one agent alone misses the service level")
    if belief.failing is None:
        return at("at_least", candidate, f"still passes at the search limit of {rules.limit} agents", certifying)
    return at("confirmed" if rigor.preliminary else "certified", candidate, "", certifying)
