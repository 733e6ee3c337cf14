"""A prefix cache bound to slots, as llama.cpp's: each keeps the tokens of the request that ran in it last, and nothing else is kept.

A request takes the idle slot whose tokens have the longest beginning in common with its prompt, if that is more than a tenth of the prompt
(else any would do for any, by a shared system prompt of a few tokens), and otherwise the one that was let go longest ago. What it does not
have in common is overwritten. So a session that starts takes the slot of another one that waits for its tools, by the system prompt that
they share, though a free one may be left; and more sessions than slots overwrite each other, each just before it comes back.

The same questions as of sim.prefix.PrefixPool, in slots where that counts bytes, and in tokens where it counts blocks (block_tokens is 1).
"""

from __future__ import annotations

from openagentperf.sim.prefix import Path, PrefixPool
from openagentperf.sim.spec import WorkerSpec
from openagentperf.sim.strand import Lease, beginning

SIMILAR = 0.1
"""llama.cpp's default for --slot-prompt-similarity."""


class Slot:
    __slots__ = ("busy", "path", "used")

    def __init__(self) -> None:
        self.path: Path = ()
        """Of the prompt that was computed here last."""
        self.used = 0
        """Rises with every release."""
        self.busy = False

    def common(self, path: Path) -> int:
        """Tokens at the beginning of `path` that are here."""
        tokens = 0
        for (key, leaves), (other, here) in zip(path, self.path, strict=False):
            if key != other:
                break
            tokens = min(leaves, here)
            if leaves != here:
                break
        return tokens


class SlotLease(Lease):
    __slots__ = ("path", "slot")

    def __init__(self, slot: Slot, hits: int, path: Path) -> None:
        super().__init__(hits, 0)
        self.slot = slot
        self.path = path


class SlotPool:
    """All slots of one worker. `capacity`, `pinned` and `cached` are slots: all, those in use, those idle with something in them."""

    def __init__(self, slots: int) -> None:
        self.slots = [Slot() for _ in range(slots)]
        self.block_tokens = 1
        self.host_capacity = self.host_used = 0
        self.capacity = slots
        self.evicted_blocks = 0
        """Tokens that were overwritten, since the start."""
        self._tick = 0

    @property
    def pinned(self) -> int:
        return sum(slot.busy for slot in self.slots)

    @property
    def cached(self) -> int:
        return sum(bool(slot.path) and not slot.busy for slot in self.slots)

    def longest_tokens(self, strands: int) -> int:  # noqa: ARG002 - the question asked of a pool
        """No limit of its own: a slot is as long as the longest request (spec.ClusterSpec.max_model_len)."""
        return 1 << 62

    def lease(self, path: Path, prompt_tokens: int, tokens: int) -> SlotLease | None:  # noqa: ARG002 - the question asked of a pool
        """Take a slot; None where all are in use."""
        idle = [slot for slot in self.slots if not slot.busy]
        if not idle:
            return None
        slot = max(idle, key=lambda s: s.common(path))  # of equals the first
        if slot.common(path) <= SIMILAR * prompt_tokens:
            slot = min(idle, key=lambda s: s.used)
        hits = min(slot.common(path), prompt_tokens - 1)
        if slot.path:
            self.evicted_blocks += max(0, slot.path[-1][1] - hits)
        slot.busy, slot.path = True, beginning(slot.path, hits)
        return SlotLease(slot, hits, path)

    def publish(self, lease: Lease, prompt_tokens: int) -> None:
        """The prompt is computed, and its slot holds it."""
        assert isinstance(lease, SlotLease)
        lease.slot.path = beginning(lease.path, prompt_tokens)

    def release(self, lease: Lease) -> None:
        """The answer has ended, or was given up. What was computed of the prompt stays until another request takes the slot."""
        assert isinstance(lease, SlotLease)
        self._tick += 1
        lease.slot.busy, lease.slot.used = False, self._tick


def pool_of(spec: WorkerSpec) -> PrefixPool | SlotPool:
    """An empty cache of one worker."""
    if spec.slots:
        return SlotPool(spec.slots)
    return PrefixPool(spec.kv, spec.kv_pool_bytes, spec.block_tokens, spec.host_cache_bytes)
