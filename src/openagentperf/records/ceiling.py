"""What a host's client was found to drive exactly (`openagentperf selfcheck`)."""

from __future__ import annotations

from msgspec import Struct


class Level(Struct, frozen=True, kw_only=True):
    """One number of agents against a target that computes nothing."""

    agents: int
    tokens_per_s: float
    """Streamed by all agents together, mean over the window."""
    requests_per_s: float
    why: tuple[str, ...] = ()
    """Why it was not exact; empty where it was."""
    ttft_p50_off_s: float
    """As reported, less what the target's own log says."""
    ttft_p95_off_s: float
    speed_p25_off: float
    """The same of output speed, as a share of it."""
    lateness_s: tuple[float, float, float]
    """Sent less due: P50, P99, worst."""
    read_lag_p99_s: float
    """P99 over turns of the longest time that a read waited for this program."""
    loop_lag_max_s: float
    gc_pause_max_s: float
    cpu_shares: tuple[float, ...]
    """Of a core, by worker."""


class Ceiling(Struct, frozen=True, kw_only=True):
    """The largest level that was exact, and all that were tried. Proven up to here; beyond, nothing is known."""

    host: str
    """What it holds for: host, cores, Python, transport."""
    workers: int
    version: str
    agents: int
    """0: none was exact."""
    tokens_per_s: float
    speed: float
    """Tokens/s of each answer."""
    request_bytes: int
    """Of a session's first request."""
    levels: tuple[Level, ...] = ()
