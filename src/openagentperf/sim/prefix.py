"""The KV pool of one worker, simulated: which prefixes are in it, who runs on them, and what is forgotten when it is full.

Prompts are chains of *strands* (sim.workload): a strand is a run of blocks with one content, from where it leaves its parent strand on.
What is cached of it is always its beginning, so a strand of 420 blocks is one object with one end and not 420 nodes:

    strand    start ......... end                 blocks `start` to `end` are in the pool
    pins      a running sequence holds its path up to a block; the longest hold protects
    pieces    (end, tick) runs by when they were last let go; deeper ones earlier, because who holds a block holds all before it

Eviction takes blocks one at a time in the order of their ticks, the deepest of equals first: least recently used from the leaves,
exactly as a queue of single blocks would (sim.kvcache.KvPool, the twin in the tests). What a sequence computes is its own until it is
published; of two that computed the same at once the second's copy is dropped then, or kept for itself where nothing follows it.

Layer groups (spec.KvGroup) share the pool's bytes. Full and compressed groups cost bytes a block. Window groups can be resumed only
where their window's tail was kept, so a strand has a *mark* at its end: it costs the bytes of all windows, moves on with the
end, and is lost with the last block. Where there are such groups, only a mark on the path is a hit.

Host tier: evicted blocks go there, and leave it, least recently used first, when it is full. A lease that finds blocks there says how
many bytes have to come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import TypeAlias

from openagentperf.sim.hosttier import HostTier
from openagentperf.sim.kvbytes import KvBytes
from openagentperf.sim.spec import KvGroup
from openagentperf.sim.strand import Lease, Strand

Path: TypeAlias = Sequence[tuple[int, int]]
"""(strand key, block at which the prompt leaves it), outermost first, ends rising."""


class PrefixPool:
    """KV of one worker. All sizes in whole bytes; lengths in blocks. `cached + pinned <= capacity` always."""

    __slots__ = (
        "_heap",
        "_host",
        "_looked",
        "_strands",
        "_tick",
        "block_bytes",
        "block_tokens",
        "cached",
        "capacity",
        "evicted_blocks",
        "mark_bytes",
        "pinned",
    )

    def __init__(self, kv: Sequence[KvGroup], pool_bytes: float, block_tokens: int, host_bytes: float = 0.0) -> None:
        self.block_tokens = block_tokens
        weight = KvBytes(kv)
        self.block_bytes, self.mark_bytes = round(weight.per_token * block_tokens), round(weight.windows)
        self.capacity = int(pool_bytes)
        self.pinned = 0
        """Bytes that running sequences hold, shared ones once."""
        self.cached = 0
        """Bytes that nobody holds and a prompt could find."""
        self.evicted_blocks = 0
        """Blocks that left the pool, since the start; kept on the host or not."""
        self._strands: dict[int, Strand] = {}
        self._heap: list[tuple[int, Strand]] = []
        """(tick, strand) of tails that could be evicted when it was filled; those that were held since are skipped."""
        self._host = HostTier(int(host_bytes), self.block_bytes, self.mark_bytes, self._strands)
        self._tick = 0
        self._looked = 0
        """Tick at which `_heap` was filled."""

    @property
    def host_capacity(self) -> int:
        return self._host.capacity

    @property
    def host_used(self) -> int:
        """Bytes on the host."""
        return self._host.used

    def longest_tokens(self, strands: int) -> int:
        """The longest sequence, on a path of so many strands, that could run here alone."""
        room = self.capacity - (1 + strands) * self.mark_bytes
        if not self.block_bytes:
            return 1 << 60 if room >= 0 else 0
        return max(0, room // self.block_bytes) * self.block_tokens

    # -- a sequence's way ----------------------------------------------------------------------------------------------------

    def match(self, path: Path, prompt_tokens: int) -> tuple[int, int]:
        """(leading blocks found, of these in the pool itself). At least one prompt token is always left to compute."""
        limit = (prompt_tokens - 1) // self.block_tokens
        marked, get = self.mark_bytes, self._strands.get
        best = reach = 0
        here = True
        for key, leaves in path:
            strand = get(key)
            if strand is None:
                break
            stop = leaves
            if limit < stop:
                stop = limit
            end, host_end = strand.end, strand.host_end
            if here:
                if end >= stop:
                    reach = stop
                else:
                    reach, here = end, False
            top = max(end, host_end)
            if not marked:
                best = min(top, stop)
            else:
                if strand.mark and end <= stop:
                    best = end
                if strand.host_mark and end < host_end <= stop:
                    best = host_end
            if top < stop or stop == limit:
                break
        return best, min(best, reach)

    def lease(self, path: Path, prompt_tokens: int, tokens: int) -> Lease | None:
        """Hold what is there of the prompt, and take room for the rest and for the answer (`tokens` is both together). A prompt without a
        path is only kept while it runs.

        None, and nothing changed, where running sequences leave too little room.
        """
        block_bytes, mark_bytes = self.block_bytes, self.mark_bytes
        if not path:
            own = -(-tokens // self.block_tokens) * block_bytes + mark_bytes
            if self.pinned + own > self.capacity:
                return None
            lease = Lease(0, 0)
            lease.own = own
            self.pinned += own
            if self.pinned + self.cached > self.capacity:
                self._evict()
            return lease
        hits, here = self.match(path, prompt_tokens)
        strands = self._strands
        lease = Lease(hits, hits - here)
        holds, start, last = lease.holds, 0, len(path) - 1
        newly = 0
        """Cached bytes that become pinned."""
        for index, (key, leaves) in enumerate(path):
            strand = strands.get(key)
            if strand is None:
                strand = Strand(key, start)
            upto = here
            if leaves < upto:
                upto = leaves
            elif upto < start:
                upto = start
            if upto > strand.pin_end:
                newly += (upto - strand.pin_end) * block_bytes
            if mark_bytes:
                if strand.mark:
                    newly += 0 if strand.pins else mark_bytes
                elif index < last and strand.end <= leaves:
                    lease.spare_marks += 1
            holds.append((strand, upto, leaves))
            start = leaves
        own = (-(-tokens // self.block_tokens) - here) * block_bytes + (1 + lease.spare_marks) * mark_bytes
        if self.pinned + newly + own > self.capacity:
            return None
        for strand, upto, _ in holds:
            pins = strand.pins
            if not pins:
                strands[strand.key] = strand
            pins[upto] = pins.get(upto, 0) + 1
            if upto > strand.pin_end:
                strand.pin_end = upto
        self.cached -= newly
        self.pinned += newly + own
        lease.own = own
        if lease.host_hits:
            lease.host_bytes = lease.host_hits * block_bytes + mark_bytes
        if self.pinned + self.cached > self.capacity:
            self._evict()
        return lease

    def publish(self, lease: Lease, prompt_tokens: int) -> None:
        """The prompt is computed: its full blocks can be found from now on."""
        full = lease.full = prompt_tokens // self.block_tokens
        block_bytes, mark_bytes, last = self.block_bytes, self.mark_bytes, len(lease.holds) - 1
        for index, (strand, upto, leaves) in enumerate(lease.holds):
            to = full
            if leaves < to:
                to = leaves
            if to <= upto and not lease.spare_marks:
                continue
            end = strand.end
            if to <= end and leaves >= full:
                # Cached to its very end (the last block was computed again for its last token), or published by another: nothing
                # depends on our copy, and whoever made the one in the pool holds it.
                break
            if to > end:
                if strand.mark:  # of the end before: moves on
                    strand.mark = False
                    self.pinned -= mark_bytes
                if strand.host_end > end:
                    self._host.leave(strand, to)
                lease.own -= (to - end) * block_bytes
                strand.end = to
            elif to > upto:
                end = to
            if to > upto:
                if end > upto:  # somebody else published these meanwhile, and ours are dropped
                    lease.own -= (end - upto) * block_bytes
                    self.pinned -= (end - upto) * block_bytes
                    if end > strand.pin_end:
                        shared = (end - strand.pin_end) * block_bytes
                        self.pinned += shared
                        self.cached -= shared
                pins = strand.pins
                if pins[upto] == 1:
                    del pins[upto]
                else:
                    pins[upto] -= 1
                pins[to] = pins.get(to, 0) + 1
                if to > strand.pin_end:
                    strand.pin_end = to
                lease.holds[index] = (strand, to, leaves)
            if lease.spare_marks and index < last and strand.end == leaves and not strand.mark:
                strand.mark = True
                lease.spare_marks -= 1
                lease.own -= mark_bytes
        if lease.spare_marks:
            self.pinned -= lease.spare_marks * mark_bytes
            lease.own -= lease.spare_marks * mark_bytes
            lease.spare_marks = 0

    def release(self, lease: Lease) -> None:
        """Let go. What was published stays cached until it is evicted; the answer's blocks are free at once."""
        holds = lease.holds
        if not holds:
            self.pinned -= lease.own
            lease.own = 0
            return
        block_bytes, mark_bytes = self.block_bytes, self.mark_bytes
        if mark_bytes and lease.full:
            strand, upto, _ = holds[-1]
            if upto == strand.end > strand.start and not strand.mark:
                strand.mark = True  # its windows at the prompt's end, until now among its own
                lease.own -= mark_bytes
        self.pinned -= lease.own
        lease.own = 0
        tick = self._tick
        for strand, upto, _ in reversed(holds):
            pins, start = strand.pins, strand.start
            tick += 1
            if upto > start:
                pieces = strand.pieces
                while pieces and pieces[-1][0] <= upto:
                    pieces.pop()
                pieces.append((upto, tick))
            if pins[upto] > 1:
                pins[upto] -= 1
                continue
            del pins[upto]
            if upto == strand.pin_end > start:
                below = max(pins) if pins else start
                freed = (upto - below) * block_bytes
                self.pinned -= freed
                self.cached += freed
                strand.pin_end = below
            if not pins:
                if strand.mark:
                    self.pinned -= mark_bytes
                    self.cached += mark_bytes
                if strand.end == start:
                    self._forget(strand)
        self._tick = tick
        lease.holds = []

    # -- eviction ------------------------------------------------------------------------------------------------------------

    def _evict(self) -> None:
        """Forget what was let go longest ago, until the pool is within its capacity."""
        heap, block_bytes, mark_bytes = self._heap, self.block_bytes, self.mark_bytes
        while (over := self.pinned + self.cached - self.capacity) > 0:
            if not heap:
                # Whatever was let go since has a later tick than all that stood here, so nothing is missed by looking only now.
                self._looked = self._tick
                heap += [(s.pieces[0][1], s) for s in self._strands.values() if s.end > s.pin_end]
                heapify(heap)
            tick, strand = heappop(heap)
            pieces = strand.pieces
            end = strand.end
            if end <= strand.pin_end or not pieces or pieces[0][1] != tick:
                continue
            low = pieces[1][0] if len(pieces) > 1 else strand.start
            if low < strand.pin_end:
                low = strand.pin_end
            had_mark = strand.mark
            if had_mark:
                strand.mark = False
                over -= mark_bytes
                if strand.pins:
                    self.pinned -= mark_bytes
                else:
                    self.cached -= mark_bytes
            take = end - low
            if take * block_bytes > over:
                take = max(1, -(-over // block_bytes))
            at = strand.end = end - take
            self.cached -= take * block_bytes
            self.evicted_blocks += take
            if self._host.capacity:
                self._host.take(strand, end, tick, had_mark)
            if at > low:
                pieces[0] = (at, tick)
                heappush(heap, (tick, strand))
                continue
            if len(pieces) > 1 and at == pieces[1][0]:
                del pieces[0]
                if at > strand.pin_end and pieces[0][1] <= self._looked:
                    heappush(heap, (pieces[0][1], strand))
            elif at == strand.start:
                pieces.clear()
                if not strand.pins:
                    self._forget(strand)
            else:
                pieces[0] = (at, tick)

    def _forget(self, strand: Strand) -> None:
        if strand.host_end <= strand.end:
            self._strands.pop(strand.key, None)
