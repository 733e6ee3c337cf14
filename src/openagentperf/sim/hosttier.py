"""The second tier of a worker's KV (sim.prefix): where evicted blocks go, and from where a prompt can have them back over a link."""

from __future__ import annotations

from collections import deque

from openagentperf.sim.strand import Strand


class HostTier:
    """Blocks `strand.end` to `strand.host_end` of any strand. Oldest out first; blocks come in the order of their ticks."""

    __slots__ = ("_block_bytes", "_limit", "_mark_bytes", "_queue", "_strands", "capacity", "used")

    def __init__(self, capacity: int, block_bytes: int, mark_bytes: int, strands: dict[int, Strand]) -> None:
        """`strands`: those of the pool, from which one goes when nothing of it is left on either side."""
        self.capacity, self._block_bytes, self._mark_bytes, self._strands = capacity, block_bytes, mark_bytes, strands
        self.used = 0
        """Bytes."""
        self._queue: deque[tuple[int, Strand]] = deque()
        """(tick, strand) of pieces, the oldest first; entries of those that came back are skipped."""
        self._limit = 64
        """Length at which it is cleared of those."""

    def take(self, strand: Strand, end: int, tick: int, mark: bool) -> None:
        """Blocks `strand.end` to `end` have just left the pool."""
        pieces = strand.host_pieces
        if strand.host_end < end:
            strand.host_end = end
            pieces.clear()
        if not pieces or pieces[-1][1] != tick:
            pieces.append((end, tick))
            self._queue.append((tick, strand))
        if mark and strand.host_end == end:
            strand.host_mark = True
            self.used += self._mark_bytes
        self.used += (end - strand.end) * self._block_bytes
        while self.used > self.capacity:
            self._drop()
        if len(self._queue) > self._limit:
            queue = self._queue
            self._queue = deque(entry for entry in queue if any(tick == entry[0] for _, tick in entry[1].host_pieces))
            self._limit = 64 + 2 * len(self._queue)

    def _drop(self) -> None:
        """What came first, or as much of it as is too much."""
        tick, strand = self._queue[0]
        pieces = strand.host_pieces
        if not pieces or pieces[0][1] != tick:
            self._queue.popleft()
            return
        over = self.used - self.capacity
        if strand.host_mark:
            strand.host_mark = False
            self.used -= self._mark_bytes
            over -= self._mark_bytes
        low = pieces[1][0] if len(pieces) > 1 else strand.end
        take = strand.host_end - low
        if take * self._block_bytes > over:
            take = max(1, -(-over // self._block_bytes))
        strand.host_end -= take
        self.used -= take * self._block_bytes
        if strand.host_end > low:
            pieces[0] = (strand.host_end, tick)
            return
        self._queue.popleft()
        del pieces[0]
        if strand.host_end == strand.end == strand.start and not strand.pins:
            self._strands.pop(strand.key, None)

    def leave(self, strand: Strand, to: int) -> None:
        """The strand's end in the pool is about to rise to `to`: what it covers is no longer kept on the host."""
        gone = min(strand.host_end, to) - strand.end
        self.used -= gone * self._block_bytes
        pieces = strand.host_pieces
        while pieces and pieces[-1][0] <= to:
            pieces.pop()
        if strand.host_end <= to and strand.host_mark:
            strand.host_mark = False
            self.used -= self._mark_bytes
