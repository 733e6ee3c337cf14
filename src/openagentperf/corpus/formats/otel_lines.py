"""The requests of one agent of a trace, as a line, with the time that its tools ran.

Where the spans hold messages, `threads` tells parallel requests apart; where they hold none, their times do, and the text is ours.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats import counts, languages
from openagentperf.corpus.formats.lengths import Lengths
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.corpus.formats.otel_content import Content, content_of
from openagentperf.corpus.formats.otel_spans import Span
from openagentperf.corpus.formats.subagents import Asked, Interval, Node, union_ns
from openagentperf.corpus.formats.thread import Request, brings_results
from openagentperf.corpus.formats.threads import Threads
from openagentperf.corpus.formats.usage import Counts
from openagentperf.records.trajectory import Message, Skipped

UNRECORDED = "requests whose text was not recorded filled in with text of our own of the recorded length"
_CALLED = ("tool_calls", "tool_call", "tool_use")


class Agent(Struct):
    """The chat and tool spans of one agent, each list in the order of its starts."""

    name: str
    session: str
    """The conversation of its first span, or the trace."""
    chats: list[Span] = []
    tools: list[Span] = []
    failed: int = 0
    """Requests that got no answer."""


def counts_of(span: Span) -> Counts:
    """A chat span's counts.

    The convention counts cached tokens inside the input, and reasoning inside the output; programs that did not are told by numbers that
    could not be otherwise.
    """
    prompt = span.tokens("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens")
    output = span.tokens("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens")
    cached = span.tokens("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens")
    written = span.tokens("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens")
    thought = span.tokens("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens") or 0
    if prompt is not None and (cached or 0) + (written or 0) > prompt:
        prompt += (cached or 0) + (written or 0)
    if output is not None and thought > output:
        output += thought
    return Counts(prompt, output, cached)


def lines_of(agent: Agent, skipped: list[Skipped]) -> list[Node]:
    """The agent's lines, its own first: more than one where it asked several things at once; none where no span can be used."""
    read: list[tuple[Span, Content]] = []
    notes: Counter[str] = Counter()
    for span in agent.chats:
        try:
            read.append((span, content_of(span, notes)))
        except BAD as error:
            skipped.append(Skipped(span.where, f"span {span.id[:40]}: {why(error)}"))
    told = all(content.messages for _, content in read)
    nodes = _by_text(read, agent.name) if told else list(_by_length(read, agent.name, skipped))
    if nodes:
        nodes[0].notes.update(notes)
        if agent.failed:
            nodes[0].notes["requests that failed left out"] += agent.failed
        _time_tools(nodes[0], agent.tools)
    return nodes


def _by_text(read: Sequence[tuple[Span, Content]], name: str) -> list[Node]:
    threads = Threads()
    for span, content in read:
        answer = content.answer or Message(role="assistant")
        request = Request(
            messages=content.messages,
            answer=answer,
            counted=counts_of(span),
            tools=content.tools,
            began=span.start,
            ended=span.end,
            model=_model(span),
            calls=bool(answer.tool_calls),
            returns=brings_results(content.messages, alone=True),
            harness=f"{span.service} {name}".strip(),
        )
        threads.add(request)
    return [family.nodes(name)[0] for family in threads.idle(None)]


def _by_length(read: Sequence[tuple[Span, Content]], name: str, skipped: list[Skipped]) -> Iterator[Node]:
    """Requests that were open at the same time are on different lines."""
    lines: list[list[tuple[Span, Content]]] = []
    for span, content in read:
        if not counts_of(span).input:
            skipped.append(Skipped(span.where, f"span {span.id[:40]}: a request without messages and without a count"))
            continue
        line = next((line for line in lines if _follows(line[-1][0], span)), None)
        if line is None:
            lines.append(line := [])
        line.append((span, content))
    for number, line in enumerate(lines):
        first, last = line[0][0], line[-1][0]
        lengths = Lengths(f"{first.trace} {name} {number}", f"{first.service} {name}".strip())
        asked: list[Asked] = []
        for span, content in line:
            counted = counts_of(span)
            calls = len(content.answer.tool_calls) if content.answer is not None else _called(span)
            try:
                lengths.add(counted.input or 1, counted.output, counted.cached, calls)
            except ValueError as error:
                skipped.append(Skipped(span.where, f"span {span.id[:40]}: {why(error)}"))
                continue
            if asked:
                asked[-1] = msgspec.structs.replace(asked[-1], done=span.start)
            asked.append(Asked(span.end, sent=span.start))
        if not asked:
            continue
        yield Node(
            name=name,
            turns=lengths.turns,
            asked=asked,
            tools=line[0][1].tools,
            began=first.start,
            ended=last.end,
            notes=Counter({UNRECORDED: len(asked)}),
            tally=Counter(),
            model=_model(first),
        )


def _time_tools(node: Node, tools: Sequence[Span]) -> None:
    """Give each turn the time that its tools ran, where spans tell; behind the last turn they are its end."""
    sent = [turn.sent or 0 for turn in node.asked]
    ran: dict[int, list[Interval]] = {}
    for tool in tools:
        if tool.start is None or tool.end is None or tool.end < tool.start:
            continue
        languages.tally_text(tool.text("gen_ai.tool.call.arguments"), node.tally)
        # A program that streams runs a tool before the answer has ended: it belongs to the request that was sent last.
        ran.setdefault(max(0, bisect_right(sent, tool.start) - 1), []).append((tool.start, tool.end))
    turns = list(node.turns)
    for index, intervals in ran.items():
        turns[index] = msgspec.structs.replace(
            turns[index], tool_delay_ns=min(union_ns(intervals), counts.MAX_DELAY_NS)
        )
        if node.asked[index].done is None:
            ended = max(end for _, end in intervals)
            node.asked[index] = msgspec.structs.replace(node.asked[index], done=ended)
    node.turns = tuple(turns)


def _follows(before: Span, span: Span) -> bool:
    return before.end is None or span.start is None or before.end <= span.start


def _called(span: Span) -> int:
    """1 where the answer ended with tool calls, whose number was not recorded."""
    reasons = span.attributes.get("gen_ai.response.finish_reasons")
    return int(isinstance(reasons, list) and any(reason in _CALLED for reason in reasons))


def _model(span: Span) -> str:
    return span.text("gen_ai.response.model", "gen_ai.request.model")
