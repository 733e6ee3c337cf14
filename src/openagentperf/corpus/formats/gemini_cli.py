"""Gemini CLI sessions (`~/.gemini/tmp/*/chats/session-*`): one JSON object; newer versions write JSONL, a record at a time.

A message of type `gemini` is a request. Input tokens include cached ones, thoughts count as output. System prompt and tools are not
recorded; the first request's input says how long they were. In JSONL a message is written again when its tools are done (the last version
counts), `$rewindTo` takes messages back, and `$set` may replace all of them: a compaction, where that changes what is sent.

The JSON form does not say when the history was compressed. A request whose input falls below 0.6 of the one before shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Raw, Struct, field

from openagentperf.corpus.formats import counts, gemini_parts, languages
from openagentperf.corpus.formats.documents import documents, mended
from openagentperf.corpus.formats.gemini_parts import Record, Tokens
from openagentperf.corpus.formats.head import Head, Keys, first_of, text_of
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.formats.usable import usable
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory
from openagentperf.units import NS_PER_MS, Ns

FORMAT = "gemini-cli"
SUMMARY = "[the conversation so far, summed up in a text that was not recorded]"
DROP = 0.6
"""Compression keeps the last 30 % of a history and sums the rest up."""
LATE_NS: Ns = 5 * NS_PER_MS
"""Older versions wrote an answer without text down when its tools had come back, a moment before these: then no delay is known."""

_TYPES = frozenset({"user", "gemini", "info", "error", "warning"})
_EDITS = frozenset({"replace", "write_file"})


class Changes(Struct):
    messages: list[Raw] | None = None


class Line(Record):
    """A message, or what is known of the session, or a change of either. In the JSON form the one object of the file."""

    session: str | None = field(default=None, name="sessionId")
    kind: str | None = None
    messages: list[Raw] | None = None
    changes: Changes | None = field(default=None, name="$set")
    rewind: str | None = field(default=None, name="$rewindTo")


class _Told(Struct):
    """A record as it is sent, and what was changed for that."""

    record: Record
    messages: list[Message]
    notes: Counter[str]

    @classmethod
    def of(cls, record: Record) -> _Told:
        notes: Counter[str] = Counter()
        return cls(record, gemini_parts.messages_of(record, notes), notes)


_LINE = msgspec.json.Decoder(Line)
_RECORD = msgspec.json.Decoder(Record)


def recognises(head: Head) -> bool:
    """Whether it opens with a session's data."""
    return any(map(_is_session, head.records))


