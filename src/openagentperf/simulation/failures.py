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
from openagentperf.plan import Rigor
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


def check(cluster: Compiled, rigor: Rigor) -> None:
    """Raises UsageError where a worker would outlive the windows of some phases: their verdicts would be a healthy cluster's."""
    window_s = min(rigor.search_measure_s, rigor.measure_s)
    last_s = max((at_s for _, at_s in cluster.spec.fail_worker_at_s), default=0.0)
    if last_s >= window_s:
        raise UsageError(
            "simulate.fail_worker", f"a worker fails {last_s:g} s after windows open that may be {window_s:g} s long",
            "it must fail in every phase", f"choose SECONDS below {window_s:g}, or a longer rigor.search_measure_s",
        )  # fmt: skip


def _failure(cluster: Compiled, asked: str) -> tuple[int, float]:
    match = _FORM.fullmatch(asked)
    named: dict[str, list[int]] = {}  # several pools may have one role: their workers are numbered on
    first = 0
    for pool in cluster.spec.workers:
        named.setdefault(pool.pool, []).extend(range(first, first + pool.workers))
        first += pool.workers
    if match and int(match[2]) < len(named.get(match[1], ())):
        return named[match[1]][int(match[2])], float(match[3])
    there = ", ".join(f"{name}:0 to {name}:{len(workers) - 1}" for name, workers in named.items())
    raise UsageError(
        "simulate.fail_worker", f"`{asked}` is no worker of {cluster.spec.name}", f"POOL:NUMBER@SECONDS was needed, of {there}",
        f"write for example {cluster.spec.workers[-1].pool}:0@2",
    )  # fmt: skip
