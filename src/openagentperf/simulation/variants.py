"""What `whatif` may change, and the clusters that come of it: every combination of the values asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from openagentperf.errors import UsageError
from openagentperf.sim.deployment import Deployment, PoolPlan

Cache: TypeAlias = Literal["on", "off"]
_LAYOUT = re.compile(r"(?:(prefill|decode|aggregated)=)?(?:tp([1-9]\d*))?(?:d(e?)p([1-9]\d*))?", re.IGNORECASE)


class Axes(Struct, frozen=True, kw_only=True):
    """Values to try, as they were written; an empty axis leaves the deployment as it is."""

    systems: tuple[str, ...]
    models: tuple[str, ...]
    split: tuple[str, ...] = ()
    """`24:8` (prefill:decode accelerators) or `aggregated`."""
    layout: tuple[str, ...] = ()
    """`tp8`, `dep4` (data and expert parallel), `dp8`, `tp2dep4`; `decode=dep8` changes one role only."""
    context: tuple[int, ...] = ()
    cache: tuple[str, ...] = ()
    """`on`, `off` (no prefix is ever found again), `host=GB` (a second tier of so many GB an accelerator)."""
    draft: tuple[int, ...] = ()
    batch: tuple[int, ...] = ()
    first_token: tuple[str, ...] = ()
    """`prefill` or `decode`: who streams it where roles are split."""


class Variant(Struct, frozen=True, kw_only=True):
    """One combination."""

    system: str
    model: str
    changes: tuple[str, ...]
    """In words, of the axes that were asked for."""
    deployment: Deployment
    context_tokens: int | None = None
    """The cap of the workload, where it differs from the plan's."""
    cache: Cache = "on"


class Refused(Struct, frozen=True, kw_only=True):
    """A combination that makes no sense, and why."""

    system: str
    model: str
    changes: tuple[str, ...]
    why: str


Change: TypeAlias = Callable[[Variant], Variant]


def variants(axes: Axes, deployment_of: Callable[[str, str], Deployment]) -> Iterator[Variant | Refused]:
    """In the order in which the values were given, the last axis fastest. A mistake in a value itself is a UsageError at once."""
    steps: list[list[tuple[str, Change]]] = [
        [(f"split {value}", _split(value)) for value in axes.split],
        [(value, _layout(value)) for value in axes.layout],
        [(f"context {value:,}", _context(value)) for value in axes.context],
        [(f"cache {value}", _cache(value)) for value in axes.cache],
        [(f"{value} drafted", _draft(value)) for value in axes.draft],
        [(f"batch {value}", _batch(value)) for value in axes.batch],
        [(f"first token by {value}", _first_token(value)) for value in axes.first_token],
    ]
    asked = [step for step in steps if step]
    for system, model, chosen in product(axes.systems, axes.models, list(product(*asked))):
        changes = tuple(label for label, _ in chosen)
        try:
            made = Variant(system=system, model=model, changes=changes, deployment=deployment_of(system, model))
            for _, change in chosen:
                made = change(made)
        except UsageError as error:
            yield Refused(system=system, model=model, changes=changes, why=error.sentence())
        else:
            yield made


def _split(value: str) -> Change:
    found = re.fullmatch(r"(\d+):(\d+)", value)
    if not found and value != "aggregated":
        raise UsageError(
            "--split", f"`{value}` is no split", "PREFILL:DECODE accelerators or `aggregated`", "write 24:8"
        )

    def change(variant: Variant) -> Variant:
        pools = variant.deployment.pools
        like = {pool.role: pool for pool in pools}
        if not found:
            one = like.get("aggregated") or like["decode"]
            total = sum(pool.accelerators for pool in pools)
            return _with_pools(variant, (_sized(replace(one, role="aggregated"), total),))
        prefill = like.get("prefill") or replace(like["aggregated"], role="prefill")
        decode = like.get("decode") or replace(like["aggregated"], role="decode")
        return _with_pools(variant, (_sized(prefill, int(found[1])), _sized(decode, int(found[2]))))

    return change


def _layout(value: str) -> Change:
    found = _LAYOUT.fullmatch(value)
    if not found or not (found[2] or found[4]):
        raise UsageError(
            "--layout", f"`{value}` is no layout", "tpN, dpN, depN or both", "write tp8, dep4 or decode=dep8"
        )
    role, tp, dp = found[1], int(found[2] or 1), int(found[4] or 1)
    ep = tp * dp if found[3] else 1

    def change(variant: Variant) -> Variant:
        pools = tuple(
            _sized(replace(pool, tp=tp, dp=dp, ep=ep), pool.accelerators) if role in (None, pool.role) else pool
            for pool in variant.deployment.pools
        )
        return _with_pools(variant, pools)

    return change


def _sized(pool: PoolPlan, accelerators: int) -> PoolPlan:
    """The pool on so many accelerators, in groups as it has them."""
    group = pool.tp * pool.dp
    if not accelerators or accelerators % group:
        raise UsageError(
            f"{pool.role} pool", f"{accelerators} accelerators", f"groups of {group} (tp {pool.tp} x dp {pool.dp}) were needed",
            "choose a multiple, or change the layout",
        )  # fmt: skip
    return replace(pool, groups=accelerators // group)


def _with_pools(variant: Variant, pools: Sequence[PoolPlan]) -> Variant:
    return replace(variant, deployment=replace(variant.deployment, pools=tuple(pools)))


def _context(value: int) -> Change:
    return lambda variant: replace(
        variant, deployment=replace(variant.deployment, max_model_len=value), context_tokens=value
    )


def _cache(value: str) -> Change:
    host = re.fullmatch(r"host=(\d+(?:\.\d+)?)", value)
    if host:
        return lambda variant: replace(variant, deployment=replace(variant.deployment, host_cache=float(host[1])))
    if value == "off":
        return lambda variant: replace(variant, cache="off")
    if value == "on":
        return lambda variant: variant
    raise UsageError("--cache", f"`{value}` is no cache", "on, off or host=GB were needed", "write host=100")


def _draft(value: int) -> Change:
    return lambda variant: replace(variant, deployment=replace(variant.deployment, draft_tokens=value))


def _batch(value: int) -> Change:
    return lambda variant: _with_pools(variant, [replace(pool, max_batch=value) for pool in variant.deployment.pools])


def _first_token(value: str) -> Change:
    if value not in ("prefill", "decode"):
        raise UsageError(
            "--first-token", f"`{value}` streams none", "prefill or decode was needed", "write prefill,decode"
        )
    return lambda variant: replace(variant, deployment=replace(variant.deployment, first_token=value))
