"""What runs out first, in words, from the two phases on either side of a tier's capacity.

the context  more turns are longer than a request may be than may fail, however few agents there are
the link     in use for 80 % of the time or more
KV           prefixes are evicted, and a third more tokens are computed than an endless cache would leave; or the decode pools are
             full of running sequences while others wait
the batch    its slots are taken on 95 % or more of the time, while others wait
prefill      TTFT is missed and it is none of these; or speed is missed, and more than half of a worker's busy time is prefill
decode       speed is missed, and it is none of these
"""

from __future__ import annotations

from typing import NamedTuple

from openagentperf.plan import Tier
from openagentperf.records.phase import Judged
from openagentperf.records.simulated import Binding, Resource
from openagentperf.sim.spec import ClusterSpec, WorkerSpec
from openagentperf.sim.usage import PoolUsage, Usage

_MAY_FAIL = 0.01
_LINK_BUSY = 0.8
_RECOMPUTED = 4 / 3
"""Uncached tokens over those that an endless cache would leave."""
_FULL = 0.9
_SLOTS = 0.95


class Seen(NamedTuple):
    """One phase, judged, with what its workers were busy with."""

    judged: Judged
    usage: Usage


def binding(
    tier: Tier, spec: ClusterSpec, endless_hit_rate: float | None, at: Seen | None, above: Seen | None
) -> Binding:
    """What decides a tier's capacity.

    endless_hit_rate   what a cache without end would give; None where that is not known
    at, above          at the capacity, and at the smallest level that failed; None where there is no such phase
    """
    if above is None or not above.usage.pools:
        return Binding(resource="none", why="no level that was tried fails")
    resource = _resource(tier, spec, endless_hit_rate, above)
    return Binding(resource=resource, why=_words(resource, tier, spec, endless_hit_rate, at, above))


def _resource(tier: Tier, spec: ClusterSpec, endless: float | None, above: Seen) -> Resource:
    if above.usage.overflow_share > _MAY_FAIL:
        return "context"
    front, back = _pools(above.usage)
    slots = _spec_of(spec, back).max_batch
    waits = back.queue_mean >= 0.5 * back.workers
    if front.transfer_busy_share >= _LINK_BUSY:
        return "transfer"
    recomputed = front.evicted_tokens > 0 and _recomputed(above.usage, endless) >= _RECOMPUTED
    if recomputed or (waits and back.kv_pinned_share >= _FULL):
        return "kv"
    if waits and back.batch_mean >= _SLOTS * slots:
        return "batch"
    speed = above.judged.speed_p25
    if speed is not None and speed < tier.output_speed:
        # In aggregated workers a decode step is as long as the prefill that stands in it makes it, or that of another in lockstep.
        prefill = back.prefill_share + back.wait_share
        return "prefill" if back.role == "aggregated" and 2 * prefill > back.busy_share else "decode"
    return "prefill"


def _recomputed(usage: Usage, endless: float | None) -> float:
    if usage.hit_rate is None or endless is None or endless >= 1:
        return 1.0
    return (1 - usage.hit_rate) / (1 - endless)


def _pools(usage: Usage) -> tuple[PoolUsage, PoolUsage]:
    """The one that takes prompts, and the one that decodes: the same where roles are not split."""
    front = max((p for p in usage.pools if p.role != "decode"), key=lambda p: p.busy_share)
    back = max((p for p in usage.pools if p.role != "prefill"), key=lambda p: p.busy_share)
    return front, back


def _spec_of(spec: ClusterSpec, pool: PoolUsage) -> WorkerSpec:
    return next(worker for worker in spec.workers if worker.pool == pool.pool and worker.role == pool.role)


def _words(
    resource: Resource, tier: Tier, spec: ClusterSpec, endless: float | None, at: Seen | None, above: Seen
) -> str:
    front, back = _pools(above.usage)
    low_front, low_back = _pools((at if at is not None and at.usage.pools else above).usage)
    said = [_missed(tier, above.judged)]
    match resource:
        case "context":
            said.append(f"{above.usage.overflow_share:.1%} of the turns are longer than the context or the KV pool")
        case "transfer":
            said.append(f"the link is in use for {_rise(front.transfer_busy_share, low_front.transfer_busy_share)}")
        case "kv":
            said.append(f"running sequences hold {back.kv_pinned_share:.0%} of the KV pool")
            said.append(f"{front.evicted_tokens:,} cached tokens were evicted in {above.usage.window_s:,.0f} s")
        case "batch":
            slots = _spec_of(spec, back).max_batch
            said.append(f"{_rise(back.batch_mean / slots, low_back.batch_mean / slots)} of {slots} slots are taken")
        case "decode":
            said.append(f"a worker decodes {back.batch_mean:,.3g} sequences at once on average")
        case _:
            said.append(f"prefill takes {_rise(front.prefill_share, low_front.prefill_share)} of the time")
    said.append(f"{front.queue_mean + (back.queue_mean if back is not front else 0):,.1f} requests wait on average")
    if above.usage.hit_rate is not None:
        ideal = f" ({endless:.1%} with an endless cache)" if endless is not None else ""
        said.append(f"{above.usage.hit_rate:.1%} of the prompt tokens are found in the cache{ideal}")
    return ", ".join(said)


def _missed(tier: Tier, judged: Judged) -> str:
    """What the phase above missed, with the other figure beside it."""
    speed, ttft = judged.speed_p25, judged.ttft_p95_s
    figures = [
        f"P95 TTFT is {'endless' if ttft is None else f'{ttft:.3g} s'} of {tier.ttft_s:g} s",
        f"P25 speed {'unknown' if speed is None else f'{speed:.3g}'} of {tier.output_speed:g} tokens/s",
    ]
    return f"at {judged.agents:,} agent{'' if judged.agents == 1 else 's'} {' and '.join(figures)}"


def _rise(share: float, before: float) -> str:
    return f"{share:.0%}" + (f" ({before:.0%} at the capacity)" if before != share else "")
