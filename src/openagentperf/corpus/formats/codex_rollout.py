"""Codex rollout files (`~/.codex/sessions/**/rollout-*.jsonl`): an envelope a line, around session data, response items and events.

An answer is what the model wrote up to the first line that it did not write: reasoning, texts, calls. Each is a request, counted by the
next `token_count` event whose total changed; events that repeat the last one count nothing. Input includes cached tokens, output includes
reasoning. The base instructions are recorded, Codex's own tools are not: the first request's recorded input says how long they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import codex_turns, responses
from openagentperf.corpus.formats.codex_turns import Turns, Usage
from openagentperf.corpus.formats.documents import mended
from openagentperf.corpus.formats.head import Head, text_of
from openagentperf.corpus.formats.lines import BAD, decoded, why
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.responses import Item
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory

FORMAT = "codex-rollout"

_TYPES = frozenset({"compacted", "event_msg", "response_item", "session_meta", "turn_context", "world_state"})


class Line(Struct, gc=False):
    type: str = ""
    timestamp: str | None = None
    payload: Raw = Raw(b"{}")


class Meta(Struct):
    id: str = ""
    cli_version: str | None = None
    forked_from_id: str | None = None
    base_instructions: object = None
    instructions: object = None
    """What older versions wrote instead, as a string."""
    dynamic_tools: list[Raw] | None = None
    source: object = None
    """Who started it: "cli", "vscode", or {"subagent": ...}."""


class Context(Struct):
    model: str | None = None


class Event(Struct, gc=False):
    type: str = ""
    info: Raw = Raw(b"null")


class Info(Struct):
    total_token_usage: Usage
    last_token_usage: Usage


class Compacted(Struct):
    message: str | None = None
    replacement_history: list[Item] | None = None


_LINE = msgspec.json.Decoder(Line)
_META = msgspec.json.Decoder(Meta)
_CONTEXT = msgspec.json.Decoder(Context)
_EVENT = msgspec.json.Decoder(Event)
_INFO = msgspec.json.Decoder(Info | None)
_COMPACTED = msgspec.json.Decoder(Compacted)


def recognises(head: Head) -> bool:
    """Whether a line of the first ones is one of Codex's envelopes."""
    return any(
        {"timestamp", "payload"} <= record.keys() and text_of(record, "type") in _TYPES for record in head.records
    )


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """The session of the file. Raises CorpusError where nothing was answered."""
    session = _Session()
    for number, line in decoded(data, source, skipped, _LINE):
        try:
            session.take(line)
        except BAD as error:
            skipped.append(Skipped(f"{source}:{number}", why(error)))
    trajectory = session.trajectory(source)
    if trajectory is None:
        raise CorpusError(
            source,
            "holds no answered request",
            "response items of the assistant are needed",
            "check that it is a Codex rollout file",
        )
    yield trajectory


class _Session:
    """One file on its way to a trajectory."""

    def __init__(self) -> None:
        self._notes: Counter[str] = Counter()
        self._meta: Meta | None = None
        self._model = ""
        self._turns: Turns | None = None
        self._tools: tuple[str, ...] = ()
        self._total: Usage | None = None
        self._compactions = 0

    def take(self, line: Line) -> None:
        """One line. Raises one of `lines.BAD`, and changes nothing, where it is not of the known form."""
        if line.type == "response_item":
            item = responses.read_item(line.payload)
            if item.answers:
                part = responses.part_of(item, self._notes)
                self._open().write(part, line.timestamp)
            else:
                heard = responses.heard_of(item, self._notes)
                self._open().tell(heard, line.timestamp)
        elif line.type == "event_msg":
            self._event(mended(_EVENT, line.payload))
        elif line.type == "compacted":
            self._compact(mended(_COMPACTED, line.payload))
        elif line.type == "turn_context":
            self._model = self._model or mended(_CONTEXT, line.payload).model or ""
        elif line.type == "session_meta" and self._meta is None:
            # Each resumption writes another one, and a fork its parent's: the first names the session.
            self._meta = mended(_META, line.payload)

    def trajectory(self, source: str) -> Trajectory | None:
        """The session; None if it holds no answer."""
        turns = self._open()
        turns.end()
        meta = self._meta or Meta()
        if not turns.steps.turns:
            return None
        if meta.forked_from_id:
            self._notes["sessions forked from another one: its requests up to there are in this file too"] += 1
        if _is_sub_agent(meta):
            self._notes["sub-agents whose session lies in a file of its own kept as trajectories of their own"] += 1
        turns.steps.note_share()
        return Trajectory(
            id=meta.id or source,
            turns=turns.steps.turns,
            tools=self._tools,
            format=FORMAT,
            source=source,
            language=turns.language(),
            harness=_harness(meta),
            model=self._model,
            notes=sentences(self._notes),
        )

    def _open(self) -> Turns:
        if self._turns is None:
            meta = self._meta or Meta()
            self._tools = responses.tool_texts(meta.dynamic_tools or (), self._notes)
            self._turns = Turns(self._notes, tools=self._tools, harness=_harness(meta))
            if prompt := _instructions(meta):
                self._turns.hear(Message(role="system", content=prompt))
        return self._turns

    def _event(self, event: Event) -> None:
        if event.type != "token_count":
            return
        info = _INFO.decode(event.info)
        if info is None or info.total_token_usage == self._total:
            return
        self._open().count(info.last_token_usage, codex_turns.between(self._total, info.total_token_usage))
        self._total = info.total_token_usage

    def _compact(self, compacted: Compacted) -> None:
        left = responses.messages_of(compacted.replacement_history or (), self._notes)
        if compacted.replacement_history is None:
            left = [Message(role="user", content=compacted.message or responses.COMPACTED)]
        elif not compacted.message and all(message.content != responses.COMPACTED for message in left):
            # Versions before 0.142.5 do not write the provider's summary down, not even encrypted; the next count shows that there was one.
            self._notes[responses.UNREADABLE] += 1
            left.append(Message(role="user", content=responses.COMPACTED))
        self._compactions += 1
        self._open().forget(left, f"{self._meta.id if self._meta else ''} compaction {self._compactions}")


def _is_sub_agent(meta: Meta) -> bool:
    return isinstance(meta.source, dict) and "subagent" in meta.source


def _harness(meta: Meta) -> str:
    name = f"codex {meta.cli_version or ''}".strip()
    return f"{name} sub-agent" if _is_sub_agent(meta) else name


def _instructions(meta: Meta) -> str:
    base = meta.base_instructions
    text = base.get("text") if isinstance(base, dict) else base
    if not isinstance(text, str):
        text = meta.instructions
    return text if isinstance(text, str) else ""
