"""The chat dialect's answer put together: one assistant message out of a stream's deltas, or out of a whole completion.

`wire.chatanswer` reads the same streams for their times and counts, thousands a second; it never keeps a character. Here nothing is timed.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, structs

from openagentperf.wire.answered import Answered, document, encoded
from openagentperf.wire.chatchunk import Number, Part, Usage, count
from openagentperf.wire.servererror import error_of
from openagentperf.wire.sse import Event


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(Struct, gc=False):
    index: Number = None
    """Left out by some gateways: then a new id begins a new call."""
    id: str | None = None
    function: _Function | None = None


class _Said(Struct, gc=False):
    """A delta, or a whole message: the fields are the same."""

    content: str | list[Part] | None = None
    reasoning: object = None
    reasoning_content: object = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Choice(Struct, gc=False):
    index: Number = None
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Chunk(Struct, gc=False):
    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    usage: Usage | None = None
    error: object = None


class _Growing:
    """The message so far. Pieces are joined once: an answer of 20,000 tokens is 20,000 pieces."""

    def __init__(self) -> None:
        self.chunk = _Chunk()
        self.finish = ""
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[tuple[str, list[str], list[str]]] = []
        self.by_index: dict[int, int] = {}
        self.began = False

    def take(self, chunk: _Chunk) -> None:
        names = {name: value for name in ("id", "model", "usage") if (value := getattr(chunk, name)) is not None}
        self.chunk = structs.replace(self.chunk, **names)
        for choice in chunk.choices or ():
            if choice.index:  # a second answer to the same request: agents ask for one
                continue
            self.finish = choice.finish_reason or self.finish
            if said := choice.delta or choice.message:
                self._hear(said)

    def _hear(self, said: _Said) -> None:
        self.began = True
        if isinstance(said.content, str):
            self.text.append(said.content)
        for part in said.content if isinstance(said.content, list) else ():
            self.text.append(part.text or part.refusal or "")
            self.reasoning += _thoughts(part)
        self.text.append(said.refusal or "")
        thought = said.reasoning or said.reasoning_content  # a server between renamings sends both
        if isinstance(thought, str):
            self.reasoning.append(thought)
        for call in said.tool_calls or ():
            self._call(call.index, call.id, call.function or _Function())
        if said.function_call is not None:
            self._call(0, None, said.function_call)

    def _call(self, index: Number, call_id: str | None, function: _Function) -> None:
        if index is None:
            fresh = not self.calls or bool(call_id and call_id != self.calls[-1][0])
            at = len(self.calls) if fresh else len(self.calls) - 1
        else:
            at = self.by_index.setdefault(count(index) or 0, len(self.calls))
        if at == len(self.calls):
            self.calls.append((call_id or "", [], []))
        _, name, pieces = self.calls[at]
        name.append(function.name or "")
        pieces.append(function.arguments or "")

    def answered(self, *, complete: bool, last_event: int, error: str = "") -> Answered:
        calls = [
            {"id": call_id, "type": "function", "function": {"name": "".join(name), "arguments": "".join(pieces)}}
            for call_id, name, pieces in self.calls
        ]
        text, reasoning = "".join(self.text), "".join(self.reasoning)
        message = {
            "role": "assistant",
            "content": text,
            "reasoning_content": reasoning or None,
            "tool_calls": calls or None,
        }
        usage = self.chunk.usage or Usage()
        details = usage.prompt_tokens_details
        cached = count(details.cached_tokens) if details is not None else None
        return Answered(
            body=encoded(message) if self.began else b"",
            id=self.chunk.id or "",
            model=self.chunk.model or "",
            input_tokens=count(usage.prompt_tokens),
            output_tokens=count(usage.completion_tokens),
            cached_tokens=count(usage.prompt_cache_hit_tokens) if cached is None else cached,
            finish=self.finish,
            complete=complete,
            last_event=last_event,
            error=error,
        )


def streamed(events: Sequence[Event]) -> Answered:
    """From the events of a stream, up to `data: [DONE]`. An event that is no chunk is passed over: the agent saw it, not we."""
    growing = _Growing()
    last = -1
    for number, event in enumerate(events):
        if event.data.strip() == b"[DONE]":
            return growing.answered(complete=True, last_event=number)
        chunk = document(event.data, _Chunk)
        if event.name == "error" or (chunk is not None and chunk.error):
            error = _error(event.data) or "an error without a message"
            return growing.answered(complete=False, last_event=number, error=error)
        if chunk is not None:
            growing.take(chunk)
            last = number
    # Servers exist that end without it; a finish_reason says that the model had ended.
    return growing.answered(complete=bool(growing.finish), last_event=last)


def whole(body: bytes) -> Answered:
    """From one completion object."""
    growing = _Growing()
    chunk = document(body, _Chunk)
    if chunk is None:
        return growing.answered(complete=False, last_event=-1, error="the answer is no chat completion")
    growing.take(chunk)
    return growing.answered(complete=growing.began, last_event=-1, error=_error(body) if chunk.error else "")


def _thoughts(part: Part) -> list[str]:
    """Mistral's thinking: text, or parts of text."""
    if isinstance(part.thinking, list):
        return [inner.text or "" for inner in part.thinking]
    return [part.thinking or ""]


def _error(data: bytes) -> str:
    return error_of(document(data, dict))
