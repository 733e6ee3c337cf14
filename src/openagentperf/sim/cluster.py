"""All workers of a simulated system: which of them a request goes to, and its way from prefill to decode.

    aggregated        submit -> worker -> ended
    prefill | decode  submit -> prefill worker -> a place and room on a decode worker -> KV over the link -> its first token -> ended

Affinity: a conversation has a home, the worker with the fewest homes when it began, where its prefix lies. A request leaves its home
only while that is full (every place taken) and another is not; it then makes that one its home, since its prefix will lie there.

The prefill worker's KV is held until it has been copied; a worker sends one prompt at a time, at the request's share of the fabric
(spec.ClusterSpec.transfer_bytes_per_s). The first token is seen when the decode worker has the prompt: the stream is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from openagentperf.errors import UsageError
from openagentperf.sim.jobs import Job, Timers
from openagentperf.sim.prefix import Path
from openagentperf.sim.spec import ClusterSpec
from openagentperf.sim.worker import Worker
from openagentperf.units import NS_PER_S, Ns, s_to_ns


class Conversation:
    """What a router knows a conversation by."""

    __slots__ = ("home", "number", "paths")

    def __init__(self, number: int) -> None:
        self.number = number
        self.home: Worker | None = None
        self.paths: dict[int, Path] = {}
        """By segment."""


class Cluster:
    """Implements sim.worker.Host."""

    def __init__(
        self,
        spec: ClusterSpec,
        timers: Timers,
        on_end: Callable[[Job, Ns], None],
        on_loss: Callable[[Job, Ns], None],
        opens_ns: Ns = 0,
    ) -> None:
        """`on_end` hears of every job that ended by itself, `on_loss` of every one that went with its worker.

        opens_ns   what the spec's failures count from
        """
        self.spec, self._timers, self._on_end, self._on_loss = spec, timers, on_end, on_loss
        self.workers = [Worker(pool, self, timers) for pool in spec.workers for _ in range(pool.workers)]
        self.front = [worker for worker in self.workers if worker.spec.role != "decode"]
        """Those that take prompts and are alive."""
        self.back = [worker for worker in self.workers if worker.spec.role == "decode"]
        _check(spec, self.front, self.back)
        _keep_step(spec, self.workers)
        self._turn = 0
        self._start_ns = s_to_ns(spec.transfer_start_s)
        self._byte_ns = NS_PER_S / spec.transfer_bytes_per_s if self.back else 0.0
        self._front_ns = s_to_ns(spec.front_s)
        for ordinal, after_s in spec.fail_worker_at_s:
            timers.at(opens_ns + s_to_ns(after_s), self._fail, self.workers[ordinal])

    # -- for the driver --------------------------------------------------------------------------------------------------------

    def longest_tokens(self, strands: int) -> int:
        """Most tokens, prompt and answer together, of a request on a path of so many strands: the context's length, or what a pool holds,
        if that is less."""
        return min(self.spec.max_model_len, *(worker.pool.longest_tokens(strands) for worker in self.workers))

    def submit(self, job: Job, conversation: Conversation, now: Ns) -> bool:
        """False where no worker is left to take it."""
        if self._front_ns and self.front:
            self._timers.at(now + self._front_ns, self._arrived, (job, conversation))
            return True
        worker = self._route(conversation)
        if worker is None:
            return False
        worker.submit(job, now)
        return True

    def _arrived(self, what: tuple[Job, Conversation], now: Ns) -> None:
        """It has come through the front."""
        job, conversation = what
        if job.gone:
            return
        worker = self._route(conversation)
        if worker is None:
            self._on_loss(job, now)
        else:
            worker.submit(job, now)

    def forget(self, job: Job, now: Ns) -> None:
        """Its client has given it up."""
        job.gone = True
        if job.worker is None:
            return  # on its way through the front
        for worker in self.back:
            if job in worker.incoming:
                worker.incoming.remove(job)
                worker.load -= 1
                self._dropped(job, now)
                self._take_in(worker, now)  # those behind it may fit
                return
        job.worker.forget(job, now)

    def close(self, conversation: Conversation) -> None:
        """It has ended. What it left in the caches stays until it is evicted."""
        if conversation.home is not None:
            conversation.home.homes -= 1

    def settle(self, now: Ns) -> None:
        """Bring every worker's meters up to `now`."""
        for worker in self.workers:
            worker.settle(now)

    # -- routing ---------------------------------------------------------------------------------------------------------------

    def _route(self, conversation: Conversation) -> Worker | None:
        front = self.front
        if not front:
            return None
        if self.spec.routing == "affinity":
            home = conversation.home
            if home is None or not home.alive:
                self._move(conversation, min(front, key=_HOMES))
            elif _is_full(home) and (others := [worker for worker in front if not _is_full(worker)]):
                self._move(conversation, min(others, key=_LOAD))
            return conversation.home
        if self.spec.routing == "round_robin":
            self._turn += 1
            return front[(self._turn - 1) % len(front)]
        return min(front, key=_LOAD)

    @staticmethod
    def _move(conversation: Conversation, home: Worker) -> None:
        if conversation.home is not None:
            conversation.home.homes -= 1
        conversation.home = home
        home.homes += 1

    # -- sim.worker.Host -------------------------------------------------------------------------------------------------------

    def ended(self, job: Job, now: Ns) -> None:
        worker = job.worker
        if worker is not None and worker.incoming:
            self._take_in(worker, now)
        if not job.gone:
            self._on_end(job, now)

    def prefilled(self, job: Job, now: Ns) -> None:
        """Its prompt is computed on a prefill worker."""
        if self.spec.first_token == "prefill" and job.first_ns < 0:
            job.first_ns = now
        if job.gone or not self.back:
            self._timers.at(now, self._dropped, job)
            return
        worker = min(self.back, key=_LOAD)
        worker.incoming.append(job)
        worker.load += 1
        self._take_in(worker, now)

    def _take_in(self, worker: Worker, now: Ns) -> None:
        """Give places on a decode worker to those that wait for one, in order."""
        incoming = worker.incoming
        places = worker.spec.max_batch
        while incoming and worker.running < places:
            job = incoming[0]
            if job.gone:
                incoming.popleft()
                worker.load -= 1
                self._timers.at(now, self._dropped, job)
                continue
            room = worker.pool.lease((), job.prompt, job.prompt + job.output)
            if room is None:
                return
            incoming.popleft()
            worker.running += 1
            job.room = room
            source = job.worker
            assert source is not None
            spent = round(source.weight.of(job.prompt) * self._byte_ns)
            begins = max(now, source.sends_until)
            source.sends_until = begins + spent
            source.sent_ns += spent
            self._timers.at(begins + spent + self._start_ns, self._transferred, (job, worker))

    def _transferred(self, what: tuple[Job, Worker], now: Ns) -> None:
        job, worker = what
        source = job.worker
        assert source is not None
        if source.alive:
            source.hand_on(job, now)
        if not worker.alive:
            self._lose([job], now)
            return
        job.lease, job.room = job.room, None
        if job.first_ns < 0:
            job.first_ns = now
        worker.join(job, now)

    def _dropped(self, job: Job, now: Ns) -> None:
        source = job.worker
        if source is not None and source.alive:
            source.hand_on(job, now)
        if not job.gone:
            self._lose([job], now)

    def _fail(self, worker: Worker, now: Ns) -> None:
        incoming = list(worker.incoming)
        worker.incoming.clear()
        self.front = [other for other in self.front if other is not worker]
        self.back = [other for other in self.back if other is not worker]
        self._lose(worker.fail(now), now)
        for job in incoming:
            self.prefilled(job, now)

    def _lose(self, jobs: list[Job], now: Ns) -> None:
        for job in jobs:
            if not job.gone:
                job.gone = True
                self._on_loss(job, now)


