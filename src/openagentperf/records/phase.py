"""One phase: what was asked of the workers, what came of it, and how it was judged."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from openagentperf.records.hosts import LoadHost
from openagentperf.records.power import WindowEnergy
from openagentperf.units import NS_PER_S, Ns, s_to_ns

PhaseKind: TypeAlias = Literal["search", "certify"]
Verdict: TypeAlias = Literal["pass", "fail", "invalid"]


class PhaseOrder(Struct, frozen=True, kw_only=True):
    """What every worker needs to know of a phase; which agents it runs is arithmetic."""

    index: int
    """Ordinal in the run, from 0; the folder's number."""
    agents: int
    kind: PhaseKind
    seed: int
    """Seeds order and starting points; fresh for each phase."""
    phase_nonce: str
    """Opens the first message of every request: no phase profits from an earlier one's cache."""
    nonce_key: bytes
    """Keys the replay nonces, which open the first user message."""
    start_ns: Ns
    """When agent 0 starts: a barrier in the future of the host's monotonic clock."""
    spawn_per_s: float
    settle_s: float
    measure_s: float
    """Shortest measure window; the window is kept open until its quotas are met."""
    limit_s: float
    """From start_ns to the end of all, whatever is still open."""
    turn_timeout_s: float
    ceiling_tokens_per_s: float | None = None
    """What this host's load processes were found to drive exactly (`openagentperf selfcheck`); None where that was not measured."""

    @property
    def window_opens_ns(self) -> Ns:
        """Start of the measure window: the ramp over, then settled."""
        return self.start_ns + round((self.agents / self.spawn_per_s + self.settle_s) * 1e9)

    @property
    def limit_ns(self) -> Ns:
        """When the phase ends, whatever is still open."""
        return self.start_ns + s_to_ns(self.limit_s)


class Quota(Struct, frozen=True):
    """What a phase must hold before its window may close."""

    turns: int
    trajectories: int


def may_close(order: PhaseOrder, quota: Quota, now: Ns, *, turns: int, trajectories: int, longest_ns: Ns) -> bool:
    """Whether the measure window closes now: it has its length, and its quotas or no time for more.

    turns, trajectories   measured and completed so far
    longest_ns            the longest turn so far. A window short of its quotas closes twice that (1 s at least) before the limit: closing
                          at the limit itself would cut off every turn in flight, and healthy ones would fail by our own doing (4 of 53 in
                          a search phase of 7 agents whose turns took 0.8 s)
    """
    if now < order.window_opens_ns + s_to_ns(order.measure_s):
        return False
    if turns >= quota.turns and trajectories >= quota.trajectories:
        return True
    return now >= order.limit_ns - max(NS_PER_S, 2 * longest_ns)


class PhaseFacts(Struct, frozen=True, kw_only=True):
    """`phase.json`: what happened, before anybody judges it."""

    order: PhaseOrder
    window_start_ns: Ns
    window_end_ns: Ns
    ended_ns: Ns
    """When the last worker had drained."""
    wall_offset_ns: tuple[Ns, Ns] | None = None
    """Wall clock less monotonic clock, when the phase was ordered and when it had ended: what an external log is aligned by. None in
    folders of before."""
    hit_limit: bool
    """`limit_s` ended the phase; measured turns still open then are failures."""
    workers: int
    stamps: Literal["kernel", "user"]
    """Whose clock the reads carry: the kernel's at arrival, or ours when we got to it."""
    min_active_share: float
    """Share of the window during which all `agents` were active (0..1)."""
    faults: tuple[str, ...] = ()
    """What spoiled the measurement on our side, in words: a worker that died, a clock step."""
    hosts: tuple[LoadHost, ...] = ()
    """Who made the load, where it was not this host alone (docs/howto/cluster.md#several-load-hosts)."""


class TierVerdict(Struct, frozen=True, kw_only=True):
    """One tier's reading of one phase."""

    tier: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Why it is not a pass, and what to do; empty for a pass."""
    short: bool = False
    """Invalid for nothing but too few turns, trajectories or speeds, and what there is meets the tier."""


class Judged(Struct, frozen=True, kw_only=True):
    """One attempt in the ledger: a line of `ledger.jsonl`. Every attempt stands there, whatever came of it."""

    index: int
    agents: int
    kind: PhaseKind
    verdicts: tuple[TierVerdict, ...]
    measured_turns: int
    completed_trajectories: int
    failed_turns: int
    ttft_p50_s: float | None = None
    """None where failures push the percentile to infinity, or nothing was measured."""
    ttft_p95_s: float | None = None
    speed_p25: float | None = None
    """Output speed, tokens/s."""
    e2e_speed_p25: float | None = None
    cached_fraction: float | None = None
    """Cached prompt tokens / prompt tokens over measured turns; None where the server does not report it."""
    output_tokens_per_s: float | None = None
    lateness_p99_s: float | None = None
    """Our own share of sent - due: all of it on a reused connection; where a turn dialled, what the event loop lagged meanwhile."""
    read_lag_p99_s: float | None = None
    input_tokens_mean: float | None = None
    """Prompt tokens by the corpus's own count, over measured turns that did not fail; None where there are none."""
    output_tokens_mean: float | None = None
    output_tokens_sd: float | None = None
    output_tokens_quartiles: tuple[float, float, float] | None = None
    """With mean and deviation: was the work equal to that of a low-load reference (docs/methodology.md#tracks)?"""
    tail_p95_s: float | None = None
    """P95 of closed - last_output over measured turns that did not fail: tool delays start when an answer has drained, so a
    server that holds its end back lowers the load on itself. None where there are none."""
    in_flight_mean: float | None = None
    """Requests in flight, all workers together, mean over the window's client samples: how many really waited for the server. Fewer
    than agents while tools run, more where they run sub-agents. None where a worker has no sample in the window."""
    in_flight_max: int | None = None
    """Most requests in flight at one instant of the window; None where there were none."""
    subagent_share: float | None = None
    """Of the measured turns, those of sub-agents, which run beside the agent that counts; None where nothing was measured."""
    energy: tuple[WindowEnergy, ...] = ()
    """Of the measure window, a row a boundary and basis; empty where no meter is declared."""
    notes: tuple[str, ...] = ()

    def verdict(self, tier: str) -> Verdict:
        """The verdict for one tier (by name)."""
        return next(v.verdict for v in self.verdicts if v.tier == tier)
