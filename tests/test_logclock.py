"""The clock of a log is found from the load, or it is said that it cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openagentperf.score import logclock
from openagentperf.score.logclock import Fit
from openagentperf.units import NS_PER_S

PHASES = [(5, 1), (70, 2), (140, 4), (215, 8), (280, 6), (350, 7), (430, 6), (505, 6)]
"""Start in s and agents of phases of 55 s: a ramp by two, a bisection, further phases; some seconds of nothing between them."""


def turns(phases: list[tuple[int, int]] = PHASES) -> tuple[np.ndarray, np.ndarray]:
    """Each agent sends for 0.8 s and rests 0.2 s, the agents one after the other."""
    sent = [start + k + agent / 10 for start, agents in phases for agent in range(agents) for k in range(55)]
    return np.array(sent) * NS_PER_S, (np.array(sent) + 0.8) * NS_PER_S


def log(offset_s: float = 0.0, step_s: float = 0.5, idle_w: float = 300.0, noise: float = 0.02, seed: int = 1):
    """What an analyser beside it shows whose clock is `offset_s` behind, half a minute longer than the run at both ends."""
    times = np.arange(-30, 600, step_s)
    agents = np.zeros(times.size)
    for start, count in PHASES:
        agents[(times >= start) & (times < start + 55)] = count
    watts = idle_w + 500 * np.sqrt(agents)
    watts *= 1 + noise * np.random.default_rng(seed).standard_normal(times.size)
    return logclock.power(((times - offset_s) * NS_PER_S).astype(np.int64), watts)


def fitted(power: logclock.Total, step_s: float = 0.5) -> Fit:
    sent, closed = turns()
    return logclock.fit(logclock.loads(sent.astype(np.int64), closed.astype(np.int64)), [power], step_s)


def test_a_log_by_the_run_s_clock_agrees() -> None:
    found = fitted(log())
    assert found.agrees
    assert not found.is_off
    assert not found.flat
    assert found.here > 0.9


@settings(max_examples=15, deadline=None)
@given(st.floats(-3 * 3600, 3 * 3600), st.sampled_from([0.1, 0.5, 1.0, 2.0]))
def test_a_clock_that_is_off_is_found_or_nothing_is_believed(offset_s: float, step_s: float) -> None:
    found = fitted(log(offset_s, step_s), step_s)
    if abs(offset_s) > found.tolerance_s + 2 * step_s + 1:
        assert not found.agrees
    if found.is_off:
        assert found.lag_s == pytest.approx(offset_s, abs=max(1.0, 2 * step_s))


@pytest.mark.parametrize("offset_s", [-3600.0, -30.0, -5.0, 5.0, 37.25, 7200.0])
def test_a_clock_that_is_off_is_found(offset_s: float) -> None:
    found = fitted(log(offset_s))
    assert (found.agrees, found.is_off) == (False, True)
    assert found.lag_s == pytest.approx(offset_s, abs=0.6)


@pytest.mark.parametrize(("offset_s", "is_off"), [(5400.0, True), (-5400.0, True), (8 * 3600.0, False)])
def test_an_idle_hour_in_the_run_s_place_is_not_flat_power(offset_s: float, is_off: bool) -> None:
    """A day's log in the wrong time zone: within the run it shows idle watts that vary by nothing, and they are none of the run's.
    Beyond 6 h no lag is looked for; then it does not agree."""
    times = np.arange(-9 * 3600, 9 * 3600, 0.5)
    watts = np.full(times.size, 300.0)
    for start, count in PHASES:
        watts[(times >= start) & (times < start + 55)] += 500 * np.sqrt(count)
    found = fitted(logclock.power(((times - offset_s) * NS_PER_S).astype(np.int64), watts))
    assert (found.agrees, found.is_off, found.flat) == (False, is_off, False)
    if is_off:
        assert found.lag_s == pytest.approx(offset_s, abs=0.6)


def test_power_that_does_not_vary_needs_no_clock() -> None:
    times = (np.arange(-30, 600, 0.5) * NS_PER_S).astype(np.int64)
    found = fitted(logclock.power(times, 1000.0 + np.arange(times.size) % 2))
    assert (found.agrees, found.is_off, found.flat) == (False, False, True)


def test_power_that_follows_something_else_is_not_taken_for_the_run_s() -> None:
    times = np.arange(-30, 600, 0.5)
    watts = 1000 + 400 * np.sign(np.sin(times * 2 * np.pi / 23))
    found = fitted(logclock.power((times * NS_PER_S).astype(np.int64), watts))
    assert (found.agrees, found.is_off, found.flat) == (False, False, False)


def test_a_log_of_a_few_seconds_tells_nothing() -> None:
    short = log()
    keep = (short.times_ns > 70 * NS_PER_S) & (short.times_ns < 100 * NS_PER_S)
    found = fitted(logclock.Total(short.times_ns[keep], short.total[keep]))
    assert (found.agrees, found.is_off) == (False, False)


def test_no_request_no_load() -> None:
    assert logclock.loads(np.zeros(0, np.int64), np.zeros(0, np.int64)) == ()
