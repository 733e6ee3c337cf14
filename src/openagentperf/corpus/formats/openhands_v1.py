"""Conversations of the OpenHands SDK (V1): events as JSONL, as one array, or a file each in the folder that the SDK keeps.

    <conversation>/base_state.json                 its token counts
    <conversation>/events/event-00000-<id>.json    one event a file
    <conversation>/subagents/<conversation>/...    sub-agents: branches of its trajectory

Rows of an evaluation whose `history` holds such events are read too. Token counts are recorded where the state, the row or the events hold
them. The SDK keeps no parameters of its own tools: what the first count says they weighed is filled in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats.documents import documents, mended
from openagentperf.corpus.formats.files import File, contents
from openagentperf.corpus.formats.head import Head, Keys, first_of
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.corpus.formats.openhands_usage import Usages
from openagentperf.corpus.formats.openhands_v1_events import Event
from openagentperf.corpus.formats.openhands_v1_session import Session
from openagentperf.corpus.formats.subagents import grown
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

FORMAT = "openhands-v1"
_SUBAGENTS = "/subagents/"
_NULL = Raw(b"null")


class _Llm(Struct):
    model: str = ""


class Record(Event):
    """An event, a row, or the state of a conversation."""

    history: list[Raw] | None = None
    instance_id: object = None
    metrics: Raw = _NULL
    metadata: Raw = _NULL
    stats: Raw = _NULL
    agent: Raw = _NULL


class _Models(Struct):
    llm: _Llm | None = None
    llm_config: _Llm | None = None


_RECORD = msgspec.json.Decoder(Record)
_EVENT = msgspec.json.Decoder(Event)
_MODELS = msgspec.json.Decoder(_Models)


def recognises(head: Head) -> bool:
    """Whether its records are events with a kind and a source, hold a history of such, or are a conversation's state."""
    return any(
        _is_event(record)
        or {"agent", "workspace", "stats"} <= record.keys()
        or ((first := first_of(record, "history")) is not None and _is_event(first))
        for record in head.records
    )


def _is_event(record: Keys) -> bool:
    return {"kind", "id", "timestamp", "source"} <= record.keys()


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a row; events outside rows are one session, and another from each further system prompt on.

    Raises CorpusError where nothing was answered.
    """
    found = False
    sessions: list[list[Event]] = [[]]
    for where, record in documents(data, source, skipped, _RECORD):
        if record.history is not None:
            trajectory = _of_row(record, where, source, skipped)
            if trajectory is None:
                skipped.append(Skipped(where, "a row without an answer"))
            else:
                found = True
                yield trajectory
            continue
        if not record.kind:
            if record.stats == _NULL:
                skipped.append(Skipped(where, "is no event"))
            continue
        if record.kind == "SystemPromptEvent" and any(event.kind == record.kind for event in sessions[-1]):
            sessions.append([])
        sessions[-1].append(record)
    for index, events in enumerate(sessions):
        node = Session(events, Usages()).node("")
        if node.turns:
            found = True
            yield grown(node, _about(source if len(sessions) == 1 else f"{source}[{index + 1}]", source))
    if not found:
        raise CorpusError(
            source,
            "holds no answered request",
            "events of a conversation are needed",
            "import the conversation's whole folder, or check that it is one of the OpenHands SDK",
        )


def read_group(files: Sequence[File], skipped: list[Skipped]) -> Iterator[Trajectory]:
    """The files of a folder, and of its `events`, are one conversation; files that hold more than one event stand for themselves."""
    folders: dict[str, list[File]] = {}
    for file in files:
        folders.setdefault(file.folder.removesuffix("/events"), []).append(file)
    children: dict[str, list[str]] = {}
    for folder in folders:
        parent = folder.rpartition(_SUBAGENTS)[0]
        children.setdefault(parent if parent in folders else "", []).append(folder)
    for folder in children.pop("", []):
        yield from _tree(folder, folders, children, skipped)


class _Conversation:
    """The files of one folder, read."""

    def __init__(self, files: Sequence[File], skipped: list[Skipped]) -> None:
        self.alone: list[File] = []
        self.model = ""
        usages = Usages()
        events: list[Event] = []
        # event-100000 comes after event-99999.
        for file in sorted(files, key=lambda file: (len(file.where), file.where)):
            for _, data in contents([file], skipped):
                try:
                    record = mended(_RECORD, data)
                except BAD:
                    record = Record()
                if record.stats != _NULL:
                    usages.add_stats(record.stats)
                    self.model = self.model or _model(record.agent)
                elif record.kind and record.history is None:
                    events.append(record)
                else:
                    self.alone.append(file)
        self.empty = not events
        self.session = Session(events, usages)


def _tree(
    folder: str, folders: dict[str, list[File]], children: dict[str, list[str]], skipped: list[Skipped]
) -> Iterator[Trajectory]:
    """The conversation of a folder with its sub-agents as branches, and what else lies there."""
    main = _Conversation(folders[folder], skipped)
    root = main.session.node("")
    walk = [(folder, root)]
    for above, node in walk:  # grows as it is walked: parents before children
        for below in children.get(above, ()):
            child = _Conversation(folders[below], skipped)
            main.alone += child.alone
            line = child.session.node(_last(below))
            if not line.turns or not node.turns:
                skipped.append(Skipped(below, "a sub-agent without an answer, or of one"))
                continue
            node.children.append((line, None))
            walk.append((below, line))
    if root.turns:
        yield grown(root, _about(_last(folder), folder, main.model))
    elif not main.empty:
        skipped.append(Skipped(folder, "a conversation without an answer"))
    for where, data in contents(main.alone, skipped):
        try:
            yield from read(data, where, skipped)
        except CorpusError as error:
            skipped.append(Skipped(where, why(error.found)))


def _of_row(row: Record, where: str, source: str, skipped: list[Skipped]) -> Trajectory | None:
    events: list[Event] = []
    for number, raw in enumerate(row.history or (), 1):
        try:
            events.append(mended(_EVENT, raw))
        except BAD as error:
            skipped.append(Skipped(f"{where}, event {number}", why(error)))
    usages = Usages()
    usages.add_metrics(row.metrics)
    node = Session(events, usages).node("")
    if not node.turns:
        return None
    task = row.instance_id if isinstance(row.instance_id, str) else ""
    about = _about(task or where, source, _model(row.metadata))
    return grown(node, msgspec.structs.replace(about, task=task))


def _about(name: str, source: str, model: str = "") -> Trajectory:
    return Trajectory(id=name, turns=(), format=FORMAT, source=source, harness="openhands-sdk", model=model)


def _last(folder: str) -> str:
    return folder.rpartition("/")[2] or folder


def _model(raw: Raw) -> str:
    """The model that an agent or a row's metadata names."""
    try:
        about = mended(_MODELS, raw)
    except BAD:
        return ""
    return next((llm.model for llm in (about.llm, about.llm_config) if llm is not None and llm.model), "")
