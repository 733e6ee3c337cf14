"""What this host's client can drive exactly: the load path against a target that computes nothing, more and more agents.

Exact is what the rows of a level say, twice over. By themselves: the client's own error, from lateness and read lag, keeps within the
share of the tiers' limits that makes a phase valid. And held against the target's log of what it sent when: P50 and P95 of TTFT and P25
of output speed come out as they were. The target runs on this host too and takes a core of it: with a core more the client does no worse.

Bound by tokens a second rather than by agents: an agent in a tool delay costs next to nothing.
"""

from __future__ import annotations

import http.client
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np
from msgspec import Struct

from openagentperf import __version__, rundir, tables
from openagentperf.client.connection import TRANSPORT_POLICY
from openagentperf.corpus.compiler import CompileOptions, compile_corpus
from openagentperf.corpus.layout import SUFFIX
from openagentperf.corpus.nonce import phase_nonce
from openagentperf.errors import InfrastructureError
from openagentperf.load.fleet import Fleet, Quota, start_barrier_ns
from openagentperf.load.protocol import Setup
from openagentperf.plan import Rigor, TierSet
from openagentperf.records.ceiling import Ceiling, Level
from openagentperf.records.phase import PhaseFacts, PhaseOrder
from openagentperf.records.trajectory import Message, ToolCall, Trajectory, Turn
from openagentperf.records.turns import ClientSample
from openagentperf.score import validity
from openagentperf.score.cache import Sharing
from openagentperf.score.columns import Ints, Turns
from openagentperf.score.quantile import quantile
from openagentperf.score.view import View, look, readings
from openagentperf.seeds import Stream, derive
from openagentperf.sim.null import ROW
from openagentperf.sim.spawn import spawned
from openagentperf.units import NS_PER_MS, NS_PER_S
from openagentperf.wire.chatrequest import encode_message, fixed_head

TTFT_OFF_S = 0.003
"""P50 and P95 of TTFT may come out so far from what the target's log says (docs/methodology.md#validity)..."""
SPEED_OFF = 0.01
"""... and P25 of output speed, as a share."""
NEARER = 1.1
"""The search ends where the smallest level that was not exact is less than this many times the largest that was."""


class Load(Struct, frozen=True, kw_only=True):
    """What every agent does while it is measured."""

    speed: float = 50.0
    """Tokens/s of an answer."""
    tokens: int = 100
    """Of each answer."""
    request_bytes: int = 30_000
    """Text of a session's first request; each further turn adds a tenth of it, up to twelve."""
    workers: int = 1
    measure_s: float = 8.0
    spawn_per_s: float = 150.0


def measure(
    load: Load, tiers: TierSet, observe: Callable[[str], None], *, agents: int | None = None, limit: int = 8192
) -> Ceiling:
    """One level, where `agents` is given; else the largest that is exact, to one part in ten, found by doubling from 64 and halving."""
    levels: list[Level] = []

    def exact(n: int) -> bool:
        level = _level(load, tiers, n)
        levels.append(level)
        observe(f"{n} agents, {level.tokens_per_s:.0f} tokens/s: {'; '.join(level.why) or 'exact'}")
        return not level.why

    if agents is not None:
        exact(agents)
    else:
        largest(exact, limit)
    best = max((level for level in levels if not level.why), key=lambda level: level.agents, default=None)
    return Ceiling(
        host=host(), workers=load.workers, version=__version__,
        agents=best.agents if best else 0, tokens_per_s=best.tokens_per_s if best else 0.0, speed=load.speed,
        request_bytes=load.request_bytes, levels=tuple(levels),
    )  # fmt: skip


def largest(exact: Callable[[int], bool], limit: int) -> int:
    """The largest n <= limit for which `exact` holds, to one part in ten: doubled from 64 (halved, where that is too much), then halved
    between; 0 where 1 is too much. `exact` is asked once for each n."""
    good, bad = 0, limit + 1
    n = min(64, limit)
    while True:
        if exact(n):
            good = n
        else:
            bad = n
        if good == limit or bad <= max(good * NEARER, good + 1):
            return good
        n = min(2 * good, limit) if bad > limit else (good + bad) // 2


