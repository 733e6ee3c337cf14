"""One serving replica: continuous batching with chunked prefill over a paged KV pool. Pure: it is told the time.

The life of a request:

    1. submit          it waits, first come first served
    2. admission       when a step begins, a batch place is free and the pool can hold its whole prompt; prefix blocks are reused
    3. prefill         in chunks, out of a token budget that all prefills of a step share
    4. first token     at the end of the step that computed the last prompt token; its prompt blocks can be reused from now on
    5. decode          one token at the end of every step, or several where it speculates; a block more for every `block_tokens` of them
    6. preemption      if no block is left to grow by: whoever was admitted last gives up its blocks and is computed again later
    7. end             after its last token, or when it is cancelled: blocks are unpinned, its prompt stays cached until evicted

Steps follow each other without a gap while there is work. The times of all tokens follow from the times of submit and cancel
alone, however rarely `advance` is called, so a driver on a real clock that wakes up late is late with one token and not with the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

from msgspec import Struct

from openagentperf.sim.cost import Chunk, NodeSizes, Step
from openagentperf.sim.kvcache import BlockHash, KvPool, Lease
from openagentperf.units import Ns


class Request(Struct, frozen=True, kw_only=True):
    """What a replica has to know of a request."""

    id: int
    prompt_tokens: int
    output_tokens: int
    """Exactly so many will be made."""
    prefix: tuple[BlockHash, ...] = ()
    """Chained hashes of the prompt's full blocks."""


class Sequence(Struct, kw_only=True, eq=False):
    """A request on its way through the replica. Compared by identity: the scheduler looks for it in lists."""

    request: Request
    lease: Lease | None = None
    """None while it waits."""
    computed: int = 0
    """Tokens whose keys and values stand in the pool."""
    generated: int = 0
    cached_tokens: int = 0
    """Of the prompt, found in the prefix cache at its first admission."""
    published: int = 0
    """Leading blocks of its lease that others can find."""
    preempted: int = 0
    scheduled: int = 0
    """Tokens that the step in flight computes for it."""
    earned: float = 0.0
    """Of tokens_per_step, what has not yet made a whole token."""

    @property
    def context(self) -> int:
        return self.request.prompt_tokens + self.generated

    @property
    def pending(self) -> int:
        """Tokens to compute before the next one can be made: 1 while it decodes."""
        return self.context - self.computed

    @property
    def decoding(self) -> bool:
        return self.generated > 0 and self.pending == 1

    def next_tokens(self, tokens_per_step: float) -> int:
        """That its next decode step makes; at least one."""
        return min(int(self.earned + tokens_per_step), self.request.output_tokens - self.generated)


class Emitted(NamedTuple):
    """Tokens that a sequence made at the end of a step."""

    sequence: Sequence
    at_ns: Ns
    tokens: int
    done: bool


class Counters(Struct):
    """Sums since the start, in tokens where not said."""

    prefix_queries: int = 0
    prefix_hits: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    preemptions: int = 0
    """Events, not tokens."""
    steps: int = 0


