"""What the KV of one sequence weighs by its length: the one place where layer groups (spec.KvGroup) are added up.

bytes of L tokens = per_token x L + sum over window groups of bytes_per_token x min(L, window_tokens)
"""

from __future__ import annotations

from collections.abc import Sequence

from openagentperf.sim.spec import KvGroup


class KvBytes:
    """Of one copy, in a worker's pool or on the link between two."""

    __slots__ = ("_longest", "_windows", "per_token", "windows")

    def __init__(self, groups: Sequence[KvGroup]) -> None:
        self.per_token = sum(group.bytes_per_token for group in groups if group.kind != "window")
        """Of one token more, however many there are."""
        self._windows = [(g.bytes_per_token, g.window_tokens) for g in groups if g.kind == "window"]
        self._longest = max((tokens for _, tokens in self._windows), default=0)
        self.windows = sum(per_token * tokens for per_token, tokens in self._windows)
        """Besides, once every window is full: the most that a sequence holds of them."""

    def of(self, tokens: int) -> float:
        """A sequence of so many tokens."""
        if tokens >= self._longest:
            return self.windows + self.per_token * tokens
        return self.per_token * tokens + sum(per_token * min(tokens, window) for per_token, window in self._windows)