def _is_session(record: Keys) -> bool:
    if {"sessionId", "projectHash"} <= record.keys():
        return True
    first = first_of(record, "messages") if "sessionId" in record else None
    return first is not None and text_of(first, "type") in _TYPES


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a session. Raises CorpusError where nothing was answered."""
    sessions: dict[str, _Session] = {}
    session: _Session | None = None
    for where, line in documents(data, source, skipped, _LINE):
        if session is None or line.session:
            name = line.session or source
            session = sessions.setdefault(name, _Session(name, sub_agent=line.kind == "subagent"))
        try:
            session.take(line, where, skipped)
        except BAD as error:
            skipped.append(Skipped(where, why(error)))
    read = ((source, session.trajectory(source)) for session in sessions.values())
    none = CorpusError(
        source,
        "holds no answered request",
        "messages of type `gemini` are needed",
        "check that it is a Gemini CLI session file",
    )
    yield from usable(read, skipped, "a session without an answer", none)


class _Session:
    """One session on its way to a trajectory. `_records` is the history as the program holds it at this line of the file."""

    def __init__(self, name: str, *, sub_agent: bool) -> None:
        self._name = name
        self._harness = f"{FORMAT} sub-agent" if sub_agent else FORMAT
        self._notes: Counter[str] = Counter()
        self._steps = Steps(self._notes, harness=self._harness)
        self._records: dict[str, _Told] = {}
        self._done: set[str] = set()
        """Ids of those that went into `_steps`."""
        self._changed = False
        """Some of those were replaced or taken back."""
        self._heard: list[Message] = []
        self._input = 0
        """Input tokens of the last request, 0 where not recorded."""
        self._compressions = 0
        self._model = ""
        self._edited: Counter[str] = Counter()
        self._named: Counter[str] = Counter()

    def take(self, line: Line, where: str, skipped: list[Skipped]) -> None:
        """One record. Raises one of `lines.BAD`, and changes nothing, where it is of no known form."""
        changes = line.changes
        if line.rewind is not None:
            self._rewind(line.rewind)
        elif changes is not None:
            if changes.messages is not None:
                self._replace(changes.messages)
        elif line.session:
            for number, raw in enumerate(line.messages or (), 1):
                try:
                    self._add(mended(_RECORD, raw))
                except BAD as error:
                    skipped.append(Skipped(f"{where} message {number}", why(error)))
        elif line.id:
            self._add(line)
        else:
            raise ValueError("neither a message nor what is known of a session")

    def trajectory(self, source: str) -> Trajectory | None:
        """The session; None if it holds no answer."""
        self._flush()
        if not self._steps.turns:
            return None
        self._steps.note_share()
        return Trajectory(
            id=self._name,
            turns=self._steps.turns,
            format=FORMAT,
            source=source,
            language=languages.main_language(self._edited, self._named),
            harness=self._harness,
            model=self._model,
            notes=sentences(self._notes),
        )

    def _add(self, record: Record) -> None:
        told = _Told.of(record)
        if record.id in self._done:
            self._changed = self._changed or told.messages != self._records[record.id].messages
        self._records[record.id] = told

    def _rewind(self, to: str) -> None:
        """The message `to` and all after it are gone; all, where there is none of that id."""
        while self._records:
            gone, told = self._records.popitem()
            if gone in self._done:
                self._done.remove(gone)
                self._changed = True
            elif told.record.type == "gemini":
                self._notes["requests that the user took back left out"] += 1
            if gone == to:
                break

    def _replace(self, messages: list[Raw]) -> None:
        records = [mended(_RECORD, raw) for raw in messages]
        after = {record.id: _Told.of(record) for record in records}
        self._flush()
        self._changed = list(_flat(after.values())) != list(_flat(self._records.values()))
        self._records = after
        self._done = set(after)

    def _flush(self) -> None:
        """Give `_steps` the records that it does not have yet."""
        if self._changed:
            self._steps.rewrite(_flat(told for name, told in self._records.items() if name in self._done))
            self._heard = []
            self._input = 0
            self._changed = False
        for name, told in self._records.items():
            if name not in self._done:
                self._done.add(name)
                self._tell(told)

    def _tell(self, told: _Told) -> None:
        record = told.record
        self._notes += told.notes
        if record.type != "gemini":
            self._heard += told.messages
            return
        answer, *results = told.messages
        tokens = record.tokens or Tokens()
        prompt = (counts.tokens(tokens.input) or 0) + (counts.tokens(tokens.tool) or 0)
        output = (counts.tokens(tokens.output) or 0) + (counts.tokens(tokens.thoughts) or 0)
        if 0 < prompt < DROP * self._input:
            self._compressions += 1
            self._notes["compressions told by an input below 0.6 of the one before"] += 1
            self._steps.forget()
            self._steps.hear_unread(
                Message(role="user", content=SUMMARY), f"{self._name} compression {self._compressions}"
            )
        self._steps.hear(*self._heard)
        self._heard = results
        if record.tokens is None and record.model is None:
            self._steps.recall(answer)  # the program's own words, such as what follows a summary
            return
        self._steps.answer(
            answer,
            input_tokens=prompt or None,
            output_tokens=output or None,
            cached_tokens=counts.tokens(tokens.cached),
            delay_ns=_delay_ns(record, answer),
        )
        self._input = prompt
        self._model = self._model or record.model or ""
        for call in answer.tool_calls:
            languages.tally_text(call.arguments, self._edited if call.name in _EDITS else self._named)


def _flat(all_told: Iterable[_Told]) -> Iterator[Message]:
    """The messages of these records. A replaced history may hold a call's result twice, the second as the user's: it counts once."""
    answered: set[str] = set()
    for told in all_told:
        for message in told.messages:
            if message.role != "tool":
                yield message
            elif message.tool_call_id not in answered:
                answered.add(message.tool_call_id)
                yield message


def _delay_ns(record: Record, answer: Message) -> Ns | None:
    """From the answer to its last call's end, which is when that was written down."""
    waits = [
        wait
        for call in record.calls or ()
        if (wait := counts.between_ns(counts.stamp_ns(record.timestamp), counts.stamp_ns(call.timestamp))) is not None
    ]
    if not waits or (not answer.content and min(waits) < LATE_NS):
        return None
    return max(waits)
