"""When a measure window closes: the one rule of the load generator and of the simulator."""

from __future__ import annotations

import pytest

from openagentperf.records.phase import Quota, may_close
from openagentperf.units import NS_PER_S
from simworlds import order_of

ORDER = order_of(10, start_ns=0, spawn_per_s=10.0, settle_s=2.0, measure_s=20.0, limit_s=60.0)
"""Opens at 3 s, may close from 23 s on, ends at 60 s."""


@pytest.mark.parametrize(
    ("now_s", "turns", "trajectories", "longest_s", "closes"),
    [
        (22.9, 100, 5, 0.1, False),  # before its length
        (23.0, 100, 5, 0.1, True),
        (23.0, 99, 5, 0.1, False),  # a turn short
        (23.0, 100, 4, 0.1, False),  # a trajectory short
        (58.9, 0, 0, 0.1, False),
        (59.0, 0, 0, 0.1, True),  # 1 s at least before the limit
        (51.9, 0, 0, 4.0, False),
        (52.0, 0, 0, 4.0, True),  # twice the longest turn
        (22.9, 0, 0, 40.0, False),  # never before its length, however long turns are
        (23.0, 0, 0, 40.0, True),
    ],
)
def test_when_it_closes(now_s: float, turns: int, trajectories: int, longest_s: float, closes: bool) -> None:
    asked = may_close(
        ORDER, Quota(100, 5), round(now_s * NS_PER_S), turns=turns, trajectories=trajectories,
        longest_ns=round(longest_s * NS_PER_S),
    )  # fmt: skip
    assert asked is closes


def test_the_limit_counts_from_the_start() -> None:
    assert order_of(1, start_ns=7, limit_s=2.0).limit_ns == 7 + 2 * NS_PER_S
