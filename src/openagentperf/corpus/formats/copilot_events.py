"""Events of Copilot CLI's session files, decoded: one JSON object a line, its `data` by its type."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct, field

from openagentperf.corpus.formats.documents import mended

_EMPTY = Raw(b"{}")


class Event(Struct, gc=False, rename="camel"):
    type: str = ""
    id: str | None = None
    timestamp: str | None = None
    agent_id: str | None = None
    """Of a sub-agent's events; older versions have the call that started it in `data`."""
    data: Raw = _EMPTY


class Data(Struct, rename="camel"):
    """What all types of `data` may hold, and what hangs on a call."""

    parent_tool_call_id: str | None = None
    tool_call_id: str | None = None


class Start(Data):
    session_id: str = ""
    copilot_version: str | None = None
    selected_model: str | None = None


class Said(Data):
    """A system or user message, a notification."""

    content: str = ""
    transformed_content: str | None = None
    """With what the program puts around a user's message: that is what the model reads."""
    role: str | None = None


class ToolRequest(Struct, rename="camel"):
    tool_call_id: str = ""
    name: str = ""
    arguments: Raw = Raw(b"null")
    """An object; of a grammar-based tool a text."""


class Answered(Data):
    content: str | None = None
    api_call_id: str | None = None
    """Shared by the messages that one answer was split into."""
    model: str | None = None
    reasoning_text: str | None = None
    tool_requests: list[ToolRequest] | None = None
    output_tokens: object = None


class Result(Struct, rename="camel"):
    content: str | None = None


class Failure(Struct):
    message: str | None = None


class Done(Data):
    """The end of a tool's execution."""

    result: Result | None = None
    error: Failure | None = None
    is_user_requested: bool | None = None


class SubAgent(Data):
    execution_mode: str | None = None


class Context(Data):
    """How a compaction ended or how large the context was at the session's end."""

    success: bool | None = None
    summary_content: str | None = None
    initial_message: str | None = None
    system_tokens: object = None
    tool_definitions_tokens: object = None
    model_metrics: dict[str, Metric] | None = None


class Requests(Struct):
    count: object = None


class Spent(Data):
    """Tokens of one request, or of all to a model."""

    api_call_id: str | None = None
    input_tokens: object = None
    output_tokens: object = None
    cache_read_tokens: object = None
    cache_write_tokens: object = None


class Metric(Struct):
    requests: Requests = field(default_factory=Requests)
    usage: Spent = field(default_factory=Spent)


_EVENTS: dict[str, msgspec.json.Decoder[Data]] = {
    "session.start": msgspec.json.Decoder(Start),
    "system.message": msgspec.json.Decoder(Said),
    "user.message": msgspec.json.Decoder(Said),
    "system.notification": msgspec.json.Decoder(Said),
    "assistant.message": msgspec.json.Decoder(Answered),
    "assistant.usage": msgspec.json.Decoder(Spent),
    "tool.execution_complete": msgspec.json.Decoder(Done),
    "subagent.started": msgspec.json.Decoder(SubAgent),
    "subagent.completed": msgspec.json.Decoder(SubAgent),
    "subagent.failed": msgspec.json.Decoder(SubAgent),
    "session.compaction_start": msgspec.json.Decoder(Context),
    "session.compaction_complete": msgspec.json.Decoder(Context),
    "session.context_cleared": msgspec.json.Decoder(Context),
    "session.shutdown": msgspec.json.Decoder(Context),
}
"""What is read. Other types steer or show: permissions, hooks, progress, deltas of messages that come whole."""


def data_of(event: Event) -> Data | None:
    """What the event says; None for types that are not read. Raises one of `lines.BAD` where it is of no known form."""
    decoder = _EVENTS.get(event.type)
    return None if decoder is None else mended(decoder, event.data)
