"""Messages of the OpenAI chat dialect, as recordings hold them, turned into ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.mend import call_of
from openagentperf.records.trajectory import Message, Role, ToolCall

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_TEXT_PARTS = ("text", "input_text", "output_text")


class Function(Struct):
    name: str | None = None
    arguments: Raw = Raw(b'""')
    """A JSON string (the dialect) or the object itself (many recordings)."""


class Call(Struct):
    function: Function
    id: str | None = None


class Part(Struct):
    type: str = ""
    text: str | None = None


class ChatMessage(Struct):
    """One recorded message. `usage` is not of the dialect; some recorders put it there."""

    role: str
    content: str | list[Part] | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    function_call: Function | None = None
    reasoning_content: object = None
    reasoning: object = None
    usage: object = None


class Named(Struct):
    name: str


class Tool(Struct):
    """What a tool definition needs at least."""

    function: Named


_TOOL = msgspec.json.Decoder(Tool)


def to_message(chat: ChatMessage, notes: Counter[str]) -> Message:
    """One message; what text cannot hold becomes a placeholder and is counted in `notes`.

    Call ids may come out empty: `mend.Mender` gives them. Raises one of `lines.BAD` where arguments are no UTF-8.
    """
    role = _ROLES.get(chat.role)
    if role is None:
        notes[f"messages of role `{chat.role[:40]}` taken as user messages"] += 1
        role = "user"
    content = _text(chat.content, notes)
    if role == "assistant":
        return Message(role=role, content=content, reasoning=_reasoning(chat), tool_calls=tuple(_calls(chat, notes)))
    return Message(role=role, content=content, tool_call_id=(chat.tool_call_id or "") if role == "tool" else "")


def tool_texts(tools: Iterable[Raw], notes: Counter[str]) -> tuple[str, ...]:
    """Each tool definition as compact JSON text; one without a function's name would be refused and is left out."""
    texts: list[str] = []
    for raw in tools:
        try:
            _TOOL.decode(raw)
            texts.append(msgspec.json.format(bytes(raw), indent=-1).decode())
        except BAD:
            notes["tool definitions without a function name left out"] += 1
    return tuple(texts)


def _text(content: str | list[Part] | None, notes: Counter[str]) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts: list[str] = []
    for part in content:
        if part.type in _TEXT_PARTS or (part.text is not None and not part.type):
            texts.append(part.text or "")
        else:
            texts.append(f"[{part.type[:40] or 'part'}]")
            notes["content parts that are no text replaced by a placeholder"] += 1
    return "\n".join(texts)


def _calls(chat: ChatMessage, notes: Counter[str]) -> Iterable[ToolCall]:
    for call in chat.tool_calls or ():
        yield _call(call.id or "", call.function, notes)
    if chat.function_call is not None:
        notes["legacy `function_call` entries turned into tool calls"] += 1
        yield _call("", chat.function_call, notes)


def _call(call_id: str, function: Function, notes: Counter[str]) -> ToolCall:
    text = bytes(function.arguments).decode()
    if text == "null":  # sets kept as Parquet have every key
        text = ""
    elif text.startswith('"'):
        text = msgspec.json.decode(text, type=str)
    return call_of(call_id, function.name or "", text, notes)


def _reasoning(chat: ChatMessage) -> str:
    for text in (chat.reasoning_content, chat.reasoning):
        if isinstance(text, str) and text:
            return text
    return ""
