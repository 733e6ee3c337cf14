"""How a model is laid out on a system, and the way from there to a simulated cluster in numbers (docs/catalog.md#deployments)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from openagentperf.errors import UsageError
from openagentperf.sim.cells import Constant, Ledger
from openagentperf.sim.entries import Model, SystemEntry
from openagentperf.sim.physics import Machine, Split, machine_of, pool_bytes, step_costs
from openagentperf.sim.shapes import Shape, shape_of
from openagentperf.sim.spec import ClusterSpec, FirstToken, Role, Routing, WorkerSpec
from openagentperf.sim.watts import BoundaryRatios, draw_of, ratios_of
from openagentperf.system import Pool, Price, System
from openagentperf.units import Count, CountOrZero, Seconds


class PoolPlan(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Groups of accelerators that do the same: groups x tp x dp of them."""

    role: Role
    groups: Count
    tp: Count = 1
    dp: Count = 1
    ep: Count = 1
    """1: experts are split as tensors over the whole group; tp x dp: whole experts are spread over it."""
    max_batch: Count = 192
    """Sequences that decode at once, a rank."""
    chunk_tokens: Count = 8_192
    """Prefill tokens in one step, a rank."""

    @property
    def accelerators(self) -> int:
        return self.groups * self.tp * self.dp


