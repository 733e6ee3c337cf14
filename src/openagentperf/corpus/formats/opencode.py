"""OpenCode sessions as `opencode export <session>` writes them.

A request is a `step-finish` part: an answer may hold several. The system prompt and the tools are not in an export: what the first count
says they weighed is filled in. A sub-agent's session is an export of its own that names its parent; imported together they are one
trajectory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats.documents import documents, mended
from openagentperf.corpus.formats.files import File, contents
from openagentperf.corpus.formats.head import Head, first_of, object_of
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.corpus.formats.opencode_parts import Entry
from openagentperf.corpus.formats.opencode_session import Session
from openagentperf.corpus.formats.subagents import grown
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

FORMAT = "opencode"


class _About(Struct, gc=False):
    id: str = ""
    parent: str | None = msgspec.field(default=None, name="parentID")
    version: str = ""


class Export(Struct):
    info: _About
    messages: list[Raw]


class _Index(Struct):
    """An export without its messages."""

    info: _About


class _Known(Struct):
    """Where an export stands."""

    where: str
    about: _About
    load: Callable[[], Export | None]


_EXPORT = msgspec.json.Decoder(Export)
_INDEX = msgspec.json.Decoder(_Index)
_ENTRY = msgspec.json.Decoder(Entry)


def recognises(head: Head) -> bool:
    """Whether its records hold a session's `info` beside messages that have `info` and `parts`."""
    for record in head.records:
        about = object_of(record["info"]) if "info" in record else None
        if about is None or "messages" not in record or not {"id", "time"} <= about.keys():
            continue
        first = first_of(record, "messages")
        if first is None or {"info", "parts"} <= first.keys():
            return True
    return False


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a session, its sub-agents' sessions in it. Raises CorpusError where nothing was answered."""
    known = []
    for where, export in documents(data, source, skipped, _EXPORT):
        # The default binds this export: a closure over the loop's variable would give the last one to all.
        known.append(_Known(where, export.info, lambda export=export: export))  # type: ignore[misc]
    found = False
    for _, trajectory in _Trees(known, skipped):
        found = True
        yield msgspec.structs.replace(trajectory, source=source)
    if not found:
        raise CorpusError(
            source,
            "holds no answered request",
            "messages of role `assistant` are needed",
            "check that it is what `opencode export` wrote",
        )


def read_group(files: Sequence[File], skipped: list[Skipped]) -> Iterator[Trajectory]:
    """As `read`, over all files: a sub-agent's export may be a file of its own."""
    known: list[_Known] = []
    alone: list[File] = []
    for file in files:
        for where, data in contents([file], skipped):
            try:
                index = mended(_INDEX, data)
            except BAD:
                alone.append(file)  # several exports in one file: a tree of its own
            else:
                known.append(_Known(where, index.info, _loader(file, skipped)))
    for where, trajectory in _Trees(known, skipped):
        yield msgspec.structs.replace(trajectory, source=where)
    for where, data in contents(alone, skipped):
        try:
            yield from read(data, where, skipped)
        except CorpusError as error:
            skipped.append(Skipped(where, why(error.found)))


def _loader(file: File, skipped: list[Skipped]) -> Callable[[], Export | None]:
    def load() -> Export | None:
        for where, data in contents([file], skipped):
            try:
                return mended(_EXPORT, data)
            except BAD as error:
                skipped.append(Skipped(where, why(error)))
        return None

    return load


class _Trees:
    """Exports, joined by the parents that they name."""

    def __init__(self, known: Sequence[_Known], skipped: list[Skipped]) -> None:
        self._skipped = skipped
        self._sessions: dict[str, _Known] = {}
        for export in known:
            name = export.about.id or export.where
            if name in self._sessions:
                skipped.append(Skipped(export.where, f"session {name[:40]} again"))
            else:
                self._sessions[name] = export
        self._children: dict[str, list[str]] = {}
        for name, export in self._sessions.items():
            if export.about.parent in self._sessions:
                self._children.setdefault(export.about.parent, []).append(name)
        self._reached: set[str] = set()

    def __iter__(self) -> Iterator[tuple[str, Trajectory]]:
        """Each trajectory with where its main session stands."""
        # The second round finds what the first did not reach: children of a session without an answer, and those that name each other.
        for roots in (True, False):
            for name, export in self._sessions.items():
                if name in self._reached or (roots and export.about.parent in self._sessions):
                    continue
                trajectory = self._tree(name)
                if trajectory is not None:
                    yield export.where, trajectory

    def _tree(self, root: str) -> Trajectory | None:
        """The session `root` with its sub-agents as branches."""
        session = self._session(root)
        if not session.turns:
            return None
        about = self._sessions[root].about
        main = session.node("")
        if about.parent:
            main.notes["sub-agent kept as a trajectory of its own: its parent's session was not imported with it"] = 1
        walk = [(root, session, main)]
        for parent, above, node in walk:  # grows as it is walked: parents before children
            for name in self._children.get(parent, ()):
                if name in self._reached:
                    continue
                child = self._session(name)
                if child.turns:
                    below = child.node(name)
                    node.children.append((below, above.spawns.get(name)))
                    walk.append((name, child, below))
        harness = f"opencode {about.version}".strip()
        return grown(main, Trajectory(id=root, turns=(), format=FORMAT, harness=harness))

    def _session(self, name: str) -> Session:
        self._reached.add(name)
        known = self._sessions[name]
        export = known.load()
        entries: list[Entry] = []
        for number, raw in enumerate(export.messages if export is not None else (), 1):
            try:
                entries.append(mended(_ENTRY, raw))
            except BAD as error:
                self._skipped.append(Skipped(f"{known.where}, message {number}", why(error)))
        session = Session(entries, known.about.version)
        if not session.turns:
            self._skipped.append(Skipped(known.where, "a session without an answer"))
        return session
