from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from openagentperf.plan import Rigor
from openagentperf.records.turns import TurnRow
from openagentperf.score.failing import tail
from openagentperf.score.quantile import quantile
from phases import CLOSES_S, EASY, HARD, OPENS_S, RIGOR, failed, judged, row, samples

values = st.lists(st.floats(0, 1e9) | st.just(math.inf), min_size=1, max_size=60)
shares = st.integers(0, 1000).map(lambda n: n / 1000)


@given(values, shares)
def test_a_quantile_lies_between_its_neighbours_and_is_never_nan(xs: list[float], q: float) -> None:
    found = quantile(xs, q)
    assert min(xs) <= found <= max(xs)
    if math.isfinite(found):
        assert sum(x <= found for x in xs) >= math.floor((len(xs) - 1) * q * (1 - 1e-12)) + 1


@given(values.filter(lambda xs: all(map(math.isfinite, xs))), shares)
def test_a_quantile_of_finite_values_is_numpys(xs: list[float], q: float) -> None:
    assert math.isclose(quantile(xs, q), float(np.quantile(xs, q)), rel_tol=1e-9, abs_tol=1e-3)


@given(values, shares, st.data())
def test_a_quantile_never_falls_when_a_value_rises(xs: list[float], q: float, data: st.DataObject) -> None:
    i = data.draw(st.integers(0, len(xs) - 1))
    risen = [*xs[:i], data.draw(st.floats(xs[i], 2e9) if math.isfinite(xs[i]) else st.just(math.inf)), *xs[i + 1 :]]
    assert quantile(risen, q) >= quantile(xs, q) - 1e-9 * min(quantile(xs, q), 1e9)


@given(values, shares, st.randoms(use_true_random=False))
def test_a_quantile_does_not_know_the_order(xs: list[float], q: float, random: Any) -> None:
    shuffled = list(xs)
    random.shuffle(shuffled)
    assert quantile(shuffled, q) == quantile(xs, q)


@given(st.integers(1, 60), st.floats(0.001, 0.999))
def test_a_binomial_tail_falls(n: int, p: float) -> None:
    tails = [tail(k, n, p) for k in range(n + 2)]
    assert tails[0] == 1.0
    assert tails[-1] == 0.0
    assert all(a >= b for a, b in pairwise(tails))


due = st.floats(OPENS_S - 20, CLOSES_S + 5)
turns = st.builds(
    row, due, ttft_s=st.sampled_from([0.2, 0.9, 1.0, 5.0, 10.0, 12.0]), speed=st.sampled_from([20.0, 30.0, 100.0, 400.0]),
    tokens=st.sampled_from([1, 2, 40, 121]), late_s=st.sampled_from([0.0, 0.001]), agent=st.integers(0, 3),
    output_reads=st.sampled_from([1, 40]), replay=st.integers(0, 2),
    cached_tokens=st.sampled_from([None, 0, 900]), last=st.booleans(),
)  # fmt: skip
bad = st.builds(failed, due, st.sampled_from(["http", "connect", "timeout", "aborted"]), st.floats(0.1, 60))
phases = st.lists(turns | bad, min_size=1, max_size=25)
SMALL = Rigor(search_turns=5, certify_turns=15, trajectories=0, trajectories_per_agent=0, ttft_drift=100)
"""`ttft_drift` at its largest: speeding up the first third may well uncover a growing queue, and slowing it down hide one."""


@settings(deadline=None)
@given(phases, st.sampled_from(["kernel", "user"]), st.randoms(use_true_random=False))
def test_the_same_rows_in_any_order_give_the_same_bytes(rows: list[TurnRow], stamps: str, random: Any) -> None:
    health = samples(lag_s=0.002)
    once = msgspec.json.encode(judged(rows, tiers=(EASY, HARD), rigor=SMALL, health=health, stamps=stamps))
    random.shuffle(rows)
    random.shuffle(health)
    again = msgspec.json.encode(judged(rows, tiers=(EASY, HARD), rigor=SMALL, health=health, stamps=stamps))
    assert once == again


@settings(deadline=None)
@given(phases, st.data())
def test_a_slower_turn_never_turns_a_fail_into_a_pass(rows: list[TurnRow], data: st.DataObject) -> None:
    i = data.draw(st.integers(0, len(rows) - 1))
    by_ns = data.draw(st.sampled_from([10**8, 10**9, 10**10, 10**11]))
    which = data.draw(st.sampled_from(["all of it", "its end"]))
    slower = [*rows[:i], _slower(rows[i], by_ns, which), *rows[i + 1 :]]
    before = judged(rows, tiers=(EASY, HARD), rigor=SMALL)
    after = judged(slower, tiers=(EASY, HARD), rigor=SMALL)
    for tier in (EASY, HARD):
        if after.verdict(tier.name) == "pass":
            assert before.verdict(tier.name) != "fail"


def _slower(turn: TurnRow, by_ns: int, which: str) -> TurnRow:
    if turn.first_output_ns is None or turn.last_output_ns is None:
        return turn
    later = {"last_output_ns": turn.last_output_ns + by_ns, "closed_ns": turn.closed_ns + by_ns}
    if which == "all of it":
        later["first_output_ns"] = turn.first_output_ns + by_ns
    return msgspec.structs.replace(turn, **later)


@settings(deadline=None)
@given(st.integers(20, 40), st.integers(0, 200))
def test_a_failure_never_turns_a_fail_into_a_pass(slow: int, failures: int) -> None:
    step = (CLOSES_S - OPENS_S) / 200
    rows = [row(OPENS_S + i * step, ttft_s=15.0 if i < slow else 0.5) for i in range(200)]
    rows[200 - failures :] = [failed(OPENS_S + i * step, "http") for i in range(200 - failures, 200)]
    assert judged(rows, rigor=RIGOR).verdict("easy") == "fail"
