"""Items of OpenAI's Responses dialect, as requests and recordings hold them, turned into our messages.

One answer is several items: reasoning, texts, calls. Consecutive ones become one assistant message. What the provider ran itself inside
an answer (a web search, an MCP call) is no call that anybody waits for: it stays in the answer as text.

    function_call            a tool call; a namespace goes in front of its name: `<namespace>__<name>`
    custom_tool_call         a tool call whose arguments are {"input": "<as recorded>"}
    local_shell_call         a tool call `local_shell`, its arguments the recorded action; shell_call, apply_patch_call, computer_call and
                             tool_search_call likewise
    *_output                 a tool message
    web_search_call, ...     text of the answer: `[web_search_call {"type":"search",...}]`
    reasoning                the message's `reasoning`: its content, or the summary where the content is encrypted
    compaction               a user message that says so: its text is encrypted
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw, Struct, field

from openagentperf.corpus.formats import chat
from openagentperf.corpus.formats.documents import mended
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.mend import call_of
from openagentperf.records.trajectory import Message, Role, ToolCall

COMPACTED = "[the conversation so far, summed up in a form that only its provider can read]"
UNREADABLE = "summaries that only their provider can read replaced by a placeholder"

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user"}
_CLIENT_CALLS = {
    "apply_patch_call": "apply_patch",
    "computer_call": "computer",
    "function_call": "",
    "custom_tool_call": "",
    "local_shell_call": "local_shell",
    "shell_call": "shell",
    "tool_search_call": "tool_search",
}
"""Calls that the client answers, with their names where they have none of their own."""
_COMPACTIONS = frozenset({"compaction", "compaction_summary", "context_compaction"})
_NULL = Raw(b"null")


class Part(Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class Item(Struct, gc=False):
    """One item of any type. Fields that only a few types have, or of which only the text counts, stay as they are."""

    type: str = "message"
    """Requests may leave it out for messages."""
    role: str = ""
    content: Raw = _NULL
    summary: Raw = _NULL
    name: str | None = None
    namespace: str | None = None
    arguments: Raw = _NULL
    input: str | None = None
    action: Raw = _NULL
    operation: Raw = _NULL
    queries: Raw = _NULL
    code: Raw = _NULL
    call_id: str | None = None
    id: str | None = None
    output: Raw = _NULL
    outputs: Raw = _NULL
    results: Raw = _NULL
    tools: Raw = _NULL

    @property
    def answers(self) -> bool:
        """Whether the model wrote it, or the provider while the model did."""
        if self.type == "message":
            return self.role == "assistant"
        return self.type.endswith("_call") or self.type in ("reasoning", "mcp_list_tools", "mcp_approval_request")

    @property
    def calls(self) -> bool:
        """Whether it waits for an answer of the client."""
        return self.type in _CLIENT_CALLS


class Tool(Struct):
    """A definition, flat as the dialect has it, or with a `function` inside as in the chat dialect."""

    type: str = "function"
    name: str = ""
    description: str | None = None
    defer_loading: bool | None = None
    """Not offered until a search for tools finds it."""
    defer_as_codex: bool | None = field(default=None, name="deferLoading")
    """As Codex's files spell it; likewise the schema below."""
    parameters: Raw = _NULL
    schema: Raw = field(default=_NULL, name="inputSchema")
    strict: bool | None = None
    format: object = None
    function: Raw = _NULL
    tools: list[Raw] | None = None


_ITEM = msgspec.json.Decoder(Item)
_ITEMS = msgspec.json.Decoder(list[Item])
_TEXT = msgspec.json.Decoder(str | list[Part] | None)
_STRING = msgspec.json.Decoder(str)
_TOOL = msgspec.json.Decoder(Tool)
_FREE_TEXT = Raw(b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}')


def to_messages(items: Iterable[bytes | Raw], notes: Counter[str]) -> list[Message]:
    """The messages of these items, in order. What has no text becomes a placeholder or is left out, and is counted in `notes`.

    Raises one of `lines.BAD` for an item that cannot be used.
    """
    return messages_of((mended(_ITEM, raw) for raw in items), notes)


def messages_of(items: Iterable[Item], notes: Counter[str]) -> list[Message]:
    """As `to_messages`, for items that are decoded already."""
    messages: list[Message] = []
    parts: list[Message] = []
    for item in items:
        if item.answers:
            parts.append(part_of(item, notes))
            continue
        if parts:
            messages.append(merged(parts))
            parts = []
        messages += heard_of(item, notes)
    if parts:
        messages.append(merged(parts))
    return messages


def read_item(raw: bytes | Raw) -> Item:
    """One item. Raises one of `lines.BAD` where it is none."""
    return mended(_ITEM, raw)


def grouped(items: Iterable[bytes | Raw]) -> list[bytes]:
    """The items of one request as JSON arrays, one a message: what `snapshots.Snapshots` compares, with `convert` to read them.

    Raises one of `lines.BAD` for an item that is no object.
    """
    found: list[list[bytes]] = []
    answering = False
    for raw in items:
        answers = mended(_ITEM, raw).answers
        if answers and answering:
            found[-1].append(bytes(raw))
        else:
            found.append([bytes(raw)])
        answering = answers
    return [b"[" + b",".join(group) + b"]" for group in found]


