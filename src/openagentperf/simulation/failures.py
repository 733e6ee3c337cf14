"""Workers that fail in the middle of every phase, as a plan names them: `decode:3@120`.

    POOL:NUMBER@SECONDS    worker NUMBER (from 0) of that pool is gone, with its cache and its requests, from SECONDS after the measure
                           window opens

After the window opens and not after the start: a ramp of 2,000 agents takes half an hour, one of 20 takes 20 s, and the search tries both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from openagentperf.errors import UsageError
from openagentperf.sim.deployment import Compiled

_FORM = re.compile(r"(\w+):(\d+)@(\d+(?:\.\d+)?)")


def failing(cluster: Compiled, asked: Sequence[str]) -> Compiled:
    """The cluster whose workers fail so, which its notes say. UsageError where it has no such worker."""
    if not asked:
        return cluster
    spec = cluster.spec
    made = replace(spec, fail_worker_at_s=(*spec.fail_worker_at_s, *(_failure(cluster, each) for each in asked)))
    notes = (f"in every phase, after its window opens, workers fail: {', '.join(asked)} (pool:number@seconds)",)
    return replace(cluster, spec=made, notes=(*cluster.notes, *notes))


def _failure(cluster: Compiled, asked: str) -> tuple[int, float]:
    match = _FORM.fullmatch(asked)
    first = 0
    for pool in cluster.spec.workers:
        if match and match[1] == pool.pool and int(match[2]) < pool.workers:
            return first + int(match[2]), float(match[3])
        first += pool.workers
    there = ", ".join(f"{pool.pool}:0 to {pool.pool}:{pool.workers - 1}" for pool in cluster.spec.workers)
    raise UsageError(
        "simulate.fail_worker", f"`{asked}` is no worker of {cluster.spec.name}", f"POOL:NUMBER@SECONDS was needed, of {there}",
        f"write for example {cluster.spec.workers[-1].pool}:0@60",
    )  # fmt: skip
