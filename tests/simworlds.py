"""Small clusters and hosts for tests of the event simulation."""

from __future__ import annotations

from msgspec.structs import replace

from openagentperf.records.phase import PhaseOrder
from openagentperf.sim.cost import NodeConfig
from openagentperf.sim.jobs import Job, Timers
from openagentperf.sim.spec import ClusterSpec, KvGroup, PowerDraw, StepCosts, WorkerSpec
from openagentperf.sim.worker import Worker
from openagentperf.units import NS_PER_S, Ns

ENDLESS = 1 << 60
POWER = PowerDraw(idle_w=100.0, decode_w=300.0, prefill_w=700.0)


def spec_of(node: NodeConfig) -> WorkerSpec:
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
