"""Sub-agents of a recorded session, and sessions that began their history anew.

A thread is a sub-agent's where it began while an answer of another thread had tool calls open, and either the text that it was given
stands in the arguments of one of those calls, or both carry the same session id. It is joined where it had ended before the other went on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from openagentperf.corpus.formats.capture_requests import Request
from openagentperf.corpus.formats.capture_threads import Thread
from openagentperf.corpus.formats.lines import BAD
from openagentperf.records.trajectory import Message, ToolCall

_TELLING = 20
"""Characters from which a text given to a sub-agent is no coincidence ("Continue." is)."""
_SUMMARY = 200
"""Characters from which an answer that comes back as a prompt is a summary."""
_ARGUMENTS = msgspec.json.Decoder(dict[str, object])


class Spawn(NamedTuple):
    """Where a sub-agent's thread hangs."""

    parent: Thread
    after: Request
    """The request whose answer started it."""
    join: Request | None
    """The parent's next request, where that waited for it."""


def spawns(threads: Sequence[Thread]) -> dict[Thread, Spawn]:
    """The threads of sub-agents. `threads` are in the order of their first arrival, so a parent stands before its children."""
    found: dict[Thread, Spawn] = {}
    for index, thread in enumerate(threads):
        candidates = [
            (told, spawn.join is not None, -number, spawn)
            for number, other in enumerate(threads[:index])
            if (spawn := _open_at(other, thread)) is not None
            and ((told := _was_told(spawn.after, thread)) or _same_session(other, thread))
        ]
        if candidates:
            found[thread] = max(candidates, key=lambda candidate: candidate[:3])[3]
    return found


def sessions(threads: Sequence[Thread], spawned: Mapping[Thread, Spawn]) -> list[Thread]:
    """The main lines. One that goes on under the id of an ended one, with the same instructions and tools, or with its last answer as a
    prompt, is the same session after a compaction: its requests are added to the earlier one's. Without either nobody can tell."""
    mains: list[Thread] = []
    for thread in threads:
        if thread in spawned:
            continue
        before = next((main for main in reversed(mains) if _goes_on(main, thread)), None)
        if before is None:
            mains.append(thread)
            continue
        before.begins_anew.add(len(before.requests))
        for request, arrived_ns in zip(thread.requests, thread.arrivals, strict=True):
            before.add(request, arrived_ns)
    return mains


def _open_at(other: Thread, thread: Thread) -> Spawn | None:
    """The answer of `other` whose calls were open when `thread` began; None where there is none."""
    if other.first.run != thread.first.run:
        return None
    next_one = bisect_right(other.arrivals, thread.arrivals[0])
    if not next_one:
        return None
    after = other.requests[next_one - 1]
    if not after.calls or after.row.answered_ns > thread.arrivals[0]:
        return None
    joins = next_one < len(other.requests) and thread.ended_ns <= other.arrivals[next_one]
    return Spawn(other, after, other.requests[next_one] if joins else None)


def _was_told(after: Request, thread: Thread) -> bool:
    """Whether a call of `after`'s answer hands over a text that `thread` was given: all of a message, or its beginning or end.

    Not one that `after` was given itself: two runs of one task, the first of which tries a command that the task names, are two sessions.
    """
    calls = after.answer.tool_calls if after.answer is not None else ()
    texts = [text for call in calls for text in _texts(call) if len(text) >= _TELLING]
    if not texts:
        return False
    given, own = _prompts(thread.first), _prompts(after)
    return any(
        any(content.startswith(text) or content.endswith(text) for content in given)
        and not any(text in content for content in own)
        for text in texts
    )


def _prompts(request: Request) -> list[str]:
    return [message.content.strip() for messages in request.said for message in messages if message.role == "user"]


def _texts(call: ToolCall) -> Iterator[str]:
    try:
        values = _ARGUMENTS.decode(call.arguments).values()
    except BAD:
        return
    yield from (value.strip() for value in values if isinstance(value, str))


def _same_session(one: Thread, other: Thread) -> bool:
    return bool(one.first.row.session) and one.first.row.session == other.first.row.session


def _goes_on(main: Thread, thread: Thread) -> bool:
    if (
        main.first.run != thread.first.run
        or main.first.row.dialect != thread.first.row.dialect
        or main.ended_ns > thread.arrivals[0]
        or _instructions(main.first) != _instructions(thread.first)
    ):
        return False
    return (_same_session(main, thread) and main.first.tools == thread.first.tools) or _summed_up(main, thread)


def _summed_up(main: Thread, thread: Thread) -> bool:
    """Whether `thread` was given the last answer of `main`: a harness that compacts asks for a summary, and begins anew with it."""
    text = main.last.answer.content.strip() if main.last.answer is not None else ""
    return len(text) >= _SUMMARY and any(text in content for content in _prompts(thread.first))


def _instructions(request: Request) -> list[Message]:
    return [message for messages in request.said[:1] for message in messages if message.role == "system"]