# -- what is known of this host ----------------------------------------------------------------------------------------------


def host() -> str:
    """What a ceiling holds for: another host, or this one with other cores or another Python, is not known by it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.node()}, {cores} cores, {platform.machine()}, Python {platform.python_version()}, {TRANSPORT_POLICY}"


def remembered_at() -> Path:
    """Where the last ceiling of this host lies: in the user's state folder, beside no run."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "openagentperf" / "selfcheck.json"


def remember(ceiling: Ceiling) -> Path:
    path = remembered_at()
    rundir.write(path, msgspec.json.format(msgspec.json.encode(ceiling), indent=1) + b"\n")
    return path


def known(workers: int) -> Ceiling | None:
    """The ceiling of this host with so many workers; None where none was measured, by this version, or the file cannot be read."""
    try:
        found = msgspec.json.decode(remembered_at().read_bytes(), type=Ceiling)
    except (OSError, msgspec.DecodeError):
        return None
    fits = (found.host, found.workers, found.version) == (host(), workers, __version__)
    return found if fits and found.agents else None


# -- one level ---------------------------------------------------------------------------------------------------------------


def _level(load: Load, tiers: TierSet, agents: int) -> Level:
    with (
        tempfile.TemporaryDirectory(prefix="openagentperf-") as scratch,
        spawned("openagentperf.sim.null", "--interval-ms", f"{1000 / load.speed:g}", "--count", "number") as url,
    ):
        folder = Path(scratch)
        corpus = folder / f"corpus{SUFFIX}"
        with corpus.open("wb") as file:
            compile_corpus(sessions(load), encode_message, CompileOptions(), file.write)
        with Fleet(_setup(load, url, corpus), folder) as fleet:
            facts, collector = fleet.run(_order(load, agents), folder, Quota(2 * agents, 0), lambda *_: None)
        tables.write_phase(folder, facts, collector.rows, collector.reads, collector.samples, ())
        turns = Turns.from_columns(tables.read_turns(folder))
        return _judged(facts, turns, tables.read_samples(folder), _log(url), tiers)


