"""The requests of one turn of `codex exec`, told from the order of its events.

    reasoning, message, call    the model wrote it: a new request where a tool came back since, else part of the same answer
    reasoning, message          while a command still runs: a new request too, made to wait for it
    the end of a call           what the next request brings

Codex waits by calls of `write_stdin`, which leave no event: they are put in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.mend import call_of
from openagentperf.records.trajectory import Message, ToolCall

RUNNING = "Process running"
OUTPUT_BYTES = 40_000
"""Codex shows the model 10,000 tokens of an output, at 4 bytes each, from its two ends; the events hold all of it. Of the caps tried on
recorded turns (10, 20, 40, 60 KB and none) this one leaves the unrecorded part of their prompts most alike."""

_TOOLS = frozenset({"command_execution", "mcp_tool_call", "file_change", "collab_tool_call", "todo_list"})
_NULL = Raw(b"null")


class Item(Struct, gc=False):
    """What happened. Fields of a few types only stay as they are."""

    id: str = ""
    type: str = ""
    text: str | None = None
    query: str | None = None
    command: str | None = None
    aggregated_output: str | None = None
    server: str | None = None
    tool: str | None = None
    arguments: Raw = _NULL
    prompt: str | None = None
    result: Raw = _NULL
    error: Raw = _NULL
    changes: Raw = _NULL
    items: Raw = _NULL


class Request(Struct):
    """One request: what it adds to the one before (behind that one's answer), and its answer."""

    before: list[Message]
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []

    @property
    def answer(self) -> Message:
        return Message(
            role="assistant",
            content="\n".join(self.texts),
            reasoning="\n".join(self.thoughts),
            tool_calls=tuple(self.calls),
        )


class _Part(Struct):
    text: str | None = None


class _Result(Struct):
    content: list[_Part] = []
    message: str | None = None


_RESULT = msgspec.json.Decoder(_Result)


class Requests:
    """The requests of one turn. `turn` counts the turns of a thread: item ids start anew in each."""

    def __init__(self, turn: int, before: list[Message], notes: Counter[str]) -> None:
        self.requests: list[Request] = []
        self.waiting = before
        """What the next request brings."""
        self._turn = turn
        self._notes = notes
        self._came_back = False
        self._calls: dict[str, str] = {}
        """Running items of the last answer, with their calls."""
        self._behind: set[str] = set()
        """Items that ran on when the model was asked again."""
        self._polls = 0

    def started(self, item: Item) -> None:
        """A tool begins, or a plan is written, which takes no time. Raises one of `lines.BAD` where an item is no UTF-8, as those below."""
        if item.type == "todo_list":
            self._result(self._call(item), "Plan updated")
        elif item.type in _TOOLS:
            self._calls[item.id] = self._call(item)

    def updated(self, item: Item) -> None:
        """Of all items only plans change."""
        if item.type == "todo_list":
            self.started(item)

    def completed(self, item: Item) -> None:
        """Something is done: a tool, or what the model wrote."""
        if item.type == "reasoning":
            self._write(talks=True).thoughts.append(item.text or "")
        elif item.type == "agent_message":
            # Reasoning and the message after it are one answer.
            last = self.requests[-1] if self.requests else None
            self._write(talks=last is None or bool(last.texts)).texts.append(item.text or "")
        elif item.type == "web_search":
            self._notes["calls that the provider ran itself kept as text of the answer"] += 1
            self._write(talks=True).texts.append(f"[web_search {item.query or ''}]")
        elif item.type in _TOOLS and item.type != "todo_list":
            self._ended(item, _output(item))
        elif item.type != "todo_list":
            self._notes["events of other types left out"] += 1

    def _ended(self, item: Item, output: str) -> None:
        if item.id in self._calls:
            self._result(self._calls.pop(item.id), output)
        elif item.id not in self._behind:
            self._result(self._call(item), output)
        else:
            self._behind.remove(item.id)
            if self.requests[-1].calls:
                self._notes["outputs of commands that ended while nobody waited for them left out"] += 1
            else:
                self._result(self._poll(), output)

    def _write(self, *, talks: bool) -> Request:
        """The request whose answer goes on, or the next one."""
        runs = bool(self._calls or self._behind)
        if not self.requests or self._came_back or (talks and runs):
            if self._behind and self.requests and not self.requests[-1].calls:
                self._result(self._poll(), RUNNING)
            for item, call in self._calls.items():
                self._result(call, RUNNING)
                self._behind.add(item)
            self._calls = {}
            self.requests.append(Request(before=self.waiting))
            self.waiting = []
            self._came_back = False
        return self.requests[-1]

    def _call(self, item: Item) -> str:
        call = _tool_call(item, self._notes)
        calls = self._write(talks=False).calls
        # Plans come again under one id.
        suffix = (
            f"_{len(self.requests)}_{len(calls)}" if item.type == "todo_list" else f"_{self._turn}" * (self._turn > 0)
        )
        calls.append(msgspec.structs.replace(call, id=f"{item.id}{suffix}"))
        return calls[-1].id

    def _poll(self) -> str:
        self._polls += 1
        self._notes["polls of running commands put in as `write_stdin` calls"] += 1
        call_id = f"poll_{self._turn}_{self._polls}"
        self.requests[-1].calls.append(ToolCall(call_id, "write_stdin", '{"chars":""}'))
        return call_id

    def _result(self, call_id: str, text: str) -> None:
        self.waiting.append(Message(role="tool", content=text, tool_call_id=call_id))
        self._came_back = True


def inputs(total: int, sizes: Sequence[int]) -> list[int]:
    """Input tokens of each request, `total` in sum: its own `size` of text, and an equal share of what no text accounts for.

    Where the texts are longer than the total, they share it by their sizes.
    """
    rest = total - sum(sizes)
    if rest < 0:
        return spread(total, sizes)
    each, more = divmod(rest, len(sizes))
    return [size + each + (k < more) for k, size in enumerate(sizes)]


def spread(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in whole parts that are as the weights; their sum is exact. Weights that are all 0 count as equal."""
    if not any(weights):
        weights = [1] * len(weights)
    whole = sum(weights)
    parts: list[int] = []
    seen = given = 0
    for weight in weights:
        seen += weight
        parts.append(total * seen // whole - given)
        given += parts[-1]
    return parts


def _tool_call(item: Item, notes: Counter[str]) -> ToolCall:
    """The call, without an id yet."""
    if item.type == "command_execution":
        return ToolCall("", "shell", msgspec.json.encode({"command": item.command or ""}).decode())
    if item.type == "file_change":
        return call_of("", "apply_patch", f'{{"changes":{bytes(item.changes).decode()}}}', notes)
    if item.type == "todo_list":
        return call_of("", "update_plan", f'{{"plan":{bytes(item.items).decode()}}}', notes)
    if item.type == "collab_tool_call":
        return ToolCall("", item.tool or "unknown", msgspec.json.encode({"message": item.prompt or ""}).decode())
    arguments = bytes(item.arguments).decode() if item.arguments != _NULL else ""
    return call_of("", f"mcp__{item.server or ''}__{item.tool or ''}", arguments, notes)


def _output(item: Item) -> str:
    if item.aggregated_output is not None:
        return _cut(item.aggregated_output)
    if item.type == "file_change":
        return "Done"
    for body in (item.result, item.error):
        if body != _NULL:
            return _cut(_text(body))
    return ""


def _text(body: Raw) -> str:
    """The texts of an MCP result, the message of an error, or the JSON as it stands."""
    try:
        result = _RESULT.decode(body)
    except BAD:
        return bytes(body).decode()
    if result.message is not None:
        return result.message
    return "\n".join(part.text if part.text is not None else "[part]" for part in result.content)


def _cut(output: str) -> str:
    raw = output.encode("utf-8", "replace")
    if len(raw) <= OUTPUT_BYTES:
        return output
    half = OUTPUT_BYTES // 2
    head, tail = raw[:half].decode("utf-8", "ignore"), raw[-half:].decode("utf-8", "ignore")
    return f"{head}\n[{len(raw) - OUTPUT_BYTES} bytes cut]\n{tail}"
