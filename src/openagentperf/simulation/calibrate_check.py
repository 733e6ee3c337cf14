"""A calibration held against what was measured: the same levels simulated, those that were fitted to and those that were left out.

Each level is simulated with the measured phase's own order: the same agents, seed, ramp and window, so that what differs is the engine.
A level that was fitted to shows how good the description is. One that was left out shows what a prediction is worth, and is the figure to
trust: for every measured level the constants are fitted anew to all others, and this one is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from openagentperf.errors import UsageError
from openagentperf.records.phase import Judged
from openagentperf.score.cache import Sharing
from openagentperf.score.phase import judge
from openagentperf.sim.spec import ClusterSpec
from openagentperf.sim.workload import Workload
from openagentperf.simulation.calibrate import fit
from openagentperf.simulation.calibrate_rows import Level, Observed
from openagentperf.simulation.explore import judged


class Figures(Struct, frozen=True, kw_only=True):
    """What a phase is judged by."""

    ttft_p50_s: float | None
    ttft_p95_s: float | None
    speed_p25: float | None
    cached_fraction: float | None
    output_tokens_per_s: float | None

    @classmethod
    def of(cls, phase: Judged) -> Figures:
        return cls(
            ttft_p50_s=phase.ttft_p50_s,
            ttft_p95_s=phase.ttft_p95_s,
            speed_p25=phase.speed_p25,
            cached_fraction=phase.cached_fraction,
            output_tokens_per_s=phase.output_tokens_per_s,
        )


class Held(Struct, frozen=True, kw_only=True):
    """One measured level beside its simulation."""

    agents: int
    fitted_to: tuple[int, ...]
    """Agents of the levels that the constants came from."""
    measured: Figures
    predicted: Figures

    @property
    def left_out(self) -> bool:
        return self.agents not in self.fitted_to


def shown(
    observed: Observed, spec: ClusterSpec, fitted_to: Sequence[Level], work: Workload, slots: int | None = None
) -> list[Held]:
    """Every measured level by the constants of `spec`; then, where there are three levels or more, each left out of the fit in turn.

    Of levels that were measured more than once the first phase stands for all.
    """
    first = {level.agents: level for level in reversed(observed.levels)}
    levels = [first[agents] for agents in sorted(first)]
    names = tuple(sorted({level.agents for level in fitted_to}))
    rows = [_held(observed, spec, level, work, names) for level in levels]
    fitted = sorted({level.agents for level in fitted_to})
    if len(fitted) < 3:
        return rows
    for agents in fitted:
        others = [level for level in fitted_to if level.agents != agents]
        try:
            spec_of_others = fit(observed, others, slots).spec
        except UsageError:  # without this level there is too little to fit to
            continue
        rows.append(_held(observed, spec_of_others, first[agents], work, tuple(n for n in fitted if n != agents)))
    return rows


def _held(observed: Observed, spec: ClusterSpec, level: Level, work: Workload, fitted_to: tuple[int, ...]) -> Held:
    plan, facts = observed.plan, observed.facts
    sharing = Sharing.of(facts.lines, facts.first_turns, facts.shared_bytes)
    measured = judge(level.facts, level.turns, (), plan.tiers, plan.rigor, sharing)
    _, predicted = judged(plan, spec, work, sharing, level.facts.order)
    return Held(
        agents=level.agents, fitted_to=fitted_to, measured=Figures.of(measured), predicted=Figures.of(predicted)
    )
