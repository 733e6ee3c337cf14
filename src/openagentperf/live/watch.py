"""A run folder watched: each `poll` reads what is new and says how the run stands. It only reads, and never waits for the run.

Tolerant of what a folder can be: being made, killed, broken off, resumed, finished, or holding files that nobody knows.
"""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from openagentperf import bench, planfile, rundir, snapshot
from openagentperf.errors import OpenAgentPerfError, PlanError
from openagentperf.live import story
from openagentperf.live.phase import OpenPhase, closed_phase
from openagentperf.live.records import About, Capacity, Now, PhaseView, Power, Snapshot, State
from openagentperf.live.tail import FrameTail, LedgerTail
from openagentperf.live.watts import Watts
from openagentperf.plan import Plan
from openagentperf.records.phase import Judged
from openagentperf.records.power import MeterFacts, Meters, Reading
from openagentperf.records.progress import Stage
from openagentperf.records.result import Result
from openagentperf.records.run import RunFacts
from openagentperf.records.standing import Standing
from openagentperf.rundir import LedgerLine
from openagentperf.search.step import Step, standings
from openagentperf.units import NS_PER_S, Ns

QUIET_S = 20.0
"""A run at work writes each second in a phase, and between two phases within the time that judging and meters take."""
BUDGET_S = 0.3
"""Time that one poll may take for rows: a late watcher catches up in slices and shows how far it is."""


