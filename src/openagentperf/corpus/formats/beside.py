"""The requests of one session of which nothing tells who asked for them: its own, and those that it sends on the side.

Captures that hold neither answers nor the ids of calls say no more than when each request was sent. So place decides: the longest of the
`threads` is the session. Of the others, those that lie behind or before it and open with its system message are its own too, its history
having been replaced; those between two of its requests are sub-agents (title makers, web searches, team members): each run of them
between the same two is a branch, spawned by the answer before it and joined by the request behind it. A sub-agent that comes back later
is a branch again, with its whole history. What ran before the session's first request is a session of its own.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from openagentperf.corpus.formats.families import node_of
from openagentperf.corpus.formats.subagents import Node, grown
from openagentperf.corpus.formats.summaries import joined
from openagentperf.corpus.formats.thread import Fills, Request, Thread
from openagentperf.corpus.formats.threads import Threads
from openagentperf.records.trajectory import Trajectory, Turn


def sessions(asked: Sequence[Request], about: Trajectory, notes: Counter[str]) -> Iterator[Trajectory]:
    """What ran before it, then the session, with all that `about` says of it and `notes`.

    asked  at least one, in the order of their starts
    """
    threads = Threads()
    places: dict[Thread, list[int]] = {}
    for place, request in enumerate(asked):
        places.setdefault(threads.add(request), []).append(place)
    main, own = _own(places)
    ours = set(own)
    if own != places[main]:
        main = _thread((asked[place] for place in own), threads.fills)
    runs: list[tuple[int, int, Thread]] = []
    for thread, its in places.items():
        if its[0] in ours:
            continue
        split = [(after, list(run)) for after, run in itertools.groupby(its, lambda place: bisect(own, place) - 1)]
        for after, run in split:
            part = thread if len(split) == 1 else _thread((asked[place] for place in run), threads.fills)
            runs.append((after, run[0], part))
    runs.sort(key=lambda run: run[:2])
    before = [node_of(thread, "") for after, _, thread in runs if after < 0]
    for number, node in enumerate(before, 1):
        yield grown(node, msgspec.structs.replace(about, id=f"{about.id}:before-{number}"))
    root = node_of(main, "")
    root.notes += notes
    for number, (after, _, thread) in enumerate(runs[len(before) :], 1):
        root.children.append((node_of(thread, f"side-{number}"), after))
    root.turns = _timed(root)
    session = grown(root, about, from_answer=True)
    yield msgspec.structs.replace(session, branches=joined(session.branches, len(session.turns)))


def _own(places: dict[Thread, list[int]]) -> tuple[Thread, list[int]]:
    """The session's longest thread, and the places of all that are its own."""
    main = max(places, key=lambda thread: len(places[thread]))
    first, last, system = places[main][0], places[main][-1], main.first.messages[0]
    own = list(places[main])
    for thread, its in places.items():
        apart = its[0] > last or its[-1] < first
        if apart and system.role == "system" and thread.first.messages[0] == system:
            own += its
    return main, sorted(own)


def _timed(root: Node) -> tuple[Turn, ...]:
    """The turns; without the delay of tools that ran beside a branch of which nobody knows that it had ended before they had."""
    unknown = {
        after
        for node, after in root.children
        if after is not None
        and (done := root.asked[after].done) is not None
        and (node.ended is None or node.ended > done)
    }
    return tuple(
        msgspec.structs.replace(turn, tool_delay_ns=None) if number in unknown else turn
        for number, turn in enumerate(root.turns)
    )


def _thread(asked: Iterable[Request], fills: Fills) -> Thread:
    """These requests as one thread, whatever they hold."""
    thread = Thread(fills)
    for request in asked:
        thread.add(request)
    return thread
