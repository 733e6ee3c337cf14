"""The paged KV pool: blocks with reference counts, found again by the hash of everything up to their end, evicted oldest first.

A block is in one of three states:

    pinned   a running sequence holds it (reference count >= 1; several sequences may share a prefix)
    cached   nobody holds it, its content is still known by its hash: the next request with that prefix pins it again
    blank    nobody holds it and nobody could find it

Cached and blank blocks stand in one queue of idle blocks, blank ones in front. A new block is taken from the front, so what is forgotten
is always what was released longest ago. Where the prefixes of all agents no longer fit, each evicts the next one's just before
it is asked for, and the hit rate does not sag but collapses: that is the cliff that a capacity search has to find.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

BlockHash: TypeAlias = int
"""Hash of a block's tokens and of all before them: equal hashes mean equal prefixes."""


class Lease(NamedTuple):
    """Blocks pinned for one sequence, in the order of its tokens; the first `hits` held their content already."""

    blocks: list[int]
    hits: int


class KvPool:
    """All KV blocks of one node."""

    __slots__ = ("_by_hash", "_hash", "_idle", "_refs", "evictions")

    def __init__(self, blocks: int) -> None:
        self._refs = [0] * blocks
        self._hash: list[BlockHash | None] = [None] * blocks
        self._by_hash: dict[BlockHash, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict.fromkeys(range(blocks))
        self.evictions = 0
        """Cached blocks that were overwritten, since the start."""

    @property
    def size(self) -> int:
        return len(self._refs)

    @property
    def pinned(self) -> int:
        """Blocks that a running sequence holds."""
        return len(self._refs) - len(self._idle)

    @property
    def cached(self) -> int:
        """Blocks, pinned or idle, that a new request could find by hash."""
        return len(self._by_hash)

    def match(self, prefix: Sequence[BlockHash]) -> int:
        """How many leading blocks of `prefix` are here. Stops at the first that is not: a later one is useless without it."""
        for count, key in enumerate(prefix):
            if key not in self._by_hash:
                return count
        return len(prefix)

    def lease(self, prefix: Sequence[BlockHash], count: int) -> Lease | None:
        """Pin `count` blocks, as many leading ones as possible by reuse. None, and nothing changed, where too few are idle."""
        hits = [self._by_hash[key] for key in prefix[: min(self.match(prefix), count)]]
        revived = sum(1 for block in hits if not self._refs[block])
        fresh = count - len(hits)
        if fresh > len(self._idle) - revived:
            return None
        for block in hits:  # before any eviction: a hit must not be overwritten by its own request's fresh blocks
            if not self._refs[block]:
                del self._idle[block]
            self._refs[block] += 1
        return Lease(hits + [self._take() for _ in range(fresh)], len(hits))

    def grow(self, lease: Lease) -> bool:
        """Pin one more block at the end of a lease; False where none is idle."""
        if not self._idle:
            return False
        lease.blocks.append(self._take())
        return True

    def publish(self, block: int, key: BlockHash) -> None:
        """Make a pinned block, now computed, findable. Of two that computed the same at once the first is found, the other goes blank."""
        if key not in self._by_hash and self._hash[block] is None:
            self._by_hash[key] = block
            self._hash[block] = key

    def release(self, lease: Lease) -> None:
        """Unpin. The end of a prefix goes first: without its beginning it could not be found anyway."""
        for block in reversed(lease.blocks):
            self._refs[block] -= 1
            if not self._refs[block]:
                self._idle[block] = None
                if self._hash[block] is None:
                    self._idle.move_to_end(block, last=False)
        lease.blocks.clear()

    def _take(self) -> int:
        block, _ = self._idle.popitem(last=False)
        key = self._hash[block]
        if key is not None:
            del self._by_hash[key]
            self._hash[block] = None
            self.evictions += 1
        self._refs[block] = 1
        return block
