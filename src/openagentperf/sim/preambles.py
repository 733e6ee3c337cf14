"""What the first requests of many lines have in common before their replay nonce: tools and system prompt, as a tree of shared beginnings.

    tools of harness A -- system prompt -+- "... directory /a"      each node: a beginning that several requests have, or a whole preamble
                                         +- "... directory /b"

A preamble is read in pieces of 256 bytes (about a KV block of 64 tokens), so two that part inside a piece share what lies before it.
Pure: bytes in, nodes out.
"""

from __future__ import annotations

from typing import NamedTuple

PIECE_BYTES = 256
LOW = 100
"""A node's tokens a byte are the lowest of its members' but for one in 100: what a request may find cached must be no more than its own
tokens a byte explain (score.cache), and one odd recording must not shrink what all share."""


class Shared(NamedTuple):
    """A beginning that a preamble passes through."""

    node: int
    tokens: int
    """From the request's first token to the node's end."""


class Preambles:
    """Collects preambles with `add`, then tells the path of each by the number that `add` gave it."""

    def __init__(self) -> None:
        self._child: dict[tuple[int, object], int] = {}
        self._parent = [-1]
        self._children = [0]
        self._ends = [False]
        self._bytes = [0]
        self._rates: list[list[float]] = [[]]
        self._added: list[int] = []
        self._tools: dict[bytes, int] = {}

    def add(self, tools: bytes, messages: bytes, tokens_per_byte: float) -> int:
        """A request that begins with `tools` and then `messages`, all before its replay nonce."""
        node = 0
        if tools:
            node = self._step(node, self._tools.setdefault(tools, len(self._tools)), len(tools))
        for at in range(0, len(messages), PIECE_BYTES):
            piece = messages[at : at + PIECE_BYTES]
            node = self._step(node, piece, len(piece))
        self._ends[node] = True
        self._rates[node].append(tokens_per_byte)
        self._added.append(node)
        return len(self._added) - 1

    def paths(self) -> list[tuple[Shared, ...]]:
        """For each added preamble the nodes that it passes through, the shortest first; the last is the whole of it."""
        # Children are younger than their parents: from the youngest on, every node's rates are whole when they are handed up.
        rates = [sorted(own) for own in self._rates]
        for node in range(len(rates) - 1, 0, -1):
            rates[self._parent[node]] = sorted(rates[self._parent[node]] + rates[node])
        tokens = [0] * len(rates)
        paths: list[tuple[Shared, ...]] = [()] * len(rates)
        for node in range(1, len(rates)):
            above = paths[self._parent[node]]
            if self._ends[node] or self._children[node] > 1:
                low = rates[node][len(rates[node]) // LOW]
                tokens[node] = max(int(self._bytes[node] * low), above[-1].tokens if above else 0)
                above = (*above, Shared(node, tokens[node]))
            paths[node] = above
        return [paths[node] for node in self._added]

    def _step(self, node: int, label: object, size: int) -> int:
        child = self._child.get((node, label))
        if child is None:
            child = self._child[(node, label)] = len(self._parent)
            self._parent.append(node)
            self._children.append(0)
            self._children[node] += 1
            self._ends.append(False)
            self._bytes.append(self._bytes[node] + size)
            self._rates.append([])
        return child
