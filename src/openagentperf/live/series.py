"""A phase's turns, samples and watts as they come, and the figures of all so far: exact, and in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from openagentperf.live.buckets import Buckets
from openagentperf.live.records import Cause, Curve, Timeline
from openagentperf.records.turns import ClientSample
from openagentperf.score.columns import Floats, Ints, Turns
from openagentperf.score.quantile import quantile_or_none
from openagentperf.score.turn import pace, ttft_s
from openagentperf.units import NS_PER_S, Ns

KEPT = 1_000_000
"""Values a distribution is of at most: the latest. 8 MB each; a phase of 2,000 agents for an hour has some 500,000 turns."""
HOLD_S = 10.0
"""A BMC is asked every few seconds: between two readings the picture shows the earlier one, for so long at most."""
_SAMPLE_S = 2.0
"""Workers leave a sample a second, a little more between two: a step in which none fell shows the one before."""
_POINTS = 100
_SAME = 1.01
"""A curve is drawn anew once it is of 1 % more turns: sorting a million values each second would take a tenth of a core."""


class Values:
    """The latest `kept` of the values that were put in."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._array = np.empty(min(1024, kept))
        self._next = 0
        self.count = 0
        """Put in so far."""
        self._curve: Curve | None = None
        self._curve_of = 0

    def put(self, values: Floats) -> None:
        values = values[-self._kept :]
        need = min(self.count + len(values), self._kept)
        if need > len(self._array):
            larger = np.empty(min(self._kept, 2 * need))
            larger[: self.count] = self._array[: self.count]
            self._array = larger
        room = len(self._array)
        at = (self._next + np.arange(len(values))) % room
        self._array[at] = values
        self._next = (self._next + len(values)) % room if room == self._kept else self._next + len(values)
        self.count += len(values)

    def all(self) -> Floats:
        return self._array[: min(self.count, self._kept)]

    def quantile(self, q: float) -> float | None:
        """None where there are no values or it is infinite."""
        return quantile_or_none(self.all(), q)

    def curve(self) -> Curve:
        if self._curve is None or self.count >= _SAME * self._curve_of:
            self._curve, self._curve_of = _curve(self.all()), max(1, self.count)
        return self._curve


def _curve(values: Floats) -> Curve:
    finite = np.sort(values[np.isfinite(values)])
    if not len(finite):
        return Curve(turns=len(values), points=())
    ranks = np.unique(np.linspace(0, len(finite) - 1, min(_POINTS, len(finite))).round().astype(np.int64))
    return Curve(
        turns=len(values),
        points=tuple((float(finite[rank]), float((rank + 1) / len(values))) for rank in ranks),
    )


