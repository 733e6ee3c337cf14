"""What a face shows while a run goes on."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

Stage: TypeAlias = Literal["preparing", "preflight", "ramp", "settle", "measure", "drain", "judge", "done"]


class Progress(Struct, frozen=True, kw_only=True):
    """A snapshot, about twice a second. Figures are of the open phase's measured turns so far; None where there are none."""

    stage: Stage
    message: str = ""
    warning: str = ""
    """Said once and kept in sight, while a message is replaced by the next."""
    phase: int = 0
    """Ordinal of the open phase, from 0."""
    kind: str = ""
    agents: int = 0
    active_agents: int = 0
    in_flight: int | None = None
    """Requests open, all workers together, at their last samples; more than agents where sub-agents run. None where there is none yet."""
    measured_turns: int = 0
    wanted_turns: int = 0
    failed_turns: int = 0
    ttft_p95_s: float | None = None
    speed_p25: float | None = None
    elapsed_s: float = 0.0
    phase_left_s: float | None = None
    run_left_s: float | None = None
    """Estimate over the phases that the search still needs at most."""
    last_error: str = ""
    brackets: tuple[str, ...] = ()
    """One line a tier: what is known of its capacity so far, in words."""
