"""A phase along its time: requests in flight, those waiting for their first token, tokens, cache hits, power."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from openagentperf.records.phase import PhaseFacts
from openagentperf.records.power import MeterFacts
from openagentperf.report.phaserows import Watched
from openagentperf.score.cache import counted, reported
from openagentperf.score.columns import Floats, Ints, Mask, Turns
from openagentperf.units import NS_PER_S

BINS, LEAST_BIN_S = 120, 0.5
"""A picture is 400 pixels wide; bins narrower than three of them, or than a few turns, would only show noise."""


class PowerLine(Struct, frozen=True, kw_only=True):
    """Power inside one boundary, as it was read: all devices of its meters together, not judged."""

    name: str
    """`accelerator, measured`."""
    watts: tuple[float | None, ...]
    """Mean of each bin; None where one of the devices has no reading on both sides of it, or none for longer than `max_gap_s` inside it."""


class Timeline(Struct, frozen=True, kw_only=True):
    """Means over bins of equal length, from the start of the phase to its end."""

    bin_s: float
    window_from_s: float
    window_to_s: float
    in_flight: tuple[float, ...]
    """Requests sent and not yet closed."""
    waiting: tuple[float, ...]
    """Of the turns that were due, those without a first token: the queue, as an agent sees it."""
    output_tokens_per_s: tuple[float, ...]
    """Tokens of each answer spread evenly from its first output to its last."""
    cached_share: tuple[float | None, ...]
    """Cached / prompt tokens of the turns due in the bin; None where there are none, or the server does not report them."""
    power: tuple[PowerLine, ...]


def timeline(
    facts: PhaseFacts, turns: Turns, watched: Sequence[Watched] = (), meters: Sequence[MeterFacts] = ()
) -> Timeline:
    start = facts.order.start_ns
    end = max(facts.ended_ns, int(turns.closed_ns.max(initial=0)), start + 1)
    count = int(min(BINS, max(10, (end - start) / NS_PER_S / LEAST_BIN_S)))
    edges = np.linspace(start, end, count + 1)
    answered = turns.first_output_ns >= 0
    first = np.where(answered, turns.first_output_ns, turns.closed_ns)
    sent = turns.sent_ns >= 0
    decoded = answered & (turns.output_tokens > 0)
    return Timeline(
        bin_s=(end - start) / count / NS_PER_S,
        window_from_s=(facts.window_start_ns - start) / NS_PER_S,
        window_to_s=(facts.window_end_ns - start) / NS_PER_S,
        in_flight=_floats(_mean_over(edges, turns.sent_ns[sent], turns.closed_ns[sent])),
        waiting=_floats(_mean_over(edges, turns.due_ns, first)),
        output_tokens_per_s=_floats(_tokens(edges, turns, decoded)),
        cached_share=_cached(edges, turns),
        power=_power(edges, watched, meters),
    )


def _floats(values: Floats) -> tuple[float, ...]:
    return tuple(values.tolist())


def _mean_over(edges: Floats, start: Ints, end: Ints, weight: Floats | None = None) -> Floats:
    """Mean over each bin of the summed weights (1 each) of the spans start..end that are open.

    Integral up to t of one span: min(max(t - start, 0), end - start); summed over all by sorting starts and ends once.
    """
    ones = np.ones(len(start)) if weight is None else weight
    total = _ramp(edges, start.astype(np.float64), ones) - _ramp(edges, end.astype(np.float64), ones)
    return np.maximum(np.diff(total), 0.0) / np.diff(edges)


def _ramp(edges: Floats, at: Floats, weight: Floats) -> Floats:
    """Sum of weight x max(edge - at, 0), for each edge. Times are taken from the first edge on: 1e18 ns squared away the digits."""
    order = np.argsort(at, kind="stable")
    shifted = at[order] - edges[0]
    weights = np.concatenate(([0.0], np.cumsum(weight[order])))
    moments = np.concatenate(([0.0], np.cumsum(weight[order] * shifted)))
    upto = np.searchsorted(shifted, edges - edges[0], side="right")
    ramp: Floats = weights[upto] * (edges - edges[0]) - moments[upto]
    return ramp


def _tokens(edges: Floats, turns: Turns, decoded: Mask) -> Floats:
    first = turns.first_output_ns[decoded]
    last = np.maximum(turns.last_output_ns[decoded], first + 1)
    return _mean_over(edges, first, last, turns.output_tokens[decoded] * NS_PER_S / (last - first))


def _cached(edges: Floats, turns: Turns) -> tuple[float | None, ...]:
    if not reported(turns):
        return (None,) * (len(edges) - 1)
    known = counted(turns)
    due = turns.due_ns[known]
    prompts, _ = np.histogram(due, edges, weights=turns.prompt_tokens[known])
    cached, _ = np.histogram(due, edges, weights=np.maximum(turns.cached_tokens[known], 0))
    return tuple(
        float(hit) / float(prompt) if prompt > 0 else None for hit, prompt in zip(cached, prompts, strict=True)
    )


def _power(edges: Floats, watched: Sequence[Watched], meters: Sequence[MeterFacts]) -> tuple[PowerLine, ...]:
    sensors = {(sensor.meter, sensor.device, sensor.quantity): sensor for sensor in watched}
    sums: dict[str, Floats] = {}
    for meter in meters:
        name = f"{meter.boundary}, {meter.basis}"
        for device in meter.devices:
            counter, power = (sensors.get((meter.name, device.device, quantity)) for quantity in ("energy", "power"))
            watts = _device(edges, counter, power, meter.max_gap_s * NS_PER_S)
            sums[name] = watts if name not in sums else sums[name] + watts
    return tuple(
        PowerLine(name=name, watts=tuple(w if np.isfinite(w) else None for w in watts.tolist()))
        for name, watts in sorted(sums.items())
    )


def _device(edges: Floats, counter: Watched | None, power: Watched | None, gap_ns: float) -> Floats:
    """Mean W of each bin; NaN where it is not known."""
    # A counter that went back is a restarted driver; the power beside it still shows what happened.
    if counter is not None and len(counter.value) > 1 and bool((np.diff(counter.value) >= 0).all()):
        return _rate(edges, counter.t_ns.astype(np.float64), counter.value, gap_ns)
    if power is not None and len(power.value) > 1:
        t = power.t_ns.astype(np.float64)
        joules = np.cumsum(np.diff(t) / NS_PER_S * (power.value[1:] + power.value[:-1]) / 2)
        return _rate(edges, t, np.concatenate(([0.0], joules)), gap_ns)
    return np.full(len(edges) - 1, np.nan)


def _rate(edges: Floats, t: Floats, joules: Floats, gap_ns: float) -> Floats:
    """Mean W of each bin; NaN for bins that do not lie between readings at most `gap_ns` apart."""
    steps = np.diff(t)
    near = np.concatenate(([0.0], np.cumsum(np.where(steps <= gap_ns, steps, 0.0))))
    lengths = np.diff(edges)
    with np.errstate(over="ignore", invalid="ignore"):
        # A damaged counter may hold 1e300; infinite is then left out like unknown.
        rate = np.diff(np.interp(edges, t, joules)) * NS_PER_S / lengths
    covered = np.diff(np.interp(edges, t, near))
    known: Floats = np.where(covered > _WHOLE * lengths, rate, np.nan)
    return known


_WHOLE = 1 - 1e-6
"""Times of 1e18 ns are exact to 128 ns as floats: a bin of 0.5 s is covered to 5e-7 of its length."""
