from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from openagentperf.errors import StorageError
from openagentperf.score.columns import COLUMNS, Turns
from openagentperf.score.turn import pace, ttft_s
from phases import failed, ns, row


def one(**changes: Any) -> Turns:
    """Due at 0 s, 21 tokens, first output at 1 s, last at 3 s; then the changes."""
    return Turns.from_rows([row(0.0, ttft_s=1.0, speed=10.0, tokens=21, **changes)])


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({}, 1.0),
        ({"sent_ns": ns(0.9)}, 1.0),  # sent late: TTFT counts from due all the same
        ({"first_output_ns": ns(2.5)}, 2.5),
        ({"failure": "reset"}, math.inf),  # what was seen before it failed does not count
        ({"first_output_ns": None, "last_output_ns": None, "failure": "no_output"}, math.inf),
    ],
)
def test_ttft(changes: dict[str, Any], want: float) -> None:
    assert ttft_s(one(**changes)).tolist() == [want]


@pytest.mark.parametrize(
    ("changes", "speed", "end_to_end", "buffered"),
    [
        ({}, 10.0, 7.0, False),  # (21 - 1) / (3 - 1); 21 / 3
        ({"first_tokens": 5}, 8.0, 7.0, False),  # (21 - 5) / 2: four more were paid for by TTFT
        ({"output_reads": 1}, 7.0, 7.0, True),  # one read has no span: 21 / 3
        ({"output_reads": 2}, 10.0, 7.0, False),
        ({"output_tokens": 60, "burst_share": 0.51}, 20.0, 20.0, True),  # held back: 60 / 3, not 59 / 2
        ({"output_tokens": 60, "burst_share": 0.50}, 29.5, 20.0, False),  # half is not more than half: 59 / 2
        ({"output_tokens": 31, "burst_share": 0.9}, 15.0, 31 / 3, False),  # below 32 tokens: 30 / 2
        ({"output_tokens": 32, "burst_share": 0.9}, 32 / 3, 32 / 3, True),
        ({"last_output_ns": ns(1.0)}, 21.0, 21.0, True),  # two reads at one time: no span, 21 / 1
        ({"first_tokens": 21}, 7.0, 7.0, True),  # all tokens came with the first event
        ({"failure": "timeout"}, 0.0, 0.0, False),
    ],
)
def test_speed(changes: dict[str, Any], speed: float, end_to_end: float, buffered: bool) -> None:
    found = pace(one(**changes))
    assert found.known.tolist() == [True]
    assert (found.speed.tolist(), found.end_to_end.tolist()) == ([speed], [end_to_end])
    assert found.buffered.tolist() == [buffered]


def test_a_one_token_answer_has_no_speed_and_a_failure_has_speed_zero() -> None:
    found = pace(Turns.from_rows([row(0, tokens=1), row(0, tokens=2), failed(0, "http")]))
    assert found.known.tolist() == [False, True, True]
    assert found.speed[2] == 0.0


@pytest.mark.parametrize(
    ("stretch_s", "want"),
    [(0.5, 8.0), (-1.0, 20.0), (-2.0, math.inf)],  # 20 tokens / 2.5 s; / 1 s; the span used up
)
def test_a_stretched_span(stretch_s: float, want: float) -> None:
    assert pace(one(), stretch_s).speed.tolist() == [want]


def test_columns_hold_minus_one_for_none_and_can_be_cut() -> None:
    turns = Turns.from_rows([row(1.0), failed(2.0, "connect", sent_ns=None), row(3.0)])
    assert turns.sent_ns.tolist() == [ns(1), -1, ns(3)]
    assert turns.cached_tokens.tolist() == [4000, -1, 4000]
    cut = turns.where(~turns.failed)
    assert (len(cut), cut.due_ns.tolist()) == (2, [ns(1), ns(3)])
    columns: dict[str, Any] = {name: getattr(turns, name) for name in COLUMNS}
    columns["failure"] = columns["failure"].astype(object)  # what a Parquet reader gives
    again = Turns.from_columns(columns | {"detail": np.array(["x", "y", "z"])})
    assert again.failed.tolist() == [False, True, False]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(StorageError, match="no column due_ns, sent_ns"):
        Turns.from_columns({name: np.zeros(1) for name in COLUMNS if name not in ("due_ns", "sent_ns")})


def test_no_turns_are_fine() -> None:
    turns = Turns.from_rows([])
    assert len(ttft_s(turns)) == len(pace(turns).speed) == 0
