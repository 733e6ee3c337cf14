"""Events of OpenHands V0 as its files hold them, and what each of them says to the model (openhands.memory.conversation_memory)."""

from __future__ import annotations

from collections import Counter

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import usage
from openagentperf.corpus.formats.chat import ChatMessage, to_message
from openagentperf.corpus.formats.documents import mended
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.mend import call_of
from openagentperf.corpus.formats.usage import Counts
from openagentperf.records.trajectory import Message

_NULL = Raw(b"null")
_UNSEEN = frozenset({"null", "agent_state_changed"})
"""Observations that the agent's history leaves out."""
_NO_CALLS = frozenset({"message", "finish", "reject"})


class Event(Struct, gc=False):
    id: object = None
    timestamp: str | None = None
    source: str = ""
    action: str | None = None
    args: Raw = _NULL
    observation: str | None = None
    content: object = None
    extras: Raw = _NULL
    message: object = None
    cause: object = None
    tool_call_metadata: Raw = _NULL

    @property
    def name(self) -> str:
        """Its id as text; "" where it has none."""
        return name_of(self.id)

    @property
    def unseen(self) -> bool:
        """Whether the agent's history leaves it out."""
        return self.observation in _UNSEEN or self.action in ("null", "change_agent_state")


class Args(Struct):
    content: object = None
    thought: object = None
    final_thought: object = None
    command: object = None
    agent: object = None
    tools: object = None
    openhands_version: object = None
    forgotten_event_ids: object = None
    forgotten_events_start_id: object = None
    forgotten_events_end_id: object = None
    summary: object = None
    summary_offset: object = None


class _Choice(Struct):
    message: ChatMessage | None = None


class _Response(Struct):
    id: str | None = None
    model: object = None
    usage: object = None
    choices: list[_Choice] | None = None


class _Metadata(Struct):
    tool_call_id: str | None = None
    model_response: _Response | None = None


class Answer(Struct):
    """An answer of the model, as one of its actions shows it."""

    message: Message
    response: str = ""
    """The response's id: further actions of it are no further answers. "" where not recorded."""
    counted: Counts = usage.UNKNOWN
    model: str = ""


class _CommandMetadata(Struct):
    prefix: str = ""
    suffix: str = ""
    working_dir: str | None = None
    py_interpreter_path: str | None = None
    exit_code: int = -1


class _Knowledge(Struct):
    content: str = ""


class _Extras(Struct):
    metadata: _CommandMetadata | None = None
    recall_type: str = ""
    repo_name: str = ""
    repo_directory: str = ""
    repo_instructions: str = ""
    additional_agent_instructions: str = ""
    conversation_instructions: str = ""
    date: str = ""
    working_dir: str = ""
    microagent_knowledge: list[_Knowledge] = []


_ARGS = msgspec.json.Decoder(Args)
_ANY_ARGS = msgspec.json.Decoder(dict[str, object])
_METADATA: msgspec.json.Decoder[_Metadata | None] = msgspec.json.Decoder(_Metadata | None)
_EXTRAS = msgspec.json.Decoder(_Extras)


def name_of(value: object) -> str:
    """An event's id as text; "" where it is none."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def args_of(event: Event) -> Args:
    """An action's arguments; none where they cannot be read."""
    try:
        return mended(_ARGS, event.args)
    except BAD:
        return Args()


def call_id_of(event: Event) -> str:
    """The call that an event belongs to; "" where not recorded."""
    metadata = _metadata(event)
    return (metadata and metadata.tool_call_id) or ""


def response_of(event: Event) -> str:
    """The id of the model's response that an action comes from; "" where not recorded."""
    metadata = _metadata(event)
    return (metadata and metadata.model_response and metadata.model_response.id) or ""


