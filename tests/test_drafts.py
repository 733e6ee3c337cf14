"""Steps of answers whose drafted tokens are accepted by chance: against throwing the dice for each step."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.seeds import Stream
from openagentperf.sim.drafts import Drafts
from openagentperf.sim.spec import StepCosts

MEAN, SPREAD = 2.49, 1.0535
"""DeepSeek V4 Pro with three drafted tokens: 1, 2, 3, 4 tokens with 21, 31, 26, 22 %; mean square 7.31 = 2.49^2 + 1.0535^2."""
COSTS = StepCosts(step_s=(0.0,), tokens_per_step=MEAN, tokens_per_step_spread=SPREAD)


def thrown(tokens: int, answers: int) -> np.ndarray:
    """Steps of so many answers, each step thrown by itself."""
    dice = np.random.default_rng(Stream(5, "steps").u64())
    steps = dice.choice([1, 2, 3, 4], p=[0.21, 0.31, 0.26, 0.22], size=(answers, tokens))
    return 1 + (np.cumsum(steps, axis=1) < tokens).sum(axis=1)


@pytest.mark.parametrize("tokens", [20, 52, 150, 500])
def test_steps_are_spread_as_thrown_ones_are(tokens: int) -> None:
    """Means within half a step, the spread within 6 %; the slowest quarter, which P25 speed looks at, within 1.5 %."""
    drafts = Drafts(COSTS)
    ours = np.array([drafts.steps(tokens, number) for number in range(20_000)])
    theirs = thrown(tokens, 20_000)
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.5)
    assert ours.std() == pytest.approx(theirs.std(), rel=0.06)
    assert np.percentile(ours, 75) == pytest.approx(np.percentile(theirs, 75), rel=0.015, abs=1)


def test_draws_of_neighbours_are_independent() -> None:
    drafts = Drafts(COSTS)
    steps = np.array([drafts.steps(150, number) for number in range(20_000)], dtype=float)
    for apart in (1, 2, 8, 24):
        assert abs(np.corrcoef(steps[:-apart], steps[apart:])[0, 1]) < 0.03


@given(st.integers(0, 5_000), st.integers(0, 1 << 40), st.floats(1.0, 4.0), st.floats(0.0, 2.0))
def test_a_step_gives_a_token_at_least_and_the_same_request_takes_the_same_steps(
    tokens: int, number: int, mean: float, spread: float
) -> None:
    drafts = Drafts(StepCosts(step_s=(0.0,), tokens_per_step=mean, tokens_per_step_spread=spread))
    steps = drafts.steps(tokens, number)
    assert min(1, tokens) <= steps <= tokens
    assert steps == drafts.steps(tokens, number)
    if not spread:
        assert steps == ceil(tokens / mean)
