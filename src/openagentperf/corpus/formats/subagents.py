"""Lines of requests that spawned one another, put together: where each sub-agent hangs is found by the times of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats import counts, languages
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.steps import SHARE
from openagentperf.records.trajectory import Branch, Trajectory, Turn
from openagentperf.units import Ns

Interval: TypeAlias = tuple[Ns, Ns]


class Asked(Struct, frozen=True):
    """One turn of a line, in the recording's clock; None where it does not say."""

    answered: Ns | None = None
    """When its answer had come."""
    done: Ns | None = None
    """When its tools had run, or the next request was sent."""
    sent: Ns | None = None


class Node(Struct, kw_only=True):
    """One line, with the lines that it spawned."""

    name: str
    """Of a sub-agent; a number is put behind it where two have the same."""
    turns: tuple[Turn, ...]
    asked: list[Asked]
    """One a turn."""
    tools: tuple[str, ...] = ()
    began: Ns | None = None
    """When its first request was sent, or it was told its task."""
    ended: Ns | None = None
    notes: Counter[str]
    tally: Counter[str]
    """Languages of the files that it worked on."""
    model: str = ""
    summaries: tuple[Branch, ...] = ()
    """Requests in which its history was summed up."""
    children: list[tuple[Node, int | None]] = []
    """Each with the turn that spawned it, where the recording says so."""


def grown(root: Node, trajectory: Trajectory, *, from_answer: bool = False) -> Trajectory:
    """`trajectory` with the turns of `root`, a branch for every other line, and what all of them say of language and notes.

    A sub-agent that had ended when its parent's tools had joins at the parent's next turn, and the time it took is taken out of the
    parent's tool delay; another one ran in the background.

    from_answer  whether the wait begins with the answer that spawned the sub-agent, as where a sub-agent is all that is known to have run,
                 or with its first request, where the time before that was a tool's
    """
    used = {""}
    walk = [("", root)]
    branches: list[Branch] = []
    summaries: list[Branch] = []
    waits: dict[str, dict[int, list[Interval]]] = {}
    notes, tally = Counter[str](), Counter[str]()
    for own, node in walk:  # grows as it is walked: parents before children
        # A share is no count: that of the main line stands for the session.
        notes.update({what: count for what, count in node.notes.items() if not own or what != SHARE})
        tally.update(node.tally)
        for summary in node.summaries:
            name = _unused(summary.name, used)
            summaries.append(msgspec.structs.replace(summary, name=name, parent=own))
        for child, after in node.children:
            name = _unused(child.name, used)
            branch, waited = hung(child, name, own, node.asked, after, from_answer=from_answer)
            branches.append(branch)
            if waited is not None:
                waits.setdefault(own, {}).setdefault(branch.after, []).append(waited)
            walk.append((name, child))
    branches = [
        msgspec.structs.replace(branch, turns=less_waits(branch.turns, waits.get(branch.name, {})))
        for branch in branches
    ]
    return msgspec.structs.replace(
        trajectory,
        turns=less_waits(root.turns, waits.get("", {})),
        branches=(*branches, *summaries),
        tools=root.tools,
        language=languages.main_language(tally),
        model=trajectory.model or root.model,
        notes=sentences(notes),
    )


def hung(
    child: Node, name: str, parent: str, asked: Sequence[Asked], after: int | None, *, from_answer: bool = False
) -> tuple[Branch, Interval | None]:
    """The branch `name`, and the time for which the line `parent` waited for it: None where it went on.

    asked  the parent's turns, at least one
    after  the turn that spawned it; None: the last one that was answered when it began, or the first
    """
    if after is None:
        after = max(0, sum(turn.answered is not None and turn.answered <= (child.began or 0) for turn in asked) - 1)
    spawn = asked[after]
    joins = child.ended is not None and spawn.done is not None and child.ended <= spawn.done
    branch = Branch(
        name=name,
        turns=child.turns,
        parent=parent,
        after=after,
        join=after + 1 if joins and after + 1 < len(asked) else None,
        delay_ns=counts.between_ns(spawn.answered, child.began),
        tools=child.tools,
    )
    if not joins or child.began is None or child.ended is None:
        return branch, None
    return branch, (spawn.answered if from_answer and spawn.answered is not None else child.began, child.ended)


def less_waits(turns: Sequence[Turn], waits: Mapping[int, Sequence[Interval]]) -> tuple[Turn, ...]:
    """The turns, the waits of each taken out of its tool delay."""
    return tuple(
        msgspec.structs.replace(turn, tool_delay_ns=max(0, turn.tool_delay_ns - union_ns(waits[index])))
        if index in waits and turn.tool_delay_ns is not None
        else turn
        for index, turn in enumerate(turns)
    )


def union_ns(intervals: Iterable[Interval]) -> Ns:
    """How long at least one of the intervals lasted. One that ends before it begins lasts no time."""
    total = reached = 0
    for start, end in sorted(intervals):
        start = max(start, reached)
        if end > start:
            total += end - start
            reached = end
    return total


def _unused(name: str, used: set[str]) -> str:
    number, wish = 1, name
    while name in used:
        number += 1
        name = f"{wish}-{number}"
    used.add(name)
    return name
