"""Sessions from captures that hold the full message list of each request, whoever sent it: an agent's own, and those it sends on the side.

A line of requests is told by how it opens: by its messages up to the first that is no system message. The longest line is the session. Of
the others, those that lie behind or before it and open with its system message are its own too, its history having been replaced;
those between two of its requests are sub-agents (title makers, web searches, team members): each run of them between the same two is a
branch, spawned by the answer before it and joined by the request behind it. A sub-agent that comes back later is a branch
again, with its whole history. What ran before the session's first request is a session of its own.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats import counts
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.corpus.formats.snapshots import Convert, Snapshots
from openagentperf.records.trajectory import Branch, Skipped, Turn
from openagentperf.units import Ns


class Asked(Struct):
    """One request as captured; `start_ns` and `end_ns` are those of its exchange, None where not recorded."""

    where: str
    messages: list[bytes]
    input_tokens: int | None = None
    output_tokens: int | None = None
    start_ns: Ns | None = None
    end_ns: Ns | None = None


class Told(Struct):
    """A session with its sub-agents; `before`: what ran ahead of it."""

    turns: tuple[Turn, ...]
    branches: tuple[Branch, ...]
    before: list[tuple[Turn, ...]]


class _Line(Struct):
    places: list[int]
    """Of its requests, in the capture's order."""
    asked: list[Asked]
    turns: list[Turn]


def told(
    asked: Sequence[Asked],
    convert: Convert,
    is_system: Callable[[bytes], bool],
    tools: tuple[str, ...],
    skipped: list[Skipped],
    notes: Counter[str],
) -> Told | None:
    """The session of these requests, in the order of their starts; None where none can be used.

    convert    reads one message, see `snapshots`
    is_system  whether a message is the system's
    """

    def built(places: Sequence[int]) -> _Line:
        snapshots = Snapshots(convert, tools)
        line = _Line([], [], [])
        for place in places:
            one = asked[place]
            try:
                snapshots.add(one.messages, input_tokens=one.input_tokens, output_tokens=one.output_tokens)
            except BAD as error:
                skipped.append(Skipped(one.where, why(error)))
                continue
            line.places.append(place)
            line.asked.append(one)
        line.turns = list(snapshots.turns)
        notes.update(snapshots.notes)
        return line

    main_places, others = _lines(asked, is_system)
    main = built(main_places)
    if not main.turns:
        return None
    runs: list[tuple[int, _Line]] = []
    before: list[tuple[Turn, ...]] = []
    for places in others:
        for after, run in itertools.groupby(places, lambda place: bisect(main.places, place) - 1):
            line = built(list(run))
            if line.turns and after < 0:
                before.append(_timed(line, {}))
            elif line.turns:
                runs.append((after, line))
    runs.sort(key=lambda run: (run[0], run[1].places[0]))
    ends: dict[int, Ns | None] = {}
    branches: list[Branch] = []
    for after, line in runs:
        end = line.asked[-1].end_ns
        ends[after] = max(end or 0, ends.get(after) or 0) or None
        branches.append(
            Branch(
                name=f"side-{len(branches) + 1}",
                turns=_timed(line, {}),
                after=after,
                join=after + 1 if after + 1 < len(main.turns) else None,
                delay_ns=counts.between_ns(main.asked[after].end_ns, line.asked[0].start_ns),
            )
        )
    return Told(_timed(main, ends), tuple(branches), before)


def _lines(asked: Sequence[Asked], is_system: Callable[[bytes], bool]) -> tuple[list[int], list[list[int]]]:
    """Places of the session's requests, and of each other line's."""
    lines: dict[tuple[bytes, ...], list[int]] = {}
    for place, one in enumerate(asked):
        first = next((at for at, message in enumerate(one.messages) if not is_system(message)), len(one.messages))
        lines.setdefault(tuple(one.messages[: first + 1]), []).append(place)
    longest, main = max(lines.items(), key=lambda line: len(line[1]))
    own, others = list(main), list[list[int]]()
    for opening, places in lines.items():
        if places is main:
            continue
        apart = places[0] > main[-1] or places[-1] < main[0]
        if apart and len(longest) > 1 and opening[:1] == longest[:1]:
            own += places
        else:
            others.append(places)
    return sorted(own), others


def _timed(line: _Line, joined: dict[int, Ns | None]) -> tuple[Turn, ...]:
    """The turns with what only the next request tells: the calls of the recorded answer, and the delay of its tools.

    A delay ends with the request that brings a tool's result; where sub-agents are joined first, it begins with the end of the last of
    them. A person's pause before a prompt is no tool delay.
    """
    turns = list(line.turns)
    for k, (now, after) in enumerate(itertools.pairwise(line.turns)):
        answer = next((message for message in after.appended if message.role == "assistant"), None)
        calls = len(answer.tool_calls) if answer is not None else 0
        delay = None
        if any(message.role == "tool" for message in after.appended):
            began = joined[k] if k in joined else line.asked[k].end_ns
            delay = counts.between_ns(began, line.asked[k + 1].start_ns)
        turns[k] = msgspec.structs.replace(now, tool_calls=calls, tool_delay_ns=delay)
    return tuple(turns)