def convert(group: bytes, notes: Counter[str]) -> list[Message]:
    """The messages of one of the arrays of `grouped`."""
    items = mended(_ITEMS, group)
    return messages_of(items, notes)


def part_of(item: Item, notes: Counter[str]) -> Message:
    """What one item adds to its answer. Raises one of `lines.BAD` where its text is no UTF-8."""
    if item.type == "message":
        return Message(role="assistant", content=text_of(item.content, notes))
    if item.type == "reasoning":
        thought = text_of(item.content, notes) or text_of(item.summary, notes)
        return Message(role="assistant", reasoning=thought)
    if item.calls:
        return Message(role="assistant", tool_calls=(_call(item, notes),))
    notes["calls that the provider ran itself kept as text of the answer"] += 1
    return Message(role="assistant", content=_shown(item))


def merged(parts: Sequence[Message]) -> Message:
    """One answer from what its items add to it."""
    if len(parts) == 1:
        return parts[0]
    return Message(
        role="assistant",
        content="\n".join(part.content for part in parts if part.content),
        reasoning="\n".join(part.reasoning for part in parts if part.reasoning),
        tool_calls=tuple(call for part in parts for call in part.tool_calls),
    )


def heard_of(item: Item, notes: Counter[str]) -> list[Message]:
    """What an item that the model did not write says to it; nothing where it says nothing."""
    if item.type == "message":
        role = _ROLES.get(item.role)
        if role is None:
            notes[f"messages of role `{item.role[:40]}` taken as user messages"] += 1
            role = "user"
        return [Message(role=role, content=text_of(item.content, notes))]
    if item.type.endswith("_output"):
        # The definitions that a search found are read as they are.
        found = bytes(item.tools).decode() if item.tools != _NULL else text_of(item.output, notes)
        return [Message(role="tool", content=found, tool_call_id=item.call_id or "")]
    if item.type in _COMPACTIONS:
        notes[UNREADABLE] += 1
        return [Message(role="user", content=COMPACTED)]
    notes["response items of other types left out"] += 1
    return []


def text_of(body: Raw, notes: Counter[str]) -> str:
    """Text of a string, of a list of parts, or any other JSON as it stands: that is what fills the context."""
    try:
        content = mended(_TEXT, body)
    except BAD:
        return bytes(body).decode()
    if content is None or isinstance(content, str):
        return content or ""
    texts: list[str] = []
    for part in content:
        text = part.text if part.text is not None else part.refusal
        if text is None:
            text = f"[{part.type[:40] or 'part'}]"
            notes["content parts that are no text replaced by a placeholder"] += 1
        texts.append(text)
    return "\n".join(texts)


def tool_texts(tools: Iterable[Raw], notes: Counter[str]) -> tuple[str, ...]:
    """Each definition as the JSON text of a chat tool; those without a name are the provider's own and are left out."""
    texts: list[str] = []
    for raw in tools:
        _add_tool(raw, "", texts, notes)
    return tuple(texts)


def _call(item: Item, notes: Counter[str]) -> ToolCall:
    name = item.name or _CLIENT_CALLS[item.type]
    if item.namespace:
        name = f"{item.namespace}__{name}"
    call_id = item.call_id or item.id or ""
    if item.type == "custom_tool_call":
        return ToolCall(call_id, name or "unknown", msgspec.json.encode({"input": item.input or ""}).decode())
    body = next((raw for raw in (item.arguments, item.action, item.operation) if raw != _NULL), Raw(b'""'))
    try:
        arguments = mended(_STRING, body)
    except BAD:
        arguments = bytes(body).decode()
    return call_of(call_id, name, arguments, notes)


def _shown(item: Item) -> str:
    bodies = (item.arguments, item.action, item.queries, item.code, item.results, item.outputs, item.output)
    parts = [item.type[:40], item.name or "", *(bytes(body).decode() for body in bodies if body != _NULL)]
    return f"[{' '.join(filter(None, parts))}]"


def _add_tool(raw: Raw, namespace: str, texts: list[str], notes: Counter[str]) -> None:
    try:
        tool = mended(_TOOL, raw)
        if tool.defer_loading or tool.defer_as_codex:
            return
        if tool.tools is not None and tool.name and not namespace:
            for inner in tool.tools:
                _add_tool(inner, tool.name, texts, notes)
            return
        if tool.function != _NULL:
            texts += chat.tool_texts([raw], notes)
            return
        description = tool.description or ""
        if isinstance(tool.format, dict) and isinstance(tool.format.get("definition"), str):
            description = f"{description}\n{tool.format['definition']}"
        if tool.type not in ("function", "custom") or not tool.name:
            raise ValueError("a tool of the provider's own")
        function: dict[str, object] = {"name": f"{namespace}__{tool.name}" if namespace else tool.name}
        if description:
            function["description"] = description
        parameters = tool.parameters if tool.parameters != _NULL else tool.schema
        if tool.type == "custom":
            parameters = _FREE_TEXT
        if parameters != _NULL:
            function["parameters"] = Raw(msgspec.json.format(bytes(parameters), indent=-1))
        if tool.strict is not None:
            function["strict"] = tool.strict
        texts.append(msgspec.json.encode({"type": "function", "function": function}).decode())
    except BAD:
        notes["tool definitions without a function name left out"] += 1
