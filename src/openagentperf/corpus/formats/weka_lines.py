"""Which requests of a Weka trace follow one another: the session's own, and those of its sub-agents.

Recorded sub-agents say when they ran. An older recorder left their requests between those of the session: such a run of requests shares
no block with the request before it, and the session goes on behind it with a request that holds the one before the run.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct, field

from openagentperf.corpus.formats import counts
from openagentperf.corpus.formats.hashed import MOST_TOKENS, Layout, Request
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.records.trajectory import Skipped
from openagentperf.units import NS_PER_MS, NS_PER_S, Ns

CLOCK_NS: Ns = 1 * NS_PER_S
"""`t` of a request is a whole second, that of a sub-agent is not: an order within one second says nothing."""

MOST_DEPTH = 8
"""Levels of sub-agents. Claude Code has one; a file nested deeper was not written by a recorder, and must not use up the stack."""


class Entry(Struct, gc=False):
    """One entry of `requests`; a sub-agent has the last five. Numbers are checked by `counts`, so that a bad one is just unknown."""

    type: str = ""
    t: object = None
    input_tokens: object = field(name="in", default=None)
    out: object = None
    hash_ids: list[int] = []
    input_types: list[str] = []
    output_types: list[str] = []
    stop: str | None = None
    api_time: object = None
    think_time: object = None
    requests: list[Raw] | None = None
    agent_id: str | None = None
    duration_ms: object = None
    tool_tokens: object = None
    system_tokens: object = None


_ENTRY = msgspec.json.Decoder(Entry)


class Recorded(Struct):
    """One request and when it ran, in ns since the session began; None where not recorded."""

    request: Request
    start_ns: Ns | None
    end_ns: Ns | None
    think_ns: Ns | None
    """The client's time before it."""
    tool_result: bool
    """Whether a tool's result is new in it. A person's words are not."""


class Line(Struct):
    """A session or a sub-agent."""

    recorded: list[Recorded]
    system_tokens: int = 0
    name: str = ""
    children: list[Line] = []
    after: int = 0
    join: int | None = None
    delay_ns: Ns | None = None
    """From the answer that spawned it to its first request."""
    end_ns: Ns | None = None
    """On its parent's clock."""


def session(
    raw: Sequence[Raw],
    where: str,
    prompt: tuple[object, object],
    layout: Layout,
    skipped: list[Skipped],
    notes: Counter[str],
    depth: int = 0,
) -> Line | None:
    """The line that these entries are, with its sub-agents; None where none of its own requests can be used.

    prompt  tokens of system prompt and tools, as recorded
    depth   so many sessions hold this one
    """
    own: list[Recorded] = []
    agents: list[tuple[int, Entry, Line]] = []
    for number, text in enumerate(raw):
        place = f"{where}: requests[{number}]"
        try:
            entry = _ENTRY.decode(text)
        except BAD as error:
            skipped.append(Skipped(place, why(error)))
            continue
        if entry.requests is not None and depth == MOST_DEPTH:
            skipped.append(Skipped(place, f"a sub-agent of level {MOST_DEPTH + 1}"))
            continue
        if entry.requests is not None:
            prompt_tokens = (entry.system_tokens, entry.tool_tokens)
            agent = session(entry.requests, place, prompt_tokens, layout, skipped, notes, depth + 1)
            if agent is not None:
                agents.append((len(own), entry, agent))
            continue
        recorded = _recorded(entry, layout.block_tokens)
        if isinstance(recorded, str):
            skipped.append(Skipped(place, recorded))
        else:
            own.append(recorded)
    if not own:
        return None
    line = _split(own, layout, notes)
    ended = list(itertools.accumulate((one.end_ns or one.start_ns or 0 for one in line.recorded), max))
    for position, entry, agent in agents:
        _hang(line, ended, agent, entry, position)
    line.system_tokens = sum(counts.tokens(value) or 0 for value in prompt)
    _set_delays(line)
    return line


def _recorded(entry: Entry, block: int) -> Recorded | str:
    """The request of an entry, or why it cannot be used."""
    tokens = counts.tokens(entry.input_tokens)
    if not tokens:
        return "a request without `in`"
    if tokens > MOST_TOKENS:
        return f"a prompt of {tokens} tokens"
    if tokens // block > len(entry.hash_ids):
        return f"a request of {tokens} tokens with {len(entry.hash_ids)} hashes of {block}"
    start, took = _ns(entry.t), _ns(entry.api_time)
    calls = entry.stop == "tool_use" or "tool_use" in entry.output_types
    return Recorded(
        request=Request(entry.hash_ids, tokens, counts.tokens(entry.out) or 1, tool_calls=int(calls)),
        start_ns=start,
        end_ns=None if start is None or took is None else start + took,
        think_ns=_ns(entry.think_time),
        tool_result="tool_result" in entry.input_types,
    )


