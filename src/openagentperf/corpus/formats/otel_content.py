"""Where a GenAI span keeps the request, the answer and the tools, by the conventions of today and of the years before.

    gen_ai.input.messages, gen_ai.output.messages, gen_ai.system_instructions, gen_ai.tool.definitions
    gen_ai.prompt, gen_ai.completion
    gen_ai.prompt.0.role, gen_ai.prompt.0.content, gen_ai.prompt.0.tool_calls.0.name, llm.request.functions.0.name    (OpenLLMetry)
    events: gen_ai.content.prompt and the like with these attributes; gen_ai.user.message, gen_ai.choice with one message each

They are there only where the program opted in.
"""

from __future__ import annotations

import re
from collections import Counter

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import responses
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.otel_messages import items_of, messages_of, read, system_of
from openagentperf.corpus.formats.otel_spans import Span
from openagentperf.records.trajectory import Message

_CARRIERS = ("gen_ai.content.prompt", "gen_ai.content.completion", "gen_ai.client.inference.operation.details")
"""Events whose attributes are those that would stand in the span."""
_SPEAKERS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_INDEXED = re.compile(
    r"(gen_ai\.prompt|gen_ai\.completion|llm\.request\.functions)\.(\d{1,6})\.([a-z_]+)(?:\.(\d{1,4})\.([a-z_]+))?"
)


class Content(Struct):
    """What a chat span tells of its request."""

    messages: tuple[Message, ...] = ()
    """Empty where the program did not opt in."""
    answer: Message | None = None
    tools: tuple[str, ...] = ()


def content_of(span: Span, notes: Counter[str]) -> Content:
    """The messages, the answer and the tools of a chat span. Raises one of `lines.BAD` where they cannot be read."""
    found = dict(span.attributes)
    for name, attributes in span.events:
        if name in _CARRIERS:
            found = {**attributes, **found}
    indexed = _indexed(found)
    asked = found.get("gen_ai.input.messages") or found.get("gen_ai.prompt") or indexed.get("gen_ai.prompt")
    said = found.get("gen_ai.output.messages") or found.get("gen_ai.completion") or indexed.get("gen_ai.completion")
    messages = messages_of(asked, "user", notes)
    answers = messages_of(said, "assistant", notes)
    if not messages:
        messages, answers = _of_events(span, notes)
    system = system_of(found.get("gen_ai.system_instructions"), notes)
    if system is not None and messages:
        messages.insert(0, system)
    own = [message for message in answers if message.role == "assistant"]
    return Content(
        messages=tuple(map(_sent, messages)),
        answer=responses.merged(own) if own else None,
        tools=responses.tool_texts(
            items_of(found.get("gen_ai.tool.definitions") or indexed.get("llm.request.functions")), notes
        ),
    )


def _sent(message: Message) -> Message:
    """As it is compared: reasoning comes and goes in a history, and is not sent back."""
    return msgspec.structs.replace(message, reasoning="") if message.reasoning else message


def _of_events(span: Span, notes: Counter[str]) -> tuple[list[Message], list[Message]]:
    """Messages and answers of the events that hold one each."""
    asked: list[Message] = []
    said: list[Message] = []
    for name, attributes in span.events:
        if name in _SPEAKERS:
            fields = {**attributes, "role": _SPEAKERS[name], "tool_call_id": attributes.get("id")}
            asked += read(_encoded(fields), "user", notes)
        elif name == "gen_ai.choice":
            message = _unpacked(attributes.get("message"))
            fields = message if isinstance(message, dict) else {"content": message}
            said += read(_encoded({**attributes, **fields, "role": "assistant"}), "assistant", notes)
    return asked, said


def _encoded(fields: dict[str, object]) -> Raw:
    kept = {name: fields.get(name) for name in ("role", "parts", "content", "tool_call_id")}
    return Raw(msgspec.json.encode({**kept, "tool_calls": _unpacked(fields.get("tool_calls"))}))


def _unpacked(value: object) -> object:
    """JSON that stands in a string, read; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            found: object = msgspec.json.decode(value)
        except BAD:
            return value
        return found
    return value


def _indexed(attributes: dict[str, object]) -> dict[str, list[dict[str, object]]]:
    """Messages and tools of which each field is an attribute, in the order of their numbers."""
    found: dict[str, dict[int, dict[str, object]]] = {}
    calls: dict[tuple[str, int], dict[int, dict[str, object]]] = {}
    for key, value in attributes.items():
        if (at := _INDEXED.fullmatch(key)) is None:
            continue
        kind, number = at[1], int(at[2])
        fields = found.setdefault(kind, {}).setdefault(number, {})
        if at[5] is None:
            fields[at[3]] = value
        elif at[3] == "tool_calls":
            calls.setdefault((kind, number), {}).setdefault(int(at[4]), {})[at[5]] = value
    for (kind, number), by_number in calls.items():
        found[kind][number]["tool_calls"] = [
            {"id": call.get("id"), "function": {"name": call.get("name"), "arguments": call.get("arguments")}}
            for _, call in sorted(by_number.items())
        ]
    for fields in found.get("llm.request.functions", {}).values():
        fields["parameters"] = _unpacked(fields.get("parameters"))
    return {kind: [fields for _, fields in sorted(numbered.items())] for kind, numbered in found.items()}
