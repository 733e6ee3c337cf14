"""Laws that the lengths and delays of generated sessions are drawn from: data, and how a value is drawn."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

from msgspec import Struct

from openagentperf.seeds import Stream

_T = TypeVar("_T")


class LogNormal(Struct, frozen=True):
    """A log-normal by its median and sigma, clipped: mass beyond an end sits on it, so that the median stays what it says."""

    median: float
    sigma: float
    low: float
    high: float

    def draw(self, stream: Stream) -> float:
        return min(self.high, max(self.low, stream.lognormal(self.median, self.sigma)))


class Mixture(Struct, frozen=True):
    """One of several log-normals, each with its weight: a tool reads a file in 0.1 s, or runs the tests for 3.5 s."""

    parts: tuple[tuple[LogNormal, int], ...]

    def draw(self, stream: Stream) -> float:
        return weighted(self.parts, stream).draw(stream)


class Geometric(Struct, frozen=True):
    """A whole number: `low`, then one more with probability `more` each time, up to `high`."""

    low: int
    more: float
    high: int

    def draw(self, stream: Stream) -> float:
        number = self.low
        while number < self.high and stream.uniform() < self.more:
            number += 1
        return number


Law: TypeAlias = LogNormal | Mixture | Geometric


def count(law: Law, stream: Stream) -> int:
    """A draw, as a whole number."""
    return round(law.draw(stream))


def weighted(choices: tuple[tuple[_T, int], ...], stream: Stream) -> _T:
    """One of the choices, as often as its weight says."""
    place = stream.below(sum(weight for _, weight in choices))
    for choice, weight in choices:
        place -= weight
        if place < 0:
            return choice
    raise AssertionError("weights are positive")
