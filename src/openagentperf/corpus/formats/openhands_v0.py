"""OpenHands V0: rows of an evaluation (`output.jsonl`, a `history` of events each), or the events alone: an array, or a file each.

A request is a response of the model. Its actions are separate events that share the response's id: several are parallel calls, and the
delay runs from the first action to the last observation that one of them caused. Old versions record neither system prompt nor tools: what
the first count says they weighed is filled in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import languages
from openagentperf.corpus.formats.chat import tool_texts
from openagentperf.corpus.formats.documents import documents, mended
from openagentperf.corpus.formats.files import File, contents
from openagentperf.corpus.formats.head import Head, Keys, first_of, object_of
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.openhands_usage import Usages
from openagentperf.corpus.formats.openhands_v0_events import Event, args_of, text_of
from openagentperf.corpus.formats.openhands_v0_session import Session
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

FORMAT = "openhands-v0"


class _LlmConfig(Struct):
    model: str = ""
    max_message_chars: int | None = None


class _Condenser(Struct):
    type: str = ""


class _About(Struct):
    llm_config: _LlmConfig | None = None
    condenser_config: _Condenser | None = None


class Record(Event):
    """A row, or one event where `history` is None."""

    instance_id: object = None
    history: list[Raw] | None = None
    metrics: Raw = Raw(b"null")
    metadata: Raw = Raw(b"null")


_RECORD = msgspec.json.Decoder(Record)
_EVENT = msgspec.json.Decoder(Event)
_PAIR = msgspec.json.Decoder(list[Raw])
_ABOUT = msgspec.json.Decoder(_About)
_CACHE = "event_cache"
"""Where OpenHands keeps events once more, 25 in a file."""
_UNDECLARED = ("observation_masking", "browser_output_masking", "recent", "amortized", "llm_attention")
"""Condensers that change what the agent sees without an event that says so."""


def recognises(head: Head) -> bool:
    """Whether its records are events with a source and an action or observation, or hold a history of such."""
    return any(_is_event(record) or _is_row(record) for record in head.records)


def _is_row(record: Keys) -> bool:
    if "history" not in record:
        return False
    first = first_of(record, "history")
    if first is None:  # before version 0.10: pairs of an action and its observation
        try:
            pairs = _PAIR.decode(record["history"])
            first = object_of(_PAIR.decode(pairs[0])[0])
        except (IndexError, *BAD):
            return False
    return first is not None and _is_event(first)


def _is_event(record: Keys) -> bool:
    # V1's events have an action or an observation too, and a kind.
    said = ("action" in record) != ("observation" in record)
    return said and {"source", "timestamp"} <= record.keys() and "kind" not in record


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a row; the events of a file without rows are one session. Raises CorpusError where nothing was answered."""
    found = False
    events: list[Event] = []
    for where, record in documents(data, source, skipped, _RECORD):
        if record.history is None:
            if record.action or record.observation:
                events.append(record)
            else:
                skipped.append(Skipped(where, "is no event"))
            continue
        trajectory = _of_row(record, where, source, skipped)
        if trajectory is None:
            skipped.append(Skipped(where, "a row without an answer"))
        else:
            found = True
            yield trajectory
    if events and (session := _session(events, source, source, _About())) is not None:
        found = True
        yield session
    if not found:
        raise _unanswered(source)


def read_group(files: Sequence[File], skipped: list[Skipped]) -> Iterator[Trajectory]:
    """The event files of a folder are one session, in the order of their ids; other files stand for themselves."""
    folders: dict[str, list[File]] = {}
    for file in files:
        folders.setdefault(file.folder, []).append(file)
    for folder, members in folders.items():
        if _name(folder) == _CACHE:
            skipped.append(Skipped(folder, "holds copies of the events that lie beside it"))
            continue
        events: list[Event] = []
        for where, data in contents(members, skipped):
            event = _one_event(data)
            if event is not None:
                events.append(event)
                continue
            try:
                yield from read(data, where, skipped)
            except CorpusError as error:
                skipped.append(Skipped(where, why(error.found)))
        if not events:
            continue
        events.sort(key=lambda event: event.id if isinstance(event.id, int) else -1)
        session = _session(events, _name(folder.removesuffix("/events")), folder, _About())
        if session is None:
            skipped.append(Skipped(folder, "events without an answer"))
        else:
            yield session


def _one_event(data: bytes) -> Event | None:
    """The event that a file holds; None where it holds something else."""
    try:
        record = mended(_RECORD, data)
    except BAD:
        return None
    return record if record.history is None and (record.action or record.observation) else None


def _name(folder: str) -> str:
    return folder.rpartition("/")[2] or folder


def _unanswered(source: str) -> CorpusError:
    return CorpusError(
        source,
        "holds no answered request",
        "rows with a `history` of events are needed",
        "check that it is an evaluation output or an event list of OpenHands V0",
    )


def _of_row(row: Record, where: str, source: str, skipped: list[Skipped]) -> Trajectory | None:
    events: list[Event] = []
    for number, raw in enumerate(row.history or (), 1):
        try:
            events += _events(raw)
        except BAD as error:
            skipped.append(Skipped(f"{where}, event {number}", why(error)))
    try:
        about = _ABOUT.decode(row.metadata)
    except BAD:
        about = _About()
    task = row.instance_id if isinstance(row.instance_id, str) else ""
    usages = Usages()
    usages.add_metrics(row.metrics)
    trajectory = _session(events, task or where, source, about, usages)
    return trajectory and msgspec.structs.replace(trajectory, task=task)


def _events(raw: Raw) -> list[Event]:
    """One event, or the pair of them that versions before 0.10 wrote."""
    if bytes(raw)[:1] == b"[":
        return [mended(_EVENT, item) for item in _PAIR.decode(raw)]
    return [mended(_EVENT, raw)]


def _session(
    events: Sequence[Event], name: str, source: str, about: _About, usages: Usages | None = None
) -> Trajectory | None:
    notes: Counter[str] = Counter()
    tally: Counter[str] = Counter()
    system = next((args_of(event) for event in events if event.action == "system"), None)
    tools = tool_texts(
        [Raw(msgspec.json.encode(tool)) for tool in system.tools] if system and isinstance(system.tools, list) else (),
        notes,
    )
    version = text_of(system.openhands_version) if system else ""
    harness = f"openhands {version}".strip()
    session = Session(notes, tally, tools=tools, harness=harness, usages=usages or Usages())
    session.limit = (about.llm_config and about.llm_config.max_message_chars) or 0
    session.read(events)
    if not session.turns:
        return None
    condenser = about.condenser_config.type if about.condenser_config else ""
    if condenser in _UNDECLARED:
        notes[
            f"condenser (`{condenser[:40]}`) changed the history in a way that was not recorded: it is kept whole"
        ] = 1
    return Trajectory(
        id=name,
        turns=session.turns,
        branches=session.branches,
        tools=tools,
        format=FORMAT,
        source=source,
        language=languages.main_language(tally),
        harness=harness,
        model=(about.llm_config and about.llm_config.model) or session.model,
        notes=sentences(notes),
    )
