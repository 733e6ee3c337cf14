"""Synthetic power signals, and what a sensor would say of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from openagentperf.records.power import DeviceFacts, MeterFacts, Quantity, Reading
from openagentperf.seeds import Stream
from openagentperf.units import Ns, s_to_ns


class Signal(NamedTuple):
    """Power as a function of time, and its integral."""

    watts: Callable[[float], float]
    joules: Callable[[float], float]
    """From 0 s on."""


def constant(watts: float) -> Signal:
    return Signal(lambda t: watts, lambda t: watts * t)


def ramp(low: float, high: float, length_s: float) -> Signal:
    slope = (high - low) / length_s
    return Signal(lambda t: low + slope * t, lambda t: low * t + slope * t * t / 2)


def square(low: float, high: float, hz: float) -> Signal:
    """High in the first half of each beat."""
    half = 0.5 / hz

    def joules(t: float) -> float:
        beats, rest = divmod(t, 2 * half)
        return (beats * half + min(rest, half)) * high + (beats * half + max(rest - half, 0)) * low

    return Signal(lambda t: high if math.floor(t / half) % 2 == 0 else low, joules)


def flicker(signal: Signal, seed: int = 1, share: float = 0.001) -> Signal:
    """The signal with the last digits of a live sensor."""
    draw = Stream(seed, "flicker")
    return Signal(lambda t: signal.watts(t) * (1 + share * (draw.uniform() - 0.5)), signal.joules)


def poll_times(start_s: float, end_s: float, period_s: float, seed: int = 1) -> Iterator[float]:
    """Jittered: one poll a period, anywhere in it."""
    draw = Stream(seed, "polls")
    for k in range(math.ceil((end_s - start_s) / period_s)):
        yield start_s + (k + draw.uniform()) * period_s


def meter(name: str = "m", *devices: DeviceFacts, boundary: str = "accelerator", **more: object) -> MeterFacts:
    about = {
        "kind": "fake",
        "basis": "measured",
        "source": "test",
        "period_s": 0.1,
        "max_gap_s": 3.0,
        "stale_s": 3.0,
    } | more
    return MeterFacts(name=name, boundary=boundary, devices=devices or (DeviceFacts(device="d0"),), **about)  # type: ignore[arg-type]


def reading(
    t_s: float, value: float | None, quantity: Quantity = "power", device: str = "d0", name: str = "m", **more: Ns
) -> Reading:
    why = "" if value is not None else "no answer"
    return Reading(meter=name, device=device, quantity=quantity, t_ns=s_to_ns(t_s), value=value, why=why, **more)


def polled(
    signal: Signal,
    start_s: float,
    end_s: float,
    period_s: float = 0.1,
    device: str = "d0",
    name: str = "m",
    seed: int = 1,
) -> list[Reading]:
    times = poll_times(start_s, end_s, period_s, seed)
    return [reading(t, signal.watts(t), "power", device, name) for t in times]


def counted(
    signal: Signal,
    start_s: float,
    end_s: float,
    update_s: float = 0.1,
    *,
    first_j: float = 0.0,
    span_j: float | None = None,
    device: str = "d0",
) -> list[Reading]:
    """A counter's updates, each polled once just when it came; it shows `first_j` at the start and wraps at `span_j`."""
    rows = []
    for k in range(round((end_s - start_s) / update_s) + 1):
        t = start_s + k * update_s
        total = first_j + signal.joules(t) - signal.joules(start_s)
        rows.append(reading(t, total if span_j is None else total % span_j, "energy", device))
    return rows