class RunWatch:
    """One folder. Not thread-safe: one caller polls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ledger = LedgerTail(folder / "ledger.jsonl")
        self._power = FrameTail(folder / "power.frames")
        self._lines: list[LedgerLine] = []
        self._history: list[Judged] = []
        self._standings: tuple[Standing, ...] = ()
        self._plan: Plan | None = None
        self._facts: RunFacts | None = None
        self._watts = Watts(())
        self._read: dict[str, tuple[int, int]] = {}
        """By name of a whole file: its inode and time of change when it was last looked at."""
        self._unreadable: dict[str, str] = {}
        self._started_s: float | None = None
        self._result: Result | None = None
        self._phase: OpenPhase | None = None
        self._about: About | None = None

    def poll(self, budget_s: float = BUDGET_S) -> Snapshot:
        """Read what is new, for some `budget_s` seconds at most, and say how the run stands."""
        until_s = time.monotonic() + budget_s
        changed = self._read_records() | self._read_ledger()
        if changed:
            self._stand()
        self._follow_phase()
        phase = self._phase
        if phase is not None and not phase.closed:
            phase.poll(until_s)
        series = phase.series if phase is not None and not phase.closed else None
        rows = (row for row in self._power.read(until_s) if isinstance(row, Reading))
        self._watts.take(rows, series)
        if changed or self._about is None:
            self._about = self._tell()
        return Snapshot(about=msgspec.structs.replace(self._about, notes=self._notes()), now=self._now(time.time()))

    def closed(self, index: int) -> PhaseView:
        """A judged phase from its tables. StorageError where they cannot be read; KeyError where there is no such phase."""
        line = next((line for line in self._lines if line.index == index and line.event == "judged"), None)
        if line is None:
            raise KeyError(index)
        return closed_phase(self.folder, index, line.agents, self._meters(), self._wanted(line))

    # -- what is read ------------------------------------------------------------------------------------------------------

    def _read_records(self) -> bool:
        """The files that are written whole, once they are there and whenever they are replaced."""
        before = self._plan, self._facts, self._result, self._started_s
        if self._is_new("plan.toml"):
            self._plan = self._try("plan.toml", planfile.read)
        if self._is_new("run.json"):
            self._facts = self._record("run.json", RunFacts)
        if self._is_new(rundir.METERS):
            meters = self._record(rundir.METERS, Meters)
            self._watts = Watts(meters.meters if meters else ())
        if self._is_new("environment.json"):
            self._started_s = self._try("environment.json", _started_s)
        if self._is_new("result.json"):
            self._result = self._record("result.json", Result)
        elif "result.json" not in self._read:
            self._result = None
        return before != (self._plan, self._facts, self._result, self._started_s)

    def _is_new(self, name: str) -> bool:
        try:
            told = (self.folder / name).stat()
        except OSError:
            self._read.pop(name, None)
            return False
        stamp = told.st_ino, told.st_mtime_ns
        if self._read.get(name) == stamp:
            return False
        self._read[name] = stamp
        return True

    def _record(self, name: str, kind: type[Any]) -> Any:
        return self._try(name, lambda path: rundir.read_record(path, kind, "", ""))

    def _try(self, name: str, read: Any) -> Any:
        self._unreadable.pop(name, None)
        try:
            return read(self.folder / name)
        except (OpenAgentPerfError, OSError, ValueError, RecursionError) as error:
            self._unreadable[name] = f"{name} cannot be read: {error}"
            return None

    def _read_ledger(self) -> bool:
        new = self._ledger.read()
        if self._ledger.restarted:
            self._lines, self._history, self._phase = [], [], None
        self._lines += new
        self._history += [line.judged for line in new if line.judged is not None]
        return bool(new) or self._ledger.restarted

    def _stand(self) -> None:
        self._standings = ()
        self._unreadable.pop(_UNFIT, None)
        if self._plan is not None:
            try:
                self._standings = standings(self._history, self._plan.tiers, self._plan.search, self._plan.rigor)
            except PlanError as error:
                self._unreadable[_UNFIT] = str(error)

    def _follow_phase(self) -> None:
        """The ledger's last begun line that nothing has closed is the open phase; its file tails begin with it."""
        begun = next((line for line in reversed(self._lines) if line.event == "begun"), None)
        if begun is None:
            return
        if (self._phase is None or self._phase.line.index != begun.index) and self._open() and self._plan is not None:
            # A line without its start is of a version that did not write it; its phase shows once it is judged.
            self._phase = None if begun.start_ns is None else OpenPhase(self.folder, begun, begun.start_ns, self._plan)
        if self._phase is not None:
            self._phase.closed = not self._open()
            if self._phase.closed and self._phase.behind:
                self._phase = None  # its rows went into tables before all were read here: a part of them is no figure of the phase

    def _open(self) -> bool:
        return bool(self._lines) and self._lines[-1].event == "begun" and self._result is None

    def _meters(self) -> tuple[MeterFacts, ...]:
        return tuple(self._watts.meters.values())

    def _wanted(self, line: LedgerLine) -> int:
        if self._plan is None:
            return 0
        return bench.quota(self._plan.rigor, Step(agents=line.agents, kind=line.kind, why="")).turns

    # -- what is said ------------------------------------------------------------------------------------------------------

    def _tell(self) -> About:
        plan = self._plan
        return About(
            **msgspec.structs.asdict(story.asked(plan, self._facts)),
            name=self.folder.name,
            tiers=story.tiers(plan, self._standings) if plan else (),
            attempts=story.attempts(self._lines),
            result=story.capacities(self._result) if self._result else _NOTHING,
            notes=(),
        )

    def _notes(self) -> tuple[str, ...]:
        broken = [self._ledger.broken, self._power.broken, *(self._phase.broken if self._phase else ())]
        return tuple(note for note in (*self._unreadable.values(), *broken) if note)

    def _now(self, wall_s: float) -> Now:
        newest_s = rundir.newest_s(self.folder)
        silent_s = max(0.0, wall_s - newest_s) if newest_s else 0.0
        state = self._state(silent_s)
        phase = self._phase
        latest_ns = self._watts.latest_ns if phase is None else max(self._watts.latest_ns, phase.series.latest_ns)
        view = phase.view(latest_ns) if phase is not None else None
        over = state in ("finished", "broken")
        ended_s = self._ledger.written_s if over else wall_s
        elapsed_s = None if self._started_s is None or ended_s is None else max(0.0, ended_s - self._started_s)
        stage: Stage = "done" if state == "finished" else view.stage if view is not None else "preflight"
        return Now(
            state=state,
            silent_s=silent_s,
            elapsed_s=elapsed_s,
            run_left_s=None if over else self._left_s(latest_ns),
            stage=stage,
            message=self._message(state, silent_s),
            phase=view,
            power=() if over else self._power_now(),
            behind=self._power.behind or (phase is not None and phase.behind),
        )

    def _power_now(self) -> tuple[Power, ...]:
        return self._watts.now() if self._watts.latest_ns else ()

    def _state(self, silent_s: float) -> State:
        if self._result is not None:
            return "finished"
        if self._lines and self._lines[-1].event == "broken":
            return "broken"
        if silent_s > QUIET_S:
            return "silent"
        return "running" if self._lines else "preparing"

    def _message(self, state: State, silent_s: float) -> str:
        match state:
            case "finished":
                return "the run has finished"
            case "broken":
                return f"broken off: {self._lines[-1].why}"[:2000]
            case "silent":
                return f"nothing has been written for {silent_s:.0f} s: the run may have been killed"
            case "preparing":
                return "before its first phase"
            case _:
                return self._lines[-1].why[:2000]

    def _left_s(self, latest_ns: Ns) -> float | None:
        plan = self._plan
        if plan is None or not self._standings:
            return None
        starts = [line.start_ns for line in self._lines if line.event == "begun" and line.start_ns is not None]
        # Of neighbours only: a pause lies between a broken run and its resumption, or a restart with another clock.
        spans = [after - before for before, after in pairwise(starts) if after > before]
        usual_s = sum(spans) / len(spans) / NS_PER_S if spans else 0.0
        in_phase_s = max(0, latest_ns - starts[-1]) / NS_PER_S if starts and self._open() else 0.0
        agents = self._lines[-1].agents if self._lines else plan.search.start
        return snapshot.rest_s(self._standings, plan.rigor, agents, usual_s, in_phase_s)


_NOTHING: tuple[Capacity, ...] = ()
_UNFIT = "ledger.jsonl beside plan.toml"
"""In `_unreadable`: each can be read, and they are not of one run."""


def _started_s(path: Path) -> float | None:
    told = msgspec.json.decode(path.read_bytes())
    value = told.get("started_unix_s") if isinstance(told, dict) else None
    return float(value) if isinstance(value, int | float) else None
