"""The prompts of one worker: who may be computed, and with whom in one step.

Prefill runs in *groups*: whole prompts, first come first served, that end at the same step, and the part of the one behind them that
fills their last chunk. A group of k steps has the same share of its work in each.

Admission is by KV: a sequence starts when the pool can hold prompt and answer together, so nothing is ever preempted. Engines that let
an answer grow into a pool that is full must preempt; theirs is the same queue, and one recomputation more.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque

from openagentperf.sim.jobs import Job, Timers
from openagentperf.sim.slots import pool_of
from openagentperf.sim.spec import WorkerSpec
from openagentperf.sim.steps import Steps
from openagentperf.units import NS_PER_S, Ns


class Prompts(Steps):
    """The part of a worker (sim.worker) that forms groups."""

    __slots__ = (
        "_chunk",
        "_chunk_ns",
        "_chunk_start_ns",
        "_context_ns",
        "_group",
        "_group_end",
        "_link_free",
        "_part",
        "_splits",
        "_start_ns",
        "_token_ns",
        "alive",
        "blocked",
        "host_hit_tokens",
        "pool",
        "ready",
        "running",
        "spec",
        "waiting",
    )

    def __init__(self, spec: WorkerSpec, timers: Timers) -> None:
        super().__init__(spec.power, timers)
        self.spec = spec
        self._splits = spec.role == "prefill"
        costs = spec.costs
        self._token_ns = costs.prefill_token_s * NS_PER_S
        self._context_ns = costs.prefill_context_s * NS_PER_S
        self._start_ns = costs.prefill_start_s * NS_PER_S
        self._chunk_start_ns = costs.chunk_start_s * NS_PER_S
        self._chunk = spec.chunk_tokens
        self._chunk_ns = 0.0
        """Prefill of its own group in each step."""
        self.pool = pool_of(spec)
        self.waiting: deque[Job] = deque()
        self.ready: deque[Job] = deque()
        """Admitted, and back from the host tier."""
        self.running = 0
        """Admitted and not ended, or not yet handed on."""
        self.alive = True
        self.blocked = False
        """The first that waits does not fit into the KV that is free."""
        self.host_hit_tokens = 0
        self._group: list[Job] = []
        self._group_end = 0
        """The step."""
        self._part: Job | None = None
        """Computed in part, and the first of the next group."""
        self._link_free: Ns = 0

    @abstractmethod
    def nudge(self, now: Ns) -> None:
        """A prompt may have become ready to be computed."""

    def _form_group(self, now: Ns) -> None:
        group = self._group
        tokens = capacity = steps = 0
        work = 0.0
        while True:
            job = self._part or self._admit(now)
            if job is None:
                break
            self._part = None
            needed = job.left_tokens
            if not capacity:
                steps = -(-needed // self._chunk)
                capacity = steps * self._chunk
            if tokens + needed <= capacity:
                tokens += needed
                work += job.left_work_ns
                group.append(job)
                if tokens == capacity:
                    break
            else:
                share = job.left_work_ns * (capacity - tokens) / needed
                work += share
                job.left_work_ns -= share
                job.left_tokens = needed - (capacity - tokens)
                self._part = job
                break
        if group:
            self._chunk_ns = self._chunk_start_ns + work / steps
            self._group_end = self._step + steps
        else:
            self._chunk_ns = 0.0

    def _admit(self, now: Ns) -> Job | None:
        """The next one whose prompt may be computed, in order of arrival; None where there is none, no place or no room."""
        if self.ready:
            return self.ready.popleft()
        while self.waiting and (self._splits or self.running < self.spec.max_batch):
            job = self.waiting[0]
            tokens = job.prompt if self._splits else job.prompt + job.output
            lease = self.pool.lease(job.path, job.prompt, tokens)
            self.blocked = lease is None
            if lease is None:
                return None
            self.waiting.popleft()
            self.running += 1
            job.lease = lease
            cached = lease.hits * self.pool.block_tokens
            job.cached_tokens = cached
            new = job.left_tokens = job.prompt - cached
            job.left_work_ns = self._start_ns + new * (self._token_ns + self._context_ns * (cached + new / 2))
            if not lease.host_hits:
                return job
            # It comes back beside the work of others, who go before.
            self.host_hit_tokens += lease.host_hits * self.pool.block_tokens
            begins = max(now, self._link_free)
            self._link_free = begins + round(lease.host_bytes * NS_PER_S / self.spec.host_bytes_per_s)
            self._at(self._link_free, self._loaded, job)
        return None

    def _loaded(self, job: Job, now: Ns) -> None:
        if not self.alive:
            return
        self.ready.append(job)
        self.nudge(now)
