"""What the KV pool keeps (sim.prefix): strands, the leases on them, and what a sequence's KV weighs."""

from __future__ import annotations

from collections.abc import Sequence

from openagentperf.sim.spec import KvGroup


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


def block_and_mark_bytes(kv: Sequence[KvGroup], block_tokens: int) -> tuple[int, int]:
    """(bytes of a block in the groups that keep every token, bytes a sequence needs besides: windows, states, fixed parts)."""
    per_token = sum(group.bytes_per_token for group in kv if group.kind in ("full", "compressed"))
    fixed = sum(group.fixed_bytes for group in kv)
    fixed += sum(group.bytes_per_token * group.window_tokens for group in kv if group.kind == "window")
    return round(per_token * block_tokens), round(fixed)


class Weight:
    """Bytes of a sequence alone, by spec.KvGroup: what moves from a prefill worker to a decode worker."""

    __slots__ = ("_fixed", "_full", "_longest", "_per_token", "_windows")

    def __init__(self, kv: Sequence[KvGroup]) -> None:
        self._fixed = sum(group.fixed_bytes for group in kv)
        self._per_token = sum(group.bytes_per_token for group in kv if group.kind in ("full", "compressed"))
        self._windows = [(g.bytes_per_token, g.window_tokens) for g in kv if g.kind == "window"]
        self._longest = max((tokens for _, tokens in self._windows), default=0)
        self._full = self._fixed + sum(per_token * tokens for per_token, tokens in self._windows)

    def of(self, tokens: int) -> float:
        if tokens >= self._longest:
            return self._full + self._per_token * tokens
        windows = sum(per_token * min(tokens, window) for per_token, window in self._windows)
        return self._fixed + self._per_token * tokens + windows
