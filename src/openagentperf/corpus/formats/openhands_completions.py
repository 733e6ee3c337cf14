"""Completion logs of OpenHands (`log_completions`): a file a request, with its exact messages, its answer and its counts.

The files of a folder hold no session's name: `threads` finds what belongs together. A file holds when the answer had come and, in V1, how
long that took; V0 holds no latencies, so its tool delays are not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import counts, responses, usage
from openagentperf.corpus.formats.chat import ChatMessage, to_message
from openagentperf.corpus.formats.documents import documents, mended
from openagentperf.corpus.formats.families import Family
from openagentperf.corpus.formats.files import File, contents
from openagentperf.corpus.formats.head import Head
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.corpus.formats.openhands_v1_events import offered
from openagentperf.corpus.formats.subagents import grown
from openagentperf.corpus.formats.thread import Request, answer_in, brings_results
from openagentperf.corpus.formats.threads import Threads
from openagentperf.corpus.formats.usage import Counts
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory
from openagentperf.units import Ns

FORMAT = "openhands-completions"
_FUNCTION = "<function="
"""What a call looks like to a model that is told of its tools in words."""
_EVERY = 256
"""Requests between two looks at which sessions have ended."""


class _Choice(Struct):
    message: ChatMessage | None = None


class _Response(Struct):
    model: object = None
    choices: list[_Choice] | None = None
    output: list[Raw] | None = None
    usage: object = None


class _Summary(Struct):
    prompt_tokens: object = None
    completion_tokens: object = None
    cache_read_tokens: object = None


class _Kwargs(Struct):
    tools: list[Raw] | None = None


class Completion(Struct):
    response: _Response | None = None
    messages: list[ChatMessage] | None = None
    input: list[Raw] | None = None
    """Of a request in the Responses dialect, beside `instructions`."""
    instructions: str | None = None
    tools: list[Raw] | None = None
    kwargs: _Kwargs | None = None
    usage_summary: _Summary | None = None
    timestamp: object = None
    latency_sec: object = None
    error: object = None


class _When(Struct, gc=False):
    timestamp: object = None
    latency_sec: object = None


_COMPLETION = msgspec.json.Decoder(Completion)
_WHEN = msgspec.json.Decoder(_When)


def recognises(head: Head) -> bool:
    """Whether its records hold one request each, with its answer (or its failure) and its cost."""
    return any(
        {"timestamp", "cost"} <= record.keys()
        and ("messages" in record or "input" in record)
        and ("response" in record or "error" in record)
        for record in head.records
    )


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """The sessions of one file: of one request each, unless it holds several records. Raises CorpusError where there is none."""
    found: list[tuple[Ns, int, str, Completion]] = []
    for where, record in documents(data, source, skipped, _COMPLETION):
        found.append((_began(record.timestamp, record.latency_sec), len(found), where, record))
    session = _Sessions(skipped)
    families: list[Family] = []
    for _, _, where, record in sorted(found, key=lambda entry: entry[:2]):
        families += session.add(where, record)
    families += session.threads.idle(None)
    for number, family in enumerate(families, 1):
        if len(found) == 1:
            family.mains[0].note("request read without the other files of its session: import their folder")
        yield session.trajectory(family, source if len(families) == 1 else f"{source}[{number}]", source)
    if not session.used:
        raise CorpusError(
            source,
            "holds no answered request",
            "`messages` and a `response` are needed",
            "check that it is a completion log of OpenHands",
        )


def read_group(files: Sequence[File], skipped: list[Skipped]) -> Iterator[Trajectory]:
    """The sessions of each folder, its files in the order in which their requests were sent."""
    folders: dict[str, list[File]] = {}
    for file in files:
        folders.setdefault(file.folder, []).append(file)
    for folder, members in folders.items():
        when = {where: _when(data) for where, data in contents(members, skipped)}
        session = _Sessions(skipped)
        ordered = sorted((file for file in members if file.where in when), key=lambda file: when[file.where])
        for number, family in enumerate(_families(session, ordered, skipped), 1):
            yield session.trajectory(family, f"{folder.rpartition('/')[2] or folder}-{number}", folder)


def _families(session: _Sessions, files: Iterable[File], skipped: list[Skipped]) -> Iterator[Family]:
    for where, data in contents(files, skipped):
        try:
            record = mended(_COMPLETION, data)
        except BAD as error:
            skipped.append(Skipped(where, why(error)))
        else:
            yield from session.add(where, record)
    yield from session.threads.idle(None)


class _Sessions:
    """Requests on their way to the sessions of one folder."""

    def __init__(self, skipped: list[Skipped]) -> None:
        self._skipped = skipped
        self.threads = Threads()
        self.used = 0
        self._tools: tuple[list[Raw], tuple[str, ...]] = ([], ())
        """Those of the request before: a session offers the same ones every time."""
        self._notes: Counter[str] = Counter()

    def add(self, where: str, record: Completion) -> list[Family]:
        """Take a request in; returns the sessions that have ended long before it."""
        if record.response is None:
            self._skipped.append(
                Skipped(where, "a request that failed" if record.error else "a request without an answer")
            )
            return []
        notes: Counter[str] = Counter()
        try:
            request = self._request(record, notes)
            thread = self.threads.add(request)
        except BAD as error:
            self._skipped.append(Skipped(where, why(error)))
            return []
        self.used += 1
        thread.noted |= notes
        return self.threads.idle(request.ended) if self.used % _EVERY == 0 and request.ended is not None else []

    def trajectory(self, family: Family, name: str, source: str) -> Trajectory:
        return grown(
            family.nodes()[0], Trajectory(id=name, turns=(), format=FORMAT, source=source, harness="openhands")
        )

    def _request(self, record: Completion, notes: Counter[str]) -> Request:
        response = record.response or _Response()
        if record.messages is not None:
            messages = [_sent(to_message(message, notes)) for message in record.messages]
        else:
            messages = [Message(role="system", content=record.instructions)] if record.instructions else []
            messages += map(_sent, responses.to_messages(record.input or (), notes))
        answer = _answer(response, notes)
        ended = counts.unix_ns(record.timestamp)
        latency = counts.seconds_ns(record.latency_sec)
        return Request(
            messages=tuple(messages),
            answer=answer,
            counted=_counts(record.usage_summary, response.usage),
            tools=self._offered(record.tools or (record.kwargs and record.kwargs.tools) or [], notes),
            harness="openhands" if self._notes else "",
            began=None if ended is None or latency is None else ended - latency,
            ended=ended,
            model=response.model if isinstance(response.model, str) else "",
            calls=bool(answer.tool_calls) or _FUNCTION in answer.content,
            returns=_returns(messages),
        )

    def _offered(self, tools: list[Raw], notes: Counter[str]) -> tuple[str, ...]:
        if tools != self._tools[0]:
            self._notes = Counter()
            self._tools = ([Raw(bytes(tool)) for tool in tools], offered(tools, self._notes))
        notes += self._notes
        return self._tools[1]


def _answer(response: _Response, notes: Counter[str]) -> Message:
    if response.output is not None:
        said = [message for message in responses.to_messages(response.output, notes) if message.role == "assistant"]
        return responses.merged(said) if said else Message(role="assistant")
    recorded = response.choices[0].message if response.choices else None
    if recorded is None:
        return Message(role="assistant")
    recorded.role = "assistant"
    return to_message(recorded, notes)


def _sent(message: Message) -> Message:
    """As it is compared: reasoning comes and goes in a history, and is not sent back."""
    return msgspec.structs.replace(message, reasoning="") if message.reasoning else message


def _returns(messages: Sequence[Message]) -> bool:
    """Whether tools ran before the request. A user's word beside a result is a person's: the call that says that all is done has one."""
    last = answer_in(reversed(messages))
    return brings_results(messages, alone=True) or (last is not None and _FUNCTION in last.content)


def _counts(summary: _Summary | None, recorded: object) -> Counts:
    if summary is None:
        return usage.counts_of(recorded)
    return Counts(
        counts.tokens(summary.prompt_tokens),
        counts.tokens(summary.completion_tokens),
        counts.tokens(summary.cache_read_tokens),
    )


def _when(data: bytes) -> Ns:
    try:
        when = mended(_WHEN, data)
    except BAD:
        return 0
    return _began(when.timestamp, when.latency_sec)


def _began(timestamp: object, latency: object) -> Ns:
    """When a request was sent, as far as the file tells; 0 where it does not."""
    return (counts.unix_ns(timestamp) or 0) - (counts.seconds_ns(latency) or 0)
