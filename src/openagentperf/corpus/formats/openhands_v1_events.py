"""Events of the OpenHands SDK (V1) as its files hold them, and what each of them says to the model (`to_llm_message`)."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats.chat import tool_texts
from openagentperf.corpus.formats.documents import mended
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.mend import call_of
from openagentperf.records.trajectory import Message, ToolCall

ROOT = "__root__"
"""The `parent_id` of an event that begins a second tree."""
_NULL = Raw(b"null")
_ERROR = "[An error occurred during execution.]\n"
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_SCHEMA = {"type": "object", "properties": {}}


class Part(Struct, gc=False):
    type: str = "text"
    text: str | None = None


class Call(Struct, gc=False):
    id: str = ""
    name: str = ""
    arguments: Raw = Raw(b'""')


class LlmMessage(Struct, gc=False):
    role: str = "user"
    content: str | list[Part] | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None


class _Terminal(Struct, gc=False):
    prefix: str = ""
    suffix: str = ""
    working_dir: str | None = None
    py_interpreter_path: str | None = None
    exit_code: int = -1


class Observation(Struct, gc=False):
    kind: str = ""
    content: str | list[Part] | None = None
    output: str | None = None
    is_error: bool = False
    metadata: Raw = _NULL


class Event(Struct, gc=False):
    """One event of any kind."""

    kind: str = ""
    id: str = ""
    timestamp: str | None = None
    source: str = ""
    parent_id: str | None = None
    llm_response_id: str | None = None
    system_prompt: Part | None = None
    dynamic_context: Part | None = None
    tools: list[Raw] | None = None
    llm_message: LlmMessage | None = None
    extended_content: list[Part] | None = None
    thought: list[Part] | None = None
    reasoning_content: str | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    tool_call: Call | None = None
    observation: Observation | None = None
    error: str | None = None
    rejection_reason: str | None = None
    forgotten_event_ids: list[str] | None = None
    summary: str | None = None
    summary_offset: int | None = None
    key: str | None = None
    value: Raw = _NULL
    log_data: str | None = None
    prompt_token_ids: Raw = _NULL
    response_token_ids: Raw = _NULL

    @property
    def answers(self) -> bool:
        """Whether it is an answer of the model, or a part of one."""
        return self.kind == "ActionEvent" or (self.kind == "MessageEvent" and self.source == "agent")

    @property
    def artifact(self) -> bool:
        """Whether it may stand behind the last event of the conversation without being its end."""
        return self.kind in ("ConversationStateUpdateEvent", "ConversationErrorEvent")


class _McpTool(Struct):
    name: str = ""
    description: str | None = None
    schema: Raw = msgspec.field(default=_NULL, name="inputSchema")


class _Tool(Struct):
    """A definition as the SDK keeps it: the class's name instead of its parameters, unless it came over MCP."""

    kind: str = ""
    description: str | None = None
    function: Raw | None = None
    mcp_tool: _McpTool | None = None


_TOOL = msgspec.json.Decoder(_Tool)
_TERMINAL = msgspec.json.Decoder(_Terminal)
_ROLES = {"system": "system", "tool": "tool", "assistant": "assistant"}


def system_of(event: Event, notes: Counter[str]) -> Message:
    parts = [part for part in (event.system_prompt, event.dynamic_context) if part is not None]
    return Message(role="system", content=_text(parts, notes))


def heard_of(event: Event, notes: Counter[str]) -> Message:
    """A message that the model did not write."""
    recorded = event.llm_message or LlmMessage()
    content = _text(recorded.content, notes, event.extended_content)
    if recorded.role == "system":
        return Message(role="system", content=content)
    return Message(role="user", content=content)


def result_of(event: Event, notes: Counter[str]) -> Message:
    """What answers a tool call: an observation, an error of the program, a person's or a hook's refusal."""
    if event.kind == "UserRejectObservation":
        text = f"Action rejected: {event.rejection_reason or ''}"
    elif event.observation is None:
        text = event.error or ""
    else:
        text = _observed(event.observation, notes)
        if event.extended_content:
            text = f"{text}\n{_text(event.extended_content, notes)}"
    return Message(role="tool", content=text, tool_call_id=event.tool_call_id or "")


def answer_of(events: Sequence[Event], notes: Counter[str]) -> Message:
    """The answer of which these are the parts: one event a tool call, or one message."""
    first = events[0]
    if first.kind == "MessageEvent":
        said = first.llm_message or LlmMessage()
        return Message(
            role="assistant",
            content=_text(said.content, notes),
            reasoning=said.reasoning_content or "",
            tool_calls=tuple(_call(call, notes) for call in said.tool_calls or ()),
        )
    return Message(
        role="assistant",
        content=_text(first.thought, notes),
        reasoning=first.reasoning_content or "",
        tool_calls=tuple(
            _call(event.tool_call or Call(id=event.tool_call_id or "", name=event.tool_name or ""), notes)
            for event in events
        ),
    )


def offered(tools: Sequence[Raw], notes: Counter[str]) -> tuple[str, ...]:
    """The tool definitions, each the JSON text of an OpenAI `tools` entry."""
    return tool_texts([_openai(raw, notes) for raw in tools], notes)


def _openai(raw: Raw, notes: Counter[str]) -> Raw:
    try:
        tool = _TOOL.decode(raw)
    except BAD:
        return raw
    if tool.function is not None or not (tool.mcp_tool or tool.kind):
        return raw
    if tool.mcp_tool is not None:
        name, schema = tool.mcp_tool.name, tool.mcp_tool.schema if tool.mcp_tool.schema != _NULL else _NO_SCHEMA
    else:
        notes["tool definitions whose parameters were not recorded offered without"] += 1
        name, schema = _WORD.sub("_", tool.kind).lower().removesuffix("_tool"), _NO_SCHEMA
    function = {"name": name, "description": tool.description or "", "parameters": schema}
    return Raw(msgspec.json.encode({"type": "function", "function": function}))


def _call(call: Call, notes: Counter[str]) -> ToolCall:
    text = bytes(call.arguments).decode("utf-8", "replace")
    if text.startswith('"'):
        with contextlib.suppress(*BAD):
            text = msgspec.json.decode(text, type=str)
    return call_of(call.id, call.name, text, notes)


def _observed(observation: Observation, notes: Counter[str]) -> str:
    text = _text(observation.content, notes) or observation.output or ""
    try:
        terminal = mended(_TERMINAL, observation.metadata)
    except BAD:
        terminal = None
    if terminal is not None:
        text = f"{terminal.prefix}{text}{terminal.suffix}"
        if terminal.working_dir:
            text += f"\n[Current working directory: {terminal.working_dir}]"
        if terminal.py_interpreter_path:
            text += f"\n[Python interpreter: {terminal.py_interpreter_path}]"
        if terminal.exit_code != -1:
            text += f"\n[Command finished with exit code {terminal.exit_code}]"
    return f"{_ERROR}{text}" if observation.is_error else text


def _text(content: str | Sequence[Part] | None, notes: Counter[str], more: Sequence[Part] | None = None) -> str:
    parts = [Part(text=content)] if isinstance(content, str) else [*(content or ())]
    texts: list[str] = []
    for part in [*parts, *(more or ())]:
        if part.text is not None:
            texts.append(part.text)
        else:
            texts.append(f"[{part.type[:40]}]")
            notes["content parts that are no text replaced by a placeholder"] += 1
    return "\n".join(texts)
