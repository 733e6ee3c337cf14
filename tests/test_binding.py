"""What runs out first: a table of phases on either side of a capacity, each with the arithmetic of its row."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

import simulated
from openagentperf.plan import Tier
from openagentperf.records.phase import Judged
from openagentperf.sim.binding import Seen, binding
from openagentperf.sim.usage import PoolUsage, Usage

TIER = Tier(name="20/2", output_speed=20, ttft_s=2)
SPLIT = simulated.cluster(
    simulated.worker("front", "prefill"), simulated.worker("back", "decode"), transfer_bytes_per_s=1e9
)


def pool(name: str = "engine", role: str = "aggregated", **rest: float) -> PoolUsage:
    quiet = {
        "busy_share": 0.6, "prefill_share": 0.2, "batch_mean": 4.0, "batch_max": 8, "kv_pinned_share": 0.3, "kv_cached_share": 0.5,
        "evicted_tokens": 0, "queue_mean": 0.0, "queue_max": 0, "host_hit_tokens": 0, "transfer_busy_share": 0.0,
        "energy_j": 1.0,
    }  # fmt: skip
    return msgspec.convert({"pool": name, "role": role, "workers": 2} | quiet | rest, PoolUsage)


def seen(
    agents: int, *pools: PoolUsage, ttft_s: float | None = 1.0, speed: float | None = 30.0, hit: float = 0.95
) -> Seen:
    judged = Judged(
        index=0, agents=agents, kind="search", verdicts=(), measured_turns=500, completed_trajectories=9, failed_turns=0,
        ttft_p95_s=ttft_s, speed_p25=speed,
    )  # fmt: skip
    return Seen(judged, Usage(window_s=60.0, pools=pools, hit_rate=hit))


def refused(phase: Seen, share: float) -> Seen:
    return Seen(phase.judged, replace(phase.usage, overflow_share=share))


FRONT, BACK = pool("front", "prefill", prefill_share=0.97, busy_share=0.97), pool("back", "decode", prefill_share=0.0)

ROWS = {
    "TTFT missed by busy prefill workers": ("prefill", seen(9, FRONT, BACK, ttft_s=2.5)),
    "speed missed by decode workers": ("decode", seen(9, replace(FRONT, prefill_share=0.4), BACK, speed=18.0)),
    "the same in one pool, 0.2 of 0.6 is prefill": ("decode", seen(9, pool(), speed=18.0)),
    "the same, 0.4 of 0.6 is prefill": ("prefill", seen(9, pool(prefill_share=0.4), speed=18.0)),
    # 15.5 of 16 places on two workers, three wait
    "every place is taken": ("batch", seen(9, FRONT, replace(BACK, batch_mean=15.5, queue_mean=3.0), ttft_s=2.5)),
    # fewer than half a request a worker waits: the batch is full and enough
    "every place is taken and nobody waits": ("decode", seen(9, FRONT, replace(BACK, batch_mean=15.5), speed=18.0)),
    # 10 % uncached where 5 % would be: twice the prefill
    "prefixes are evicted": ("kv", seen(9, pool(evicted_tokens=10_000), ttft_s=2.5, hit=0.90)),
    # 5.5 % of 5 %: a tenth more, not a third
    "few prefixes are evicted": ("prefill", seen(9, pool(evicted_tokens=10_000), ttft_s=2.5, hit=0.945)),
    "cold, and nothing was evicted": ("prefill", seen(9, pool(), ttft_s=2.5, hit=0.5)),
    "running sequences fill the pool": ("kv", seen(9, pool(kv_pinned_share=0.95, queue_mean=4.0), ttft_s=2.5)),
    "the link": ("transfer", seen(9, replace(FRONT, transfer_busy_share=0.85), BACK, ttft_s=2.5)),
    # 3 % are refused where 1 % may fail: no number of agents would do, whatever else is busy
    "turns do not fit": ("context", refused(seen(9, FRONT, BACK, ttft_s=None, speed=None), 0.03)),
    "few turns do not fit": ("prefill", refused(seen(9, FRONT, BACK, ttft_s=2.5), 0.009)),
    "failures push TTFT to infinity": ("prefill", seen(9, FRONT, BACK, ttft_s=None, speed=None)),
}


@pytest.mark.parametrize("name", ROWS)
def test_binding(name: str) -> None:
    resource, above = ROWS[name]
    spec = SPLIT if len(above.usage.pools) > 1 else simulated.cluster()
    below = seen(8, *above.usage.pools)
    found = binding(TIER, spec, 0.95, below, above)
    assert found.resource == resource
    assert "at 9 agents P95 TTFT is" in found.why
    assert binding(TIER, spec, 0.95, None, above).resource == resource  # fails at one agent: no phase below


def test_nothing_binds_where_nothing_failed() -> None:
    assert binding(TIER, simulated.cluster(), 0.95, seen(8, pool()), None).resource == "none"


def test_the_words_carry_the_numbers() -> None:
    below = seen(8, replace(FRONT, prefill_share=0.91), BACK)
    why = binding(TIER, SPLIT, 0.95, below, seen(9, FRONT, BACK, ttft_s=2.5)).why
    assert "P95 TTFT is 2.5 s of 2 s and P25 speed 30 of 20 tokens/s" in why
    assert "prefill takes 97% (91% at the capacity) of the time" in why
    assert "95.0% of the prompt tokens are found in the cache (95.0% with an endless cache)" in why
