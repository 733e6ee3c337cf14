"""Which call of which line started each sub-agent of a Claude Code file, and whether that line waited for it.

Three ways to know, the surest first: the call's id, which a progress line or the call's result names beside the sub-agent's id; the
prompt, which is the call's input and the sub-agent's first message; the order of the file, where the call is the last one before the
sub-agent's first line that was still open. What is found by none of them stays without a parent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import claude_blocks, counts
from openagentperf.corpus.formats.claude_lines import Block, Node
from openagentperf.corpus.formats.lines import BAD
from openagentperf.units import Ns

_TOOLS = frozenset({"Task", "Agent"})


class Spawn(NamedTuple):
    """Where a sub-agent hangs."""

    line: str
    """The sub-agent that made the call; "" is the main line."""
    call: str
    joins: bool
    """The call's result came after the sub-agent had ended, and so did the line's next request."""
    delay_ns: Ns | None
    """From the end of the answer that made the call to the sub-agent's first message."""


class _Call(Struct):
    line: str
    id: str
    made: Node
    prompt: str | None
    """None: not a call of a sub-agent's tool; one that names it by id may have any name."""
    answered: Node | None = None
    taken: bool = False


class _Input(Struct):
    prompt: str = ""


_INPUT = msgspec.json.Decoder(_Input)
_TEXTS = msgspec.json.Decoder(list[Block])


def spawns(chains: Mapping[str, Sequence[Node]]) -> dict[str, Spawn]:
    """For each sub-agent of `chains` (their lines by name, "" the main line) whose call was found: that call.

    A call stands in the file before what it started, so that no sub-agent can hang on what it started itself.
    """
    calls = {call.id: call for line, chain in chains.items() for call in _calls(line, chain)}
    named: dict[str, str] = {}
    for chain in chains.values():
        for node in chain:
            for result in node.results:
                if result in calls and calls[result].answered is None:
                    calls[result].answered = node
            if node.report is not None and node.results:
                named.setdefault(node.report.agent_id, node.results[0])
    agents = [(agent, chain) for agent, chain in chains.items() if agent and chain]
    found: dict[str, Spawn] = {}
    for agent, chain in agents:
        call = calls.get(chain[0].spawned_by or named.get(agent, ""))
        if call is not None and call.made.number < chain[0].number and not call.taken:
            found[agent] = _spawn(call, chain, chains[call.line])
    for by_prompt in (True, False):
        left = [(agent, chain) for agent, chain in agents if agent not in found]
        for agent, call in _likely([call for call in calls.values() if call.prompt is not None], left, by_prompt):
            found[agent] = _spawn(call, chains[agent], chains[call.line])
    return found


def with_last_answer(chain: Sequence[Node], report: Node | None) -> tuple[list[Node], bool]:
    """A sub-agent's lines; and, where they break off before its last answer (progress lines do), that answer as its call's result has it.

    The result's `usage` is that of the last request: what it read from the cache is the whole request before.
    """
    talking = next((node for node in reversed(chain) if node.talks), None)
    if report is None or report.report is None or talking is None or talking.kind != "user":
        return list(chain), False
    said = report.report
    try:
        blocks = [block for block in _TEXTS.decode(said.content) if block.type == "text" and block.text]
    except BAD:
        blocks = []
    # A sub-agent that ended with an error of the program's own has a text too, and counts of 0.
    if said.status != "completed" or not blocks or said.usage is None or not claude_blocks.input_tokens(said.usage)[0]:
        return list(chain), False
    name = f"report of {talking.agent}"
    answer = msgspec.structs.replace(
        talking,
        kind="assistant",
        uuid=name,
        response=name,
        blocks=blocks,
        usage=said.usage,
        results=(),
        stamp=report.stamp,
    )
    return [*chain, answer], True


def reports(chains: Mapping[str, Sequence[Node]]) -> dict[str, Node]:
    """The line with the result of each sub-agent that says whose it is."""
    found: dict[str, Node] = {}
    for chain in chains.values():
        for node in chain:
            if node.report is not None:
                found.setdefault(node.report.agent_id, node)
    return found


def _calls(line: str, chain: Sequence[Node]) -> Iterator[_Call]:
    for node in chain:
        for block in node.blocks if node.kind == "assistant" else ():
            if block.type == "tool_use" and block.id:
                yield _Call(line, block.id, node, _prompt(block.input) if block.name in _TOOLS else None)


def _prompt(given: Raw) -> str:
    try:
        return _INPUT.decode(given).prompt.strip()
    except BAD:
        return ""


def _likely(
    calls: Sequence[_Call], agents: Sequence[tuple[str, Sequence[Node]]], by_prompt: bool
) -> Iterator[tuple[str, _Call]]:
    """For each sub-agent the last call before its first line that had no result yet, with `by_prompt` only one that asked the same.

    One walk through the file: calls open and close, and a sub-agent takes one of those open.
    """
    events: list[tuple[int, int, str, str, _Call | None]] = []
    for call in calls:
        if not call.taken:
            asked = (call.prompt or "") if by_prompt else ""
            events.append((call.made.number, 2, asked, call.id, call))
            if call.answered is not None:
                events.append((call.answered.number, 0, asked, call.id, call))
    for agent, chain in agents:
        text = "\n".join(block.text or "" for block in chain[0].blocks if block.type == "text").strip()
        if text or not by_prompt:
            events.append((chain[0].number, 1, text if by_prompt else "", agent, None))
    events.sort(key=lambda event: event[:2])
    open_calls: dict[str, dict[str, _Call]] = {}
    for _, rank, asked, name, opened in events:
        waiting = open_calls.setdefault(asked, {})
        if opened is None:
            if waiting:
                yield name, waiting.popitem()[1]
        elif rank:
            waiting[name] = opened
        else:
            waiting.pop(name, None)


def _spawn(call: _Call, chain: Sequence[Node], parent: Sequence[Node]) -> Spawn:
    call.taken = True
    came = call.answered
    launched = (
        came is not None
        and came.report is not None
        and (came.report.is_async or came.report.status == "async_launched")
    )
    joins = came is not None and not launched and came.number > chain[-1].number
    # The answer ends with the last of its lines: calls of one answer are written as they are streamed.
    last = next(node for node in reversed(parent) if node.response == call.made.response)
    delay_ns = counts.between_ns(counts.stamp_ns(last.stamp), counts.stamp_ns(chain[0].stamp))
    return Spawn(call.line, call.id, joins, delay_ns)
