"""One worker in virtual time: continuous batching as processor sharing, one event where something begins or ends and none a token.

Time is counted in steps (sim.steps), and whatever happens takes effect at the end of one, as in sim.replica (its step-by-step twin): what
arrives waits for it, and a sequence leaves ceil(n / tokens_per_step) steps after its first token, n being the tokens that follow; where
drafted tokens are accepted by chance, a few more or less (sim.drafts). A heap holds the steps at which sequences leave.

Workers in lockstep (spec.WorkerSpec.lockstep) each keep their own count of steps, and a step of one takes what the group needs:

    longest decode step of any + (1 - spread) x longest chunk of any + spread x mean chunk of all

Of that its own work is its decode step, (1 - spread) x its chunk and the spread part; the rest it waits. A worker that begins or ends a
prompt, or whose batch changes what the longest decode step is, has the others look in at the end of the step that each of them is in. KV
that grows in between is seen at the next such time (one part in 10^4 a step). A worker with nothing of its own rests, and what it computes
of the spread part then is not metered.

Prompts are computed in groups, and admitted by KV (sim.prompts).
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush

from openagentperf.sim.drafts import Drafts
from openagentperf.sim.jobs import Host, Job, Timers
from openagentperf.sim.kvbytes import KvBytes
from openagentperf.sim.prompts import Prompts
from openagentperf.sim.slots import pool_of
from openagentperf.sim.spec import WorkerSpec
from openagentperf.units import NS_PER_S, Ns


class Worker(Prompts):
    """See the module's docstring. `submit` and its timers take times that never fall."""

    __slots__ = (
        "_brought",
        "_drafts",
        "_gone",
        "_host",
        "_kv_ns",
        "_kv_tokens",
        "_out",
        "_per_step",
        "_spread",
        "_step_ns",
        "brings",
        "homes",
        "incoming",
        "jobs",
        "joining",
        "load",
        "peers",
        "sends_until",
        "sent_ns",
        "weight",
    )

    def __init__(self, spec: WorkerSpec, host: Host, timers: Timers) -> None:
        super().__init__(spec, timers)
        self._host = host
        costs = spec.costs
        self._step_ns = [seconds * NS_PER_S for seconds in costs.step_s]
        if self._splits:
            self._step_ns = [0.0]
        self._kv_ns = costs.per_kv_token_s * NS_PER_S
        self._per_step = costs.tokens_per_step
        self._drafts = Drafts(costs)
        self.incoming: deque[Job] = deque()
        """Prompts computed elsewhere that wait for a place here."""
        self.joining: list[Job] = []
        """To decode from the next step on."""
        self.jobs: dict[Job, None] = {}
        """All that are here, in the order in which they came."""
        self._spread = costs.prefill_spread
        self.peers: tuple[Worker, ...] = ()
        """Of its lockstep group, itself among them; () where it steps for itself."""
        self.brings = (0.0, 0.0)
        """To the steps of that group: its decode step, and its chunk; ns."""
        self._brought = (0, 0.0)
        """Its batch and `_kv_tokens` then: what tells a decode step that has changed from one that has grown."""
        self._out: list[tuple[int, int, Job, float]] = []
        """(step at which it leaves, number, job, its part of `_kv_tokens`)."""
        self._kv_tokens = 0.0
        """KV that the batch reads, less what it has made: + per_step x batch x step gives it at a step."""
        self._gone = 0
        self.homes = 0
        """Conversations that it is the home of."""
        self.load = 0
        """Requests that are here or on their way here."""
        self.weight = KvBytes(spec.kv)
        self.sends_until: Ns = 0
        self.sent_ns = 0
        """Time spent sending KV to decode workers."""

    # -- what comes in -------------------------------------------------------------------------------------------------------

    def submit(self, job: Job, now: Ns) -> None:
        """A prompt to compute."""
        job.worker = self
        self.load += 1
        self.jobs[job] = None
        self.waiting.append(job)
        if not self.busy:
            self._wake_up(now)
        elif not self._group:
            self._look_in(now)

    def join(self, job: Job, now: Ns) -> None:
        """One whose prompt was computed elsewhere, and whose place was taken before."""
        job.worker = self
        self.jobs[job] = None
        self.joining.append(job)
        if self.busy:
            self._look_in(now)
        else:
            self._wake_up(now)

    def nudge(self, now: Ns) -> None:
        """KV or a place has become free by somebody else's doing."""
        if self.busy:
            if not self._group:
                self._look_in(now)
        elif self.waiting or self.ready:
            self._wake_up(now)

    def forget(self, job: Job, now: Ns) -> None:
        """Its client has gone. What waits leaves at once, what decodes at the end of the step, what is being computed with its group."""
        job.gone = True
        if job.lease is None:
            was_first = self.waiting[0] is job
            self.waiting.remove(job)
            self.load -= 1
            del self.jobs[job]
            if was_first and self.blocked:  # the next one may fit
                self.blocked = False
                self.nudge(now)
        elif job.first_ns >= 0 and not self._splits:
            self._gone += 1
            self._look_in(now)

    def hand_on(self, job: Job, now: Ns) -> None:
        """Its KV has been copied, or nobody wants it any more."""
        self.running -= 1
        self.load -= 1
        del self.jobs[job]
        assert job.lease is not None
        self.pool.release(job.lease)
        job.lease = None
        self.nudge(now)

    def fail(self, now: Ns) -> list[Job]:
        """Gone, with its cache and its requests, which are given back. It draws idle power from then on."""
        self.settle(now)
        self._t, self._prefill_metered, self._wait_metered = now, 0.0, 0.0
        lost = list(self.jobs)
        self.alive = self.blocked = False
        self._rest()
        self.jobs.clear()
        self.waiting.clear()
        self.ready.clear()
        self.joining.clear()
        self._out.clear()
        self._group.clear()
        self._part = None
        self.running = self.load = self.batch = 0
        self._kv_tokens = 0.0
        if self.peers:
            self._bring(0.0, 0.0, now)
        evicted, self.pool = self.pool.evicted_blocks, pool_of(self.spec)
        self.pool.evicted_blocks = evicted  # a sum since the start, not of the pool that there is now
        return lost

    # -- the end of a step ---------------------------------------------------------------------------------------------------

    def turn(self, now: Ns) -> None:
        """At the end of a step: who leaves, who has its first token, who begins; then what the next steps cost."""
        out, step = self._out, self._step
        while out and out[0][0] <= step:
            _, _, job, kv = heappop(out)
            self._kv_tokens -= kv
            if job.gone:
                self._gone -= 1
            self._end(job, now)
        if self._gone:
            self._drop_gone(now)
        if self._group and self._group_end <= step:
            self._end_group(now)
        if self.joining:
            for job in self.joining:
                self._decode(job, now)
            self.joining = []
        if not self._group and (self.waiting or self.ready or self._part):
            self._form_group(now)
        batch = self.batch = len(out)
        if batch > self.batch_max:
            self.batch_max = batch
        self._w, self._wait = self._chunk_ns, 0.0
        if batch:
            per_step = self._per_step * batch
            self._g = self._kv_ns * per_step
            self._a = self._step_ns[batch] + self._kv_ns * (self._kv_tokens + per_step * step)
            last = out[0][0]
            if self._group:
                self._a += self._w
                if self._group_end < last:
                    last = self._group_end
        elif self._group:
            self._g = 0.0
            self._a = self._step_ns[0] + self._w
            last = self._group_end
        else:
            self._kv_tokens = 0.0
            self._rest()
            if self.peers:
                self._bring(0.0, 0.0, now)
            return
        if self.peers:
            self._bring(self._a - self._w, self._w, now)
            self._keep_step()
        self._arm(last)

    # -- lockstep --------------------------------------------------------------------------------------------------------------

    def _bring(self, decode_ns: float, chunk_ns: float, now: Ns) -> None:
        """Say what its steps take from now on, and have the others look in where theirs will take another time for it."""
        before, self.brings = self.brings, (decode_ns, chunk_ns)
        brought, self._brought = self._brought, (self.batch, self._kv_tokens)
        if before[1] == chunk_ns:
            if brought == self._brought:
                return
            longest = max((peer.brings[0] for peer in self.peers if peer is not self), default=0.0)
            if longest >= before[0] and longest >= decode_ns:
                return
        for peer in self.peers:
            if peer.busy and peer is not self:
                peer._look_in(now)

    def _keep_step(self) -> None:
        """Its step as long as the group needs it."""
        own_decode, own_chunk = self.brings
        decode = longest = total = 0.0
        for peer in self.peers:
            its_decode, its_chunk = peer.brings
            if its_decode > decode:
                decode = its_decode
            if its_chunk > longest:
                longest = its_chunk
            total += its_chunk
        alone = 1 - self._spread
        self._w = alone * own_chunk + self._spread * total / len(self.peers)
        self._wait = decode - own_decode + alone * (longest - own_chunk)
        self._a = own_decode + self._w + self._wait

    # -- one sequence --------------------------------------------------------------------------------------------------------

    def _decode(self, job: Job, now: Ns) -> None:
        """Its first token is made: the others follow."""
        if job.gone or job.output == 1:
            self._end(job, now)
            return
        kv = job.prompt + 1 - self._per_step * self._step
        self._kv_tokens += kv
        steps = self._drafts.steps(job.output - 1, job.number)
        heappush(self._out, (self._step + steps, job.number, job, kv))

    def _end(self, job: Job, now: Ns) -> None:
        self.running -= 1
        self.load -= 1
        del self.jobs[job]
        assert job.lease is not None
        self.pool.release(job.lease)
        self._host.ended(job, now)

    def _drop_gone(self, now: Ns) -> None:
        left = [entry for entry in self._out if entry[2].gone]
        self._out[:] = [entry for entry in self._out if not entry[2].gone]
        heapify(self._out)
        for _, _, job, kv in sorted(left):
            self._kv_tokens -= kv
            self._end(job, now)
        self._gone = 0

    def _end_group(self, now: Ns) -> None:
        group, self._group = self._group, []
        self._chunk_ns = 0.0
        for job in group:
            assert job.lease is not None
            self.pool.publish(job.lease, job.prompt)
            if self._splits:
                self._host.prefilled(job, now)
            else:
                if job.first_ns < 0:
                    job.first_ns = now
                self._decode(job, now)
