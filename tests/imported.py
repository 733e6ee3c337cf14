"""What tests of importers look at in a trajectory."""

from __future__ import annotations

from openagentperf.records.trajectory import Branch, Message, Trajectory, histories


def sent(line: Trajectory | Branch, turn: int = -1) -> list[Message]:
    """The messages of one request."""
    return [list(messages) for messages in histories(line)][turn]


def counts(line: Trajectory | Branch) -> list[tuple[int, int, int | None, str]]:
    """Input, output and cached tokens of each turn, and where they come from."""
    return [(turn.input_tokens, turn.output_tokens, turn.cached_tokens, turn.counted) for turn in line.turns]
