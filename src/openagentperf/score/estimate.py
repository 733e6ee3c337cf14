"""Where does the system cross its limit? A line through full phases on log-log axes, with a 90 % interval.

Requests and agents of one phase share one queue, so resampling them understates the error 3 to 11 times; whole phases are
independent draws (fresh order, fresh nonces), so the interval comes from their scatter about the line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from openagentperf.plan import Tier
from openagentperf.records.phase import Judged
from openagentperf.records.result import Interval

MIN_PHASES = 6
NEAR = 1.5
Z95 = 1.6448536269514722
"""Standard normal, 95 % one-sided: the half of a 90 % interval."""


def crossing(history: Sequence[Judged], tier: Tier) -> Interval | None:
    """Estimated level at which the tier's worse criterion meets its limit.

    Of each full (certifying) phase that was not invalid:
        x = ln N,   y = max(ln(P95 TTFT / limit), ln(limit speed / P25 speed))     (y <= 0: both limits hold)
    Only phases within a factor of NEAR of the boundary (between the highest level that passed and the lowest that failed)
    are taken: a cliff is no straight line, and phases at a fifth of the capacity would bend the fit (seen: a system whose P25 speed falls
    from 45 to 22 tokens/s between 15 and 17 agents, estimated at 19.4 with phases at 3 and 7 agents in the fit).
    Least squares y = a + b x; the crossing is exp(-a / b), its interval Fieller's, which knows that the slope is uncertain too.

    None for fewer than six such phases, for phases on one side or at one level only, for a slope that is not surely positive
    (Fieller's set is then unbounded), and where a phase has an infinite TTFT or no speed: it has no place on a log axis, and
    leaving it out would move the line towards the passes.

    Source: docs/methodology.md#capacity
    """
    full = [j for j in history if j.kind == "certify" and j.verdict(tier.name) != "invalid"]
    passed = [j.agents for j in full if j.verdict(tier.name) == "pass"]
    failed = [j.agents for j in full if j.verdict(tier.name) == "fail"]
    if not passed or not failed:
        return None
    low, high = sorted((max(passed), min(failed)))
    full = [j for j in full if low / NEAR <= j.agents <= high * NEAR]
    if len(full) < MIN_PHASES:
        return None
    points: list[tuple[float, float]] = []
    for j in full:
        if not j.ttft_p95_s or not j.speed_p25:
            return None
        y = max(math.log(j.ttft_p95_s / tier.ttft_s), math.log(tier.output_speed / j.speed_p25))
        points.append((math.log(j.agents), y))
    return _fieller(points)


def _fieller(points: Sequence[tuple[float, float]]) -> Interval | None:
    n = len(points)
    mean_x = math.fsum(x for x, _ in points) / n
    mean_y = math.fsum(y for _, y in points) / n
    sxx = math.fsum((x - mean_x) ** 2 for x, _ in points)
    if sxx == 0 or not min(y for _, y in points) <= 0 < max(y for _, y in points):
        return None
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / sxx
    if slope <= 0:
        return None
    residual = math.fsum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points) / (n - 2)
    t = student_t95(n - 2)
    g = t * t * residual / (slope * slope * sxx)
    if g >= 1:
        return None
    shift = -mean_y / slope
    reach = t * math.sqrt(residual) / slope * math.sqrt((1 - g) / n + shift * shift / sxx)
    return Interval(
        estimate=math.exp(mean_x + shift),
        low=math.exp(mean_x + (shift - reach) / (1 - g)),
        high=math.exp(mean_x + (shift + reach) / (1 - g)),
        phases=n,
    )


def student_t95(freedom: int) -> float:
    """95 % quantile of Student's t by the Cornish-Fisher expansion; within 0.2 % of the tables from 4 degrees of freedom up."""
    z, v = Z95, freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )
