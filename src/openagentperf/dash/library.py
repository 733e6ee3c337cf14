"""The runs of a folder: which there are, and one line about each."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from openagentperf import planfile, rundir
from openagentperf.errors import OpenAgentPerfError
from openagentperf.live import story
from openagentperf.live.records import Asked, Capacity, State, TierNow
from openagentperf.live.watch import QUIET_S
from openagentperf.records.result import Result
from openagentperf.records.run import RunFacts
from openagentperf.search.step import standings
from openagentperf.verify import read_run_facts

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_WRITTEN = ("ledger.jsonl", "result.json", "plan.toml", "run.json")
Made = TypeVar("Made")


class Run(NamedTuple):
    id: str
    """In addresses: the folder's name where that is plain, else `~` and a hash of it."""
    folder: Path


class Line(Asked, frozen=True, kw_only=True):
    """A run in the list."""

    id: str
    name: str
    state: State
    silent_s: float
    phases: int = 0
    """Judged so far."""
    tiers: tuple[TierNow, ...] = ()
    """Empty where there is a result."""
    result: tuple[Capacity, ...] = ()
    why: str = ""
    """What could not be read."""


def run_id(name: str) -> str:
    if _PLAIN.fullmatch(name):
        return name
    return "~" + hashlib.blake2b(os.fsencode(name), digest_size=9).hexdigest()


class Library:
    """The runs under `root`, or `root` itself where it is one. Only real folders: a link could lead anywhere."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._single = rundir.is_run(root)
        self._known: dict[str, tuple[tuple[tuple[int, int], ...], Line]] = {}

    def runs(self) -> list[Run]:
        """By name, the latest first: names begin with the time."""
        if self._single:
            return [Run(run_id(self.root.resolve().name), self.root)]
        try:
            with os.scandir(self.root) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []
        folders = [self.root / name for name in sorted(names, reverse=True)]
        return [Run(run_id(folder.name), folder) for folder in folders if rundir.is_run(folder)]

    def find(self, wanted: str) -> Run | None:
        """By id. What is asked for is only ever compared, and never becomes a part of a path."""
        return next((run for run in self.runs() if run.id == wanted), None)

    def lines(self) -> list[Line]:
        return [line for _, line in self.listed()]

    def listed(self) -> list[tuple[Run, Line]]:
        """Every run with its line."""
        runs = self.runs()
        for gone in self._known.keys() - {run.id for run in runs}:
            del self._known[gone]
        return [(run, self._line(run)) for run in runs]

    def _line(self, run: Run) -> Line:
        stamps = tuple(_stamp(run.folder / name) for name in _WRITTEN)
        known = self._known.get(run.id)
        if known is None or known[0] != stamps:
            known = self._known[run.id] = stamps, _read(run)
        line = known[1]
        if line.state in ("finished", "broken"):
            return line
        silent_s = max(0.0, time.time() - rundir.newest_s(run.folder))
        return msgspec.structs.replace(line, state="silent" if silent_s > QUIET_S else line.state, silent_s=silent_s)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        told = path.stat()
    except OSError:
        return 0, 0
    return told.st_mtime_ns, told.st_size


def _read(run: Run) -> Line:
    whys: list[str] = []

    def tried(read: Callable[[], Made]) -> Made | None:
        try:
            return read()
        except (OpenAgentPerfError, OSError, ValueError, RecursionError) as error:
            whys.append(str(error))
        return None

    folder = run.folder
    plan = tried(lambda: planfile.read(folder / "plan.toml"))
    facts: RunFacts | None = tried(lambda: read_run_facts(folder)) if (folder / "run.json").exists() else None
    ledger = folder / "ledger.jsonl"
    data = tried(ledger.read_bytes) if ledger.exists() else None
    lines = []
    for number, found in enumerate(rundir.ledger_lines(data or b""), 1):
        if isinstance(found, str):
            whys.append(f"{ledger.name}:{number} {found}")
        else:
            lines.append(found)
    result = None
    if (folder / "result.json").exists():
        result = tried(lambda: rundir.read_record(folder / "result.json", Result, "a finished run has one", ""))
    history = [line.judged for line in lines if line.judged is not None]
    known = tried(lambda: standings(history, plan.tiers, plan.search, plan.rigor)) if plan and not result else None
    state: State = "running" if lines else "preparing"
    if result is not None:
        state = "finished"
    elif lines and lines[-1].event == "broken":
        state = "broken"
    return Line(
        **msgspec.structs.asdict(story.asked(plan, facts)),
        id=run.id,
        name=folder.resolve().name if folder.name in ("", "..") else folder.name,
        state=state,
        silent_s=0.0,
        phases=len(history),
        tiers=story.tiers(plan, known or ()) if plan and not result else (),
        result=story.capacities(result) if result else (),
        why="; ".join(whys),
    )
