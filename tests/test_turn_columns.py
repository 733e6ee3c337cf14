"""An open phase's rows and reads as they are held: columns in memory, the rest on disk; both give back what was put in."""

from __future__ import annotations

import gc
import os
from array import array
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import phases
from openagentperf import tables
from openagentperf.errors import StorageError
from openagentperf.load.spilled import Spilled
from openagentperf.records.turncolumns import TurnColumns
from openagentperf.records.turns import Kept, RawTurn, Reads, TurnRow

COUNT = st.integers(0, 2**62)
MAYBE = st.none() | COUNT
ROWS = st.lists(
    st.builds(
        TurnRow,
        worker=COUNT, agent=COUNT, replay=COUNT, trajectory=COUNT, turn=COUNT, line=COUNT, last=st.booleans(), due_ns=COUNT,
        sent_ns=MAYBE, first_byte_ns=MAYBE, first_output_ns=MAYBE, last_output_ns=MAYBE, closed_ns=COUNT, status=COUNT,
        failure=st.sampled_from(["", "http", "reset"]), detail=st.text(), finish=st.text(), prompt_tokens=MAYBE,
        cached_tokens=MAYBE, output_tokens=MAYBE, reasoning_tokens=MAYBE, read_lag_ns=MAYBE, first_lag_ns=MAYBE,
        last_lag_ns=MAYBE, burst_share=st.floats(0, 1), connection=st.sampled_from(["", "new", "reused"]), paced_ns=COUNT,
    )
)  # fmt: skip


@given(ROWS)
def test_columns_give_back_the_rows(rows: list[TurnRow]):
    columns = TurnColumns.of(rows)
    assert list(columns) == rows
    assert len(columns) == len(rows)
    assert columns[-2:] == rows[-2:]
    assert columns[1:3] == rows[1:3]


def test_recent_rows_are_the_objects_and_older_ones_are_made_again():
    rows = [phases.row(k) for k in range(10)]
    columns = TurnColumns.of(rows, recent=3)
    assert [made is row for made, row in zip(columns[-3:], rows[-3:], strict=True)] == [True] * 3
    assert columns[-4:] == rows[-4:]
    assert (columns[0], columns[-1]) == (rows[0], rows[9])
    with pytest.raises(IndexError):
        columns[10]


def test_a_turn_costs_a_fixed_number_of_bytes():
    columns = TurnColumns.of(phases.row(k, failure="http", detail="the same") for k in range(100))
    widths = [
        column.itemsize if isinstance(column := columns.column(name), array) else 8
        for name in TurnRow.__struct_fields__
    ]
    assert sum(widths) <= 300
    assert len({id(word) for word in columns.column("detail")}) == 1, "equal words are one object"


def packed(*values: int) -> bytes:
    return array("q", values).tobytes()


def test_what_is_spilled_comes_back_in_any_order_and_leaves_no_name(tmp_path: Path):
    spilled = Spilled(tmp_path, Reads)
    put = [Reads(packed(*range(k)), packed(*range(k))) for k in range(200)]
    for k, one in enumerate(put):
        spilled.append(one)
        assert spilled[k // 2] == put[k // 2]
    assert list(spilled) == put
    assert spilled[-3:] == put[-3:]
    assert list(tmp_path.iterdir()) == [], "a kill leaves nothing of it"
    before = len(os.listdir("/proc/self/fd"))
    del spilled
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path):
    spilled = Spilled(tmp_path / "missing", Reads)
    spilled.append(Reads(packed(1), packed(1)))
    with pytest.raises(StorageError, match="cannot be written"):
        spilled[0]


@pytest.mark.parametrize("part", [3, 7, 20_000])
def test_tables_are_the_same_whether_written_whole_or_in_parts(tmp_path: Path, part: int):
    rows = [phases.row(float((k * 7) % 10), agent=k) for k in range(10)] + [
        phases.failed(3.0, "connect", sent_ns=None, agent=99)
    ]
    reads = [Reads(packed(*[k] * k), packed(*[k] * k)) for k in range(11)]
    raw = RawTurn(0, 4, 1, 0, 2, False, 0, 0, 0, b"", b"", b"", b"HTTP/1.1 500", "http", "", "new", 10)
    tables.write_phase(tmp_path, phases.facts(), rows, reads, phases.samples(), [Kept("http", raw)], part)
    order = sorted(range(11), key=lambda k: (rows[k].due_ns, rows[k].agent))
    turns = pl.read_parquet(tmp_path / "turns.parquet")
    assert turns.to_dicts() == [msgspec.structs.asdict(rows[k]) for k in order]
    found = pl.read_parquet(tmp_path / "reads.parquet")
    assert found["ns"].to_list() == [[k] * k for k in order]
    assert found["bytes"].to_list() == found["ns"].to_list()
    assert found.schema == {"ns": pl.List(pl.Int64), "bytes": pl.List(pl.Int64)}
    assert (tmp_path / "raw" / "http-a4-r1-t2.http").read_bytes() == b"HTTP/1.1 500"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "client.parquet",
        "phase.json",
        "raw",
        "reads.parquet",
        "turns.parquet",
    ]
    assert np.array_equal(tables.read_turns(tmp_path)["agent"], [rows[k].agent for k in order])
