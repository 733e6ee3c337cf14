"""One tool call and what it returned."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate
from openagentperf.records.trajectory import ToolCall


class Step(NamedTuple):
    kind: str
    """Of the sentences that introduce it (words.SENTENCES)."""
    tool: str
    arguments: str
    """JSON."""
    result: str
    about: str = ""
    """What the sentences name: a path, a symbol."""

    @property
    def call_tokens(self) -> int:
        return estimate(self.tool) + estimate(self.arguments)

    def call(self, call_id: str) -> ToolCall:
        return ToolCall(call_id, self.tool, self.arguments)


def step(kind: str, tool: str, result: str, about: str = "", **arguments: object) -> Step:
    return Step(kind, tool, msgspec.json.encode(arguments).decode(), result or NOTHING, about)


def bash(kind: str, command: str, result: str, about: str = "") -> Step:
    return step(kind, "bash", result, about, command=command)


def whole_lines(lines: list[str], tokens: int) -> int:
    """How many lines, ends included, fit into the content of a tool message of `tokens`; at least one where there are any."""
    bytes_left = (tokens - MESSAGE_TOKENS) * 7 // 2
    for count, line in enumerate(lines):
        bytes_left -= len(line) if line.isascii() else len(line.encode("utf-8", "surrogatepass"))
        if bytes_left < 0:
            return max(1, count)
    return len(lines)


NOTHING = "(no output)"
"""What the tool says for a command that prints nothing: some templates refuse an empty message."""
