"""What this host's client can drive exactly: the load path against a target that computes nothing, more and more agents.

Exact is what the rows of a level say, twice over. By themselves: the client's own error, from lateness and read lag, keeps within the
share of the tiers' limits that makes a phase valid. And held against the target's log of what it sent when: P50 and P95 of TTFT and P25
of output speed come out as they were. The target runs on this host too and takes a core of it: with a core more the client does no worse.

Bound by tokens a second rather than by agents: an agent in a tool delay costs next to nothing.
"""

from __future__ import annotations

import http.client
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from msgspec import Struct

from openagentperf import __version__, tables
from openagentperf.errors import InfrastructureError
from openagentperf.load.ceiling import host
from openagentperf.load.drill import Drill, closed, cold, compiled, drilled, sessions
from openagentperf.plan import Rigor, TierSet
from openagentperf.records.ceiling import Ceiling, Level
from openagentperf.records.phase import PhaseFacts
from openagentperf.records.turns import ClientSample
from openagentperf.score import validity
from openagentperf.score.columns import Ints, Turns
from openagentperf.score.quantile import quantile
from openagentperf.score.view import View, look, readings
from openagentperf.sim.null import ROW
from openagentperf.sim.spawn import spawned
from openagentperf.units import NS_PER_S

TTFT_OFF_S = 0.003
"""P50 and P95 of TTFT may come out so far from what the target's log says (docs/methodology.md#validity)..."""
SPEED_OFF = 0.01
"""... and P25 of output speed, as a share."""
MOST_AGENTS = 8192
"""The search tries no more."""
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


def measure(load: Load, tiers: TierSet, observe: Callable[[str], None], *, agents: int | None = None) -> Ceiling:
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
        largest(exact, MOST_AGENTS)
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


# -- one level ---------------------------------------------------------------------------------------------------------------


def _level(load: Load, tiers: TierSet, agents: int) -> Level:
    drill = Drill(agents=agents, workers=load.workers, measure_s=load.measure_s, least_turns=2 * agents)
    with (
        tempfile.TemporaryDirectory(prefix="openagentperf-") as scratch,
        spawned("openagentperf.sim.null", "--interval-ms", f"{1000 / load.speed:g}", "--count", "number") as url,
    ):
        folder = Path(scratch)
        corpus = compiled(sessions(tokens=load.tokens, first_bytes=load.request_bytes), folder)
        facts, collector = drilled(drill, url, corpus, folder)
        turns = closed(folder, facts, collector)
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
    why = validity.spoiled(view, samples, cold(turns))
    told = readings(view) if view.pace.known.any() else None
    strictest = min(tiers.tier, key=lambda tier: tier.ttft_s)
    why += validity.client_error(view, strictest, rigor, told)
    truth = log[answered.prompt_tokens]
    true_s = (truth[:, 1] - truth[:, 0]) / NS_PER_S
    off = {p: quantile(view.ttft_s[~measured.failed], p) - quantile(true_s, p) for p in (0.5, 0.95)}
    why += [
        f"P{round(100 * p)} of TTFT is {1000 * by:+.2f} ms off the target's own log, at most {1000 * TTFT_OFF_S:g} ms may"
        for p, by in off.items()
        if abs(by) > TTFT_OFF_S
    ]
    true_speed = (truth[:, 3] - 1) / np.maximum(truth[:, 2] - truth[:, 1], 1) * NS_PER_S
    speed_off = quantile(view.pace.speed[~measured.failed], 0.25) / quantile(true_speed, 0.25) - 1
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
    return Level(
        agents=facts.order.agents,
        tokens_per_s=view.streamed_tokens_per_s,
        requests_per_s=len(measured) / seconds,
        why=tuple(why),
        ttft_p50_off_s=off[0.5],
        ttft_p95_off_s=off[0.95],
        speed_p25_off=speed_off,
        lateness_s=(quantile(late_s, 0.5), quantile(late_s, 0.99), float(late_s.max())),
        read_lag_p99_s=quantile(view.read_lag_s, 0.99),
        loop_lag_max_s=max((sample.loop_lag_max_ns for sample in inside), default=0) / NS_PER_S,
        gc_pause_max_s=max((sample.gc_pause_max_ns for sample in inside), default=0) / NS_PER_S,
        cpu_shares=tuple(sum(cpu) / len(cpu) / NS_PER_S for _, cpu in sorted(by_worker.items())),
    )
