"""Content blocks of Claude Code lines as messages, counts and delays of one API response each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from operator import itemgetter

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats import anthropic, counts
from openagentperf.corpus.formats.claude_lines import Block, Node, Usage
from openagentperf.corpus.formats.languages import main_language, tally_path, tally_text
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.tokens import estimate
from openagentperf.records.trajectory import Message
from openagentperf.units import Ns

_EDITS = frozenset({"Edit", "MultiEdit", "NotebookEdit", "Write"})


class Answer(Struct):
    """One API response, put together from its lines."""

    message: Message
    model: str
    input_tokens: int
    """Fresh, cache-written and cache-read together; 0 where not recorded."""
    cached_tokens: int | None
    output_tokens: int
    """As recorded, 0 where not; see `visible_tokens`."""
    visible_tokens: int
    """Estimate over text, thinking, and the calls' names and arguments."""
    call_stamps: dict[str, str | None]


class _Paths(Struct):
    file_path: str = ""
    notebook_path: str = ""
    path: str = ""


_PATHS = msgspec.json.Decoder(_Paths)


def answers(chain: Sequence[Node], notes: Counter[str]) -> dict[str, Answer]:
    """The responses of a chain by their id, in the order of their first lines."""
    lines: dict[str, list[Node]] = {}
    for node in chain:
        if node.kind == "assistant":
            lines.setdefault(node.response, []).append(node)
    return {response: _answer(parts, notes) for response, parts in lines.items()}


def _answer(parts: Sequence[Node], notes: Counter[str]) -> Answer:
    blocks: list[Block] = []
    stamps: dict[str, str | None] = {}
    for node in parts:
        for block in node.blocks:
            if block.type == "tool_use":
                if block.id and block.id in stamps:
                    continue  # the same call again: a line that was written twice
                stamps[block.id or ""] = node.stamp
            blocks.append(block)
    message = anthropic.answer(blocks, notes)
    usages = [node.usage for node in parts if node.usage is not None]
    whole, cached = max(map(input_tokens, usages), default=(0, 0), key=itemgetter(0))
    return Answer(
        message=message,
        model=parts[0].model,
        input_tokens=whole,
        cached_tokens=cached if usages else None,
        output_tokens=max((counts.tokens(usage.output_tokens) or 0 for usage in usages), default=0),
        visible_tokens=estimate(message.content + message.reasoning)
        + sum(estimate(call.name + call.arguments) for call in message.tool_calls),
        call_stamps=stamps,
    )


def input_tokens(usage: Usage) -> tuple[int, int]:
    """Of a request: all of it (fresh, cache-written and cache-read), and what was read from the cache."""
    fresh, written, cached = (
        counts.tokens(value) or 0
        for value in (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
    )
    return fresh + written + cached, cached


def user_messages(node: Node, notes: Counter[str]) -> list[Message]:
    """A user line's tool results, each a message, and its text as one message after them."""
    return anthropic.heard(node.blocks, notes)


def result_stamps(chain: Sequence[Node]) -> dict[str, str | None]:
    """When each call's first result was written."""
    stamps: dict[str, str | None] = {}
    for node in chain:
        for call in node.results:
            stamps.setdefault(call, node.stamp)
    return stamps


def delay_ns(answer: Answer, results: Mapping[str, str | None], joined: Container[str] = ()) -> Ns | None:
    """Last result's time - its call's time; None where nothing was called or nothing came back.

    The last result decides, for the next request waits for all. A person's pause before the next prompt is not a tool's
    delay: a turn without calls has None. Calls that are `joined` started sub-agents that run beside the line: how long those take is no
    tool's delay, and where there are no others it is 0.
    """
    last: Ns | None = None
    delay: Ns | None = None
    for call, called in answer.call_stamps.items():
        if call in joined:
            delay = delay or 0
            continue
        came = counts.stamp_ns(results.get(call))
        if came is not None and (last is None or came >= last):
            last, delay = came, counts.between_ns(counts.stamp_ns(called), came)
    return delay


def file_language(made: Sequence[Answer]) -> str:
    """Main language of the files that were edited; failing these, of those named in a call; failing these, in a command."""
    edited: Counter[str] = Counter()
    touched: Counter[str] = Counter()
    for answer in made:
        for call in answer.message.tool_calls:
            try:
                paths = _PATHS.decode(call.arguments)
            except BAD:
                continue
            for path in (paths.file_path, paths.notebook_path, paths.path):
                tally_path(path, edited if call.name in _EDITS else touched)
    mentioned: Counter[str] = Counter()
    if not edited and not touched:
        for answer in made:
            for call in answer.message.tool_calls:
                tally_text(call.arguments, mentioned)
    return main_language(edited, touched, mentioned)
