"""One phase of the product's own load path against the mock server: real corpus file, fleet, worker, tables and judge.

Rows are tied to the server's log by number: the mock writes each request's number into usage.prompt_tokens.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from benchmarks.mock import Mock, SendLog, running, usable
from openagentperf import tables
from openagentperf.load.collect import Collector
from openagentperf.load.drill import Drill, closed, cold, compiled, drilled, sessions
from openagentperf.plan import Rigor
from openagentperf.planfile import tier_presets
from openagentperf.records.phase import Judged, PhaseFacts, PhaseOrder
from openagentperf.records.turns import ClientSample
from openagentperf.score.columns import Turns
from openagentperf.score.phase import judge
from openagentperf.score.view import View, look

TIERS = tier_presets()["agentperf"]
Through: TypeAlias = Callable[[str], AbstractContextManager[str]]


class Shape(Struct, frozen=True, kw_only=True):
    """How much load, and for how long."""

    agents: int = 300
    spawn_per_s: float = 150
    settle_s: float = 3
    measure_s: float = 8
    least_turns: int = 200
    """The window stays open until so many turns were measured."""
    delay_ms: tuple[int, int] = (100, 500)
    """Tool delays: short, so that nearly all agents have a request in flight at any time."""
    first_bytes: int = 8_000
    """Text of a first request; each turn adds a tenth of it."""
    turns: int = 12
    tokens: int = 100
    """Of each answer; asked for by the request."""
    continuous_usage: bool = False
    worker_core: int | None = None


@dataclass(frozen=True, eq=False)
class Phase:
    """What the phase left: facts, rows, health, the judge's words, and the server's log."""

    facts: PhaseFacts
    everything: Turns
    view: View
    samples: list[ClientSample]
    judged: Judged
    log: SendLog
    collector_cpu_ns: int
    """CPU time of this process, which decodes the rows, over the measure window."""

    @property
    def measured(self) -> Turns:
        return self.view.measured

    @property
    def truth(self) -> SendLog:
        """The server's entries of the measured turns that were answered, row by row beside `answered`."""
        return self.log.of(self.answered.prompt_tokens)

    @property
    def answered(self) -> Turns:
        return self.measured.where(~self.measured.failed)


def measure(shape: Shape, *options: str, server_core: int | None = None, through: Through = nullcontext) -> Phase:
    """Run one phase against a fresh mock server with `options`; `through` puts something between, and yields its URL."""
    with (
        tempfile.TemporaryDirectory(prefix="openagentperf-") as scratch,
        running("--prompt-tokens", "number", "--obey", "1", *options, core=server_core) as mock,
        through(mock.url) as url,
    ):
        return phase(shape, mock, url, Path(scratch))


def phase(shape: Shape, mock: Mock, url: str, folder: Path) -> Phase:
    """One phase against a mock server that runs already; `folder` takes its files."""
    low, high = shape.delay_ms
    delay_s = (low / 1000, high / 1000)
    corpus = compiled(
        sessions(tokens=shape.tokens, first_bytes=shape.first_bytes, turns=shape.turns, delay_s=delay_s), folder
    )
    drill = Drill(
        agents=shape.agents, spawn_per_s=shape.spawn_per_s, settle_s=shape.settle_s, measure_s=shape.measure_s,
        least_turns=shape.least_turns, continuous_usage=shape.continuous_usage, cores=usable(shape.worker_core),
    )  # fmt: skip
    cpu_ns: list[int] = []

    def tick(_collector: Collector, _order: PhaseOrder, stage: str) -> None:
        if stage == "measure":
            cpu_ns.append(time.process_time_ns())

    facts, collector = drilled(drill, url, corpus, folder, tick)
    log = mock.log()
    turns = closed(folder, facts, collector)
    samples = tables.read_samples(folder)
    return Phase(
        facts=facts,
        everything=turns,
        view=look(facts, turns, samples),
        samples=samples,
        judged=judge(facts, turns, samples, TIERS, Rigor(search_turns=shape.least_turns), cold(turns)),
        log=log,
        collector_cpu_ns=cpu_ns[-1] - cpu_ns[0],
    )
