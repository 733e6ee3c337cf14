"""What a line's first request may find in the cache of its own phase, by what the corpus declares.

Of other agents: what precedes the replay nonce, hence tools and system prompt. Of its own tree, whose requests all carry the same replay
nonce: whatever a branch's first request has in common with what another line sends. A branch that was forked opens with its parent's
history; sub-agents started together often open with the same instructions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from openagentperf.corpus.prefix import Encoder, common_bytes
from openagentperf.records.trajectory import Branch, Message, Trajectory, lines


def in_tree_bytes(trajectory: Trajectory, encode: Encoder) -> list[int]:
    """For each line, the bytes of encoded messages that its first request has in common with any other line, tools left out; 0 for the
    main line, whose first request comes before all others.

    Every request of another line counts, also one that comes later: the figure is a most, and never accuses wrongly.
    """
    if not trajectory.branches:
        return [0]
    sent = [list(_longest_histories(line)) for line in lines(trajectory)]
    found = [0]
    for index, branch in enumerate(trajectory.branches, 1):
        first = [(message, encode(message)[0]) for message in branch.turns[0].appended]
        others = (history for other, histories in enumerate(sent) if other != index for history in histories)
        found.append(max((_common_bytes(first, history, encode) for history in others), default=0))
    return found


def _longest_histories(line: Trajectory | Branch) -> Iterator[tuple[Message, ...]]:
    """A line's history before each cut, and at its end: every request of it is the beginning of one of these."""
    messages: list[Message] = []
    for turn in line.turns:
        if turn.keep is not None and turn.keep < len(messages):
            yield tuple(messages)
            del messages[turn.keep :]
        messages.extend(turn.appended)
    yield tuple(messages)


def _common_bytes(first: Sequence[tuple[Message, bytes]], other: Sequence[Message], encode: Encoder) -> int:
    """Compared as they are sent: two answers that differ in their reasoning, which is not sent back, are the same bytes."""
    size = 0
    for (ours, body), theirs in zip(first, other, strict=False):
        if ours != theirs:
            their_body = encode(theirs)[0]
            same = common_bytes(body, their_body)
            if same < max(len(body), len(their_body)):
                return size + same
        size += len(body) + 1  # and a comma
    return size
