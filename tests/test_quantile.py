from __future__ import annotations

import math

import numpy as np
import pytest

from openagentperf.score.quantile import quantile, quantile_or_none

INF = math.inf


@pytest.mark.parametrize(
    ("values", "q", "want"),
    [
        ([7.0], 0.95, 7.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),  # rank 2 x 0.5 = 1: the middle one
        ([1.0, 2.0, 3.0, 4.0], 0.25, 1.75),  # rank 3 x 0.25 = 0.75: 1 + 0.75 (2 - 1)
        ([1.0, 2.0], 0.95, 1.95),
        ([1.0, 2.0, 3.0], 0.0, 1.0),
        ([1.0, 2.0, 3.0], 1.0, 3.0),
        ([*range(20), INF], 0.95, 19.0),  # rank 20 x 0.95 = 19 exactly: weight 0, the infinity beside it does not count
        ([*range(19), INF], 0.95, INF),  # rank 19 x 0.95 = 18.05: weight 0.05 on infinity
        ([*range(18), INF, INF], 0.95, INF),  # both neighbours infinite: numpy's own says NaN
        ([1.0, INF, INF], 0.5, INF),
    ],
)
def test_quantile(values: list[float], q: float, want: float) -> None:
    assert quantile(values, q) == want


@pytest.mark.parametrize("turns", [21, 41, 101, 201, 1001, 20001, 100001])
def test_a_whole_rank_puts_no_weight_on_its_infinite_neighbour(turns: int) -> None:
    """(n - 1) x 0.95 is whole for these n; in floats some come out an ulp off, which would make a pass infinite."""
    rank = (turns - 1) * 95 // 100
    values = np.concatenate([np.zeros(rank + 1), np.full(turns - rank - 1, INF)])
    assert quantile(values, 0.95) == 0.0


@pytest.mark.parametrize(
    ("values", "q", "says"),
    [
        ([], 0.5, "at least one value"),
        ([[1.0]], 0.5, "one dimension"),
        ([1.0, math.nan], 0.5, "NaN"),
        ([1.0], 95, "0 to 1"),
    ],
)
def test_what_has_no_quantile(values: list[float], q: float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        quantile(values, q)


def test_a_record_holds_none_instead_of_infinity_or_nothing() -> None:
    assert quantile_or_none([], 0.5) is None
    assert quantile_or_none([1.0, INF], 0.5) is None
    assert quantile_or_none([1.0, 3.0], 0.5) == 2.0
