"""Contents of Gemini CLI's session files (a text, a part, or a list of them) as text, calls and results."""

from __future__ import annotations

from collections import Counter

import msgspec
from msgspec import Raw, Struct, field

from openagentperf.corpus.formats.documents import mended
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.mend import call_of
from openagentperf.records.trajectory import Message, ToolCall

_NULL = Raw(b"null")


class Thought(Struct):
    subject: str | None = None
    description: str | None = None


class Tokens(Struct):
    """Counts are checked by `counts`. `tool`: what results of the provider's own tools added to the prompt."""

    input: object = None
    output: object = None
    cached: object = None
    thoughts: object = None
    tool: object = None


class Call(Struct):
    id: str = ""
    name: str = ""
    args: Raw = _NULL
    result: Raw = _NULL
    timestamp: str | None = None


class Record(Struct):
    """A message of the session."""

    id: str = ""
    type: str = ""
    timestamp: str | None = None
    content: Raw = _NULL
    model: str | None = None
    thoughts: list[Thought] | None = None
    tokens: Tokens | None = None
    calls: list[Call] | None = field(default=None, name="toolCalls")


class FunctionCall(Struct):
    id: str | None = None
    name: str | None = None
    args: Raw = _NULL


class FunctionResponse(Struct):
    id: str | None = None
    response: Raw = _NULL


class Part(Struct):
    text: str | None = None
    thought: object = None
    call: FunctionCall | None = field(default=None, name="functionCall")
    response: FunctionResponse | None = field(default=None, name="functionResponse")


class _Response(Struct):
    output: str | None = None
    error: str | None = None


_CONTENT = msgspec.json.Decoder(str | list[str | Part] | Part | None)
_RESPONSE = msgspec.json.Decoder(_Response)


def messages_of(record: Record, notes: Counter[str]) -> list[Message]:
    """What a record says to the model: a user's results and text, an answer and its results; nothing for other types.

    What has no text becomes a placeholder, counted in `notes`. Raises one of `lines.BAD` where it is of no known form.
    """
    if record.type not in ("user", "gemini"):
        return []
    texts: list[str] = []
    calls: list[ToolCall] = []
    results: list[Message] = []
    for part in _parts(record.content):
        if isinstance(part, str):
            texts.append(part)
        elif part.call is not None:
            calls.append(tool_call(part.call.id or "", part.call.name or "", part.call.args, notes))
        elif part.response is not None:
            results.append(Message(role="tool", content=_text(part, notes), tool_call_id=part.response.id or ""))
        elif not part.thought:  # the record's `thoughts` sum those up
            texts.append(_text(part, notes))
    text = "\n".join(texts)
    if record.type == "user":
        return [*results, Message(role="user", content=text)] if text else results
    if record.calls:
        calls = [tool_call(call.id, call.name, call.args, notes) for call in record.calls]
    answer = Message(
        role="assistant",
        content=text,
        reasoning="\n".join(
            f"{thought.subject or ''}: {thought.description or ''}" for thought in record.thoughts or ()
        ),
        tool_calls=tuple(calls),
    )
    return [answer, *(_result(call, notes) for call in record.calls or () if call.result != _NULL)]


def _result(call: Call, notes: Counter[str]) -> Message:
    texts = [part if isinstance(part, str) else _text(part, notes) for part in _parts(call.result)]
    return Message(role="tool", content="\n".join(texts), tool_call_id=call.id)


def _parts(content: Raw) -> list[str | Part]:
    parts = mended(_CONTENT, content)
    return parts if isinstance(parts, list) else [] if parts is None else [parts]


def _text(part: Part, notes: Counter[str]) -> str:
    if part.text is not None:
        return part.text
    if part.response is None:
        notes["content parts that are no text replaced by a placeholder"] += 1
        return "[part]"
    try:
        response = mended(_RESPONSE, part.response.response)
    except BAD:
        response = _Response()
    if response.output is not None:
        return response.output
    return response.error if response.error is not None else bytes(part.response.response).decode()


def tool_call(call_id: str, name: str, arguments: Raw, notes: Counter[str]) -> ToolCall:
    """A call whose arguments are a JSON object. Raises one of `lines.BAD` where they are no UTF-8."""
    return call_of(call_id, name, bytes(arguments).decode() if arguments != _NULL else "", notes)
