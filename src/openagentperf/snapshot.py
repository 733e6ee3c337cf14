"""An open phase as a face shows it: figures of its measured turns so far, and how long all may still take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from openagentperf.load.collect import Collector
from openagentperf.plan import Rigor
from openagentperf.records.phase import PhaseOrder
from openagentperf.records.progress import Progress, Stage
from openagentperf.records.standing import Standing
from openagentperf.records.turncolumns import RECENT
from openagentperf.records.turns import ClientSample, TurnRow
from openagentperf.score.columns import Turns
from openagentperf.score.quantile import quantile_or_none
from openagentperf.score.turn import pace, ttft_s
from openagentperf.units import NS_PER_S, Ns, s_to_ns

_SAMPLES = 1000
"""Each worker leaves one a second, so that the last of each are among so many."""


def snapshot(
    collector: Collector,
    order: PhaseOrder,
    stage: Stage,
    wanted_turns: int,
    standings: Sequence[Standing],
    rigor: Rigor,
    now_ns: Ns,
    elapsed_s: float,
    ended_phases: int,
) -> Progress:
    """See the module. `now_ns` is the host's monotonic clock, `elapsed_s` since the first of the `ended_phases`.

    Figures are of the last RECENT turns: a snapshot twice a second must not cost more as a phase of an hour goes on.
    """
    in_phase_s = max(0, now_ns - order.start_ns) / NS_PER_S
    usual_s = (elapsed_s - in_phase_s) / ended_phases if ended_phases else 0.0
    recent = Turns.from_rows(
        [row for row in collector.rows[-RECENT:] if row.due_ns >= order.window_opens_ns and row.failure != "aborted"]
    )
    speeds = pace(recent)
    started = min(order.agents, max(0, int((now_ns - order.start_ns) / NS_PER_S * order.spawn_per_s)))
    window_ends_ns = order.window_opens_ns + s_to_ns(order.measure_s)
    return Progress(
        stage=stage,
        phase=order.index,
        kind=order.kind,
        agents=order.agents,
        active_agents=started if stage == "ramp" else order.agents,
        in_flight=in_flight(collector.samples),
        measured_turns=collector.measured_turns,
        wanted_turns=wanted_turns,
        failed_turns=collector.failed_turns,
        ttft_p95_s=_finite(quantile_or_none(ttft_s(recent), 0.95)),
        speed_p25=_finite(quantile_or_none(speeds.speed[speeds.known], 0.25)),
        elapsed_s=elapsed_s,
        phase_left_s=max(0.0, (window_ends_ns - now_ns) / NS_PER_S),
        run_left_s=rest_s(standings, rigor, order.agents, usual_s, in_phase_s),
        last_error=next((f"{r.failure}: {r.detail}" for r in reversed(collector.rows[-50:]) if _failed(r)), ""),
        brackets=tuple(bracket(standing) for standing in standings),
    )


def rest_s(
    standings: Sequence[Standing], rigor: Rigor, agents: int, usual_s: float = 0.0, in_phase_s: float = 0.0
) -> float:
    """Seconds that the phases still wanted may take, the open one included.

    Each is taken at the shortest length of one with `agents` agents or at that of a usual one so far, whichever is more: windows
    that wait for their turns outlast their shortest length, and the time left once read 0:00 with many phases to go.
    Tiers that have not failed yet share the ramp, so the longest of their searches counts once; bisections and certifications
    of different tiers add up.
    """
    ramp_s = agents / rigor.spawn_per_s + rigor.settle_s
    wanting = [s for s in standings if s.phases_left]
    certifying = sum(min(s.phases_left, rigor.certify_phases) for s in wanting)
    searching = [(s.failing is None, max(0, s.phases_left - rigor.certify_phases)) for s in wanting]
    shared = max((phases for ramping, phases in searching if ramping), default=0)
    own = sum(phases for ramping, phases in searching if not ramping)
    phases = shared + own + certifying
    shortest_s = (shared + own) * (ramp_s + rigor.search_measure_s) + certifying * (ramp_s + rigor.measure_s)
    all_s = max(shortest_s, phases * usual_s)
    return max(all_s - min(in_phase_s, all_s / phases), 0.0) if phases else 0.0


def in_flight(samples: Sequence[ClientSample]) -> int | None:
    """Requests open at each worker's last sample, added up; None where no worker has left one."""
    last = {sample.worker: sample.in_flight for sample in samples[-_SAMPLES:]}
    return sum(last.values()) if last else None


def _failed(row: TurnRow) -> bool:
    """Not for the phase's own end, which breaks off what is open then."""
    return row.failure not in ("", "aborted")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def bracket(standing: Standing) -> str:
    """What is known of one tier so far, in words."""
    if standing.agents is not None and standing.standing != "unfinished":
        return f"{standing.tier}: {standing.agents} {standing.standing}"
    failing = f"fails at {standing.failing}" if standing.failing is not None else "no failure yet"
    return f"{standing.tier}: passes at {standing.passing or '-'}, {failing}"
