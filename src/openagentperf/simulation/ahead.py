"""Phases of one search beside each other: the ones that are likely to come next are begun before it is known that they will.

What a simulated phase is follows from the plan and its place in the search (simulation.phases), so one that was guessed right has the
rows that it would have had in its turn, and one that was guessed wrong is ended and forgotten: a search's bytes do not depend on how many
processes it had. Guessed are verdicts, from those of the levels around: pass where a higher level passed, fail where a lower one failed,
and in between as if speed and TTFT lay on straight lines, all in logarithms.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection
from types import TracebackType
from typing import NamedTuple

from openagentperf.errors import OpenAgentPerfError
from openagentperf.plan import Plan, Tier
from openagentperf.records.phase import Judged, PhaseOrder, Quota, TierVerdict, Verdict
from openagentperf.search.step import Step, next_step
from openagentperf.sim.spec import ClusterSpec
from openagentperf.sim.virtual import SimPhase, run_phase
from openagentperf.sim.workload import Workload

_WORTH_S = 1.0
"""A phase that is expected to take less is simulated here: a process costs some 0.4 s to start and to give back what it made."""
_MOST = 4
"""Processes: a guess three phases ahead is right too rarely."""


class Asked(NamedTuple):
    order: PhaseOrder
    quota: Quota


class Ahead:
    """Use as a context manager: its processes end with it."""

    def __init__(self, spec: ClusterSpec, work: Workload, processes: int = 0, worth_s: float = _WORTH_S) -> None:
        """`processes` at a time; 0: one a core, 1: nothing is begun ahead."""
        self._spec, self._work, self._worth_s = spec, work, worth_s
        self._most = processes or min(_MOST, len(os.sched_getaffinity(0)))
        self._others: list[_Other] = []
        self._agent_s = 0.0
        """That an agent took of the last phase that was simulated here."""

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for other in self._others:
            other.end()

    def phase(self, asked: Asked, likely: Iterator[Asked]) -> SimPhase:
        """The phase that was asked for; those that are likely to be asked for after it are begun meanwhile."""
        begun = any(other.asked == asked for other in self._others)
        if not begun and (self._most == 1 or self._agent_s * asked.order.agents < self._worth_s):
            return self._here(asked)
        wanted = [asked, *islice(likely, self._most - 1)]
        for other in [other for other in self._others if other.asked not in wanted]:
            other.end()
            self._others.remove(other)
        running = [other.asked for other in self._others]
        self._others += [_Other(self._spec, self._work, each) for each in wanted if each not in running]
        ours = next(other for other in self._others if other.asked == asked)
        try:
            made = ours.made()
        finally:
            ours.end()
            self._others.remove(ours)
        # A process that was killed, or refused: here it works, or says why not.
        return self._here(asked) if made is None else made

    def _here(self, asked: Asked) -> SimPhase:
        began_s = time.monotonic()
        made = run_phase(self._spec, self._work, *asked)
        self._agent_s = (time.monotonic() - began_s) / asked.order.agents
        return made


class _Other:
    """A process that simulates one phase."""

    def __init__(self, spec: ClusterSpec, work: Workload, asked: Asked) -> None:
        self.asked = asked
        # spawn: a fork of a process with threads (polars has some) may hang.
        context = multiprocessing.get_context("spawn")
        self._from, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_simulate, args=(theirs, spec, work, asked), daemon=True)
        self._process.start()
        theirs.close()

    def made(self) -> SimPhase | None:
        """None where it has ended without."""
        try:
            made: SimPhase | None = self._from.recv()
        except (EOFError, OSError):  # killed before its answer, or in the middle of it
            return None
        return made

    def end(self) -> None:
        self._process.kill()  # it has nothing to put away, and a pipe that closed under it would be its traceback on the terminal
        self._process.join()
        self._process.close()
        self._from.close()


def _simulate(to: Connection, spec: ClusterSpec, work: Workload, asked: Asked) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group: it is the parent's to tell
    try:
        made = run_phase(spec, work, *asked)
    except OpenAgentPerfError:
        made = None
    with suppress(BrokenPipeError):  # whoever asked is gone
        to.send(made)


# -- guesses ---------------------------------------------------------------------------------------------------------------------------


def likely_steps(history: Sequence[Judged], plan: Plan, step: Step) -> Iterator[Step]:
    """What the search would ask for after `step`, and after that, if every phase were judged as `foreseen`."""
    seen = list(history)
    while True:
        seen.append(foreseen(seen, plan, step))
        following = next_step(seen, plan.tiers, plan.search, plan.rigor)
        if following is None:
            return
        step = following
        yield step


def foreseen(history: Sequence[Judged], plan: Plan, step: Step) -> Judged:
    """How a phase of this step would be judged, by those before it."""
    verdicts = tuple(TierVerdict(tier=tier.name, verdict=_verdict(history, tier, step)) for tier in plan.tiers.tier)
    return Judged(
        index=len(history), agents=step.agents, kind=step.kind, verdicts=verdicts, measured_turns=0, completed_trajectories=0,
        failed_turns=0,
    )  # fmt: skip


def _verdict(history: Sequence[Judged], tier: Tier, step: Step) -> Verdict:
    agents = step.agents
    passed = {judged.agents: judged for judged in history if judged.verdict(tier.name) == "pass"}
    failed = {judged.agents: judged for judged in history if judged.verdict(tier.name) == "fail"}
    if any(level >= agents for level in passed):
        return "pass"
    if any(level <= agents for level in failed):
        return "fail"
    points = [passed[level] for level in sorted(passed)[-2:]]
    if failed:
        points = [*points[-1:], failed[min(failed)]]
    if len(points) < 2:
        return "pass"
    share = math.log(agents / points[0].agents) / math.log(points[1].agents / points[0].agents)
    low, high = (_margins(judged, tier) for judged in points)
    return "pass" if all(a + share * (b - a) >= 0 for a, b in zip(low, high, strict=True)) else "fail"


def _margins(judged: Judged, tier: Tier) -> tuple[float, float]:
    """Logarithms of how far speed and TTFT are on the good side of the service level; of 1 in 100 where nothing came."""
    speed = (judged.speed_p25 or 0.0) / tier.output_speed
    ttft = tier.ttft_s / judged.ttft_p95_s if judged.ttft_p95_s else 0.0
    return math.log(max(0.01, speed)), math.log(max(0.01, ttft))
