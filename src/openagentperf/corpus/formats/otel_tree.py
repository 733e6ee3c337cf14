"""From the spans of a file to sessions: which request belongs to which agent, and which agent ran inside which.

A chat span belongs to the innermost agent span around it. An agent span inside another one that has requests of its own is a sub-agent.
Agent spans side by side in one conversation are one agent each time they have the same name: an agent gets a span a question. Agents of
other names there ran between the requests of the first, which is the session's main line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from msgspec import Struct

from openagentperf.corpus.formats.otel_lines import Agent, counts_of, lines_of
from openagentperf.corpus.formats.otel_spans import Span
from openagentperf.corpus.formats.subagents import Node
from openagentperf.records.trajectory import Skipped
from openagentperf.units import Ns

_Key: TypeAlias = tuple[str, str]
"""A span's trace and id; (session, "") for the agent of what stands in no agent span."""


class Session(Struct):
    """One conversation, or one trace where no conversation is named."""

    name: str
    root: Node
    service: str = ""


def is_chat(span: Span) -> bool:
    """Whether a span is a request to a model."""
    kind = span.text("gen_ai.operation.name")
    if kind:
        return kind in ("chat", "text_completion", "generate_content")
    return span.text("llm.request.type") in ("chat", "completion") or span.name.startswith("chat ")


def _is_agent(span: Span) -> bool:
    kind = span.text("gen_ai.operation.name") or span.text("traceloop.span.kind")
    return kind in ("invoke_agent", "agent") or (not kind and span.name.startswith("invoke_agent"))


def _is_tool(span: Span) -> bool:
    kind = span.text("gen_ai.operation.name") or span.text("traceloop.span.kind")
    return kind in ("execute_tool", "tool") or (not kind and span.name.startswith("execute_tool"))


class _Above(Struct):
    """What stands around a span, itself included."""

    agent: _Key | None = None
    chat: _Key | None = None
    conversation: str = ""
    """The outermost one that is named."""


