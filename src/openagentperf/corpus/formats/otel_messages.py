"""Messages as GenAI spans hold them: the convention's parts, OpenAI's messages, or a bare text.

{"role": "assistant", "parts": [{"type": "text", "content": ..}, {"type": "tool_call", "id": .., "name": .., "arguments": ..}]}
{"role": "tool", "parts": [{"type": "tool_call_response", "id": .., "response": ..}]}
{"role": "assistant", "content": .., "tool_calls": [{"id": .., "function": {"name": .., "arguments": ..}}]}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats.chat import ChatMessage, to_message
from openagentperf.corpus.formats.documents import mended
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.mend import call_of
from openagentperf.records.trajectory import Message, Role

_NULL = Raw(b"null")
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "tool": "tool",
}
_CALLS = ("tool_call", "tool_use")
_RESULTS = ("tool_call_response", "tool_result")
_THOUGHTS = ("reasoning", "thinking")


class Part(Struct, gc=False):
    type: str = "text"
    content: Raw = _NULL
    text: Raw = _NULL
    id: str | None = None
    name: str | None = None
    arguments: Raw = _NULL
    response: Raw = _NULL
    result: Raw = _NULL


class Recorded(Struct, gc=False):
    role: str = "user"
    parts: list[Part] | None = None
    content: Raw = _NULL
    tool_calls: Raw = _NULL
    tool_call_id: str | None = None


_ARRAY = msgspec.json.Decoder(list[Raw])
_RECORDED = msgspec.json.Decoder(Recorded)
_PART = msgspec.json.Decoder(Part)
_PARTS = msgspec.json.Decoder(list[Part])
_CHAT = msgspec.json.Decoder(ChatMessage)
_TEXT = msgspec.json.Decoder(str)


def items_of(value: object) -> list[Raw]:
    """The items of an attribute that is an array, or the JSON text of one; none for anything else."""
    try:
        return mended(_ARRAY, value.encode() if isinstance(value, str) else msgspec.json.encode(value))
    except (*BAD, TypeError):
        return []


def messages_of(value: object, role: Role, notes: Counter[str]) -> list[Message]:
    """The messages of an attribute; a text that is no JSON array is one message of `role`. Raises one of `lines.BAD`."""
    items = items_of(value)
    if not items and isinstance(value, str) and value.strip() not in ("", "[]"):
        return [Message(role=role, content=value)]
    return [message for item in items for message in read(item, role, notes)]


def read(raw: Raw, role: Role, notes: Counter[str]) -> list[Message]:
    """One recorded message: several where it holds several tool results. Raises one of `lines.BAD`."""
    if bytes(raw)[:1] == b'"':
        return [Message(role=role, content=mended(_TEXT, raw))]
    recorded = mended(_RECORDED, raw)
    parts = recorded.parts
    if parts is None and bytes(recorded.content)[:1] == b"[" and recorded.tool_calls == _NULL:
        parts = mended(_PARTS, recorded.content)
    if parts is None:
        return [to_message(mended(_CHAT, raw), notes)]
    results = [part for part in parts if part.type in _RESULTS]
    said = [part for part in parts if part.type not in _RESULTS]
    role = _ROLES.get(recorded.role, "user")
    if role == "tool" and not results:
        return [Message(role="tool", content=text_of(said, notes), tool_call_id=recorded.tool_call_id or "")]
    out = [
        Message(role="tool", content=plain(_first(part, "response", "result", "content")), tool_call_id=part.id or "")
        for part in results
    ]
    if role == "assistant":
        out.append(_answer(said, notes))
    elif said or not results:
        out.append(Message(role="system" if role == "system" else "user", content=text_of(said, notes)))
    return out


def system_of(value: object, notes: Counter[str]) -> Message | None:
    """`gen_ai.system_instructions`: parts, or a text. Raises one of `lines.BAD`."""
    items = items_of(value)
    if items:
        parts = [Part(content=item) if bytes(item)[:1] == b'"' else mended(_PART, item) for item in items]
        return Message(role="system", content=text_of(parts, notes))
    return Message(role="system", content=value) if isinstance(value, str) and value.strip() else None


def text_of(parts: Sequence[Part], notes: Counter[str]) -> str:
    texts: list[str] = []
    for part in parts:
        content = _first(part, "content", "text")
        if content != _NULL:
            texts.append(plain(content))
        else:
            texts.append(f"[{part.type[:40]}]")
            notes["content parts that are no text replaced by a placeholder"] += 1
    return "\n".join(texts)


def plain(raw: Raw) -> str:
    """A JSON string's text, nothing for null, anything else as it stands. Raises one of `lines.BAD`."""
    text = bytes(raw).decode()
    if text[:1] == '"':
        return mended(_TEXT, raw)
    return "" if text == "null" else text


def _answer(parts: Sequence[Part], notes: Counter[str]) -> Message:
    return Message(
        role="assistant",
        content=text_of([part for part in parts if part.type not in (*_CALLS, *_THOUGHTS)], notes),
        reasoning=text_of([part for part in parts if part.type in _THOUGHTS], notes),
        tool_calls=tuple(
            call_of(part.id or "", part.name or "", plain(part.arguments), notes)
            for part in parts
            if part.type in _CALLS
        ),
    )


def _first(part: Part, *names: str) -> Raw:
    return next((value for name in names if (value := getattr(part, name)) != _NULL), _NULL)
