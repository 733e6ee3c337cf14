"""Messages of the Anthropic dialect, as proxies and recorders hold them, turned into ours.

    user       tool_result blocks, each a tool message; then the text of the rest as one user message
    assistant  text, thinking and tool_use blocks as one message
    system     a message of that role: who calls puts what stands beside the messages in front of them as one
    tools      {name, description, input_schema} as entries of OpenAI's `tools`

Blocks that text cannot hold (images, documents) become a placeholder, and are counted in the notes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats.claude_lines import Block
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.mend import call_of
from openagentperf.records.trajectory import Message, Role, ToolCall


class Recorded(Struct, gc=False):
    """One message as recorded."""

    role: str
    content: str | list[Block] | None = None


class Tool(Struct, gc=False):
    """One tool definition. Tools that Anthropic itself runs or knows (`web_search_20250305`) carry a type and no schema."""

    name: str
    description: str | None = None
    input_schema: Raw = Raw(b"")


_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_MESSAGE = msgspec.json.Decoder(Recorded)
_TOOL = msgspec.json.Decoder(Tool)
_RESULT = msgspec.json.Decoder(str | list[Block] | None)
_NO_SCHEMA = Raw(b'{"type":"object","properties":{}}')


def to_messages(text: bytes, notes: Counter[str]) -> list[Message]:
    """One recorded message as those that we send: none where it is an empty user message. Raises one of `lines.BAD`."""
    recorded = _MESSAGE.decode(text)
    content = recorded.content
    blocks = [Block(type="text", text=content)] if isinstance(content, str) else content or []
    role = _ROLES.get(recorded.role)
    if role is None:
        notes[f"messages of role `{recorded.role[:40]}` taken as user messages"] += 1
        role = "user"
    return [answer(blocks, notes)] if role == "assistant" else heard(blocks, notes, role)


def heard(blocks: Iterable[Block], notes: Counter[str], role: Role = "user") -> list[Message]:
    """What is no answer: the tool results, each a message, and the text as one message after them."""
    out: list[Message] = []
    rest: list[Block] = []
    for block in blocks:
        if block.type == "tool_result":
            out.append(Message(role="tool", content=_result_text(block, notes), tool_call_id=block.tool_use_id or ""))
        else:
            rest.append(block)
    if said := _joined(rest, notes):
        out.append(Message(role=role, content=said))
    return out


def tool_texts(tools: Iterable[Raw], notes: Counter[str]) -> tuple[str, ...]:
    """Each definition as the compact JSON text of an OpenAI `tools` entry; one without a name would be refused and is left out."""
    texts: list[str] = []
    for raw in tools:
        try:
            tool = _TOOL.decode(raw)
            schema = tool.input_schema
            if not bytes(schema):
                schema = _NO_SCHEMA
                notes["tools without a schema (the provider's own) offered by name alone"] += 1
            function = {"name": tool.name, "description": tool.description or "", "parameters": schema}
            text = msgspec.json.encode({"type": "function", "function": function})
            texts.append(msgspec.json.format(text, indent=-1).decode())
        except BAD:
            notes["tool definitions without a name left out"] += 1
    return tuple(texts)


def answer(blocks: Iterable[Block], notes: Counter[str]) -> Message:
    """The blocks of one response as one message. Raises one of `lines.BAD` where a call's input is no UTF-8."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    for block in blocks:
        if block.type == "text":
            texts.append(block.text or "")
        elif block.type == "thinking":
            thoughts.append(block.thinking or "")
        elif block.type == "tool_use":
            calls.append(call_of(block.id or "", block.name or "", bytes(block.input).decode(), notes))
        elif block.type != "redacted_thinking":
            notes["answer blocks of other types left out"] += 1
    return Message(
        role="assistant",
        content="\n".join(filter(None, texts)),
        reasoning="\n".join(filter(None, thoughts)),
        tool_calls=tuple(calls),
    )


def _result_text(block: Block, notes: Counter[str]) -> str:
    try:
        content = _RESULT.decode(block.content)
    except BAD:
        # Results of server tools are objects: their JSON text is what fills the context.
        return bytes(block.content).decode()
    return content if isinstance(content, str) else _joined(content or (), notes)


def _joined(blocks: Iterable[Block], notes: Counter[str]) -> str:
    texts: list[str] = []
    for block in blocks:
        if block.type == "text":
            texts.append(block.text or "")
        else:
            notes["content parts that are no text replaced by a placeholder"] += 1
            texts.append(f"[{block.type[:40] or 'part'}{' ' + block.tool_name if block.tool_name else ''}]")
    return "\n".join(filter(None, texts))
