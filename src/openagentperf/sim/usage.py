"""What the workers of a simulated phase were busy with: read once a virtual second, and summed over the measure window."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from openagentperf.sim.cluster import Cluster
from openagentperf.sim.spec import ClusterSpec
from openagentperf.sim.worker import Worker
from openagentperf.units import NS_PER_S, Ns


class PowerPoint(NamedTuple):
    """Power of one pool."""

    t_ns: Ns
    pool: str
    watts: float
    """Of all its accelerators together, mean since the point before."""
    joules: float
    """Since the phase's start."""


class PoolUsage(Struct, frozen=True, kw_only=True):
    """One pool over the measure window. Shares are of the window's time or of the pool's size, over all its workers."""

    pool: str
    role: str
    workers: int
    busy_share: float
    """Of the time, a step was running."""
    prefill_share: float
    """Of the time, prefill: in aggregated workers the rest of the busy time is decode, and `wait_share`."""
    wait_share: float = 0.0
    """Of the time, waiting for the slowest of a lockstep group in the middle of a step: for the prompt of another, mostly."""
    batch_mean: float
    """Sequences that decode at once on one worker, idle time counted as 0."""
    batch_max: int
    kv_pinned_share: float
    """Of the pool's bytes, held by running sequences: mean of one reading a second."""
    kv_cached_share: float
    """Of the pool's bytes, held by nobody and still to be found."""
    evicted_tokens: int
    """Tokens whose KV left the pool, for the host tier or for good."""
    queue_mean: float
    """Requests that wait for a place or for room, on all workers together: mean of one reading a second."""
    queue_max: int
    """Most in one of those readings."""
    host_hit_tokens: int
    """Prompt tokens that came back from the host tier."""
    transfer_busy_share: float
    """Of the time, a prefill worker's link to the decode workers was in use; 0 where roles are not split."""
    energy_j: float


class Usage(Struct, frozen=True, kw_only=True):
    """The whole cluster over the measure window."""

    window_s: float
    pools: tuple[PoolUsage, ...]
    hit_rate: float | None = None
    """Prompt tokens found in a cache / prompt tokens, over measured turns that did not fail; None where there are none."""
    overflow_share: float = 0.0
    """Of the measured turns, those refused because they are longer than the context or a whole KV pool."""


class _Sums(NamedTuple):
    """Of one pool, since the start."""

    busy_ns: float
    prefill_ns: float
    wait_ns: float
    batch_ns: float
    evicted_blocks: int
    host_hit_tokens: int
    sent_ns: int
    joules: float


class _Pool:
    def __init__(self, workers: list[Worker]) -> None:
        self.workers = workers
        self.spec = workers[0].spec
        self.opened: _Sums | None = None
        self.joules = 0.0
        self.readings = 0
        self.pinned = self.cached = self.queue = 0
        self.queue_max = 0

    @property
    def idle_w(self) -> float:
        return self.spec.power.idle_w * self.spec.accelerators_per_worker * len(self.workers)

    def sums(self) -> _Sums:
        ws = self.workers
        return _Sums(
            sum(w.busy_ns for w in ws),
            sum(w.prefill_ns for w in ws),
            sum(w.wait_ns for w in ws),
            sum(w.batch_ns for w in ws),
            sum(w.pool.evicted_blocks for w in ws),
            sum(w.host_hit_tokens for w in ws),
            sum(w.sent_ns for w in ws),
            self.joules_so_far(),
        )

    def joules_so_far(self) -> float:
        return sum(w.energy for w in self.workers) * self.spec.accelerators_per_worker / NS_PER_S

    def read(self) -> None:
        queue = 0
        for worker in self.workers:
            queue += len(worker.waiting) + len(worker.incoming)
            self.pinned += worker.pool.pinned
            self.cached += worker.pool.cached
        self.readings += 1
        self.queue += queue
        self.queue_max = max(self.queue_max, queue)

    def usage(self, window_ns: Ns) -> PoolUsage:
        opened, now, spec = self.opened, self.sums(), self.spec
        assert opened is not None
        time_ns = max(1, window_ns) * len(self.workers)
        room = max(1, sum(w.pool.capacity for w in self.workers)) * max(1, self.readings)
        return PoolUsage(
            pool=spec.pool,
            role=spec.role,
            workers=len(self.workers),
            busy_share=(now.busy_ns - opened.busy_ns) / time_ns,
            prefill_share=(now.prefill_ns - opened.prefill_ns) / time_ns,
            wait_share=(now.wait_ns - opened.wait_ns) / time_ns,
            batch_mean=(now.batch_ns - opened.batch_ns) / time_ns,
            batch_max=max(w.batch_max for w in self.workers),
            kv_pinned_share=self.pinned / room,
            kv_cached_share=self.cached / room,
            evicted_tokens=(now.evicted_blocks - opened.evicted_blocks) * self.workers[0].pool.block_tokens,
            queue_mean=self.queue / max(1, self.readings),
            queue_max=self.queue_max,
            host_hit_tokens=now.host_hit_tokens - opened.host_hit_tokens,
            transfer_busy_share=(now.sent_ns - opened.sent_ns) / time_ns,
            energy_j=now.joules - opened.joules,
        )


class Meter:
    """Reads a cluster."""

    def __init__(self, spec: ClusterSpec, cluster: Cluster, now: Ns) -> None:
        self._cluster = cluster
        self._pools: list[_Pool] = []
        first = 0
        for pool in spec.workers:
            if pool.workers:
                self._pools.append(_Pool(cluster.workers[first : first + pool.workers]))
            first += pool.workers
        self._at = self._opened_ns = now
        self.power = [PowerPoint(now, pool.spec.pool, pool.idle_w, 0.0) for pool in self._pools]
        self._window: Usage | None = None

    def read(self, now: Ns) -> None:
        """Once a second, or at the phase's end."""
        self._cluster.settle(now)
        for pool in self._pools:
            joules = pool.joules_so_far()
            if now > self._at:
                self.power.append(
                    PowerPoint(now, pool.spec.pool, (joules - pool.joules) * NS_PER_S / (now - self._at), joules)
                )
            pool.joules = joules
            if pool.opened is not None and self._window is None:
                pool.read()
        self._at = now

    def open_window(self, now: Ns) -> None:
        self._cluster.settle(now)
        self._opened_ns = now
        for pool in self._pools:
            pool.opened = pool.sums()
            for worker in pool.workers:
                worker.batch_max = worker.batch

    def close_window(self, now: Ns) -> None:
        if self._window is None and self._pools[0].opened is not None:
            self._cluster.settle(now)
            spent = now - self._opened_ns
            self._window = Usage(window_s=spent / NS_PER_S, pools=tuple(pool.usage(spent) for pool in self._pools))

    @property
    def usage(self) -> Usage:
        """Of the window; empty where it never opened."""
        return self._window or Usage(window_s=0.0, pools=())
