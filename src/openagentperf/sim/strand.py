"""What the KV pool keeps (sim.prefix): strands, and the leases on them."""

from __future__ import annotations

from collections.abc import Sequence


class Strand:
    """A run of blocks with one content; see sim.prefix."""

    __slots__ = ("end", "host_end", "host_mark", "host_pieces", "key", "mark", "pieces", "pin_end", "pins", "start")

    def __init__(self, key: int, start: int) -> None:
        self.key = key
        self.start = self.end = self.host_end = self.pin_end = start
        """`host_end` above `end`: blocks `end` to `host_end` are on the host. `pin_end`: the largest of `pins`, `start` without any."""
        self.pins: dict[int, int] = {}
        """How many running sequences hold it up to a block."""
        self.pieces: list[tuple[int, int]] = []
        """(end, tick), the deepest first."""
        self.host_pieces: list[tuple[int, int]] = []
        """The same, of what is on the host."""
        self.mark = self.host_mark = False

    def __lt__(self, other: Strand) -> bool:
        return False  # heaps compare ticks; equal ones are the same strand's


class Lease:
    """What one running sequence holds."""

    __slots__ = ("full", "hits", "holds", "host_bytes", "host_hits", "own", "spare_marks")

    def __init__(self, hits: int, host_hits: int) -> None:
        self.hits = hits
        """Leading blocks found, in the pool or on the host."""
        self.host_hits = host_hits
        """Of these, the ones on the host."""
        self.host_bytes = 0
        """What has to come back from there."""
        self.own = 0
        """Bytes in the pool that only it has."""
        self.spare_marks = 0
        """Marks inside `own` for the strands that it passes through."""
        self.full = 0
        """Prompt blocks that it has published."""
        self.holds: list[tuple[Strand, int, int]] = []
        """(strand, block up to which it is held, block at which the prompt leaves it)."""


def beginning(chain: Sequence[tuple[int, int]], length: int) -> tuple[tuple[int, int], ...]:
    """The first `length` tokens (or blocks) of a chain of (strand, where it is left); () of none."""
    kept: list[tuple[int, int]] = []
    for strand, leaves in chain:
        if kept and kept[-1][1] >= length:
            break
        kept.append((strand, min(leaves, length)))
    return tuple(kept) if length else ()
