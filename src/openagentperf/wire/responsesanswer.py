"""OpenAI's Responses dialect, its answer put together: output items out of a stream's events, or out of a whole response.

The last event (`response.completed`, `.incomplete` or `.failed`) holds the whole response. Where its output is empty, as Codex's own
backend sends it, or the stream was cut before, the items are those of `response.output_item.done`, and of an item that was not done
its text or arguments so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw, Struct

from openagentperf.wire.answered import Answered, document
from openagentperf.wire.chatchunk import Number, count
from openagentperf.wire.servererror import error_of
from openagentperf.wire.sse import Event


class _Details(Struct, gc=False):
    cached_tokens: Number = None


class _Usage(Struct, gc=False):
    input_tokens: Number = None
    output_tokens: Number = None
    input_tokens_details: _Details | None = None


class _Reason(Struct, gc=False):
    reason: str | None = None


class _Response(Struct, gc=False):
    id: str = ""
    model: str = ""
    status: str | None = None
    output: list[dict[str, Raw]] | None = None
    usage: _Usage | None = None
    incomplete_details: _Reason | None = None
    error: object = None


class _Event(Struct, gc=False):
    type: str = ""
    output_index: Number = None
    item: dict[str, Raw] | None = None
    delta: object = None
    response: _Response | None = None
    error: object = None
    message: str | None = None


_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_GROWS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}


class _Item:
    """One output item: as it was announced, its deltas, and as it was when done."""

    def __init__(self, announced: dict[str, Raw]) -> None:
        self.announced = announced
        self.done: dict[str, Raw] | None = None
        self.field = ""
        self.pieces: list[str] = []

    def built(self) -> dict[str, object]:
        if self.done is not None:
            return dict(self.done)
        item: dict[str, object] = dict(self.announced)
        if self.field == "text":
            item["content"] = [{"type": "output_text", "text": "".join(self.pieces)}]
        elif self.field:
            item[self.field] = "".join(self.pieces)
        return item


def streamed(events: Sequence[Event]) -> Answered:
    """From the events of a stream, up to the one that ends the response."""
    response = _Response()
    items: dict[int, _Item] = {}
    last = -1
    for number, event in enumerate(events):
        said = document(event.data, _Event)
        if said is None:
            continue
        last = number
        if said.response is not None:
            response = said.response
        if said.type in _ENDS:
            return _answered(response, items, complete=said.type != "response.failed", last_event=number)
        if said.type == "error" or event.name == "error":
            error = error_of({"error": said.error, "message": said.message}) or "an error without a message"
            return _answered(response, items, complete=False, last_event=number, error=error)
        if said.output_index is not None:
            _grow(items, count(said.output_index) or 0, said)
    return _answered(response, items, complete=False, last_event=last)


def whole(body: bytes) -> Answered:
    """From one response object."""
    response = document(body, _Response)
    if response is None or response.output is None:
        error = error_of({"error": response.error}) if response is not None and response.error else ""
        return Answered(error=error or "the answer is no response")
    return _answered(response, {}, complete=response.status != "failed", last_event=-1)


def _grow(items: dict[int, _Item], at: int, said: _Event) -> None:
    item = items.setdefault(at, _Item({}))
    if said.type == "response.output_item.added":
        item.announced = said.item or {}
    elif said.type == "response.output_item.done":
        item.done = said.item
    elif said.type in _GROWS and isinstance(said.delta, str):
        item.field = _GROWS[said.type]
        item.pieces.append(said.delta)


def _answered(
    response: _Response, items: dict[int, _Item], *, complete: bool, last_event: int, error: str = ""
) -> Answered:
    grown = [built for at in sorted(items) if (built := items[at].built())]
    output: Sequence[Mapping[str, object]] = response.output or grown
    usage = response.usage or _Usage()
    details = usage.input_tokens_details
    reason = response.incomplete_details.reason if response.incomplete_details is not None else None
    failed = error_of({"error": response.error}) if response.error else ""
    return Answered(
        body=msgspec.json.encode(output) if output else b"",
        id=response.id,
        model=response.model,
        input_tokens=count(usage.input_tokens),
        output_tokens=count(usage.output_tokens),
        cached_tokens=count(details.cached_tokens) if details is not None else None,
        finish=reason or response.status or "",
        complete=complete,
        last_event=last_event,
        error=error or failed,
    )