class Spans:
    """All spans of a file, by trace and id."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans: dict[_Key, Span] = {}
        for span in spans:
            # Exporters send a batch again when they got no answer: the first copy counts.
            self._spans.setdefault((span.trace, span.id or f"#{len(self._spans)}"), span)
        self._above: dict[_Key, _Above] = {}
        for key in self._spans:
            self._climb(key)
        named: dict[str, set[str]] = {}
        for (trace, _), above in self._above.items():
            if above.conversation:
                named.setdefault(trace, set()).add(above.conversation)
        # Many programs name the conversation on chat spans alone: where a trace names one, all of it belongs there.
        self._only = {trace: next(iter(names)) for trace, names in named.items() if len(names) == 1}

    def sessions(self, skipped: list[Skipped]) -> Iterator[Session]:
        """Each conversation with its agents put together, in the order of time."""
        agents = self._agents()
        inner = self._inner(agents)
        tops: dict[_Key, _Key] = {}
        found: dict[str, dict[_Key, Agent]] = {}
        for key, agent in agents.items():
            found.setdefault(agents[_top(key, inner, tops)].session, {})[key] = agent
        for name, members in found.items():
            root = _grow(members, inner, skipped)
            if root is not None:
                yield Session(name, root, next(iter(members.values())).chats[0].service)

    def _climb(self, key: _Key) -> None:
        """Find what stands around a span: up to the first one that is known, then down again. No recursion: chains may be long."""
        path: list[_Key] = []
        seen: set[_Key] = set()
        while key in self._spans and key not in self._above and key not in seen:
            path.append(key)
            seen.add(key)
            key = (key[0], self._spans[key].parent)
        above = self._above.get(key, _Above())
        for key in reversed(path):
            span = self._spans[key]
            above = self._above[key] = _Above(
                agent=key if _is_agent(span) else above.agent,
                chat=key if is_chat(span) else above.chat,
                conversation=above.conversation or span.text("gen_ai.conversation.id", "session.id"),
            )

    def _around(self, key: _Key) -> _Above:
        """What stands around a span, itself not included."""
        return self._above.get((key[0], self._spans[key].parent), _Above())

    def _agents(self) -> dict[_Key, Agent]:
        """Those that have requests, with their chat and tool spans, in the order of time."""
        found: dict[_Key, Agent] = {}
        # A library and the program that uses it may both write a span for one request: the inner one holds the counts.
        wrappers = {self._around(key).chat for key, span in self._spans.items() if is_chat(span)}
        for key in sorted(self._spans, key=lambda key: _start(self._spans[key])):
            span = self._spans[key]
            if _is_tool(span):
                self._agent(found, key).tools.append(span)
            elif is_chat(span) and key not in wrappers:
                agent = self._agent(found, key)
                if span.failed and not counts_of(span).output:
                    agent.failed += 1
                else:
                    agent.chats.append(span)
        return {key: agent for key, agent in found.items() if agent.chats}

    def _agent(self, found: dict[_Key, Agent], key: _Key) -> Agent:
        above = self._above[key]
        session = above.conversation or self._only.get(key[0], key[0])
        agent = above.agent or (session, "")
        if agent not in found:
            span = self._spans.get(agent)
            name = span.text("gen_ai.agent.name", "gen_ai.agent.id", "traceloop.entity.name") if span else ""
            found[agent] = Agent(name, session)
        return found[agent]

    def _inner(self, agents: dict[_Key, Agent]) -> dict[_Key, _Key]:
        """For each agent span that stands inside another one with requests: that one."""
        known: dict[_Key, _Key | None] = {}
        found: dict[_Key, _Key] = {}
        for key in agents:
            if key not in self._spans:
                continue
            path: list[_Key] = []
            above = self._around(key).agent
            while above is not None and above not in agents and above not in known:
                path.append(above)
                known[above] = None
                above = self._around(above).agent
            parent = above if above in agents else known.get(above) if above is not None else None
            known.update(dict.fromkeys(path, parent))
            if parent is not None and parent != key:
                found[key] = parent
        return found


def _top(key: _Key, inner: dict[_Key, _Key], known: dict[_Key, _Key]) -> _Key:
    """The outermost agent around one; of agents that stand around a ring, one and the same for all of them."""
    path: list[_Key] = []
    seen: set[_Key] = set()
    while key not in known and key in inner and key not in seen:
        path.append(key)
        seen.add(key)
        key = inner[key]
    top = known.get(key, key)
    known.update(dict.fromkeys(path, top))
    return top


def _grow(agents: dict[_Key, Agent], inner: dict[_Key, _Key], skipped: list[Skipped]) -> Node | None:
    """The agents of one session as a tree; None where no request can be used."""
    outer: dict[str, list[_Key]] = {}
    below: dict[_Key, list[_Key]] = {}
    for key, agent in agents.items():
        if key in inner:
            below.setdefault(inner[key], []).append(key)
        else:
            outer.setdefault(agent.name, []).append(key)
    root: Node | None = None
    left = dict(agents)
    walk: list[tuple[list[_Key], Node | None]] = [(keys, None) for keys in reversed(outer.values())]
    while left:
        # Agents of which each stands inside the next, around a ring, are in none that stands outside.
        keys, parent = walk.pop() if walk else ([next(iter(left))], None)
        keys = [key for key in keys if left.pop(key, None) is not None]
        if not keys:
            continue
        own, *beside = lines_of(_merged([agents[key] for key in keys]), skipped) or (None,)
        hold = parent or root
        if own is None:
            own = hold
        elif hold is None:
            root = own
        else:
            hold.children.append((own, None))
        if own is not None:
            own.children += [(node, None) for node in beside]
        walk += [([child], own) for key in reversed(keys) for child in reversed(below.get(key, []))]
    return root


def _merged(agents: list[Agent]) -> Agent:
    return Agent(
        agents[0].name or "agent",
        agents[0].session,
        sorted((span for agent in agents for span in agent.chats), key=_start),
        sorted((span for agent in agents for span in agent.tools), key=_start),
        sum(agent.failed for agent in agents),
    )


def _start(span: Span) -> Ns:
    return span.start or 0
