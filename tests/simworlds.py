"""Small clusters and hosts for tests of the event simulation."""

from __future__ import annotations

from msgspec.structs import replace

from openagentperf.records.phase import PhaseOrder
from openagentperf.sim.cluster import Cluster, Conversation
from openagentperf.sim.cost import NodeConfig
from openagentperf.sim.jobs import Job, Timers
from openagentperf.sim.spec import ClusterSpec, KvGroup, PowerDraw, StepCosts, WorkerSpec
from openagentperf.sim.worker import Worker
from openagentperf.units import NS_PER_MS, NS_PER_S, Ns

ENDLESS = 1 << 60
POWER = PowerDraw(idle_w=100.0, decode_w=300.0, prefill_w=700.0, wait_w=200.0)


def twin_of(node: NodeConfig) -> WorkerSpec:
    """A worker that costs what a NodeConfig says, for the step-by-step replica to be its twin.

    A replica's prefill step also has the sequence that prefills in its batch, and reads the KV computed so far: both go into the price of
    a prompt's token here, exactly where prompts are whole chunks.
    """
    chunk = node.chunk_tokens
    token_ns = node.per_prefill_token_ns + node.per_sequence_ns / chunk + node.per_kv_token_ns / 2
    return WorkerSpec(
        pool="node",
        role="aggregated",
        workers=1,
        accelerators_per_worker=1,
        costs=StepCosts(
            step_s=tuple((node.base_ns + node.per_sequence_ns * b) / NS_PER_S for b in range(node.max_batch + 1)),
            per_kv_token_s=node.per_kv_token_ns / NS_PER_S,
            prefill_token_s=token_ns / NS_PER_S,
            prefill_context_s=node.per_kv_token_ns / chunk / NS_PER_S,
        ),
        power=POWER,
        max_batch=node.max_batch,
        chunk_tokens=chunk,
        kv=(KvGroup(name="all", kind="full", bytes_per_token=1.0),),
        kv_pool_bytes=node.blocks * node.block_tokens,
        block_tokens=node.block_tokens,
    )


def cluster_of(*pools: WorkerSpec, **rest: object) -> ClusterSpec:
    return replace(ClusterSpec(name="test", workers=pools, max_model_len=1 << 20), **rest)


NODE = NodeConfig(
    block_tokens=10,
    blocks=1_000,
    max_batch=4,
    max_model_len=2_000,
    chunk_tokens=100,
    base_ns=10 * NS_PER_MS,
    per_sequence_ns=0,
    per_kv_token_ns=0.0,
    per_prefill_token_ns=1e6,
)
"""10 ms a step, and 1 ms a prompt token; a token of KV is one byte."""
WORKER = twin_of(NODE)
PREFILL = replace(WORKER, pool="prefill", role="prefill", costs=StepCosts(step_s=(), prefill_token_s=0.001))
DECODE = replace(WORKER, pool="decode", role="decode", costs=StepCosts(step_s=(0.01,) * 5))
SPLIT = cluster_of(PREFILL, DECODE, transfer_bytes_per_s=1_000.0, transfer_start_s=0.005)


def order_of(agents: int, **rest: object) -> PhaseOrder:
    order = PhaseOrder(
        index=0,
        agents=agents,
        kind="search",
        seed=11,
        phase_nonce="",
        nonce_key=b"",
        start_ns=5 * NS_PER_S,
        spawn_per_s=20.0,
        settle_s=2.0,
        measure_s=20.0,
        limit_s=120.0,
        turn_timeout_s=60.0,
    )
    return replace(order, **rest)


class Alone:
    """A host with one worker: keeps when its jobs had their first and their last token."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.timers = Timers(0)
        self.worker = Worker(spec, self, self.timers)
        self.seen: dict[int, tuple[Ns, Ns]] = {}
        self.jobs: list[Job] = []

    def submit(self, at_ns: Ns, prompt: int, output: int, path: tuple[tuple[int, int], ...] = ()) -> Job:
        number = len(self.jobs)
        job = Job(number, None, prompt, output, path or ((number, ENDLESS),), at_ns)
        self.jobs.append(job)
        self.timers.at(at_ns, self.worker.submit, job)
        return job

    def prefilled(self, job: Job, now: Ns) -> None:
        self.worker.hand_on(job, now)

    def ended(self, job: Job, now: Ns) -> None:
        self.seen[job.number] = (job.first_ns, now)


class Course:
    """A cluster and what became of its jobs."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.timers = Timers(0)
        self.cluster = Cluster(spec, self.timers, self._end, self._lose)
        self.talks: dict[int, Conversation] = {}
        self.jobs: list[Job] = []
        self.last: dict[int, Ns] = {}
        self.lost: dict[int, Ns] = {}

    def ask(self, at_ms: int, talk: int, prompt: int = 80, output: int = 11) -> Job:
        number = len(self.jobs)
        job = Job(number, None, prompt, output, ((talk, ENDLESS),), at_ms * NS_PER_MS)
        self.jobs.append(job)
        self.talks.setdefault(talk, Conversation(talk))
        self.timers.at(at_ms * NS_PER_MS, lambda job, now: self.cluster.submit(job, self.talks[talk], now), job)
        return job

    def give_up(self, at_ms: int, job: Job) -> None:
        self.timers.at(at_ms * NS_PER_MS, self.cluster.forget, job)

    def run(self) -> list[tuple[float, float]]:
        """(first token, last token) of every job, in ms."""
        self.timers.run()
        return [(job.first_ns / NS_PER_MS, self.last.get(job.number, -1) / NS_PER_MS) for job in self.jobs]

    def _end(self, job: Job, now: Ns) -> None:
        self.last[job.number] = now

    def _lose(self, job: Job, now: Ns) -> None:
        self.lost[job.number] = now
