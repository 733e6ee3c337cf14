"""The one source of randomness: the same for the same names, different for others, and flat."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.seeds import Permutation, Stream, derive, shard


def test_a_stream_is_known_for_ever():
    """Golden draws: were they to change, no published run could be re-drawn from its seed."""
    stream = Stream(1, "start", 0)
    assert [stream.u64() for _ in range(3)] == [1486705670428480348, 12645855435212303250, 7204121845171348995]
    assert derive(1, "phase", 0).hex()[:16] == "1470afab80b73c54"


@pytest.mark.parametrize("other", [(2, "a", 1), (1, "b", 1), (1, "a", 2), (1, "a", "1"), (1, 1, "a"), (1, "a1")])
def test_any_name_changes_the_stream(other: tuple[int, object]):
    assert Stream(1, "a", 1).u64() != Stream(*other).u64()  # type: ignore[arg-type]


@given(n=st.integers(1, 3000), seed=st.integers(0, 99))
def test_a_permutation_visits_every_index_once(n: int, seed: int):
    order = Permutation(n, seed, "order")
    assert sorted(order[i] for i in range(n)) == list(range(n))


def test_a_permutation_refuses_what_it_does_not_hold():
    with pytest.raises(IndexError):
        Permutation(3, 1)[3]


@given(n=st.integers(1, 1 << 40))
def test_below_stays_below(n: int):
    stream = Stream(7, "below", n)
    assert all(0 <= stream.below(n) < n for _ in range(20))


def test_draws_have_the_moments_they_claim():
    """10,000 draws: the standard error of a mean is 1 % of the standard deviation, 5 of them are allowed."""
    stream = Stream(3, "moments")
    uniform = [stream.uniform() for _ in range(10_000)]
    assert abs(statistics.fmean(uniform) - 0.5) < 5 * 0.01 / math.sqrt(12)
    logs = [math.log(stream.lognormal(150, 1.575)) for _ in range(10_000)]
    assert abs(statistics.fmean(logs) - math.log(150)) < 5 * 0.01 * 1.575
    assert abs(statistics.stdev(logs) / 1.575 - 1) < 0.05


@given(agents=st.integers(0, 500), workers=st.integers(1, 16))
def test_every_agent_has_one_worker_and_shares_differ_by_at_most_one(agents: int, workers: int):
    counts = [sum(shard(i, workers) == k for i in range(agents)) for k in range(workers)]
    assert sum(counts) == agents
    assert max(counts) - min(counts) <= 1
