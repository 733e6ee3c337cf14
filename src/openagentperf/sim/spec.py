"""A simulated cluster in numbers: what each worker's steps cost, what its KV pool holds, what it draws, and how requests find it.

Whoever makes these numbers (the physics of a catalogue entry, a calibration to a measured run, tables of measured kernels) is not known
here, and the event simulation reads nothing else. Seconds and bytes, not hardware.

A *worker* is what has a batch and a KV pool of its own: a data-parallel rank, or a whole tensor-parallel group.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

Role: TypeAlias = Literal["aggregated", "prefill", "decode"]
Routing: TypeAlias = Literal["affinity", "least_loaded", "round_robin"]
FirstToken: TypeAlias = Literal["prefill", "decode"]
KvKind: TypeAlias = Literal["full", "compressed", "window"]


class KvGroup(Struct, frozen=True, kw_only=True):
    """KV of one group of layers, for one worker's pool.

    Bytes of a sequence of L tokens: bytes_per_token x L (full, compressed: what a token costs after compression), or
    bytes_per_token x min(L, window_tokens) (window); sim.kvbytes adds them up.
    """

    name: str
    kind: KvKind
    bytes_per_token: float = 0.0
    window_tokens: int = 0


class StepCosts(Struct, frozen=True, kw_only=True):
    """Seconds that a worker's work takes.

    decode step    = step_s[batch] + per_kv_token_s x (tokens whose KV the batch reads)
    prefill        = prefill_start_s + new x (prefill_token_s + prefill_context_s x (context before + new / 2))
    step's chunk   = chunk_start_s + the prefill of all prompts in it
    mixed step     = decode step + its chunk (aggregated workers)
    """

    step_s: tuple[float, ...]
    """By batch, 0 to max_batch: launch, weights touched, activations, collectives, speculation's extra compute. Batch 0 is the step that
    only prefills: 0 where chunk_start_s and prefill's own rates hold all of it."""
    per_kv_token_s: float = 0.0
    tokens_per_step: float = 1.0
    """Tokens that a sequence gets from one step: the acceptance length of speculative decoding, 1 without."""
    tokens_per_step_spread: float = 0.0
    """Standard deviation of that from step to step (sim.drafts); the step-by-step replica takes the mean in every step."""
    prefill_token_s: float = 0.0
    prefill_context_s: float = 0.0
    """Seconds a new token and token of context before it: attention."""
    prefill_start_s: float = 0.0
    """Of each prompt, in however many chunks."""
    chunk_start_s: float = 0.0
    """Of each step that holds prompts, however many and however long: a forward pass is launched once for all of them."""
    prefill_spread: float = 0.0
    """Of a prompt's time, the share that all workers of a lockstep group compute together wherever the prompt lies: the routed experts."""


class PowerDraw(Struct, frozen=True, kw_only=True):
    """Watts of one accelerator by what its worker does."""

    idle_w: float
    decode_w: float
    """A step with no prefill in it."""
    prefill_w: float
    """A step that is all prefill; mixed steps by the share of their time."""
    wait_w: float | None = None
    """In lockstep, done with its own part of a step and waiting for the slowest in a collective. None: as when idle."""


class WorkerSpec(Struct, frozen=True, kw_only=True):
    """Workers of one pool, all alike."""

    pool: str
    role: Role
    workers: int
    accelerators_per_worker: float
    """Of the pool's accelerators; may be a part of one."""
    costs: StepCosts
    power: PowerDraw
    max_batch: int
    """Sequences that decode at once on one worker."""
    chunk_tokens: int
    """Prefill tokens a step may hold."""
    kv: tuple[KvGroup, ...]
    kv_pool_bytes: float
    """Of one worker, for running sequences and reusable prefixes."""
    block_tokens: int = 64
    host_cache_bytes: float = 0.0
    """Second tier that evicted prefixes go to; 0: none."""
    host_bytes_per_s: float = 0.0
    """Of the link between the two, each way."""
    lockstep: int = 1
    """So many workers in a row make every step together, as the ranks of an expert-parallel group do that meet in each layer: a step takes
    what the slowest of them needs, and a prompt on one of them keeps all. 1: each for itself."""
    slots: int = 0
    """Places that each keep the tokens of whatever conversation ran there last, and nothing else is kept (llama.cpp); then as many
    sequences run at once, `kv_pool_bytes` limits nothing and there is no host tier. 0: a pool of blocks."""


class ClusterSpec(Struct, frozen=True, kw_only=True):
    """All workers of the system under test. Either all are `aggregated`, or there are `prefill` and `decode` workers."""

    name: str
    """For people: system, model, deployment."""
    workers: tuple[WorkerSpec, ...]
    max_model_len: int
    routing: Routing = "affinity"
    transfer_bytes_per_s: float = 0.0
    """KV from a prefill worker to a decode worker, a request's share of the fabric; needed where roles are split."""
    transfer_start_s: float = 0.0
    first_token: FirstToken = "decode"
    """Where roles are split, who streams the first token: the decode worker once it has a place and the KV, or the prefill worker at once.
    A wait for a place is in TTFT then, or in the output speed."""
    front_s: float = 0.0
    """From the client to the engine's queue: network, HTTP, tokenising. Every request is so much later, and no worker is busy with it."""
    fail_worker_at_s: tuple[tuple[int, float], ...] = ()
    """(ordinal over all workers, seconds after the measure window opens): the worker is gone then, with its cache and its requests."""

    @property
    def accelerators(self) -> float:
        """Of all pools together."""
        return sum(w.workers * w.accelerators_per_worker for w in self.workers)
