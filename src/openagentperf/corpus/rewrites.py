"""Why a turn does not begin with the turn before it, as far as the two message lists tell.

A recording that rewrites its history without saying so does it for a reason that its harness knows. The reason decides what it costs: a
footer that counts turns makes one message a turn cold, a history processor that shortens old results all that stands behind them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from openagentperf.corpus.prefix import common_bytes
from openagentperf.records.trajectory import Branch, Message, Trajectory, histories

ENDED = "the end of the request before is not sent again"
"""A footer ("turn 3 of 100"), a reminder: in place of the last messages stands the answer to them."""
MOVED = "the end of the request before is sent again at the end, behind new messages"
"""A footer that stays the same, such as a task told anew before each answer."""
EDITED = "the last message of the request before is sent again, changed"
SYSTEM = "the system prompt is changed"
SHORTENED = "old messages are shortened"
"""SWE-agent's history processors and their like: "Old environment output: (98 lines omitted)"."""
CHANGED = "old messages are changed"
DROPPED = "old messages are left out"
INSERTED = "messages are put in before old ones"
REPLACED = "all behind one place is another history"
"""The user took the conversation back, or the requests of two agents stand in one file. In hash traces, which have no text: the hashes
differ from one block on."""
CAUSES = (ENDED, MOVED, EDITED, SYSTEM, SHORTENED, CHANGED, DROPPED, INSERTED, REPLACED)

_ALIKE = 0.5
"""Of the shorter message: so much of it must stand at the beginning and the end of both for the one to be the other, changed."""


def causes(line: Trajectory | Branch) -> Iterator[tuple[int, str]]:
    """Turn and cause of each undeclared rewrite of one line, in order. A cut behind which the same messages are sent is none."""
    sent: list[Message] = []
    for index, (turn, messages) in enumerate(zip(line.turns, histories(line), strict=True)):
        if turn.cut == "undeclared" and (lost := sent[turn.keep :]) != list(turn.appended[: len(lost)]):
            yield index, cause(lost, turn.appended)
        if turn.keep is not None:
            del sent[turn.keep :]
        sent += messages[len(sent) :]


def cause_of(trajectory: Trajectory, branch: str, turn: int) -> str:
    """That of one turn which `prefix.prove` found to be undeclared; `branch` is "" for the main line."""
    line = trajectory if not branch else next(line for line in trajectory.branches if line.name == branch)
    return next(why for index, why in causes(line) if index == turn)


def cause(lost: Sequence[Message], appended: Sequence[Message]) -> str:
    """One of CAUSES: what became of the messages `lost`, the end of the request before, in the request that has `appended` in their place.

    `lost` has at least one message, and `appended` does not begin with it.
    """
    if len(lost) == 1 and appended and _alike(lost[0], appended[0]):
        return SYSTEM if lost[0].role == "system" else EDITED
    place = _place(lost, appended)
    if place is None:
        answered = bool(appended) and appended[0].role == "assistant"
        return ENDED if answered and all(message.role != "assistant" for message in lost) else REPLACED
    same = 1
    while same < min(len(lost), place + 1) and lost[-1 - same] == appended[place - same]:
        same += 1
    old, new = lost[: len(lost) - same], appended[: place + 1 - same]
    if not new:
        return DROPPED
    if not old:
        return MOVED if place + 1 == len(appended) else INSERTED
    if [message.role for message in old] == [message.role for message in new]:
        return _changed([(a, b) for a, b in zip(old, new, strict=True) if a != b])
    return SHORTENED if _size(new) < _size(old) else CHANGED


def _place(lost: Sequence[Message], appended: Sequence[Message]) -> int | None:
    """Where the last message of the request before is sent again: where it stood, else the first place; None where it is not."""
    last = len(lost) - 1
    if last < len(appended) and appended[last] == lost[last]:
        return last
    return next((index for index, message in enumerate(appended) if message == lost[last]), None)


def _changed(pairs: Sequence[tuple[Message, Message]]) -> str:
    if all(before.role == "system" for before, _ in pairs):
        return SYSTEM
    return SHORTENED if all(_size([now]) < _size([before]) for before, now in pairs) else CHANGED


def _size(messages: Sequence[Message]) -> int:
    return sum(
        len(message.content) + sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
        for message in messages
    )


def _alike(before: Message, now: Message) -> bool:
    if (before.role, before.tool_call_id) != (now.role, now.tool_call_id):
        return False
    a, b = (message.content.encode("utf-8", "surrogatepass") for message in (before, now))
    least = min(len(a), len(b))
    return common_bytes(a, b) + common_bytes(a[::-1], b[::-1]) >= max(1, _ALIKE * least)
