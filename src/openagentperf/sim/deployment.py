"""How a model is laid out on a system, and the way from there to a simulated cluster in numbers (docs/catalog.md#deployments)."""

from __future__ import annotations

from math import sqrt
from typing import Annotated

from msgspec import Meta, Struct

from openagentperf.errors import UsageError
from openagentperf.sim.cells import Constant, Ledger
from openagentperf.sim.entries import Model, SystemEntry
from openagentperf.sim.physics import Machine, Split, machine_of, pool_bytes, slowed, step_costs
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
    prefill_slowdown: Annotated[float, Meta(gt=0)] = 1.1
    decode_slowdown: Annotated[float, Meta(gt=0)] = 1.08
    """Where roles are split: a step in service over the same step by itself, as its kernels and launches add up to."""
    source: str = ""
    """Who runs it so, or the rule that made it."""
    note: str = ""

    @property
    def accelerators(self) -> int:
        return sum(pool.accelerators for pool in self.pools)

    @property
    def split(self) -> bool:
        """Prefill and decode have pools of their own."""
        return len({pool.role for pool in self.pools}) > 1

    @property
    def slowdowns(self) -> tuple[float, float]:
        """Of prefill and of decode."""
        return (self.prefill_slowdown, self.decode_slowdown) if self.split else (1.0, 1.0)

    def precisions(self, model: Model) -> tuple[str, str, str, str]:
        """Of the routed experts, of all other weights, of the KV, and of an indexer's keys."""
        weights, dense = model.served
        return self.weights or weights, self.dense_weights or dense, self.kv, self.index or self.kv


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
SLOWDOWN_UNCERTAINTY = 0.1
"""Of the whole factor: as much as there is of it."""
_CORRECTION = (
    "aiconfigurator 0.12.0: prefill_latency_correction 1.1, decode_latency_correction 1.08 of its disaggregated mode (cli/example.yaml, "
    '"silicon-calibrated"); its static mode, whose sums of kernels the efficiencies here are fitted to, has none'
)
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
    shape = shape_of(model, name, ledger, *deployment.precisions(model))
    if deployment.max_model_len > shape.context:
        found, most = f"max_model_len is {deployment.max_model_len:,}", f"{shape.context:,} tokens"
        raise UsageError(where, found, f"{model.title} reads {most} at most", "lower it")
    acceptance, spread = _acceptance(model, name, deployment.draft_tokens, ledger, scale)
    workers = tuple(
        _worker(system, shape, deployment, pool, acceptance, spread, scale, ledger, where) for pool in deployment.pools
    )
    used, fabric = deployment.accelerators, 0.0
    if deployment.split:
        fabric = machine_for(system, shape, used, scale, ledger).link(used)
    spec = ClusterSpec(
        name=f"{system.name}, {name}, {describe(deployment)}",
        workers=workers,
        max_model_len=deployment.max_model_len,
        routing=deployment.routing,
        transfer_bytes_per_s=fabric,
        transfer_start_s=deployment.transfer_start_s if deployment.split else 0.0,
        first_token=deployment.first_token,
    )
    ratios = ratios_of(system, ledger)
    return Compiled(
        spec=spec,
        constants=tuple(sorted((*ledger.constants, *_chosen(deployment)), key=lambda c: c.name)),
        ratios=ratios,
        system=_inventory(system, deployment),
        notes=tuple(note for note in (system.note, system.accelerator.note, model.note, deployment.note) if note),
    )


def _chosen(deployment: Deployment) -> list[Constant]:
    """What of a deployment hardly anybody discloses: the share of memory, which decides what the KV pool is where weights nearly fill it,
    and what serving with split roles costs a step."""
    rows = [("memory_share", deployment.memory_share, "share", "chosen: an engine's option, 0.9 or a little less by default",
             MEMORY_SHARE_UNCERTAINTY)]  # fmt: skip
    if deployment.split:
        rows += [
            ("prefill_slowdown", deployment.prefill_slowdown, "factor", _CORRECTION, SLOWDOWN_UNCERTAINTY),
            ("decode_slowdown", deployment.decode_slowdown, "factor", _CORRECTION, SLOWDOWN_UNCERTAINTY),
        ]
    return [
        Constant(
            name=f"deployment.{name}",
            value=value,
            unit=unit,
            mark="assumed",
            source=source,
            uncertainty=uncertainty,
        )
        for name, value, unit, source, uncertainty in rows
    ]


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
    used, there = deployment.accelerators, system.accelerators.value
    if there is not None and used > there:
        advice = "lower `groups`, or name a larger system"
        raise UsageError(where, f"the deployment takes {used} accelerators", f"the system has {there:.0f}", advice)
    for pool in deployment.pools:
        if pool.ep not in (1, pool.tp * pool.dp):
            found = f"ep is {pool.ep} in a group of {pool.tp * pool.dp} accelerators"
            raise UsageError(where, found, "1 or the whole group was needed", "correct ep")


