"""Many clusters, one after another or beside each other: a row each, in the order asked for, whatever ran where."""

from __future__ import annotations

import multiprocessing
import signal
from array import array
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from openagentperf.corpusfile import open_corpus
from openagentperf.errors import OpenAgentPerfError, UsageError
from openagentperf.load.ray import joined
from openagentperf.plan import Plan, Search, Simulate
from openagentperf.sim.account import hit_rate
from openagentperf.sim.binding import binding
from openagentperf.sim.catalog import Catalog
from openagentperf.sim.deployment import Compiled, Scale
from openagentperf.sim.workload import Workload
from openagentperf.simulation.explore import Found, Load, explore, exploring
from openagentperf.simulation.variants import Refused, Variant
from openagentperf.simulation.wish import compiled

RESOLUTION = 0.05
"""Of a sweep's search: what differs by less is not worth a decision."""


class Task(Struct, frozen=True, kw_only=True):
    """One variant with all that another process needs to simulate it."""

    variant: Variant
    plan: Plan
    corpus: str
    """Path of the compiled corpus."""


class Row(Struct, frozen=True, kw_only=True):
    """One variant at one tier. Simulated, found by search phases, not certified."""

    system: str
    model: str
    changes: tuple[str, ...]
    deployment: str = ""
    tier: str = ""
    agents: int | None = None
    """None: refused, or not established."""
    at_least: bool = False
    """It still passed at the search limit."""
    agents_per_accelerator: float | None = None
    agents_per_mw: float | None = None
    """Accelerators, modelled, by the power of the search phase at that level."""
    hit_rate: float | None = None
    binds: str = ""
    """records.simulated.Resource."""
    why: str = ""
    """Of `binds`; or why there is no number."""


Done: TypeAlias = tuple[Row, ...]


def simulate_variant(task: Task) -> Done:
    """A row a tier; one row that says why where the cluster cannot be."""
    variant, plan = task.variant, task.plan
    wish = plan.simulate or Simulate()
    named = replace(wish, system=variant.system, model=variant.model)
    try:
        catalog = Catalog.load([Path(file) for file in wish.catalog])
        simulation = compiled(named, catalog, variant.deployment, Scale())
        load = Load.of(plan, open_corpus(Path(task.corpus), verify=False))
    except OpenAgentPerfError as error:
        return (refused(variant, error.sentence()),)
    if variant.cache == "off":
        load = replace(load, work=without_reuse(load.work), endless_hit_rate=0.0)
    spec = simulation.compiled.spec
    found = explore(sweeping(plan, spec.accelerators), spec, load)
    return tuple(_row(variant, simulation.compiled, plan, load, each) for each in found)


def refused(variant: Variant | Refused, why: str) -> Row:
    return Row(system=variant.system, model=variant.model, changes=variant.changes, why=why)


def sweeping(plan: Plan, accelerators: float, start: int = 0) -> Plan:
    """The plan with a search for differences: from a level that most systems of this size pass, to 5 %."""
    rules = plan.search
    first = min(rules.limit, max(1, start or round(accelerators / 4)))
    return replace(
        plan,
        rigor=exploring(plan.rigor, accelerators),
        search=Search(start=first, limit=rules.limit, resolution=max(rules.resolution, RESOLUTION)),
    )


def without_reuse(work: Workload) -> Workload:
    """The same requests, none of which begins with what another has computed."""
    cold = Workload()
    cold.__dict__.update(work.__dict__)
    cold.segment = array("q", range(work.total_turns))
    cold.chains = [()] * work.total_turns
    return cold


def _row(variant: Variant, cluster: Compiled, plan: Plan, load: Load, found: Found) -> Row:
    tier = next(tier for tier in plan.tiers.tier if tier.name == found.tier)
    agents = found.agents
    at = found.at if agents else None
    lower, upper = (None if level is None else level.seen for level in (found.at, found.above))
    bound = binding(tier, cluster.spec, load.endless_hit_rate, lower, upper)
    accelerators = cluster.spec.accelerators
    return Row(
        system=variant.system,
        model=variant.model,
        changes=variant.changes,
        deployment=cluster.spec.name,
        tier=tier.name,
        agents=agents,
        at_least=found.standing.failing is None,
        agents_per_accelerator=None if agents is None else agents / accelerators,
        agents_per_mw=at.seen.judged.agents / (at.mean_w / 1e6) if at is not None and at.mean_w else None,
        hit_rate=hit_rate([at.seen.judged]) if at is not None else None,
        binds=bound.resource,
        why=bound.why if agents is not None else found.standing.why,
    )


def run_all(tasks: Sequence[Task], jobs: int, told: Callable[[Done], None], ray_address: str = "") -> list[Done]:
    """Rows by task, in the tasks' order. `told` hears of each as soon as all before it are done."""
    done = []
    with closing(_on_ray(tasks, ray_address) if ray_address else _on_host(tasks, jobs)) as found:
        for rows in found:
            done.append(rows)
            told(rows)
    return done


def _on_host(tasks: Sequence[Task], jobs: int) -> Generator[Done]:
    if jobs == 1 or len(tasks) < 2:
        yield from map(simulate_variant, tasks)
        return
    others = set(multiprocessing.active_children())
    # spawn: a fork of a process with threads (polars has some) may hang.
    pool = ProcessPoolExecutor(
        min(jobs, len(tasks)), mp_context=multiprocessing.get_context("spawn"), initializer=_leave_interrupts_to_the_parent
    )  # fmt: skip
    try:
        yield from pool.map(simulate_variant, tasks)
    except BrokenProcessPool:
        raise UsageError(
            "--jobs", "a process that simulated was killed", "each needs a few hundred MB of memory", "ask for fewer with --jobs N"
        ) from None  # fmt: skip
    except BaseException:
        # Nobody wants the rest: a search that has begun would be waited for, minutes after Ctrl-C.
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches the whole process group, and each would tell its own traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _on_ray(tasks: Sequence[Task], address: str) -> Generator[Done]:
    ray = joined(address)
    remote = ray.remote(simulate_variant)
    waiting = [remote.remote(task) for task in tasks]
    try:
        for each in waiting:
            yield ray.get(each)
    finally:
        ray.shutdown()