def answer_of(event: Event, notes: Counter[str]) -> Answer:
    """The answer that one of its actions shows: the recorded response, or what the action tells of it."""
    metadata = _metadata(event)
    response = metadata.model_response if metadata else None
    if response is None or not response.choices or response.choices[0].message is None:
        return Answer(_rebuilt(event, notes), response.id or "" if response else "")
    recorded = response.choices[0].message
    recorded.role = "assistant"
    try:
        message = to_message(recorded, notes)
    except BAD:  # arguments that are no UTF-8
        return Answer(_rebuilt(event, notes), response.id or "")
    if event.action in _NO_CALLS and message.tool_calls:
        # The agent sends its last call back as words: nothing answers it.
        message = msgspec.structs.replace(message, content=message.content or _said(event), tool_calls=())
    return Answer(
        message,
        response.id or "",
        usage.counts_of(response.usage),
        text_of(response.model),
    )


def observed(event: Event, limit: int) -> str:
    """What an observation says; "" for nothing. `limit`: characters, the middle of a longer one is left out; 0 for no limit."""
    text = text_of(event.content)
    extras = _extras(event)
    if event.observation == "recall":
        return _recalled(extras)
    if event.observation == "run" and (about := extras.metadata) is not None:
        text = f"{about.prefix}{text}{about.suffix}"
        if about.working_dir:
            text += f"\n[Current working directory: {about.working_dir}]"
        if about.py_interpreter_path:
            text += f"\n[Python interpreter: {about.py_interpreter_path}]"
        if about.exit_code != -1:
            text += f"\n[Command finished with exit code {about.exit_code}]"
    text = _shortened(text, limit)
    if event.observation == "error":
        text += "\n[Error occurred in processing last action]"
    elif event.observation == "user_rejected":
        text = f"OBSERVATION:\n{text}\n[Last action has been rejected by the user]"
    return text


def forgotten_of(args: Args) -> frozenset[str]:
    """The ids of the events that a condensation forgets: a list, or the ends of a range."""
    if isinstance(args.forgotten_event_ids, list):
        return frozenset(map(name_of, args.forgotten_event_ids))
    start, end = args.forgotten_events_start_id, args.forgotten_events_end_id
    # A range of more ids than any session has events is no range.
    if isinstance(start, int) and isinstance(end, int) and 0 <= end - start < 1_000_000:
        return frozenset(map(str, range(start, end + 1)))
    return frozenset()


def _metadata(event: Event) -> _Metadata | None:
    try:
        return mended(_METADATA, event.tool_call_metadata)
    except BAD:
        return None


def _extras(event: Event) -> _Extras:
    try:
        return mended(_EXTRAS, event.extras)
    except BAD:
        return _Extras()


def _rebuilt(event: Event, notes: Counter[str]) -> Message:
    if event.action in _NO_CALLS:
        return Message(role="assistant", content=_said(event))
    notes["answers whose text was not recorded rebuilt from the action"] += 1
    try:
        arguments = mended(_ANY_ARGS, event.args)
    except BAD:
        arguments = {}
    arguments.pop("thought", None)
    call = call_of(f"call_{event.name}", event.action or "", msgspec.json.encode(arguments).decode(), notes)
    return Message(role="assistant", content=text_of(args_of(event).thought), tool_calls=(call,))


def _said(event: Event) -> str:
    args = args_of(event)
    for text in (args.content, args.final_thought, args.thought, event.message):
        if isinstance(text, str) and text:
            return text
    return ""


def _recalled(extras: _Extras) -> str:
    about = (
        extras.repo_directory and f"Repository {extras.repo_name} in {extras.repo_directory}",
        extras.working_dir and f"Working directory: {extras.working_dir}",
        extras.date and f"Today's date: {extras.date}",
        extras.repo_instructions,
        extras.additional_agent_instructions,
        extras.conversation_instructions,
        *(known.content for known in extras.microagent_knowledge),
    )
    return "\n\n".join(filter(None, about))


def _shortened(text: str, limit: int) -> str:
    if not 0 < limit < len(text):
        return text
    half = limit // 2
    return f"{text[:half]}\n[... Observation truncated due to length ...]\n{text[len(text) - half :]}"