def _acceptance(model: Model, name: str, drafts: int, ledger: Ledger, scale: Scale) -> tuple[float, float]:
    """Tokens a step: mean, and standard deviation from step to step.

    A step keeps its j-th drafted token with probability q_j = length with j drafted - length with j - 1; where the length with j is not
    known, the tokens between two that are known share their difference.

        mean = 1 + sum of q_j        mean of the square = 1 + sum of (2 j + 1) q_j
    """
    if not drafts:
        return 1.0, 0.0
    cell = model.acceptance.get(str(drafts))
    length = ledger.read(f"model.{name}.acceptance.{drafts}", cell, "tokens a step")
    if not model.draft_layers.value:
        found = f"draft_tokens is {drafts}, and {model.title} has no draft layer of its own in the catalogue"
        raise UsageError(f"model {name}", found, "", "set draft_tokens to 0")
    ledger.refuse(f"model {name}")
    mean = 1 + (length - 1) * scale.acceptance
    square, below, last = 1.0, 1.0, 0
    for j in (j for j in range(1, drafts + 1) if str(j) in model.acceptance):
        upto = ledger.read(f"model.{name}.acceptance.{j}", model.acceptance[str(j)])
        # 2 j + 1 is j + last + 2 in the mean over the drafted tokens from last + 1 to j.
        square += (j + last + 2) * (upto - below) * scale.acceptance
        below, last = upto, j
    ledger.refuse(f"model {name}")
    return mean, sqrt(max(0.0, square - mean * mean))


def machine_for(system: SystemEntry, shape: Shape, accelerators: int, scale: Scale, ledger: Ledger) -> Machine:
    """One of so many accelerators that exchange data, with these weights. UsageError where a cell that they need is unknown."""
    domain = system.accelerator.scale_up_domain.value or 1
    return machine_of(
        system.accelerator, system.accelerator_name, shape.family, shape.weights, ledger,
        compute=scale.compute, bandwidth=scale.bandwidth, overhead=scale.overhead, spread=accelerators > domain,
        indexed=any(part.index_flops for part in shape.parts),
    )  # fmt: skip


def _worker(
    system: SystemEntry, shape: Shape, deployment: Deployment, pool: PoolPlan, acceptance: float, spread: float, scale: Scale,
    ledger: Ledger, where: str,
) -> WorkerSpec:  # fmt: skip
    drafts = deployment.draft_tokens
    split = Split(tp=pool.tp, dp=pool.dp, ep=pool.ep)
    machine = machine_for(system, shape, split.accelerators, scale, ledger)
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
    costs = step_costs(
        shape, machine, split, max_batch=pool.max_batch, drafts=drafts, acceptance=acceptance, spread=spread
    )
    return WorkerSpec(
        pool=pool.role,
        role=pool.role,
        workers=pool.groups * pool.dp,
        accelerators_per_worker=float(pool.tp),
        costs=slowed(costs, *deployment.slowdowns),
        power=draw_of(system.accelerator, system.accelerator_name, shape, machine, split, ledger,
                      batch=pool.max_batch // 2, drafts=drafts, power=scale.power),
        max_batch=pool.max_batch,
        chunk_tokens=pool.chunk_tokens,
        kv=shape.kv,
        kv_pool_bytes=room,
        block_tokens=deployment.block_tokens,
        lockstep=pool.dp if shape.moe_layers else 1,
        host_cache_bytes=host,
        host_bytes_per_s=link * pool.tp,
    )  # fmt: skip


def _inventory(system: SystemEntry, deployment: Deployment) -> System:
    used = deployment.accelerators
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
