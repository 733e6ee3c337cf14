"""mini-swe-agent trajectories: an object with `messages` and `info` (versions 1.10 and later), or a bare list of messages (before).

Every answer is a request; history only grows. A message's `extra` holds the raw response with the provider's usage, and the time at which
the answer, or the observation after it, was complete: the tool delay is observation - answer. Three things are no plain chat:

- An answer that the program could not parse is a request too, but version 2 leaves it out of the history: what follows is the user message
  with `interrupt_type` "FormatError", whose `extra` may hold the response.
- With the Responses API an answer is the raw response object, without a role, and its results are `function_call_output` items.
- The last message has the role `exit`; it is never sent.

System prompt and task are recorded, the definition of the `bash` tool is not: see `steps.Steps` for how the rest is filled in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import counts, languages, responses, usage
from openagentperf.corpus.formats.chat import ChatMessage, to_message
from openagentperf.corpus.formats.documents import documents, mended
from openagentperf.corpus.formats.head import Head, Keys, object_of, text_of
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.nested import text_at
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.formats.usable import usable
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory
from openagentperf.units import Ns

FORMAT = "mini-swe-agent"
_NULL = Raw(b"null")
_SUBMITS = re.compile("(COMPLETE_TASK_AND_SUBMIT|MINI_SWE_AGENT|MICRO_SWE_AGENT)_FINAL_OUTPUT")
"""What the prompts of every version tell the model to print at the end: the only mark of a bare list."""


class Extra(Struct):
    """What stands beside a message and was never sent."""

    timestamp: object = None
    response: Raw = _NULL
    interrupt_type: object = None


class Entry(ChatMessage, kw_only=True):
    """One entry of `messages`: a chat message, a Responses object (its `object` is "response"), or one of its items (`type`)."""

    role: str = ""
    kind: str = msgspec.field(default="", name="object")
    type: str = ""
    output: Raw = _NULL
    extra: Extra | None = None
    timestamp: object = None
    """Here in versions 1.x."""

    @property
    def answers(self) -> bool:
        return self.role == "assistant" or self.kind == "response"

    @property
    def at_ns(self) -> Ns | None:
        """When it was complete."""
        return counts.unix_ns((self.extra.timestamp if self.extra else None) or self.timestamp)


class Session(Struct):
    messages: list[Raw]
    info: object = None
    instance_id: object = None
    """Written by its runs over SWE-bench."""


class Choice(Struct):
    message: ChatMessage | None = None


class Response(Struct):
    usage: object = None
    choices: list[Choice] | None = None


_SESSION = msgspec.json.Decoder(Session)
_ENTRY = msgspec.json.Decoder(Entry)
_RESPONSE = msgspec.json.Decoder(Response)
_ITEMS = msgspec.json.Decoder(list[Raw])


def recognises(head: Head) -> bool:
    """Whether its records name the format or the program's version, or it is a bare list that opens with the program's prompt."""
    if head.array:
        first = object_of(head.array[0])
        if first is not None and "role" in first:
            return _SUBMITS.search(head.text) is not None
    return any(_is_session(record) for record in head.records)


def _is_session(record: Keys) -> bool:
    if "messages" not in record:
        return False
    if text_of(record, "trajectory_format").startswith("mini-swe-agent"):
        return True
    return "info" in record and "mini_version" in (object_of(record["info"]) or {})


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a session with at least one answer. Raises CorpusError where there is none."""
    read = (
        (where, _trajectory(session, where, source, skipped)) for where, session in _sessions(data, source, skipped)
    )
    none = CorpusError(
        source,
        "holds no session with an answer",
        'a list `messages` with one of role "assistant" is needed',
        "check that it is a mini-swe-agent trajectory",
    )
    yield from usable(read, skipped, "a session without an answer", none)


def _sessions(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[tuple[str, Session]]:
    array = Head(data).array
    if array and "role" in (object_of(array[0]) or {}):
        yield source, Session(messages=array)
    else:
        yield from documents(data, source, skipped, _SESSION)


def _trajectory(session: Session, where: str, source: str, skipped: list[Skipped]) -> Trajectory | None:
    notes: Counter[str] = Counter()
    tally: Counter[str] = Counter()
    version = text_at(session.info, "mini_version")
    harness = f"mini-swe-agent {version}" if version else "mini-swe-agent"
    steps = Steps(notes, harness=harness)
    answered_ns: Ns | None = None
    for number, raw in enumerate(session.messages, 1):
        try:
            entry = mended(_ENTRY, raw)
            messages = _messages(entry, raw, notes)
            response = _response(entry)
            refused = _refused(entry, response, notes)
        except BAD as error:
            skipped.append(Skipped(f"{where}: message {number}", why(error)))
            continue
        if refused is not None:
            answered_ns = None
            messages.insert(0, refused)
        for message in messages:
            if message.role != "assistant":
                steps.hear(message)
                continue
            _tally(message, tally)
            counted = usage.counts_of(response.usage)
            steps.answer(
                message,
                input_tokens=counted.input,
                output_tokens=counted.output,
                cached_tokens=counted.cached,
                sent_back=message is not refused,
            )
        if entry.answers:
            answered_ns = entry.at_ns
        elif entry.extra is None or entry.extra.interrupt_type is None:
            # The last observation counts: several stand after one answer. What a person typed has its own interrupt type.
            waited = counts.between_ns(answered_ns, entry.at_ns)
            if waited is not None:
                steps.delay(waited)
    if not steps.turns:
        return None
    steps.note_share()
    return Trajectory(
        id=where,
        turns=steps.turns,
        format=FORMAT,
        source=source,
        task=session.instance_id if isinstance(session.instance_id, str) else "",
        language=languages.main_language(tally),
        harness=harness,
        model=text_at(session.info, "config", "model", "model_name"),
        notes=sentences(notes),
    )


def _messages(entry: Entry, raw: Raw, notes: Counter[str]) -> list[Message]:
    if entry.role == "exit":
        return []
    if entry.kind == "response":
        return responses.to_messages(_ITEMS.decode(entry.output), notes)
    if not entry.role:
        return responses.to_messages([raw], notes)
    return [to_message(entry, notes)]


def _response(entry: Entry) -> Response:
    """The raw response of an answer; empty where none is recorded, or one of another kind."""
    if entry.kind == "response" or entry.extra is None:
        return Response(usage=entry.usage)
    try:
        return _RESPONSE.decode(entry.extra.response)
    except BAD:
        return Response(usage=entry.usage)


def _refused(entry: Entry, response: Response, notes: Counter[str]) -> Message | None:
    """The answer that this user message refuses; None where it refuses none."""
    if entry.extra is None or entry.extra.interrupt_type != "FormatError":
        return None
    notes["answers that the program refused and left out of its history"] += 1
    chosen = response.choices[0].message if response.choices else None
    return Message(role="assistant") if chosen is None else to_message(chosen, notes)


def _tally(message: Message, tally: Counter[str]) -> None:
    for call in message.tool_calls:
        languages.tally_text(call.arguments, tally)
    if not message.tool_calls:
        languages.tally_text(message.content, tally)
