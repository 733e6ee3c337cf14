"""A search in memory: where each tier's limit lies, without a run folder and without certification.

For sweeps and uncertainty bands, where what matters is the difference between two clusters. Every level of every variant meets the same
agents in the same order (its seed follows from the plan's and the level), so that two variants differ by what was changed and not by luck.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from openagentperf import bench
from openagentperf.corpus.layout import Compiled
from openagentperf.plan import Plan, Rigor
from openagentperf.records.phase import Judged, PhaseOrder
from openagentperf.records.standing import Standing
from openagentperf.score.cache import Sharing
from openagentperf.score.columns import Turns
from openagentperf.score.phase import judge
from openagentperf.search.step import Step, next_step, standings
from openagentperf.sim.binding import Seen
from openagentperf.sim.spec import ClusterSpec
from openagentperf.sim.virtual import SimPhase
from openagentperf.sim.workload import Workload
from openagentperf.simulation.meters import mean_w
from openagentperf.simulation.phases import phase_order, simulated

_AGENTS_A_SECOND_AND_ACCELERATOR = 1 / 8
"""Of the ramp: what `standard` asks of a node of 8 (1/s), so that a rack's ramp is as steep for each accelerator and not 2,000 s long."""


class Load(Struct, frozen=True, kw_only=True):
    """What the agents do, opened once for many clusters."""

    work: Workload
    sharing: Sharing
    longest_tokens: int
    endless_hit_rate: float
    """What a cache without end would give over the whole set, each trajectory once."""

    @classmethod
    def of(cls, plan: Plan, corpus: Compiled) -> Load:
        trees = [corpus.lines(t) for t in range(corpus.trajectories)]
        work = Workload.of(corpus)
        return cls(
            work=work,
            sharing=Sharing.of(
                [len(tree) for tree in trees],
                [line.first for tree in trees for line in tree],
                [corpus.shared_bytes(t, i) for t, tree in enumerate(trees) for i in range(len(tree))],
            ),
            longest_tokens=bench.longest_answer(plan, corpus),
            endless_hit_rate=endless_hit_rate(work),
        )


def endless_hit_rate(work: Workload) -> float:
    """Sum of what each prompt begins with that was computed before, over the sum of all prompts: a segment's first turn finds what its
    chain declares, the others the whole prompt of the turn before."""
    found = total = 0
    before: dict[int, int] = {}
    for segment, tokens in zip(work.segment, work.input_tokens, strict=True):
        chain = work.chains[segment]
        found += min(before.get(segment, chain[-1][1] if chain else 0), tokens)
        total += tokens
        before[segment] = tokens
    return found / total if total else 0.0


class Level(Struct, frozen=True, kw_only=True):
    """One level as it was seen."""

    seen: Seen
    mean_w: float
    """Of all pools together, over the window."""


class Found(Struct, frozen=True, kw_only=True):
    """What the search found of one tier."""

    tier: str
    standing: Standing
    at: Level | None
    """The phase at the largest level that passed; None where none did."""
    above: Level | None
    """That at the smallest level that failed; None where none did."""

    @property
    def agents(self) -> int | None:
        """None where the phases could not be made valid."""
        return None if self.standing.standing == "invalid" else self.standing.passing


def exploring(rigor: Rigor, accelerators: float) -> Rigor:
    """`rigor` with a ramp that is as steep for each accelerator as that of `standard` is on a node of 8, and windows of full length: a KV
    pool that overflows does so when a few agents happen to be long at once, and a short window may see none of it."""
    return replace(
        rigor,
        spawn_per_s=max(rigor.spawn_per_s, accelerators * _AGENTS_A_SECOND_AND_ACCELERATOR),
        search_measure_s=max(rigor.search_measure_s, rigor.measure_s),
    )


def explore(
    plan: Plan, spec: ClusterSpec, load: Load, told: Callable[[Judged], None] = lambda _: None
) -> tuple[Found, ...]:
    """Ramp and bisection for every tier of the plan, each level measured once; ends where certification would begin."""
    levels: list[Level] = []
    while True:
        history = [level.seen.judged for level in levels]
        step = next_step(history, plan.tiers, plan.search, plan.rigor)
        if step is None or step.kind == "certify":
            break
        levels.append(_level(plan, spec, load, step, len(levels), sum(j.agents == step.agents for j in history)))
        told(levels[-1].seen.judged)
    return tuple(
        Found(
            tier=standing.tier,
            standing=standing,
            at=_last(levels, standing.passing),
            above=None if standing.failing is None else _last(levels, standing.failing),
        )
        for standing in standings([level.seen.judged for level in levels], plan.tiers, plan.search, plan.rigor)
    )


def at_level(plan: Plan, spec: ClusterSpec, load: Load, agents: int) -> Level:
    """One search phase at one level."""
    return _level(plan, spec, load, Step(agents=agents, kind="search", why=""), 0, 0)


def _level(plan: Plan, spec: ClusterSpec, load: Load, step: Step, index: int, attempt: int) -> Level:
    order = phase_order(plan, index, step, load.longest_tokens, "explore", step.agents, attempt)
    phase, verdict = judged(plan, spec, load.work, load.sharing, order)
    return Level(seen=Seen(verdict, phase.usage), mean_w=mean_w(phase))


def judged(
    plan: Plan, spec: ClusterSpec, work: Workload, sharing: Sharing, order: PhaseOrder
) -> tuple[SimPhase, Judged]:
    """One phase as ordered, by the plan's tiers and rigor."""
    phase = simulated(spec, work, plan, order)
    turns = Turns.from_columns(phase.columns)
    return phase, judge(phase.facts, turns, phase.samples, plan.tiers, plan.rigor, sharing)


def _last(levels: Sequence[Level], agents: int) -> Level | None:
    return next((level for level in reversed(levels) if level.seen.judged.agents == agents), None)
