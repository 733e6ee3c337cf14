"""One simulated phase: what is ordered, and what its quota is. The same arithmetic as of a real phase (bench), without its secrets."""

from __future__ import annotations

from openagentperf import bench
from openagentperf.plan import Plan
from openagentperf.records.phase import PhaseOrder
from openagentperf.search.step import Step
from openagentperf.seeds import derive
from openagentperf.sim.spec import ClusterSpec
from openagentperf.sim.virtual import SimPhase, run_phase
from openagentperf.sim.workload import Workload
from openagentperf.units import NS_PER_S, Ns

START_NS: Ns = 10 * NS_PER_S
"""Of each phase's own virtual clock: power is read from a while before the ramp on."""


def phase_order(plan: Plan, index: int, step: Step, longest_tokens: int, *names: object) -> PhaseOrder:
    """Everything follows from the plan's seed and `names`: the same simulation gives the same bytes.

    A real run's nonces are secret, so that no server can know a prompt before it comes; a simulated pool knows tokens by where they come
    from, and no phase by the one before it, so that there is nothing to keep from it.
    """
    rigor = plan.rigor
    return PhaseOrder(
        index=index,
        agents=step.agents,
        kind=step.kind,
        seed=int.from_bytes(derive(plan.seed, *names)[:7], "little"),
        phase_nonce="",
        nonce_key=b"",
        start_ns=START_NS,
        spawn_per_s=rigor.spawn_per_s,
        settle_s=rigor.settle_s,
        measure_s=rigor.measure_s if step.kind == "certify" else rigor.search_measure_s,
        limit_s=rigor.limit_s,
        turn_timeout_s=plan.slowest_answer_s(longest_tokens),
    )


def simulated(spec: ClusterSpec, work: Workload, plan: Plan, order: PhaseOrder) -> SimPhase:
    return run_phase(spec, work, order, bench.quota(plan.rigor, Step(agents=order.agents, kind=order.kind, why="")))
