"""An answer as a recorder keeps it: whole, in its dialect's own JSON, whether it was streamed or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")


class Answered(Struct, frozen=True, kw_only=True):
    """What a server answered to one request, as far as it came."""

    body: bytes = b""
    """JSON of what the agent may send back as history: the chat dialect's or Anthropic's assistant message, the array of a Response's
    output items. Empty where nothing came."""
    id: str = ""
    """The server's name for the answer, by which a later request may refer to it."""
    model: str = ""
    input_tokens: int | None = None
    """Of the whole request, cached ones included; None where the server did not say."""
    output_tokens: int | None = None
    """Reasoning included."""
    cached_tokens: int | None = None
    finish: str = ""
    """Why the model stopped, in the dialect's word; "" where it did not say."""
    complete: bool = False
    """The dialect's terminal event came, or the answer was one document."""
    last_event: int = -1
    """Index of the last event that belongs to the answer: the terminal one, where it came. -1 where there was none."""
    error: str = ""
    """What the server said went wrong inside an answer that began well."""


def document(data: bytes, kind: type[T]) -> T | None:
    """One JSON document as `kind`; None where it is none. Half a surrogate pair becomes `?`, bytes that are no UTF-8 U+FFFD."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        patient = json.dumps(json.loads(data.decode("utf-8", "replace")), ensure_ascii=False).encode("utf-8", "replace")
        return msgspec.json.decode(patient, type=kind)
    except (ValueError, RecursionError):
        return None


def encoded(value: Mapping[str, object]) -> bytes:
    """JSON of an answer, without the keys whose value is None."""
    return msgspec.json.encode({key: item for key, item in value.items() if item is not None})


def arguments(text: str) -> msgspec.Raw:
    """A call's arguments as a JSON value: the object that they spell, or, where the stream broke off in them, the text."""
    try:
        return msgspec.Raw(msgspec.json.format(text or "{}", indent=-1).encode())
    except (msgspec.DecodeError, RecursionError):
        return msgspec.Raw(msgspec.json.encode(text))
