"""The simulated node's modelled power: joules are watts times seconds, whatever is asked when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.meters.expositions import samples
from openagentperf.sim.cost import PRESETS
from openagentperf.sim.power import DEVICE, PowerMeter, PowerModel, page
from openagentperf.sim.replica import Replica, Request
from openagentperf.units import NS_PER_S

MODEL = PowerModel(idle_w=100.0, decode_w=300.0, prefill_w=700.0)
S = NS_PER_S


def test_idle_decode_and_prefill() -> None:
    meter = PowerMeter(MODEL, 0)
    meter.advance(2 * S)
    assert (meter.joules, meter.watts) == (200, 100)
    meter.step(2 * S, 3 * S, 0.0)
    meter.advance(2 * S + S // 2)
    assert (meter.joules, meter.watts) == (350, 300)
    meter.step(3 * S, 4 * S, 0.25)  # 300 + 400 x 0.25
    meter.advance(5 * S)
    assert (meter.joules, meter.watts) == (200 + 300 + 400 + 100, 100)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5), st.floats(0, 1)), max_size=8),
    st.lists(st.integers(0, 100), max_size=10),
)
def test_asking_changes_nothing(steps: list[tuple[int, int, float]], asks: list[int]) -> None:
    asked, quiet, expected, now = PowerMeter(MODEL, 0), PowerMeter(MODEL, 0), 0.0, 0
    for pause, length, share in steps:
        begins, ends = now + pause * S, now + (pause + length) * S
        expected += pause * 100 + length * (300 + 400 * share)
        for ask in sorted(asks):
            asked.advance(now + (begins - now) * ask // 100)
        asked.step(begins, ends, share)
        for ask in sorted(asks):
            asked.advance(begins + (ends - begins) * ask // 100)
        quiet.step(begins, ends, share)
        now = ends
    for meter in (asked, quiet):
        meter.advance(now)
        assert meter.joules == pytest.approx(expected)


def test_a_replica_s_steps_reach_its_meter() -> None:
    meter = PowerMeter(MODEL, 0)
    replica = Replica(PRESETS["demo"], meter.step)
    replica.submit(Request(id=1, prompt_tokens=448, output_tokens=1), 0)
    end = replica.next_event_ns()
    assert end is not None
    share = 448 * 80_000 / end
    replica.advance(end)
    meter.advance(end + S)
    assert meter.joules == pytest.approx((300 + 400 * share) * end / S + 100)


def test_the_page_reads_like_a_dcgm_exporter_s() -> None:
    meter = PowerMeter(MODEL, 0)
    meter.advance(3 * S)
    found = {sample.name: sample for sample in samples(page(meter).decode())}
    energy, power = found["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"], found["DCGM_FI_DEV_POWER_USAGE"]
    assert (energy.kind, energy.value, power.kind, power.value) == ("counter", 300_000, "gauge", 100)  # mJ
    assert energy.labels["UUID"] == power.labels["UUID"] == DEVICE
