"""What a run folder says at one moment. Figures are None where nothing has been seen yet: missing is not zero."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from openagentperf.records.phase import PhaseKind, Verdict
from openagentperf.records.power import Basis, Boundary
from openagentperf.records.progress import Stage
from openagentperf.records.result import Standing

Shown: TypeAlias = Standing | Literal["simulated"]
"""What a simulator certifies or confirms is *simulated*, wherever it shows."""
State: TypeAlias = Literal["preparing", "running", "silent", "broken", "finished"]
"""`preparing`: before its first phase; `silent`: unfinished, and nothing was written for `QUIET_S`; `broken`: its ledger says so."""


class Cause(Struct, frozen=True, kw_only=True):
    """Failed turns of one cause (records.turns.Failure)."""

    cause: str
    turns: int


class Curve(Struct, frozen=True, kw_only=True):
    """A distribution as the share of turns at or below a value."""

    turns: int
    """Turns that it is of, those with an infinite value too: they are the share that no point reaches."""
    points: tuple[tuple[float, float], ...]
    """(value, share 0..1), rising; 100 at most."""


class Timeline(Struct, frozen=True, kw_only=True):
    """A phase in equal steps of time from its start; every column has as many items as the others."""

    step_s: float
    in_flight: tuple[float | None, ...]
    """Requests open: mean over the step, all workers together."""
    active: tuple[float | None, ...]
    """Agents in their loop, with a turn in flight or a tool running."""
    output_tokens_per_s: tuple[float | None, ...]
    """Of turns that have ended, spread evenly over the time in which they were received: the last steps still grow."""
    ended_per_s: tuple[float | None, ...]
    failed_per_s: tuple[float | None, ...]
    ttft_max_s: tuple[float | None, ...]
    """Longest TTFT of the turns that came due in the step and did not fail."""
    cached_share: tuple[float | None, ...]
    """Cached prompt tokens / prompt tokens of the turns that ended in the step."""
    watts: dict[str, tuple[float | None, ...]]
    """By boundary and basis, as `accelerator, measured`; None where a device of it has no reading."""


class PhaseView(Struct, frozen=True, kw_only=True):
    """One phase, open or closed. Figures are of its measured turns (due in the window, not broken off by the phase's end)."""

    index: int
    agents: int
    kind: PhaseKind
    stage: Stage
    opens_s: float
    """From the phase's start to the opening of its window."""
    shortest_s: float
    """From there to the earliest end of the window."""
    left_s: float | None
    """To that earliest end; None of a closed phase."""
    measured_turns: int
    wanted_turns: int
    failed_turns: int
    active_agents: int | None
    in_flight: int | None
    waiting: int | None
    """Agents between two requests (a tool runs): active less in flight, at least 0."""
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    """None where failed turns, whose TTFT is infinite, reach the percentile."""
    speed_p25: float | None
    e2e_speed_p25: float | None
    output_tokens_per_s: float | None
    cached_share: float | None
    errors: tuple[Cause, ...]
    last_error: str
    ttft: Curve
    speed: Curve
    e2e_speed: Curve
    timeline: Timeline


class TierNow(Struct, frozen=True, kw_only=True):
    """A tier and what is known of its capacity so far."""

    tier: str
    output_speed: float
    ttft_s: float
    standing: Shown
    agents: int | None
    passing: int
    failing: int | None
    phases_left: int
    bracket: str
    """The same in words."""


class Power(Struct, frozen=True, kw_only=True):
    """One boundary's power at one moment, or over one window."""

    boundary: Boundary
    basis: Basis
    watts: float | None
    """Sum over the devices; None where one of them has no fresh value."""
    devices: int
    why: str = ""
    """Why there is no value."""


class TierReading(Struct, frozen=True, kw_only=True):
    tier: str
    verdict: Verdict
    reasons: tuple[str, ...]


class Attempt(Struct, frozen=True, kw_only=True):
    """One phase of the ledger."""

    index: int
    agents: int
    kind: PhaseKind
    event: Literal["begun", "judged", "broken"]
    why: str
    """Why the search asked for it; why it was broken off."""
    verdicts: tuple[TierReading, ...] = ()
    measured_turns: int | None = None
    failed_turns: int | None = None
    ttft_p95_s: float | None = None
    speed_p25: float | None = None
    output_tokens_per_s: float | None = None
    cached_share: float | None = None
    power: tuple[Power, ...] = ()


class Ratio(Struct, frozen=True, kw_only=True):
    """Agents per megawatt of a finished run, with its boundary in its name."""

    name: str
    agents_per_mw: float | None


class Capacity(Struct, frozen=True, kw_only=True):
    """A finished run's answer for one tier."""

    tier: str
    standing: Shown
    agents: int | None
    agents_per_accelerator: float | None
    per_mw: tuple[Ratio, ...]
    why: str


class Asked(Struct, frozen=True, kw_only=True):
    """What a run was asked and of what, as its plan and its facts say; "" where they do not (yet)."""

    target: str
    model: str
    tier_set: str
    rigor: str
    preliminary: bool
    track: str


class About(Asked, frozen=True, kw_only=True):
    """What changes only when a phase begins or ends."""

    name: str
    """Of the folder."""
    tiers: tuple[TierNow, ...]
    attempts: tuple[Attempt, ...]
    result: tuple[Capacity, ...]
    """Empty until the run has finished."""
    notes: tuple[str, ...]
    """What of the folder could not be read, and why."""


class Now(Struct, frozen=True, kw_only=True):
    """What changes all the time."""

    state: State
    silent_s: float
    """Since something was last written."""
    elapsed_s: float | None
    """Since the run was begun, pauses included; of one that is over, to the last line of its ledger."""
    run_left_s: float | None
    """Estimate over the phases that the search still needs at most; None where it has ended or cannot be told."""
    stage: Stage
    message: str
    phase: PhaseView | None
    """The open phase; between two phases the one that has just ended. None where none has been seen open."""
    power: tuple[Power, ...]
    behind: bool
    """Rows are still being read in: figures of the open phase and power are of a part of them, and will catch up."""


class Snapshot(Struct, frozen=True, kw_only=True):
    about: About
    now: Now