_LOAD, _HOMES = attrgetter("load"), attrgetter("homes")
"""Of equals the first is taken."""


def _is_full(worker: Worker) -> bool:
    """A request more would have to wait there, for a place or for room."""
    return worker.blocked or (worker.spec.role == "aggregated" and worker.load >= worker.spec.max_batch)


def _keep_step(spec: ClusterSpec, workers: list[Worker]) -> None:
    """Tell the workers of each lockstep group of one another."""
    first = 0
    for pool in spec.workers:
        if pool.lockstep > 1:
            for start in range(first, first + pool.workers, pool.lockstep):
                group = tuple(workers[start : start + pool.lockstep])
                for worker in group:
                    worker.peers = group
        first += pool.workers


def _check(spec: ClusterSpec, front: list[Worker], back: list[Worker]) -> None:
    roles = {pool.role for pool in spec.workers}
    if roles not in ({"aggregated"}, {"prefill", "decode"}) or not front:
        raise UsageError(
            spec.name, f"has workers of the roles {', '.join(sorted(roles)) or '(none)'}",
            "either all are `aggregated`, or there are `prefill` and `decode` workers", "name the deployment's pools so",
        )  # fmt: skip
    if back and spec.transfer_bytes_per_s <= 0:
        raise UsageError(
            spec.name, "splits prefill from decode and has no link between them", "transfer_bytes_per_s is needed", "give it"
        )  # fmt: skip
    for worker in [*front, *back]:
        pool = worker.spec
        needed = 0 if pool.role == "prefill" else pool.max_batch + 1
        if len(pool.costs.step_s) < needed:
            raise UsageError(
                f"{spec.name}, pool {pool.pool}", f"has step costs for batches up to {len(pool.costs.step_s) - 1}",
                f"max_batch is {pool.max_batch}", "give a cost for every batch from 0 on",
            )  # fmt: skip
        if pool.host_cache_bytes > 0 and pool.host_bytes_per_s <= 0:
            raise UsageError(
                f"{spec.name}, pool {pool.pool}", "has a host cache and no link to it", "host_bytes_per_s is needed", "give it"
            )  # fmt: skip