class Deployment(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One way to serve a model on a system."""

    pools: Annotated[tuple[PoolPlan, ...], Meta(min_length=1)]
    """Either all `aggregated`, or some `prefill` and some `decode`."""
    memory_share: Annotated[float, Meta(gt=0, le=1)] = 0.9
    """Of the memory that a program can see; what weights, runtime and activations leave of it is the KV pool."""
    weights: str = ""
    """Precision of the routed experts; "": what the model's entry serves."""
    dense_weights: str = ""
    kv: str = "fp8"
    index: str = ""
    """Precision of an indexer's keys; "": as `kv`."""
    draft_tokens: CountOrZero = 0
    routing: Routing = "affinity"
    max_model_len: Count = 131_072
    block_tokens: Count = 64
    host_cache: Annotated[float, Meta(ge=0)] = 0.0
    """GB an accelerator, for prefixes that left the pool."""
    first_token: FirstToken = "decode"
    """Who streams it where roles are split (spec.ClusterSpec.first_token): engines differ."""
    transfer_start_s: Seconds = 0.01
    """Between a prompt's last chunk and its first decode step, besides the bytes: notification and placement."""
    source: str = ""
    """Who runs it so, or the rule that made it."""
    note: str = ""


class Scale(Struct, frozen=True, kw_only=True):
    """Factors on what is uncertain, for bands around a prediction. Above 1: more arithmetic reached, more bandwidth reached, more fixed
    time, more watts, more drafted tokens accepted."""

    compute: float = 1.0
    bandwidth: float = 1.0
    overhead: float = 1.0
    power: float = 1.0
    acceptance: float = 1.0
    """On the tokens beyond the first of each step."""


MEMORY_SHARE_UNCERTAINTY = 0.02
_PLAIN = Scale()


class Compiled(Struct, frozen=True, kw_only=True):
    """A deployment in numbers, and where they come from."""

    spec: ClusterSpec
    constants: tuple[Constant, ...]
    """Every cell that was used, and what was chosen of the deployment that decides what the KV pool holds."""
    ratios: BoundaryRatios
    system: System
    """The inventory that agents are divided by."""
    notes: tuple[str, ...]


def compile_cluster(
    system: SystemEntry, model: Model, deployment: Deployment, scale: Scale = _PLAIN, name: str = "model"
) -> Compiled:
    """The cluster that `deployment` makes of `system`. UsageError where a cell is unknown, weights do not fit, or it contradicts itself."""
    where = f"{system.name} with {name}"
    ledger = Ledger()
    _check(system, deployment, where)
    weights = deployment.weights or model.served_weights or model.weights
    dense = deployment.dense_weights or model.served_weights or model.dense_weights
    shape = shape_of(model, name, ledger, weights, dense, deployment.kv, deployment.index or deployment.kv)
    if deployment.max_model_len > shape.context:
        found, most = f"max_model_len is {deployment.max_model_len:,}", f"{shape.context:,} tokens"
        raise UsageError(where, found, f"{model.title} reads {most} at most", "lower it")
    acceptance = _acceptance(model, name, deployment.draft_tokens, ledger, scale)
    workers = tuple(
        _worker(system, shape, deployment, pool, acceptance, scale, ledger, where) for pool in deployment.pools
    )
    machine = _machine(system, shape, deployment.pools[0], scale, ledger)
    split = len({pool.role for pool in deployment.pools}) > 1
    used = sum(pool.accelerators for pool in deployment.pools)
    fabric = (
        machine.link_bytes_per_s
        if used <= machine.domain
        else machine.scale_out_bytes_per_s or machine.link_bytes_per_s
    )
    spec = ClusterSpec(
        name=f"{system.name}, {name}, {describe(deployment)}",
        workers=workers,
        max_model_len=deployment.max_model_len,
        routing=deployment.routing,
        transfer_bytes_per_s=fabric if split else 0.0,
        transfer_start_s=deployment.transfer_start_s if split else 0.0,
        first_token=deployment.first_token,
    )
    ratios = ratios_of(system, ledger)
    return Compiled(
        spec=spec,
        constants=tuple(sorted((*ledger.constants, _memory_share(deployment)), key=lambda c: c.name)),
        ratios=ratios,
        system=_inventory(system, deployment),
        notes=tuple(note for note in (system.note, system.accelerator.note, model.note, deployment.note) if note),
    )


def _memory_share(deployment: Deployment) -> Constant:
    """An option of engines that hardly anybody discloses; where weights nearly fill the memory, it decides what the KV pool is."""
    return Constant(
        name="deployment.memory_share", value=deployment.memory_share, unit="share", mark="assumed",
        source="chosen: an engine's option, 0.9 or a little less by default", uncertainty=MEMORY_SHARE_UNCERTAINTY,
    )  # fmt: skip


def describe(deployment: Deployment) -> str:
    """`24 prefill (6 x DEP4) + 8 decode (1 x DEP8)`."""
    return " + ".join(f"{p.accelerators} {p.role} ({p.groups} x {_layout(p)})" for p in deployment.pools)


def _layout(pool: PoolPlan) -> str:
    data = f"{'DEP' if pool.ep > 1 else 'DP'}{pool.dp}" if pool.dp > 1 else ""
    tensor = f"TP{pool.tp}" if pool.tp > 1 else ""
    return f"{tensor} {data}".strip() or "1"


def _check(system: SystemEntry, deployment: Deployment, where: str) -> None:
    roles = {pool.role for pool in deployment.pools}
    if roles != {"aggregated"} and roles != {"prefill", "decode"}:
        needed = "either all aggregated, or some prefill and some decode"
        raise UsageError(where, f"the pools are {', '.join(sorted(roles))}", needed, "correct the deployment's roles")
    used, there = sum(pool.accelerators for pool in deployment.pools), system.accelerators.value
    if there is not None and used > there:
        advice = "lower `groups`, or name a larger system"
        raise UsageError(where, f"the deployment takes {used} accelerators", f"the system has {there:.0f}", advice)
    for pool in deployment.pools:
        if pool.ep not in (1, pool.tp * pool.dp):
            found = f"ep is {pool.ep} in a group of {pool.tp * pool.dp} accelerators"
            raise UsageError(where, found, "1 or the whole group was needed", "correct ep")


def _acceptance(model: Model, name: str, drafts: int, ledger: Ledger, scale: Scale) -> float:
    if not drafts:
        return 1.0
    cell = model.acceptance.get(str(drafts))
    length = ledger.read(f"model.{name}.acceptance.{drafts}", cell, "tokens a step")
    if not model.draft_layers.value:
        found = f"draft_tokens is {drafts}, and {model.title} has no draft layer of its own in the catalogue"
        raise UsageError(f"model {name}", found, "", "set draft_tokens to 0")
    ledger.refuse(f"model {name}")
    return 1 + (length - 1) * scale.acceptance


def _machine(system: SystemEntry, shape: Shape, pool: PoolPlan, scale: Scale, ledger: Ledger) -> Machine:
    domain = system.accelerator.scale_up_domain.value or 1
    return machine_of(
        system.accelerator, system.accelerator_name, shape.family, shape.weights, ledger,
        compute=scale.compute, bandwidth=scale.bandwidth, overhead=scale.overhead, spread=pool.tp * pool.dp > domain,
        indexed=any(part.index_flops for part in shape.parts),
    )  # fmt: skip


def _worker(
    system: SystemEntry, shape: Shape, deployment: Deployment, pool: PoolPlan, acceptance: float, scale: Scale, ledger: Ledger, where: str
) -> WorkerSpec:  # fmt: skip
    drafts = deployment.draft_tokens
    split = Split(tp=pool.tp, dp=pool.dp, ep=pool.ep)
    machine = _machine(system, shape, pool, scale, ledger)
    at = f"{where}, {pool.role}"
    room = pool_bytes(shape, machine, split, deployment.memory_share, pool.chunk_tokens, bool(drafts), at)
    longest = shape.kv_bytes(deployment.max_model_len)
    if room < longest:
        raise UsageError(
            at,
            f"the KV pool of a worker is {room / 1e9:,.2f} GB",
            f"one sequence of {deployment.max_model_len:,} tokens needs {longest / 1e9:,.2f} GB",
            "lower max_model_len or chunk_tokens, raise memory_share, or spread the model over more accelerators",
        )
    host = deployment.host_cache * pool.tp * 1e9
    link = (
        ledger.read(f"accelerator.{system.accelerator_name}.host_link", system.accelerator.host_link) * 1e9
        if host
        else 0.0
    )
    ledger.refuse(at)
    return WorkerSpec(
        pool=pool.role,
        role=pool.role,
        workers=pool.groups * pool.dp,
        accelerators_per_worker=float(pool.tp),
        costs=step_costs(shape, machine, split, max_batch=pool.max_batch, drafts=drafts, acceptance=acceptance),
        power=draw_of(system.accelerator, system.accelerator_name, shape, machine, split, ledger,
                      batch=pool.max_batch // 2, drafts=drafts, power=scale.power),
        max_batch=pool.max_batch,
        chunk_tokens=pool.chunk_tokens,
        kv=tuple(group for part in shape.parts for group in part.kv),
        kv_pool_bytes=room,
        block_tokens=deployment.block_tokens,
        lockstep=pool.dp if shape.moe_layers else 1,
        host_cache_bytes=host,
        host_bytes_per_s=link * pool.tp,
    )  # fmt: skip


def _inventory(system: SystemEntry, deployment: Deployment) -> System:
    used = sum(pool.accelerators for pool in deployment.pools)
    whole = system.accelerators.value or used
    part = used / whole
    racks = system.racks.value
    dear = system.usd_per_hour.value
    rack_power = system.rack_power.value
    return System(
        name=system.title,
        accelerator=system.accelerator.title,
        accelerators=used,
        pools=tuple(Pool(name=pool.role, accelerators=pool.accelerators) for pool in deployment.pools),
        hosts=-(-round((system.hosts.value or 0) * part * 1000) // 1000),
        racks=0.0 if racks is None else racks * part,
        rated_accelerator_w=system.accelerator.tdp.value,
        rated_rack_w=rack_power,
        price=None if dear is None else Price(usd_per_hour=dear * used),
        source="openagentperf's catalogue (docs/catalog.md)",
    )
