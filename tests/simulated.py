"""A small simulated system for the tests of the simulation's jobs: numbers by hand, a search in under a second."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from openagentperf import planfile
from openagentperf.plan import Plan, Rigor, Search, Tier, TierSet, Workload
from openagentperf.sim.account import Simulation
from openagentperf.sim.cells import Constant
from openagentperf.sim.deployment import Compiled
from openagentperf.sim.spec import ClusterSpec, KvGroup, PowerDraw, StepCosts, WorkerSpec
from openagentperf.sim.watts import BoundaryRatios
from openagentperf.system import Pool, System

TIERS = TierSet(
    name="own", tier=(Tier(name="slow", output_speed=20, ttft_s=2), Tier(name="never", output_speed=5000, ttft_s=2))
)
"""`never`: a worker makes at most 1 / 2 ms = 500 tokens a second for one sequence."""
RIGOR = Rigor(
    preset="short", preliminary=True, spawn_per_s=20, settle_s=2, search_measure_s=4, measure_s=20, search_turns=50,
    certify_turns=200, trajectories=0, trajectories_per_agent=0, limit_s=120,
)  # fmt: skip
IDLE_W, DECODE_W, PREFILL_W = 100.0, 400.0, 700.0


def worker(pool: str = "engine", role: str = "aggregated", **changed: object) -> WorkerSpec:
    """Two of them, two accelerators each: 2 ms a step and 4 ms a sequence more, 50,000 prefill tokens a second, 16 places."""
    made = WorkerSpec(
        pool=pool,
        role=role,  # type: ignore[arg-type]
        workers=2,
        accelerators_per_worker=2.0,
        costs=StepCosts(step_s=tuple(0.002 + 0.004 * b for b in range(17)), prefill_token_s=1 / 50_000),
        power=PowerDraw(idle_w=IDLE_W, decode_w=DECODE_W, prefill_w=PREFILL_W),
        max_batch=16,
        chunk_tokens=2048,
        kv=(KvGroup(name="all", kind="full", bytes_per_token=100.0),),
        kv_pool_bytes=100.0 * 200_000,
    )
    return replace(made, **changed)


def cluster(*workers: WorkerSpec, **changed: object) -> ClusterSpec:
    return replace(ClusterSpec(name="toy", workers=workers or (worker(),), max_model_len=8192), **changed)


def simulation(spec: ClusterSpec | None = None, ratios: BoundaryRatios | None = None) -> Simulation:
    spec = spec or cluster()
    pools = tuple(Pool(name=w.pool, accelerators=round(w.workers * w.accelerators_per_worker)) for w in spec.workers)
    constants = (
        Constant(name="accelerator.toy.tdp", value=700, unit="W", mark="fact", source="us", uncertainty=0.0),
        Constant(
            name="model.toy.acceptance.3", value=2.0, unit="tokens a step", mark="assumed", source="us", uncertainty=0.2
        ),
        Constant(
            name="generation.toy.kernels.fp8.mfu", value=0.3, unit="share", mark="assumed", source="us", uncertainty=0.4
        ),
    )
    return Simulation(
        compiled=Compiled(
            spec=spec,
            constants=constants,
            ratios=ratios or BoundaryRatios(node=1.5, rack=2.0),
            system=System(name="toy", pools=pools, hosts=2, racks=0.25, rated_rack_w=20_000, source="us"),
            notes=("a toy",),
        ),
        catalog_digest="c0ffee",
    )


def plan(tiers: TierSet = TIERS, limit: int = 64, seed: int = 3) -> Plan:
    base = planfile.load(None, planfile.Overrides(), {"system": "toy", "model": "toy"})
    return replace(
        base, tiers=tiers, rigor=RIGOR, seed=seed, search=Search(limit=limit),
        workload=Workload(corpus="demo", track="exact", trajectories=20),
    )  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a run folder, but for what tells the time or the host."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "environment.json"
    }
