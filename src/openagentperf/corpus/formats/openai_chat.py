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

from openagentperf.corpus.formats import counts, languages
from openagentperf.corpus.formats.chat import ChatMessage, to_message, tool_texts
from openagentperf.corpus.formats.lines import BAD, decoded, why
from openagentperf.corpus.formats.mend import Mender, results_first, sentences
from openagentperf.corpus.tokens import estimate, estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory, Turn

FORMAT = "openai-chat"


class Conversation(Struct):
    messages: list[ChatMessage]
    id: object = None
    model: object = None
    tools: list[Raw] | None = None


class Usage(Struct):
    """Both spellings of the counts; what else providers put beside them is not read."""

    prompt_tokens: object = None
    completion_tokens: object = None
    input_tokens: object = None
    output_tokens: object = None
    prompt_tokens_details: object = None


_RECORD = msgspec.json.Decoder(Conversation | list[ChatMessage])
_ONE = msgspec.json.Decoder(Conversation)
_ARRAY = msgspec.json.Decoder(list[Raw])
_FIRST = msgspec.json.Decoder(ChatMessage)


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a conversation with at least one answer. Raises CorpusError where there is none."""
    found = False
    for where, conversation in _conversations(data, source, skipped):
        try:
            trajectory = _trajectory(conversation, where, source)
        except BAD as error:
            skipped.append(Skipped(where, why(error)))
            continue
        if trajectory is None:
            skipped.append(Skipped(where, "a conversation without an answer"))
        else:
            found = True
            yield trajectory
    if not found:
        raise CorpusError(
            source,
            "holds no conversation with an answer",
            'objects with `messages`, one of role "assistant", are needed',
            "check that it is an OpenAI chat recording",
        )


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
    mender = Mender(notes)
    turns: list[Turn] = []
    step: list[Message] = []
    waiting: list[Message] = []
    so_far = sum(map(estimate, tools))
    for recorded in conversation.messages:
        message = to_message(recorded, notes)
        if message.role != "assistant":
            step.append(message)
            continue
        for call in message.tool_calls:
            languages.tally_text(call.arguments, tally)
        if not step and not waiting and not turns:
            notes["answers before any request kept as history"] += 1
            waiting += mender.take([message])
            continue
        # Before the first answer there are no calls, and a stray tool result must not pass the system message.
        ordered = results_first(step, notes) if waiting else step
        appended = waiting + mender.take(ordered)
        appended += mender.settle()
        so_far += sum(map(estimate_message, appended))
        turns.append(_turn(appended, message, so_far, recorded.usage))
        step = []
        waiting = mender.take([message])
    if not turns:
        return None
    name = conversation.id
    return Trajectory(
        id=str(name) if isinstance(name, str | int) and name != "" else where,
        turns=tuple(turns),
        tools=tools,
        format=FORMAT,
        source=source,
        language=languages.main_language(tally),
        model=conversation.model if isinstance(conversation.model, str) else "",
        notes=sentences(notes),
    )


def _turn(appended: list[Message], answer: Message, so_far: int, recorded: object) -> Turn:
    prompt, output, cached = _usage(recorded)
    known = bool(prompt and output)
    return Turn(
        appended=tuple(appended),
        output_tokens=output if known and output else max(1, estimate_message(answer) + estimate(answer.reasoning)),
        input_tokens=prompt if known and prompt else max(1, so_far),
        counted="recorded" if known else "estimated",
        cached_tokens=cached if known else None,
        tool_calls=len(answer.tool_calls),
    )


def _usage(recorded: object) -> tuple[int | None, int | None, int | None]:
    """Prompt, output and cached tokens; None where the recording does not say or says nonsense."""
    try:
        usage = msgspec.convert(recorded, Usage)
    except BAD:
        return None, None, None
    details = usage.prompt_tokens_details
    return (
        counts.tokens(usage.prompt_tokens) or counts.tokens(usage.input_tokens),
        counts.tokens(usage.completion_tokens) or counts.tokens(usage.output_tokens),
        counts.tokens(details.get("cached_tokens")) if isinstance(details, dict) else None,
    )
