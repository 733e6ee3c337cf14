"""Which threads make one session: a main line, its sub-agents, and what went on under its name with a history begun anew.

A thread is a sub-agent's where it began while calls of another thread's answer were open, and either the text that it was given stands
in the arguments of one of those calls, or both carry the same session's name. Of several parents the one whose call holds the text is
taken, then one that waited for it, then the one that began first. Which of them waited is known only when they have ended.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.subagents import Node
from openagentperf.corpus.formats.thread import Request, Thread
from openagentperf.records.trajectory import Message

TELLING = 20
"""Characters from which a text that stands in two places is no coincidence ("Continue." and "main.py" are)."""
_ARGUMENTS = msgspec.json.Decoder(dict[str, object])


class Spawn(NamedTuple):
    """Where a sub-agent's thread may hang."""

    parent: Thread
    after: int
    """The turn whose answer started it."""
    told: bool
    """Whether that answer holds what it was given."""
    kind: Literal["subagent", "summary"] = "subagent"


class Family:
    """The threads of one session."""

    def __init__(self, main: Thread) -> None:
        self.mains = [main]
        """The main line, and what it went on with."""
        self.spawned: list[tuple[Thread, Spawn]] = []
        """Parents before their children."""

    @property
    def threads(self) -> list[Thread]:
        return [*self.mains, *(thread for thread, _ in self.spawned)]

    def nodes(self, name: str = "") -> list[Node]:
        """The session's lines, each hung on its parent: the main line, called `name`, then the sub-agents. To be asked for once."""
        main, *further = self.mains
        at = {main: 0}
        for thread in further:
            at[thread] = len(main.asked)
            main.join(thread)
        nodes = [node_of(main, name)]
        of = dict.fromkeys(self.mains, nodes[0])
        for thread, spawn in self.spawned:
            node = of[thread] = node_of(thread, spawn.kind)
            of[spawn.parent].children.append((node, spawn.after + at.get(spawn.parent, 0)))
            nodes.append(node)
        return nodes


def families(threads: Mapping[Thread, Sequence[Spawn]]) -> list[Family]:
    """The sessions of these threads, given in the order in which they began, each with the places where it may hang."""
    of: dict[Thread, Family] = {}
    found: list[Family] = []
    named: dict[Hashable, Family] = {}
    """The last session of each name, system prompt and tools."""
    number = {thread: number for number, thread in enumerate(threads)}
    for thread, spawns in threads.items():
        known = [spawn for spawn in spawns if spawn.parent in of]
        if known:
            spawn = max(known, key=lambda spawn: (*_fit(thread, spawn), -number[spawn.parent]))
            family = of[spawn.parent]
            family.spawned.append((thread, spawn))
        else:
            key = _identity(thread.first)
            before = named.get(key)
            if before is not None and thread.first.session and _ended(before.mains[-1], thread):
                family = before
                family.mains.append(thread)
            else:
                family = named[key] = Family(thread)
                found.append(family)
        of[thread] = family
    return found


def node_of(thread: Thread, name: str) -> Node:
    return Node(
        name=name,
        turns=thread.turns,
        asked=thread.asked,
        tools=thread.tools,
        began=thread.began,
        ended=thread.last.ended,
        notes=thread.notes,
        tally=thread.tally,
        model=thread.first.model,
    )


def texts_of(answer: Message | None) -> Iterator[str]:
    """The texts that an answer's calls hand over."""
    for call in answer.tool_calls if answer is not None else ():
        try:
            values = _ARGUMENTS.decode(call.arguments).values()
        except BAD:
            continue
        yield from (text for value in values if isinstance(value, str) and len(text := value.strip()) >= TELLING)


def prompts(request: Request) -> list[str]:
    """What users say in it."""
    return [message.content.strip() for message in request.messages if message.role == "user"]


def was_told(after: Request, request: Request) -> bool:
    """Whether a call of `after`'s answer hands over a text that `request` was given: all of a message, or its beginning or end.

    Not one that `after` was given itself: two runs of one task, the first of which tries a command that the task names, are two sessions.
    """
    given, own = prompts(request), prompts(after)
    return any(
        any(content.startswith(text) or content.endswith(text) for content in given)
        and not any(text in content for content in own)
        for text in texts_of(after.answer)
    )


def _fit(thread: Thread, spawn: Spawn) -> tuple[bool, bool]:
    """How well it hangs there."""
    done, ended = spawn.parent.asked[spawn.after].done, thread.last.ended
    return spawn.told, done is not None and ended is not None and ended <= done


def _ended(before: Thread, thread: Thread) -> bool:
    return before.last.ended is not None and thread.began is not None and before.last.ended <= thread.began


def _identity(first: Request) -> Hashable:
    system = first.messages[0] if first.messages[0].role == "system" else None
    return first.scope, first.session, system, first.tools
