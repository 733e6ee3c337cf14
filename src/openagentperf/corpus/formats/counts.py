"""Numbers of a recording that may be used: token counts and times inside sane bounds, or None.

A recording is a file that anybody can edit: a negative count, a count of 10^30 or a clock that ran backwards must not reach
the compiler, where it would overflow 64 bits or make a turn that never ends.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from openagentperf.units import NS_PER_MS, NS_PER_S, NS_PER_US, Ns, s_to_ns

MAX_TOKENS = 1 << 32
MAX_DELAY_NS: Ns = 30 * 24 * 3600 * 1_000_000_000
"""A tool that took 30 days is a clock error."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_MAX_UNIX_S = 1 << 33
"""The year 2242; 64 bits of ns end in 2262."""


def tokens(value: object) -> int | None:
    """`value` as a count of tokens, 0 .. 2^32; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
        return None
    return value


def delay_ns(ms: object) -> Ns | None:
    """Milliseconds as ns; None if not a number from 0 to 30 days."""
    if isinstance(ms, bool) or not isinstance(ms, int | float) or not 0 <= ms <= MAX_DELAY_NS / NS_PER_MS:
        return None
    return round(ms * NS_PER_MS)


def seconds_ns(seconds: object) -> Ns | None:
    """Seconds as ns; None if not a number from 0 to 30 days."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_DELAY_NS / NS_PER_S:
        return None
    return s_to_ns(seconds)


def unix_ns(seconds: object) -> Ns | None:
    """Seconds since 1970 as ns; None if not a number of this or the next two centuries."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _MAX_UNIX_S:
        return None
    return s_to_ns(seconds)


def between_ns(start: Ns | None, end: Ns | None) -> Ns | None:
    """`end - start`; None where either is unknown, the clock ran backwards, or 30 days passed."""
    if start is None or end is None or not 0 <= end - start <= MAX_DELAY_NS:
        return None
    return end - start


def stamp_ns(text: str | None) -> Ns | None:
    """ISO 8601 as ns since 1970 (UTC where it names no zone); None if it is no time."""
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    try:
        return (when - _EPOCH) // _US * NS_PER_US
    except OverflowError:  # year 1 with a zone ahead of UTC
        return None
