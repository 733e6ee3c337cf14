"""Anthropic's Messages dialect, its answer put together: content blocks out of a stream's deltas, or out of a whole message.

    message_start   id, model, the input's counts
    content_block_start, content_block_delta ..., content_block_stop   one block after another
    message_delta   the stop reason, the output's count so far
    message_stop    the end

Signatures of thinking blocks are left out: they mean something to their provider alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw, Struct

from openagentperf.wire.answered import Answered, arguments, document, encoded
from openagentperf.wire.chatchunk import Number, count
from openagentperf.wire.servererror import error_of
from openagentperf.wire.sse import Event


class _Usage(Struct, gc=False):
    input_tokens: Number = None
    cache_creation_input_tokens: Number = None
    cache_read_input_tokens: Number = None
    output_tokens: Number = None


class _Message(Struct, gc=False):
    id: str = ""
    model: str = ""
    content: list[dict[str, Raw]] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    error: object = None


class _Delta(Struct, gc=False):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(Struct, gc=False):
    type: str = ""
    index: Number = None
    message: _Message | None = None
    content_block: dict[str, Raw] | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: object = None


class _Block:
    """One block and the deltas that it grew by."""

    def __init__(self, opening: dict[str, Raw]) -> None:
        self.opening = opening
        self.pieces: list[str] = []

    def built(self) -> dict[str, object]:
        kind = document(bytes(self.opening.get("type", Raw(b'""'))), str) or ""
        block: dict[str, object] = {key: value for key, value in self.opening.items() if key != "signature"}
        grown = "".join(self.pieces)
        for field in ("text", "thinking"):
            if kind == field:
                block[field] = (document(bytes(self.opening.get(field, Raw(b'""'))), str) or "") + grown
        if grown and kind.endswith("tool_use"):
            block["input"] = arguments(grown)
        return block


def streamed(events: Sequence[Event]) -> Answered:
    """From the events of a stream, up to `message_stop`."""
    message, finish, error = _Message(), "", ""
    usage = _Usage()
    blocks: dict[int, _Block] = {}
    complete, last = False, -1
    for number, event in enumerate(events):
        said = document(event.data, _Event)
        if said is None:
            continue
        if said.type != "ping":
            last = number
        if said.message is not None:
            message = said.message
            usage = _later(usage, said.message.usage)
        usage = _later(usage, said.usage)
        at = count(said.index) or 0
        if said.type == "content_block_start":
            blocks[at] = _Block(said.content_block or {})
        elif said.type == "content_block_delta" and said.delta is not None and at in blocks:
            blocks[at].pieces.append(said.delta.text or said.delta.thinking or said.delta.partial_json or "")
        elif said.type == "message_delta" and said.delta is not None:
            finish = said.delta.stop_reason or finish
        elif said.type == "message_stop":
            complete = True
            break
        elif said.type == "error" or event.name == "error":
            error = error_of({"error": said.error}) or "an error without a message"
            break
    content = [blocks[at].built() for at in sorted(blocks)]
    return _answered(message, content, usage, finish, complete=complete, last_event=last, error=error)


def whole(body: bytes) -> Answered:
    """From one message object."""
    message = document(body, _Message)
    if message is None or message.content is None:
        error = error_of({"error": message.error}) if message is not None and message.error else ""
        return Answered(error=error or "the answer is no message")
    content = [_Block(block).built() for block in message.content]
    return _answered(
        message, content, message.usage or _Usage(), message.stop_reason or "", complete=True, last_event=-1
    )


def _later(before: _Usage, now: _Usage | None) -> _Usage:
    """The counts of a later event win where it has them: message_delta repeats them all in newer versions, only the output's in older."""
    if now is None:
        return before
    return _Usage(*(getattr(before if getattr(now, name) is None else now, name) for name in _Usage.__struct_fields__))


def _answered(
    message: _Message, content: list[dict[str, object]], usage: _Usage, finish: str, *, complete: bool, last_event: int, error: str = ""
) -> Answered:  # fmt: skip
    read = count(usage.cache_read_input_tokens)
    fresh = count(usage.input_tokens)
    written = count(usage.cache_creation_input_tokens) or 0
    return Answered(
        body=encoded({"role": "assistant", "content": content}) if content else b"",
        id=message.id,
        model=message.model,
        # The dialect counts what the cache gave beside what was computed.
        input_tokens=None if fresh is None else fresh + written + (read or 0),
        output_tokens=count(usage.output_tokens),
        cached_tokens=read,
        finish=finish,
        complete=complete,
        last_event=last_event,
        error=error,
    )