class Series:
    """Turns are added in any order; `opens_ns` and `ends_ns` bound the window, which is still open where the latter is None."""

    def __init__(self, start_ns: Ns, opens_ns: Ns, ends_ns: Ns | None = None) -> None:
        self.start_ns, self.opens_ns, self.ends_ns = start_ns, opens_ns, ends_ns
        self.buckets = Buckets(start_ns)
        self.ttft, self.speed, self.e2e_speed = Values(), Values(), Values()
        self.errors: Counter[str] = Counter()
        self.measured = 0
        self._tokens = self._prompt = self._cached = self._reported = self._answered = 0
        self._samples: dict[int, ClientSample] = {}
        self.latest_ns: Ns = start_ns
        """Of whatever was added."""

    def add_turns(self, turns: Turns) -> None:
        if not len(turns):
            return
        self.latest_ns = max(self.latest_ns, int(turns.closed_ns.max()))
        self._add_to_timeline(turns)
        mask = (turns.due_ns >= self.opens_ns) & (turns.failure != "aborted")
        if self.ends_ns is not None:  # in a closed phase a measured turn that was cut off is a failed one
            mask = (turns.due_ns >= self.opens_ns) & (turns.due_ns < self.ends_ns)
        measured = turns.where(mask)
        if not len(measured):
            return
        paces = pace(measured)
        self.ttft.put(ttft_s(measured))
        self.speed.put(paces.speed[paces.known])
        self.e2e_speed.put(paces.end_to_end[paces.known])
        self.errors.update(str(cause) for cause in measured.failure[measured.failed])
        self.measured += len(measured)
        answered = measured.where(~measured.failed)
        self._tokens += int(np.maximum(answered.output_tokens, 0).sum())
        counted = answered.where(answered.prompt_tokens >= 0)
        self._answered += len(counted)
        self._reported += int((counted.cached_tokens >= 0).sum())
        self._prompt += int(counted.prompt_tokens.sum())
        self._cached += int(np.maximum(counted.cached_tokens, 0).sum())

    def _add_to_timeline(self, turns: Turns) -> None:
        steps = self.buckets
        steps.add("ended", turns.closed_ns)
        failed = turns.failed & (turns.failure != "aborted")
        steps.add("failed", turns.closed_ns[failed])
        good = turns.where(~turns.failed)
        if len(good):
            steps.top("ttft", good.due_ns, ttft_s(good))
            tokens = np.maximum(good.output_tokens, 0).astype(np.float64)
            steps.spread("tokens", good.first_output_ns, good.last_output_ns, tokens)
            counted = good.where((good.prompt_tokens >= 0) & (good.cached_tokens >= 0))
            steps.add("prompt", counted.closed_ns, counted.prompt_tokens.astype(np.float64))
            steps.add("cached", counted.closed_ns, counted.cached_tokens.astype(np.float64))

    def add_samples(self, samples: Sequence[ClientSample]) -> None:
        if not samples:
            return
        times = np.array([sample.t_ns for sample in samples], dtype=np.int64)
        self.latest_ns = max(self.latest_ns, int(times.max()))
        self.buckets.add("samples", times)
        self.buckets.add("in_flight", times, np.array([sample.in_flight for sample in samples], dtype=np.float64))
        self.buckets.add("active", times, np.array([sample.active_agents for sample in samples], dtype=np.float64))
        for sample in samples:
            self._samples[sample.worker] = sample

    def add_watts(self, name: str, times: Ints, watts: Floats) -> None:
        """Values of one device; `name` is the boundary's, a tab, the device's."""
        self.buckets.add(f"watts\t{name}", times, watts)
        self.buckets.add(f"polls\t{name}", times)

    @property
    def in_flight(self) -> int | None:
        """At each worker's last sample."""
        return sum(sample.in_flight for sample in self._samples.values()) if self._samples else None

    @property
    def active(self) -> int | None:
        return sum(sample.active_agents for sample in self._samples.values()) if self._samples else None

    @property
    def failed(self) -> int:
        return self.errors.total()

    def output_tokens_per_s(self) -> float | None:
        """Of measured turns that have ended, over the window so far; None before the first."""
        end_ns = self.latest_ns if self.ends_ns is None else self.ends_ns
        return self._tokens * NS_PER_S / (end_ns - self.opens_ns) if self.measured and end_ns > self.opens_ns else None

    def cached_share(self) -> float | None:
        """As score.cache.cached_fraction has it."""
        if not self._prompt or 2 * self._reported < self._answered:
            return None
        return self._cached / self._prompt

    def causes(self) -> tuple[Cause, ...]:
        return tuple(Cause(cause=cause, turns=turns) for cause, turns in self.errors.most_common())

    def timeline(self) -> Timeline:
        steps = self.buckets
        step_s = steps.step_ns / NS_PER_S
        samples = steps.sums("samples")
        workers = max(1, len(self._samples))

        def of_samples(name: str) -> tuple[float | None, ...]:
            per_worker = np.divide(steps.sums(name), samples, out=np.full(len(samples), np.nan), where=samples > 0)
            return _numbers(_held(per_worker * workers, _SAMPLE_S * NS_PER_S / steps.step_ns))

        return Timeline(
            step_s=step_s,
            in_flight=of_samples("in_flight"),
            active=of_samples("active"),
            output_tokens_per_s=_numbers(steps.sums("tokens") / step_s),
            ended_per_s=_numbers(steps.sums("ended") / step_s),
            failed_per_s=_numbers(steps.sums("failed") / step_s),
            ttft_max_s=_numbers(steps.tops("ttft")),
            cached_share=_ratio(steps.sums("cached"), steps.sums("prompt")),
            watts=steps_watts(steps),
        )


def steps_watts(steps: Buckets) -> dict[str, tuple[float | None, ...]]:
    """Per boundary the sum over its devices of their mean in each step; None where one of them has no value in it."""
    by_boundary: dict[str, Floats] = {}
    for name in steps.names("watts\t"):
        _, boundary, device = name.split("\t", 2)
        polls = steps.sums(f"polls\t{boundary}\t{device}")
        mean = np.divide(steps.sums(name), polls, out=np.full(len(polls), np.nan), where=polls > 0)
        held = _held(mean, HOLD_S * NS_PER_S / steps.step_ns)
        by_boundary[boundary] = by_boundary.get(boundary, np.zeros(len(polls))) + held
    return {boundary: _numbers(watts) for boundary, watts in by_boundary.items()}


def _held(values: Floats, longest: float) -> Floats:
    """A value stands until the next one, for `longest` steps at most."""
    steps = np.arange(len(values))
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, steps))
    held: Floats = np.where((last >= 0) & (steps - last <= longest), values[last], np.nan)
    return held


def _numbers(values: Floats) -> tuple[float | None, ...]:
    return tuple(_short(value) if math.isfinite(value) else None for value in values.tolist())


def _ratio(above: Floats, below: Floats) -> tuple[float | None, ...]:
    return _numbers(np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0))


def _short(value: float) -> float:
    """Four figures: a picture shows no more, and the page is sent twice a second."""
    return float(f"{value:.4g}")