def _split(own: list[Recorded], layout: Layout, notes: Counter[str]) -> Line:
    """The line of the first request, and as its children the runs of other lines behind which it goes on."""
    lines: list[list[int]] = [[0]]
    latest = {_first_block(own[0]): 0}
    at = 0
    for index in range(1, len(own)):
        first = _first_block(own[index])
        if first != _first_block(own[lines[at][-1]]):
            other = latest.get(first)
            if other is None or not layout.continues(own[lines[other][-1]].request, own[index].request):
                other = len(lines)
                lines.append([])
            at = other
        lines[at].append(index)
        latest[first] = at
    # A line behind which the first does not go on replaced the session's history: its requests stay where they are.
    last = lines[0][-1]
    main = sorted(itertools.chain(lines[0], *(line for line in lines[1:] if line[-1] > last)))
    line = Line([own[index] for index in main])
    for indices in lines[1:]:
        if indices[-1] > last:
            continue
        notes["requests of another prompt, between those of the session, taken for a sub-agent's"] += len(indices)
        requests = [own[index] for index in indices]
        after = bisect(main, indices[0]) - 1
        line.children.append(
            Line(
                requests,
                name=f"line-{len(line.children) + 1}",
                after=after,
                join=bisect(main, indices[-1]),
                delay_ns=_between(line.recorded[after], requests[0]),
                end_ns=requests[-1].end_ns,
            )
        )
        _set_delays(line.children[-1])
    return line


def _between(before: Recorded, first: Recorded) -> Ns | None:
    """From the answer that called a sub-agent to its first request; None where that answer called nothing: a person spoke first."""
    return counts.between_ns(before.end_ns, first.start_ns) if before.request.tool_calls else None


def _first_block(recorded: Recorded) -> tuple[int, ...]:
    return tuple(recorded.request.blocks[:1])


def _hang(line: Line, ended: list[Ns], agent: Line, entry: Entry, position: int) -> None:
    """Put a recorded sub-agent where it belongs: spawned by the last answer before its start, joined by the request behind that answer if
    that began after its end.

    ended     of each request of the line: when it and all before it had ended
    position  so many of the session's requests stand before the sub-agent in the recording
    """
    agent.name = entry.agent_id or "agent"
    stamp, took = _ns(entry.t), _ns(entry.duration_ms, NS_PER_MS)
    start = stamp
    if stamp is not None and took is not None:
        start, agent.end_ns = max(0, stamp - took), stamp
    elif stamp is not None:  # a recorder that gives the start alone
        span = counts.between_ns(agent.recorded[0].start_ns, agent.recorded[-1].end_ns)
        agent.end_ns = None if span is None else stamp + span
    after = min(position, len(ended)) - 1
    if start is not None:
        after = min(after, bisect(ended, start + CLOCK_NS) - 1)
    agent.after = max(0, after)
    end = line.recorded[agent.after].end_ns
    if start is not None and end is not None and end <= start + CLOCK_NS:
        agent.delay_ns = max(0, start - end)
    join = agent.after + 1
    if join < len(line.recorded) and _begun(agent.end_ns, line.recorded[join].start_ns):
        agent.join = join
    line.children.append(agent)


def _begun(end: Ns | None, start: Ns | None) -> bool:
    """Whether what began at `start` may have followed what ended at `end`, as far as the clock can tell. Unknown times are believed."""
    return end is None or start is None or end <= start + CLOCK_NS


def _set_delays(line: Line) -> None:
    """Tool delays: the client's time before a request that brings a tool's result; without the wait for the sub-agents that it joins."""
    ends: dict[int, Ns] = {}
    for child in line.children:
        if child.join is not None and child.end_ns is not None:
            ends[child.join] = max(ends.get(child.join, 0), child.end_ns)
    for index, (recorded, following) in enumerate(itertools.pairwise(line.recorded), 1):
        if not following.tool_result:
            continue
        delay = following.think_ns
        if index in ends and following.start_ns is not None:
            delay = max(0, following.start_ns - ends[index])
        recorded.request.delay_ns = delay


def _ns(value: object, unit: Ns = NS_PER_S) -> Ns | None:
    """A recorded time or span as ns; None where it is no number from 0 to 30 days."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return counts.delay_ns(value * unit / NS_PER_MS)
