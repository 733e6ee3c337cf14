"""Units, as type names. A value's unit also stands in its name (`ttft_ns`, `settle_s`); the alias says it to mypy's reader.

Times inside a run are integer nanoseconds of one host's monotonic clock (CLOCK_MONOTONIC): an int never loses the
nanosecond that a float loses after 104 days of uptime. Seconds (float) are for people: plans and results.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

Ns: TypeAlias = int
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]
PositiveSeconds: TypeAlias = Annotated[float, Meta(gt=0)]
TokensPerS: TypeAlias = Annotated[float, Meta(gt=0)]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
CountOrZero: TypeAlias = Annotated[int, Meta(ge=0)]
Fraction: TypeAlias = Annotated[float, Meta(ge=0, le=1)]

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_US = 1_000


def s_to_ns(seconds: float) -> Ns:
    """Nanoseconds, rounded to the nearest."""
    return round(seconds * NS_PER_S)


def ns_to_s(ns: int) -> float:
    return ns / NS_PER_S


def significant(value: float, digits: int = 3) -> str:
    """`value` to so many significant digits, whole where it has more before its point: 999.7 is `1,000` and 61354.2 is `61,354`, neither of
    them `1e+03`."""
    text = f"{value:,.{digits}g}"
    return f"{value:,.0f}" if "e+" in text else text
