"""Whatever stands in power.parquet: energy, or a reason; never an exception, and the same twice."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openagentperf import tables
from openagentperf.errors import StorageError
from openagentperf.records.power import DeviceFacts, MeterFacts, Meters, Reading, WindowEnergy
from openagentperf.score.boundary import window_energies
from openagentperf.score.normalise import tier_power
from openagentperf.system import System
from openagentperf.units import NS_PER_S
from signals import constant, flicker, meter, polled, reading

S = NS_PER_S
TIMES = st.one_of(st.integers(0, 90 * S), st.integers(9 * S, 21 * S), st.integers(-(2**63), 2**63 - 1))
VALUES = st.one_of(st.none(), st.floats(), st.floats(0, 1000), st.sampled_from([0.0, 700.0, 1e308]))
READINGS = st.builds(
    Reading,
    meter=st.sampled_from(["m", "n", "x"]), device=st.sampled_from(["d0", "d1", ""]), t_ns=TIMES, value=VALUES, why=st.just(""),
    quantity=st.sampled_from(["power", "energy", "power_cap", "clock", "throttle"]), updated_ns=st.none() | TIMES,
    spread_ns=st.integers(0, 10 * S),
)  # fmt: skip
DEVICES = st.lists(
    st.builds(
        DeviceFacts, device=st.sampled_from(["d0", "d1"]), scope=st.sampled_from(["", "gpu", "module"]), counter=st.booleans(),
        counter_range_j=st.none() | st.floats(0, 1e6), averaged_s=st.none() | st.floats(0, 100),
    ),
    max_size=2,
).map(tuple)  # fmt: skip
METERS = st.lists(
    st.builds(
        MeterFacts, name=st.sampled_from(["m", "n"]), kind=st.just("k"), boundary=st.sampled_from(["accelerator", "node", "rack"]),
        basis=st.sampled_from(["measured", "modelled"]), source=st.just(""), devices=DEVICES, period_s=st.just(0.1),
        max_gap_s=st.floats(0.1, 60), stale_s=st.floats(0.1, 60),
    ),
    min_size=1, max_size=3,
)  # fmt: skip
SYSTEMS = st.builds(
    System, accelerators=st.integers(0, 2), hosts=st.integers(0, 2), racks=st.sampled_from([0.0, 0.44, 1.0]),
    pue=st.none() | st.just(1.5), load_on_system=st.booleans(), rated_accelerator_w=st.none() | st.just(700.0),
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(METERS, st.lists(READINGS, max_size=30), SYSTEMS, st.integers(0, 30 * S), st.integers(-S, 20 * S), st.booleans())
def test_any_rows_give_energy_or_a_reason(
    meters: list[MeterFacts], rows: list[Reading], system: System, start: int, length: int, steady: bool
) -> None:
    if steady:
        rows = [*polled(flicker(constant(700)), 0, 40), *rows]
    found = window_energies(meters, rows, system, start, start + length)
    assert found == window_energies(meters, rows, system, start, start + length)
    for row in found:
        assert row.valid == (row.energy_j is not None) == (not row.faults)
        assert row.mean_w is None or row.mean_w >= 0
        data = msgspec.json.encode(row)
        assert msgspec.json.decode(data, type=WindowEnergy) == row, "nothing in it is infinite"


def test_readings_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [reading(1.5, None), reading(2, 3.0, "energy", updated_ns=7, spread_ns=9), reading(3, float("inf"))]
    tables.write_readings(tmp_path / "power.parquet", rows)
    assert tables.read_readings(tmp_path / "power.parquet") == rows
    frame = pl.read_parquet(tmp_path / "power.parquet").with_columns(more=pl.lit(1)).drop("spread_ns")
    frame.write_parquet(tmp_path / "power.parquet")
    assert [row.value for row in tables.read_readings(tmp_path / "power.parquet")] == [None, 3.0, float("inf")]


@pytest.mark.parametrize(
    "change",
    [
        pl.DataFrame({"a": [1]}),
        pl.lit(None, pl.Int64).alias("t_ns"),
        pl.lit("watts").alias("quantity"),
        pl.lit("much").alias("value"),
        pl.lit(None, pl.String).alias("meter"),
        pl.lit(2**64 - 1, pl.UInt64).alias("t_ns"),
        pl.lit([1.0, 2.0]).alias("value"),
    ],
    ids=[
        "other columns",
        "no time",
        "unknown quantity",
        "words for values",
        "no meter",
        "a time out of range",
        "lists",
    ],
)
def test_a_table_of_something_else_is_named(change: pl.DataFrame | pl.Expr, tmp_path: Path) -> None:
    path = tmp_path / "power.parquet"
    tables.write_readings(path, [reading(1, 700.0)])
    (change if isinstance(change, pl.DataFrame) else pl.read_parquet(path).with_columns(change)).write_parquet(path)
    with pytest.raises(StorageError, match="holds no readings"):
        tables.read_readings(path)


@pytest.mark.parametrize(("name", "value"), [("boundary", "facility"), ("basis", "rated"), ("max_gap_s", None)])
def test_a_meter_that_cannot_be_is_refused(name: str, value: object) -> None:
    meters = {"schema": "s", "meters": [msgspec.to_builtins(meter()) | {name: value}]}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(meters, Meters)


def test_no_row_at_all() -> None:
    (row,) = window_energies([meter()], [], System(), 0, 10 * S)
    assert [fault.code for fault in row.faults] == ["no_readings"]
    assert tier_power(3, [], System()) == ()
