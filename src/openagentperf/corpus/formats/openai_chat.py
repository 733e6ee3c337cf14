"""OpenAI chat recordings: a conversation a line, `{"messages": [...]}`; also one JSON array or one object a file.

Every assistant message is a request; its input is what stands before it. Such files hold no times, so every tool delay is
None, and token counts are estimates unless a message carries its own `usage`. Assistant messages before any other message are
history, not requests: nobody can ask an engine with an empty list. Messages after the last answer were never sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import languages, usage
from openagentperf.corpus.formats.chat import ChatMessage, to_message, tool_texts
from openagentperf.corpus.formats.head import Head, Keys
from openagentperf.corpus.formats.lines import BAD, decoded, why
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.formats.usable import usable
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

FORMAT = "openai-chat"


class Conversation(Struct):
    messages: list[ChatMessage]
    id: object = None
    model: object = None
    tools: list[Raw] | None = None


class _Role(Struct):
    role: str


_OF_REQUESTS = ("kwargs", "ttft_ms", "conversation_idx", "simulated_tool_delay_ms_after", "trajectory_format")
_ROLE = msgspec.json.Decoder(_Role)
_RECORD = msgspec.json.Decoder(Conversation | list[ChatMessage])
_ONE = msgspec.json.Decoder(Conversation)
_ARRAY = msgspec.json.Decoder(list[Raw])
_FIRST = msgspec.json.Decoder(ChatMessage)


def recognises(head: Head) -> bool:
    """Whether the file is a list of messages, or its records hold one each."""
    if head.array is not None and _is_messages(head.array[:1]):
        return True
    return any(_is_session(record) for record in head.records)


def _is_session(record: Keys) -> bool:
    # Proxy captures and OpenHands completions hold `messages` too, but each is one request, not one session.
    if "messages" not in record or not record.keys().isdisjoint(_OF_REQUESTS):
        return False
    try:
        return _is_messages(_ARRAY.decode(record["messages"]))
    except BAD:
        return False


def _is_messages(items: list[Raw]) -> bool:
    try:
        return bool(items) and bool(_ROLE.decode(items[0]).role)
    except BAD:
        return False


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a conversation with at least one answer. Raises CorpusError where there is none."""
    none = CorpusError(
        source,
        "holds no conversation with an answer",
        'objects with `messages`, one of role "assistant", are needed',
        "check that it is an OpenAI chat recording",
    )
    yield from usable(_read(data, source, skipped), skipped, "a conversation without an answer", none)


def _read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[tuple[str, Trajectory | None]]:
    for where, conversation in _conversations(data, source, skipped):
        try:
            trajectory = _trajectory(conversation, where, source)
        except BAD as error:
            skipped.append(Skipped(where, why(error)))
        else:
            yield where, trajectory


def _conversations(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[tuple[str, Conversation]]:
    """Each conversation and where it stands."""
    whole = _whole(data)
    if isinstance(whole, Conversation):
        yield source, whole
        return
    if whole is not None:
        for number, raw in enumerate(whole, 1):
            where = f"{source}[{number}]"
            try:
                yield where, _conversation(_RECORD.decode(raw))
            except BAD as error:
                skipped.append(Skipped(where, why(error)))
        return
    for number, record in decoded(data, source, skipped, _RECORD):
        yield f"{source}:{number}", _conversation(record)


def _whole(data: bytes) -> Conversation | list[Raw] | None:
    """The file as one JSON value, where it is one: an object, or an array of conversations. None: read it line by line."""
    try:
        array = _ARRAY.decode(data)
    except BAD:
        try:
            # One line that is one object is a JSONL file too: both ways give the same.
            return _ONE.decode(data)
        except BAD:
            return None
    try:
        _FIRST.decode(array[0] if array else b"")
    except BAD:
        return array
    try:
        return Conversation(messages=[_FIRST.decode(raw) for raw in array])
    except BAD:
        return None


def _conversation(record: Conversation | list[ChatMessage]) -> Conversation:
    return record if isinstance(record, Conversation) else Conversation(messages=record)


def _trajectory(conversation: Conversation, where: str, source: str) -> Trajectory | None:
    notes: Counter[str] = Counter()
    tally: Counter[str] = Counter()
    tools = tool_texts(conversation.tools or (), notes)
    steps = Steps(notes, tools=tools)
    for recorded in conversation.messages:
        message = to_message(recorded, notes)
        if message.role != "assistant":
            steps.hear(message)
            continue
        for call in message.tool_calls:
            languages.tally_text(call.arguments, tally)
        counted = usage.counts_of(recorded.usage)
        if not (counted.input and counted.output):
            counted = usage.UNKNOWN
        steps.answer(message, input_tokens=counted.input, output_tokens=counted.output, cached_tokens=counted.cached)
    if not steps.turns:
        return None
    name = conversation.id
    return Trajectory(
        id=str(name) if isinstance(name, str | int) and name != "" else where,
        turns=steps.turns,
        tools=tools,
        format=FORMAT,
        source=source,
        language=languages.main_language(tally),
        model=conversation.model if isinstance(conversation.model, str) else "",
        notes=sentences(notes),
    )