class Replica:
    """The scheduler. `submit`, `cancel` and `advance` take times that never fall."""

    def __init__(self, config: NodeSizes, on_step: Callable[[Ns, Ns, float], None] | None = None) -> None:
        """`on_step` hears of each step when it begins: its beginning and end, and the share of its time that is prefill."""
        self.config = config
        self._on_step = on_step
        self.pool = KvPool(config.blocks)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        """In order of admission."""
        self.counters = Counters()
        self._step_end_ns: Ns | None = None

    def next_event_ns(self) -> Ns | None:
        """End of the step in flight, the next time at which anything can happen by itself; None while idle."""
        return self._step_end_ns

    def submit(self, request: Request, now: Ns) -> list[Emitted]:
        """Take a request; returns what was due up to `now`, as `advance` does.

        ValueError where it could never run: no prompt, no output, or longer than `max_model_len` (the API refuses it before).
        """
        if min(request.prompt_tokens, request.output_tokens) < 1:
            raise ValueError(f"request {request.id}: a prompt and an output of at least one token are needed")
        if request.prompt_tokens + request.output_tokens > self.config.max_model_len:
            raise ValueError(f"request {request.id}: prompt + output exceed max_model_len {self.config.max_model_len}")
        due = self.advance(now)
        self.waiting.append(Sequence(request=request))
        if self._step_end_ns is None:
            self._begin_step(now)
        return due

    def cancel(self, request_id: int, now: Ns) -> list[Emitted]:
        """Forget a request at once, wherever it is; unknown ids are ignored (it may have ended at this very instant).

        Blocks of a sequence in the step in flight are unpinned before the step ends: nobody can be given them earlier,
        because admission happens only between steps.
        """
        due = self.advance(now)
        for sequence in self.running:
            if sequence.request.id == request_id:
                self.running.remove(sequence)
                self._release(sequence)
                return due
        for sequence in self.waiting:
            if sequence.request.id == request_id:
                self.waiting.remove(sequence)
                break
        return due

    def advance(self, now: Ns) -> list[Emitted]:
        """End every step that ends at or before `now`; returns its tokens in the order of time."""
        due: list[Emitted] = []
        while self._step_end_ns is not None and self._step_end_ns <= now:
            end_ns = self._step_end_ns
            self._end_step(end_ns, due)
            self._begin_step(end_ns)
        return due

    def _begin_step(self, now: Ns) -> None:
        preempted = self._make_room_for_decoding()
        budget = self.config.chunk_tokens
        batch = kv_tokens = decoding = decode_kv_tokens = 0
        chunks: list[Chunk] = []
        tokens_per_step = self.config.tokens_per_step
        plain = tokens_per_step == 1.0
        for sequence in self.running:
            if sequence.decoding:
                sequence.scheduled = 1 if plain else sequence.next_tokens(tokens_per_step)
                decoding += 1
                decode_kv_tokens += sequence.computed + sequence.scheduled
            elif budget:
                budget -= self._chunk(sequence, budget, chunks, starts=False)
            else:
                sequence.scheduled = 0  # the prefill budget was used up by those before it
                continue
            batch += 1
            kv_tokens += sequence.computed + sequence.scheduled
        # Not in a step that had to preempt: the victim, first in the queue, would take back the blocks it just gave.
        while not preempted and self.waiting and budget and len(self.running) < self.config.max_batch:
            sequence = self.waiting[0]
            if not self._admit(sequence):
                break  # first come, first served: a short request behind it does not overtake
            self.waiting.popleft()
            budget -= self._chunk(sequence, budget, chunks, starts=True)
            batch += 1
            kv_tokens += sequence.computed + sequence.scheduled
        if not batch:
            self._step_end_ns = None
            return
        length, prefill_share = self.config.price(Step(batch, kv_tokens, decoding, decode_kv_tokens, chunks))
        self._step_end_ns = now + length
        self.counters.steps += 1
        if self._on_step is not None:
            self._on_step(now, self._step_end_ns, prefill_share)

    @staticmethod
    def _chunk(sequence: Sequence, budget: int, chunks: list[Chunk], starts: bool) -> int:
        """Schedule as much of its prompt as the budget allows; returns how many tokens that is."""
        sequence.scheduled = min(sequence.pending, budget)
        chunks.append(Chunk(sequence.computed, sequence.scheduled, starts))
        return sequence.scheduled

    def _end_step(self, end_ns: Ns, due: list[Emitted]) -> None:
        finished = False
        for sequence in self.running:
            if not sequence.scheduled:
                continue
            made = 1
            if sequence.decoding:
                made = sequence.scheduled
                sequence.earned += self.config.tokens_per_step - made
            sequence.computed += sequence.scheduled
            sequence.scheduled = 0
            if sequence.published < len(sequence.request.prefix):
                self._publish(sequence)
            if sequence.pending > 0:
                continue
            sequence.generated += made
            self.counters.generated_tokens += made
            done = sequence.generated >= sequence.request.output_tokens
            finished |= done
            due.append(Emitted(sequence, end_ns, made, done))
        if finished:
            for sequence in [s for s in self.running if s.generated >= s.request.output_tokens]:
                self.running.remove(sequence)
                self._release(sequence)

    def _make_room_for_decoding(self) -> bool:
        """A block for every sequence that starts a new one; True if somebody had to give up its blocks for that."""
        preempted = False
        for sequence in self.running.copy():
            tokens = sequence.context
            if sequence.decoding:
                tokens += sequence.next_tokens(self.config.tokens_per_step) - 1
            while sequence.lease is not None and len(sequence.lease.blocks) < self.config.blocks_for(tokens):
                if self.pool.grow(sequence.lease):
                    continue
                self._preempt(self.running[-1])  # perhaps itself: then its lease is None, and the loop ends
                preempted = True
        return preempted

    def _preempt(self, victim: Sequence) -> None:
        self.running.remove(victim)
        self._release(victim)
        victim.preempted += 1
        self.waiting.appendleft(victim)
        self.counters.preemptions += 1

    def _admit(self, sequence: Sequence) -> bool:
        # One token at least is computed even where all are cached: the next token comes out of a computed one, not out of the cache.
        reusable: SequenceOf[BlockHash] = sequence.request.prefix[: (sequence.context - 1) // self.config.block_tokens]
        lease = self.pool.lease(reusable, self.config.blocks_for(sequence.context))
        if lease is None:
            return False
        sequence.lease = lease
        sequence.published = lease.hits
        sequence.computed = lease.hits * self.config.block_tokens
        if not sequence.preempted:
            sequence.cached_tokens = sequence.computed
            self.counters.prefix_queries += sequence.request.prompt_tokens
            self.counters.prefix_hits += sequence.cached_tokens
            self.counters.prompt_tokens += sequence.request.prompt_tokens
        self.running.append(sequence)
        return True

    def _publish(self, sequence: Sequence) -> None:
        assert sequence.lease is not None
        full = min(len(sequence.request.prefix), sequence.computed // self.config.block_tokens)
        for index in range(sequence.published, full):
            self.pool.publish(sequence.lease.blocks[index], sequence.request.prefix[index])
        sequence.published = max(sequence.published, full)

    def _release(self, sequence: Sequence) -> None:
        if sequence.lease is not None:
            self.pool.release(sequence.lease)
        sequence.lease = None
        sequence.computed = sequence.published = sequence.scheduled = 0
