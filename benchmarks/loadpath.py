"""One phase of the product's own load path against the mock server: real corpus file, fleet, worker, tables and judge.

Rows are tied to the server's log by number: the mock writes each request's number into usage.prompt_tokens.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from benchmarks.mock import Mock, SendLog, pinned, running
from openagentperf import tables
from openagentperf.corpus.compiler import CompileOptions, compile_corpus
from openagentperf.corpus.layout import SUFFIX
from openagentperf.corpus.nonce import phase_nonce
from openagentperf.load.collect import Collector
from openagentperf.load.fleet import Fleet, Quota, start_barrier_ns
from openagentperf.load.protocol import Setup
from openagentperf.plan import Rigor
from openagentperf.planfile import tier_presets
from openagentperf.records.phase import Judged, PhaseFacts, PhaseOrder
from openagentperf.records.trajectory import Message, ToolCall, Trajectory, Turn
from openagentperf.records.turns import ClientSample
from openagentperf.score.cache import Sharing
from openagentperf.score.columns import Turns
from openagentperf.score.phase import judge
from openagentperf.score.view import View, look
from openagentperf.seeds import Stream, derive
from openagentperf.units import NS_PER_MS
from openagentperf.wire.chatrequest import encode_message, fixed_head

HEADERS = {"Content-Type": "application/json", "Accept": "text/event-stream"}
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
        return _phase(shape, mock, url, Path(scratch))


def _phase(shape: Shape, mock: Mock, url: str, folder: Path) -> Phase:
    corpus = folder / f"corpus{SUFFIX}"
    with corpus.open("wb") as file:
        compile_corpus(_sessions(shape), encode_message, CompileOptions(), file.write)
    cpu_ns: list[int] = []

    def tick(_collector: Collector, _order: PhaseOrder, stage: str) -> None:
        if stage == "measure":
            cpu_ns.append(time.process_time_ns())

    with ExitStack() as stack:
        with pinned(shape.worker_core):  # the worker inherits its core
            fleet = stack.enter_context(Fleet(_setup(shape, url, corpus), folder))
        facts, collector = fleet.run(_order(shape), folder, Quota(shape.least_turns, 0), tick)
        log = mock.log()
    tables.write_phase(folder, facts, collector.rows, collector.reads, collector.samples, collector.kept)
    turns = Turns.from_columns(tables.read_turns(folder))
    samples = tables.read_samples(folder)
    trajectories = int(turns.trajectory.max(initial=0)) + 1
    cold = Sharing.of([1] * trajectories, [0] * trajectories, [0] * trajectories)
    return Phase(
        facts=facts,
        everything=turns,
        view=look(facts, turns, samples),
        samples=samples,
        judged=judge(facts, turns, samples, TIERS, Rigor(search_turns=shape.least_turns), cold),
        log=log,
        collector_cpu_ns=cpu_ns[-1] - cpu_ns[0],
    )


def _sessions(shape: Shape) -> Iterator[Trajectory]:
    """Fifty sessions of equal length, with delays drawn evenly from the shape's range."""
    low, high = shape.delay_ms
    for number in range(50):
        stream = Stream(1, "load path", number)
        turns = []
        for k in range(shape.turns):
            call = ToolCall(f"call_{k}", "bash", '{"command":"ls"}')
            appended = (
                (Message("assistant", "", tool_calls=(call,)), Message("tool", "x" * (shape.first_bytes // 10), tool_call_id=call.id))
                if k
                else (Message("system", "You fix bugs."), Message("user", "y" * shape.first_bytes))
            )  # fmt: skip
            delay_ns = round((low + stream.uniform() * (high - low)) * NS_PER_MS)
            turns.append(Turn(appended=appended, input_tokens=1, output_tokens=shape.tokens, tool_delay_ns=delay_ns))
        yield Trajectory(id=f"session {number}", turns=tuple(turns))


def _setup(shape: Shape, url: str, corpus: Path) -> Setup:
    return Setup(
        worker=0,
        workers=1,
        urls=(url,),
        ca_file="",
        headers=HEADERS,
        fixed_head=fixed_head(
            model="mock", exact=True, temperature=0.0, continuous_usage=shape.continuous_usage, extra={}
        ),
        exact=True,
        max_output_tokens=1000,
        corpus=str(corpus),
        idle_reuse_s=4.0,
    )


def _order(shape: Shape) -> PhaseOrder:
    return PhaseOrder(
        index=0,
        agents=shape.agents,
        kind="search",
        seed=1,
        phase_nonce=phase_nonce(Stream(1, "nonce")),
        nonce_key=derive(1, "nonce key"),
        start_ns=start_barrier_ns(shape.agents),
        spawn_per_s=shape.spawn_per_s,
        settle_s=shape.settle_s,
        measure_s=shape.measure_s,
        limit_s=shape.agents / shape.spawn_per_s + shape.settle_s + shape.measure_s + 60,
        turn_timeout_s=60,
    )