def _log(url: str) -> Ints:
    """The target's log: a row a request, columns read_ns, first_ns, last_ns, tokens."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request("GET", "/log")
        packed = connection.getresponse().read()
    finally:
        connection.close()
    return np.frombuffer(packed, dtype=np.int64).reshape(-1, ROW.size // 8)


def _judged(facts: PhaseFacts, turns: Turns, samples: list[ClientSample], log: Ints, tiers: TierSet) -> Level:
    view = look(facts, turns, samples)
    measured = view.measured
    answered = measured.where(~measured.failed)
    if not len(answered):
        raise InfrastructureError(
            "selfcheck", "no turn was answered", "the load path and the target must work", "see why with `run`"
        )
    rigor = Rigor()
    why = validity.spoiled(view, samples, _cold(turns))
    told = readings(view) if view.pace.known.any() else None
    strictest = min(tiers.tier, key=lambda tier: tier.ttft_s)
    why += validity.client_error(view, strictest, rigor, told)
    truth = log[answered.prompt_tokens]
    ttft_s = (answered.first_output_ns - answered.due_ns) / NS_PER_S
    true_s = (truth[:, 1] - truth[:, 0]) / NS_PER_S
    off = {p: quantile(ttft_s, p) - quantile(true_s, p) for p in (0.5, 0.95)}
    why += [
        f"P{round(100 * p)} of TTFT is {1000 * by:+.2f} ms off the target's own log, at most {1000 * TTFT_OFF_S:g} ms may"
        for p, by in off.items()
        if abs(by) > TTFT_OFF_S
    ]
    speed = (answered.output_tokens - 1) / np.maximum(answered.last_output_ns - answered.first_output_ns, 1)
    true_speed = (truth[:, 3] - 1) / np.maximum(truth[:, 2] - truth[:, 1], 1)
    speed_off = quantile(speed, 0.25) / quantile(true_speed, 0.25) - 1
    if abs(speed_off) > SPEED_OFF:
        why.append(f"P25 of output speed is {speed_off:+.2%} off the target's own log, at most {SPEED_OFF:.0%} may")
    if failed := int(measured.failed.sum()):
        why.append(f"{failed} of {len(measured)} turns failed against a target that fails none")
    return _level_of(view, samples, why, off, speed_off)


def _level_of(
    view: View, samples: list[ClientSample], why: list[str], off: dict[float, float], speed_off: float
) -> Level:
    facts, measured = view.facts, view.measured
    start_ns, end_ns = facts.window_start_ns, facts.window_end_ns
    seconds = (end_ns - start_ns) / NS_PER_S
    inside = [sample for sample in samples if start_ns + NS_PER_S <= sample.t_ns <= end_ns]
    by_worker: dict[int, list[int]] = {}
    for sample in inside:
        by_worker.setdefault(sample.worker, []).append(sample.cpu_ns)
    late_s = np.maximum(measured.sent_ns - measured.due_ns, 0) / NS_PER_S
    read_s = np.maximum(measured.read_lag_ns, 0) / NS_PER_S
    return Level(
        agents=facts.order.agents,
        tokens_per_s=view.streamed_tokens_per_s,
        requests_per_s=len(measured) / seconds,
        why=tuple(why),
        ttft_p50_off_s=off[0.5],
        ttft_p95_off_s=off[0.95],
        speed_p25_off=speed_off,
        lateness_s=(quantile(late_s, 0.5), quantile(late_s, 0.99), float(late_s.max())),
        read_lag_p99_s=quantile(read_s, 0.99),
        loop_lag_max_s=max((sample.loop_lag_max_ns for sample in inside), default=0) / NS_PER_S,
        gc_pause_max_s=max((sample.gc_pause_max_ns for sample in inside), default=0) / NS_PER_S,
        cpu_shares=tuple(sum(cpu) / len(cpu) / NS_PER_S for _, cpu in sorted(by_worker.items())),
    )


def _cold(turns: Turns) -> Sharing:
    """The target reports no cached tokens, so that none can be too many."""
    trajectories = int(turns.trajectory.max(initial=0)) + 1
    return Sharing.of([1] * trajectories, [0] * trajectories, [0] * trajectories)


def sessions(load: Load) -> Iterator[Trajectory]:
    """Fifty sessions of twelve turns with tool delays of 0.1 to 0.5 s: nearly every agent has a request in flight at any time."""
    for number in range(50):
        stream = Stream(1, "selfcheck", number)
        turns = []
        for k in range(12):
            call = ToolCall(f"call_{k}", "bash", '{"command":"ls"}')
            tool = Message("tool", "x" * (load.request_bytes // 10), tool_call_id=call.id)
            appended: Sequence[Message] = (Message("assistant", "", tool_calls=(call,)), tool)
            if not k:
                appended = (Message("system", "You fix bugs."), Message("user", "y" * load.request_bytes))
            delay_ns = round((100 + 400 * stream.uniform()) * NS_PER_MS)
            turns.append(
                Turn(appended=tuple(appended), input_tokens=1, output_tokens=load.tokens, tool_delay_ns=delay_ns)
            )
        yield Trajectory(id=f"session {number}", turns=tuple(turns))


def _setup(load: Load, url: str, corpus: Path) -> Setup:
    return Setup(
        worker=0,
        workers=load.workers,
        urls=(url,),
        ca_file="",
        headers={"Content-Type": "application/json", "Accept": "text/event-stream"},
        fixed_head=fixed_head(model="null", exact=True, temperature=0.0, continuous_usage=False, extra={}),
        exact=True,
        max_output_tokens=load.tokens,
        corpus=str(corpus),
        idle_reuse_s=4.0,
    )


def _order(load: Load, agents: int) -> PhaseOrder:
    settle_s = 2.0
    return PhaseOrder(
        index=0,
        agents=agents,
        kind="search",
        seed=1,
        phase_nonce=phase_nonce(Stream(1, "selfcheck")),
        nonce_key=derive(1, "selfcheck key"),
        start_ns=start_barrier_ns(agents),
        spawn_per_s=load.spawn_per_s,
        settle_s=settle_s,
        measure_s=load.measure_s,
        limit_s=agents / load.spawn_per_s + settle_s + load.measure_s + 60,
        turn_timeout_s=60,
    )
