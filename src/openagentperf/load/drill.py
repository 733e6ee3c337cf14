"""A phase of the real load path for its own sake, against a server whose doings are known: what does the client itself do?

What the self-check, the benchmarks of the load path and its tests have in common: sessions of even length, workers, one search phase, and
its tables. What they ask of the rows is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from openagentperf import tables
from openagentperf.corpus.compiler import CompileOptions, compile_corpus
from openagentperf.corpus.layout import SUFFIX
from openagentperf.corpus.nonce import phase_nonce
from openagentperf.load.collect import Collector
from openagentperf.load.fleet import Fleet
from openagentperf.load.link import Hosts
from openagentperf.load.protocol import Setup
from openagentperf.records.phase import PhaseFacts, PhaseOrder, Quota
from openagentperf.records.progress import Stage
from openagentperf.records.trajectory import Message, ToolCall, Trajectory, Turn
from openagentperf.score.cache import Sharing
from openagentperf.score.columns import Turns
from openagentperf.seeds import Stream, derive
from openagentperf.units import NS_PER_S, Ns
from openagentperf.wire.chatrequest import encode_message, fixed_head

_SPARE_S = 60.0
"""Beyond ramp, settling and window, for a window that waits for its turns and for the last of them to end."""


class Drill(Struct, frozen=True, kw_only=True):
    """How much load, and for how long."""

    agents: int
    workers: int = 1
    spawn_per_s: float = 150.0
    settle_s: float = 2.0
    measure_s: float = 8.0
    least_turns: int = 0
    """The window stays open until so many turns were measured."""
    turn_timeout_s: float = 60.0
    continuous_usage: bool = False
    cores: tuple[int, ...] = ()


def sessions(
    *, tokens: int, first_bytes: int, turns: int = 12, delay_s: tuple[float, float] = (0.1, 0.5)
) -> Iterator[Trajectory]:
    """Fifty of equal length: answers of `tokens`, a first request of `first_bytes` of text to which each turn adds a tenth, and tool
    delays spread evenly over a range; by default so short that nearly every agent has a request in flight at any time."""
    low, high = delay_s
    for number in range(50):
        stream = Stream(1, "drill", number)
        made = []
        for k in range(turns):
            call = ToolCall(f"call_{k}", "bash", '{"command":"ls"}')
            tool = Message("tool", "x" * (first_bytes // 10), tool_call_id=call.id)
            appended: Sequence[Message] = (Message("assistant", "", tool_calls=(call,)), tool)
            if not k:
                appended = (Message("system", "You fix bugs."), Message("user", "y" * first_bytes))
            delay_ns = round((low + stream.uniform() * (high - low)) * NS_PER_S)
            made.append(Turn(appended=tuple(appended), input_tokens=1, output_tokens=tokens, tool_delay_ns=delay_ns))
        yield Trajectory(id=f"session {number}", turns=tuple(made))


def compiled(trajectories: Iterable[Trajectory], folder: Path) -> Path:
    """As a corpus in `folder`."""
    path = folder / f"corpus{SUFFIX}"
    with path.open("wb") as file:
        compile_corpus(trajectories, encode_message, CompileOptions(), file.write)
    return path


def drilled(
    drill: Drill,
    url: str,
    corpus: Path,
    folder: Path,
    tick: Callable[[Collector, PhaseOrder, Stage], None] = lambda *_: None,
    hosts: Hosts | None = None,
) -> tuple[PhaseFacts, Collector]:
    """One search phase against the server at `url`, the length of every answer asked for; its files lie in `folder`."""
    with Fleet(_setup(drill, url, corpus), folder, hosts) as fleet:
        fleet.prepare()
        order = _order(drill, fleet.starts_ns(drill.agents))
        return fleet.run(order, folder, Quota(drill.least_turns, 0), tick)


def closed(folder: Path, facts: PhaseFacts, collector: Collector) -> Turns:
    """The phase's tables written, and its rows read back from them."""
    tables.write_phase(folder, facts, collector.rows, collector.reads, collector.samples, collector.kept)
    return Turns.from_columns(tables.read_turns(folder))


def cold(turns: Turns) -> Sharing:
    """Of a server that reports no cached tokens, so that none can be too many."""
    trajectories = int(turns.trajectory.max(initial=0)) + 1
    return Sharing.of([1] * trajectories, [0] * trajectories, [0] * trajectories)


def _setup(drill: Drill, url: str, corpus: Path) -> Setup:
    return Setup(
        worker=0,
        workers=drill.workers,
        urls=(url,),
        ca_file="",
        headers={"Content-Type": "application/json", "Accept": "text/event-stream"},
        fixed_head=fixed_head(
            model="null", exact=True, temperature=0.0, continuous_usage=drill.continuous_usage, extra={}
        ),
        exact=True,
        max_output_tokens=1,  # of the natural track
        corpus=str(corpus),
        idle_reuse_s=4.0,
        cores=drill.cores,
    )


def _order(drill: Drill, start_ns: Ns) -> PhaseOrder:
    return PhaseOrder(
        index=0,
        agents=drill.agents,
        kind="search",
        seed=1,
        phase_nonce=phase_nonce(Stream(1, "drill")),
        nonce_key=derive(1, "drill key"),
        start_ns=start_ns,
        spawn_per_s=drill.spawn_per_s,
        settle_s=drill.settle_s,
        measure_s=drill.measure_s,
        limit_s=drill.agents / drill.spawn_per_s + drill.settle_s + drill.measure_s + _SPARE_S,
        turn_timeout_s=drill.turn_timeout_s,
    )
