"""Builders of phases for the tests of judgement: times in seconds of a phase that starts at 0 s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openagentperf.plan import Rigor, Tier, TierSet
from openagentperf.records.phase import Judged, PhaseFacts, PhaseKind, PhaseOrder, TierVerdict, Verdict
from openagentperf.records.turns import ClientSample, TurnRow
from openagentperf.score.cache import Sharing
from openagentperf.score.columns import Turns
from openagentperf.score.phase import judge

OPENS_S, CLOSES_S = 100.0, 200.0
"""The measure window of `facts()`."""
EASY = Tier(name="easy", output_speed=30, ttft_s=10)
HARD = Tier(name="hard", output_speed=100, ttft_s=1)
RIGOR = Rigor(search_turns=100, certify_turns=300, trajectories=0, trajectories_per_agent=0)
COLD = Sharing.of(lines=[1] * 1000, first_turns=[0] * 1000, shared_bytes=[3500] * 1000)
"""A thousand trajectories without sub-agents. A fifth of the bytes of a `row` is shared."""


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


def row(
    due_s: float, ttft_s: float = 0.5, speed: float = 120.0, tokens: int = 121, late_s: float = 0.0, **more: Any
) -> TurnRow:
    """A good turn of `tokens` tokens: sent `late_s` after due, first output at due + ttft, the others at `speed`."""
    first = due_s + ttft_s
    last = first + (tokens - 1) / speed
    fields: dict[str, Any] = {
        "worker": 0, "agent": 0, "replay": 1, "trajectory": 0, "turn": 5, "last": False,
        "due_ns": ns(due_s), "sent_ns": ns(due_s + late_s), "first_byte_ns": ns(first), "first_output_ns": ns(first),
        "last_output_ns": ns(last), "closed_ns": ns(last), "prompt_tokens": 5000, "cached_tokens": 4000,
        "output_tokens": tokens, "output_reads": tokens, "output_events": tokens, "output_chars": 4 * tokens,
        "response_bytes": 200 * tokens, "request_bytes": 17_500, "connection": "reused",
        "read_lag_ns": 0, "first_lag_ns": 0, "last_lag_ns": 0,
    }  # fmt: skip
    return TurnRow(**(fields | more))


def failed(due_s: float, failure: str, after_s: float = 1.0, **more: Any) -> TurnRow:
    """A turn that failed `after_s` after it was due, with nothing seen of its answer."""
    fields: dict[str, Any] = {
        "worker": 0, "agent": 0, "replay": 1, "trajectory": 0, "turn": 5, "last": False, "due_ns": ns(due_s),
        "sent_ns": ns(due_s), "closed_ns": ns(due_s + after_s), "failure": failure, "connection": "reused",
    }  # fmt: skip
    return TurnRow(**(fields | more))


def spread(count: int, **how: Any) -> list[TurnRow]:
    """`count` equal turns, due evenly over the window."""
    step = (CLOSES_S - OPENS_S) / count
    return [row(OPENS_S + i * step, **how) for i in range(count)]


def facts(kind: PhaseKind = "search", agents: int = 4, index: int = 0, **more: Any) -> PhaseFacts:
    order = PhaseOrder(
        index=index, agents=agents, kind=kind, seed=1, phase_nonce="n", nonce_key=b"k", start_ns=0, spawn_per_s=1.0,
        settle_s=60.0, measure_s=100.0, limit_s=300.0, turn_timeout_s=120.0,
    )  # fmt: skip
    fields: dict[str, Any] = {
        "order": order, "window_start_ns": ns(OPENS_S), "window_end_ns": ns(CLOSES_S), "ended_ns": ns(210),
        "hit_limit": False, "workers": 1, "stamps": "kernel", "min_active_share": 1.0,
    }  # fmt: skip
    return PhaseFacts(**(fields | more))


def samples(lag_s: float = 0.0, seconds: int = 300, step_ms: float = 0.0) -> list[ClientSample]:
    """A worker's health, one sample a second; the wall clock steps by `step_ms` at 150 s."""
    return [
        ClientSample(
            worker=0, t_ns=ns(t), loop_lag_max_ns=ns(lag_s), cpu_ns=0, gc_pause_max_ns=0, active_agents=4, in_flight=4,
            clock_offset_ns=round(step_ms * 1e6) if t >= 150 else 0,
        )
        for t in range(1, seconds + 1)
    ]  # fmt: skip


def judged(
    rows: Sequence[TurnRow],
    tiers: Sequence[Tier] = (EASY,),
    rigor: Rigor = RIGOR,
    health: Sequence[ClientSample] | None = None,
    sharing: Sharing = COLD,
    **of_facts: Any,
) -> Judged:
    health = samples() if health is None else health
    tier_set = TierSet(name="test", tier=tuple(tiers))
    return judge(facts(**of_facts), Turns.from_rows(rows), health, tier_set, rigor, sharing)


def first(found: Judged) -> TierVerdict:
    return found.verdicts[0]


def attempt(
    index: int, agents: int, verdict: Verdict, kind: PhaseKind = "certify", tier: str = "easy", **more: Any
) -> Judged:
    """A judged phase, for tests of what is made of a history."""
    fields: dict[str, Any] = {
        "measured_turns": 200, "completed_trajectories": 10, "failed_turns": 0, "ttft_p50_s": 0.5, "ttft_p95_s": 2.0,
        "speed_p25": 60.0, "e2e_speed_p25": 50.0, "cached_fraction": 0.9, "output_tokens_per_s": 500.0,
        "lateness_p99_s": 0.001, "read_lag_p99_s": 0.001,
    }  # fmt: skip
    reasons = () if verdict == "pass" else ("because",)
    verdicts = (TierVerdict(tier=tier, verdict=verdict, reasons=reasons),)
    return Judged(index=index, agents=agents, kind=kind, verdicts=verdicts, **(fields | more))
