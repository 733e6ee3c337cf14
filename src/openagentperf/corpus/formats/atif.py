"""ATIF, the trajectory format of Harbor and Terminal-Bench, versions 1.0 to 1.8: one JSON object a session.

Sub-agents stand inside (`subagent_trajectories`, from 1.7 on), named by the observation of the step that called them: each becomes a branch
that the parent's next turn waits for. Those in other files are trajectories of their own when their files are imported, as is the
continuation of a session that was compacted into another file.

A step has one time, at which answer and observation were both complete: model time and tool time cannot be told apart, so a tool delay is
taken only where the results carry `duration_ms`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

from openagentperf.corpus.formats import languages
from openagentperf.corpus.formats.atif_steps import DOCUMENT, Document, Line, line
from openagentperf.corpus.formats.documents import documents, mended
from openagentperf.corpus.formats.head import Head, text_of
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.corpus.formats.mend import sentences
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Skipped, Trajectory

FORMAT = "atif"
ELSEWHERE = "sub-agents recorded in other files"
CONTINUED = "sessions continued in another file"
AGAIN = "sub-agents called again, kept at their first call"
UNCALLED = "sub-agents that no answer called kept as trajectories of their own"
DEPTH = 16
"""Sub-agents of sub-agents; each level is scanned once more, so that the work is bounded by DEPTH times the file."""


def recognises(head: Head) -> bool:
    """Whether its records name a version of the format."""
    return any(text_of(record, "schema_version").startswith("ATIF") for record in head.records)


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a session with at least one answer. Raises CorpusError where there is none."""
    found = False
    for where, document in documents(data, source, skipped, DOCUMENT):
        waiting = deque([_Placed(where, document, 0)])
        while waiting:
            root = waiting.popleft()
            tree = _Tree(root, skipped)
            waiting.extend(tree.uncalled)
            trajectory = tree.trajectory(source)
            if trajectory is not None:
                found = True
                yield trajectory
            elif not tree.uncalled:
                skipped.append(Skipped(root.where, "a session without an answer"))
    if not found:
        raise CorpusError(
            source,
            "holds no session with an answer",
            'an object with `schema_version` and `steps`, one of source "agent", is needed',
            "check that it is an ATIF trajectory, and whole",
        )


class _Placed(NamedTuple):
    where: str
    """Also its name in the tree: no two have the same."""
    document: Document
    depth: int


class _Tree:
    """A session with the sub-agents that its answers called, and those below them."""

    def __init__(self, root: _Placed, skipped: list[Skipped]) -> None:
        self.uncalled: list[_Placed] = []
        """Sub-agents inside that hang on no answer."""
        self._root = root
        self._skipped = skipped
        self._notes: Counter[str] = Counter()
        self._tally: Counter[str] = Counter()
        self._branches: list[Branch] = []
        self._names: set[str] = {""}
        self._main = self._line(root, main=True)
        self._grow()
        if self.uncalled:
            self._notes[UNCALLED] += len(self.uncalled)
        if root.document.continued_trajectory_ref is not None:
            self._notes[CONTINUED] += 1

    def trajectory(self, source: str) -> Trajectory | None:
        """None where the main line asked nothing."""
        if not self._main.turns:
            return None
        document = self._root.document
        ids = (document.trajectory_id, document.session_id)
        model = document.agent.model_name
        return Trajectory(
            id=next((name for name in ids if isinstance(name, str) and name), self._root.where),
            turns=self._main.turns,
            branches=tuple(self._branches),
            tools=self._main.tools,
            format=FORMAT,
            source=source,
            language=languages.main_language(self._tally),
            harness=document.harness,
            model=model if isinstance(model, str) else self._main.model,
            notes=sentences(self._notes),
        )

    def _grow(self) -> None:
        """Hang each sub-agent on the turn that called it, level by level: a parent stands before its children."""
        of_root = self._inside(self._root)
        every = list(of_root.values())
        called: set[str] = set()
        level = deque([("", self._main, of_root)])
        while level:
            parent, calling, inside = level.popleft()
            for spawn in calling.spawns:
                # A sub-agent's own calls may be kept at the top of the file.
                placed = inside.get(spawn.ref) or of_root.get(spawn.ref)
                if placed is None:
                    self._notes[ELSEWHERE] += 1
                elif placed.where in called:
                    self._notes[AGAIN] += 1
                elif spawn.after >= 0:
                    called.add(placed.where)
                    branch = self._line(placed)
                    below = self._inside(placed)
                    every += below.values()
                    if branch.turns:
                        name = self._hang(parent, calling, spawn.after, spawn.ref, branch)
                        level.append((name, branch, below))
        self.uncalled += (placed for placed in every if placed.where not in called)

    def _hang(self, parent: str, calling: Line, after: int, wish: str, called: Line) -> str:
        """Add a branch; its name."""
        name, number = wish, 1
        while name in self._names:
            number += 1
            name = f"{wish}~{number}"
        self._names.add(name)
        join = after + 1 if after + 1 < len(calling.turns) else None
        self._branches.append(
            Branch(name=name, parent=parent, after=after, join=join, turns=called.turns, tools=called.tools)
        )
        return name

    def _line(self, placed: _Placed, *, main: bool = False) -> Line:
        return line(placed.document, placed.where, self._notes, self._tally, self._skipped, main=main)

    def _inside(self, placed: _Placed) -> dict[str, _Placed]:
        """The trajectories inside one, by id."""
        found: dict[str, _Placed] = {}
        for number, raw in enumerate(placed.document.subagent_trajectories or (), 1):
            where = f"{placed.where}: sub-agent {number}"
            if placed.depth == DEPTH:
                self._skipped.append(Skipped(where, f"a sub-agent below {DEPTH} others"))
                continue
            try:
                document = mended(DOCUMENT, raw)
            except BAD as error:
                self._skipped.append(Skipped(where, why(error)))
                continue
            key = document.trajectory_id if isinstance(document.trajectory_id, str) else where
            found[key if key and key not in found else where] = _Placed(where, document, placed.depth + 1)
        return found
