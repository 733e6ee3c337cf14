"""From a plan's [simulate] table to a cluster in numbers."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from openagentperf.plan import Simulate
from openagentperf.sim.account import Simulation
from openagentperf.sim.catalog import Catalog
from openagentperf.sim.deployment import Deployment, Scale, compile_cluster
from openagentperf.sim.entries import SystemEntry
from openagentperf.sim.silicon import measured
from openagentperf.sim.silicontables import Tables
from openagentperf.simulation.failures import failing


def simulation_of(wish: Simulate) -> Simulation:
    """The catalogue's entries that the wish names, compiled. UsageError where one is missing, unknown, or does not fit."""
    catalog = Catalog.load([Path(file) for file in wish.catalog])
    deployment = catalog.deployment(wish.system, wish.model, wish.deployment)
    return compiled(wish, catalog, deployment, Scale())


def compiled(
    wish: Simulate, catalog: Catalog, deployment: Deployment, scale: Scale, runtime_memory: float = 1.0
) -> Simulation:
    """`runtime_memory` multiplies what the engine itself takes of each accelerator, and what it leaves is the KV pool."""
    system, model = catalog.system(wish.system), catalog.model(wish.model)
    if runtime_memory != 1.0:
        system = _with_runtime_memory(system, runtime_memory)
    cluster = compile_cluster(system, model, deployment, scale, name=wish.model)
    if wish.silicon:
        tables = Tables.of(wish.silicon, system.accelerator_name)
        cluster = measured(cluster, system, model, deployment, tables, wish.model, scale)
    return Simulation(compiled=failing(cluster, wish.fail_worker), catalog_digest=catalog.digest)


def _with_runtime_memory(system: SystemEntry, factor: float) -> SystemEntry:
    generation = system.accelerator.generation
    if generation is None or generation.runtime_memory.value is None:
        return system
    cell = replace(generation.runtime_memory, value=generation.runtime_memory.value * factor)
    accelerator = replace(system.accelerator, generation=replace(generation, runtime_memory=cell))
    return replace(system, accelerator=accelerator)
