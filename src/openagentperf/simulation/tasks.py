"""From the axes of a sweep to what each process has to simulate: the corpora are compiled here, once for each context cap."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from openagentperf.corpusjobs.prepare import prepare
from openagentperf.errors import CorpusError
from openagentperf.plan import Plan, Simulate
from openagentperf.sim.catalog import Catalog
from openagentperf.sim.deployment import Deployment
from openagentperf.simulation.sweep import Row, Task, refused
from openagentperf.simulation.variants import Axes, Refused, variants


def tasks_of(plan: Plan, axes: Axes, corpora: Path) -> tuple[list[tuple[int, Task]], list[tuple[int, Row]]]:
    """What is to be simulated, and what is refused, each with its place in the order asked for."""
    wish = plan.simulate or Simulate()
    catalog = Catalog.load([Path(file) for file in wish.catalog])

    def deployment(system: str, model: str) -> Deployment:
        return catalog.deployment(system, model, wish.deployment)

    compiled: dict[int, str | CorpusError] = {}
    tasks: list[tuple[int, Task]] = []
    rows: list[tuple[int, Row]] = []
    for at, variant in enumerate(variants(axes, deployment)):
        if isinstance(variant, Refused):
            rows.append((at, refused(variant, variant.why)))
            continue
        cap = variant.context_tokens or plan.workload.max_context_tokens
        capped = replace(plan, workload=replace(plan.workload, max_context_tokens=cap))
        if cap not in compiled:
            try:
                compiled[cap] = str(prepare(capped.workload, plan.seed, corpora).path.absolute())
            except CorpusError as error:
                compiled[cap] = error
        corpus = compiled[cap]
        if isinstance(corpus, CorpusError):
            rows.append((at, refused(variant, corpus.sentence())))
        else:
            tasks.append((at, Task(variant=variant, plan=capped, corpus=corpus)))
    return tasks, rows
