"""What a report computes of its own, by rows that carry the arithmetic; the rest of its figures are those of `score`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.records.power import DeviceFacts, MeterFacts
from openagentperf.records.turns import ClientSample, TurnRow
from openagentperf.report.charts import level_ticks, log_ticks
from openagentperf.report.lanes import AGENTS, TURNS, lanes
from openagentperf.report.phasefigures import cache_found, distribution, drawn, failures, health, prefills
from openagentperf.report.phaserows import Watched
from openagentperf.report.timeline import PowerLine, timeline
from openagentperf.score.cache import Sharing
from openagentperf.score.columns import Turns
from openagentperf.score.view import View, look
from openagentperf.units import NS_PER_S
from phases import CLOSES_S, OPENS_S, facts, failed, ns, row, samples

SHARING = Sharing.of(lines=[1] * 10, first_turns=[0] * 10, shared_bytes=[3_500] * 10)
"""Of a `row`'s 17,500 bytes and 5,000 tokens a fifth is shared: 1,000 tokens."""


def view(rows: list[TurnRow]) -> View:
    return look(facts(), Turns.from_rows(rows), samples())


def test_a_failed_turn_keeps_a_curve_below_one() -> None:
    found = distribution(np.array([3.0, 1.0, math.inf, 2.0]), failed=1)
    assert (found.turns, found.failed, found.infinite) == (4, 1, 1)
    assert found.curve == ((1.0, 0.25), (2.0, 0.5), (3.0, 0.75))
    assert found.percentiles["p50"] == 2.5
    assert found.percentiles["p95"] is None


def test_a_failed_turn_is_counted_where_its_speed_is_a_finite_0() -> None:
    looked = view([row(OPENS_S, speed=100), failed(OPENS_S + 1, "timeout"), row(OPENS_S + 2, speed=100)])
    for values in (looked.speeds, looked.pace.end_to_end[looked.pace.known]):
        found = distribution(values, looked.failed_turns)
        assert (found.turns, found.failed, found.infinite) == (3, 1, 0)
        assert found.percentiles["p1"] is not None


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    values = np.arange(1.0, 100_001.0)
    found = distribution(values, 0)
    assert len(found.curve) <= 201
    assert found.curve[0] == (1.0, 1e-5)
    assert found.curve[-1] == (100_000.0, 1.0)
    assert all(share == pytest.approx(x / 100_000) for x, share in found.curve)


@given(st.lists(st.floats(0, 1e6) | st.just(math.inf), max_size=300))
def test_a_curve_rises_and_ends_at_the_share_that_did_not_fail(values: list[float]) -> None:
    found = distribution(np.array(values), 0)
    assert list(found.curve) == sorted(found.curve)
    if found.curve:
        assert found.curve[-1][1] == pytest.approx(1 - found.infinite / found.turns)


def test_uncached_tokens_are_what_ttft_is_held_against() -> None:
    rows = [row(OPENS_S + i, ttft_s=0.5 + i, cached_tokens=5_000 - 2**i) for i in range(4)]  # 1, 2, 4, 8 tokens
    found = prefills(view(rows), seed=1)
    assert found.cache_reported
    assert [(b.tokens_from, b.tokens_to, b.turns, b.ttft_p50_s) for b in found.bins] == [
        (1, 2, 1, 0.5), (2, 4, 1, 1.5), (4, 8, 1, 2.5), (8, 16, 1, 3.5),
    ]  # fmt: skip
    assert found.sample == ((1, 0.5), (2, 1.5), (4, 2.5), (8, 3.5))


def test_without_cached_tokens_the_whole_prompt_is_meant() -> None:
    found = prefills(view([row(OPENS_S, cached_tokens=None)]), seed=1)
    assert not found.cache_reported
    assert [(b.tokens_from, b.tokens_to) for b in found.bins] == [(4096, 8192)]


@pytest.mark.parametrize(
    ("rows", "possible"),
    [
        # a line's first turn: what is shared by bytes
        ([{"turn": 0}], 1_000 / 5_000),
        # the turn after it: the whole prompt before, 5,000 of 6,000; together (1,000 + 5,000) / 11,000
        ([{"turn": 0}, {"turn": 1, "prompt_tokens": 6_000}], 6_000 / 11_000),
        # another replay, agent or line begins anew: 1,000 each of 5,000 and 5,000
        ([{"turn": 0}, {"turn": 1, "replay": 2}], 2_000 / 10_000),
        ([{"turn": 0}, {"turn": 1, "agent": 1}], 2_000 / 10_000),
        # history that was cut: no more than the prompt itself
        ([{"turn": 0}, {"turn": 1, "prompt_tokens": 2_000, "request_bytes": 7_000}], 3_000 / 7_000),
    ],
)
def test_what_an_endless_cache_could_have_held(rows: list[dict[str, int]], possible: float) -> None:
    found = cache_found(view([row(OPENS_S + i, **more) for i, more in enumerate(rows)]), SHARING)
    assert found.possible == pytest.approx(possible)
    assert found.found == pytest.approx(4_000 * len(rows) / sum(more.get("prompt_tokens", 5_000) for more in rows))


def test_a_turn_before_the_window_counts_as_the_one_before() -> None:
    rows = [row(OPENS_S - 5, turn=0), row(OPENS_S + 5, turn=1, prompt_tokens=6_000)]
    assert cache_found(view(rows), SHARING).possible == pytest.approx(5_000 / 6_000)


def test_failures_are_counted_by_cause_and_status() -> None:
    rows = [
        failed(OPENS_S, "http", status=503),
        failed(OPENS_S, "http", status=429),
        failed(OPENS_S, "timeout"),
        row(OPENS_S),
    ]
    assert failures(Turns.from_rows(rows)) == {"http 429": 1, "http 503": 1, "timeout": 1}


def test_the_client_s_health_is_the_worst_of_its_workers() -> None:
    def sample(worker: int, t_s: float, cpu_s: float, lag_s: float) -> ClientSample:
        return ClientSample(
            worker=worker, t_ns=ns(t_s), loop_lag_max_ns=ns(lag_s), cpu_ns=ns(cpu_s), gc_pause_max_ns=0, active_agents=1, in_flight=1,
            clock_offset_ns=0,
        )  # fmt: skip

    found = health(
        facts(),
        [sample(0, 1, 0.1, 0.001), sample(0, 2, 0.2, 0.002), sample(1, 1, 0.9, 0.004), sample(1, 3, 0.8, 0.003)],
    )
    assert found.cpu_share_max == pytest.approx(0.4)  # worker 1: 0.8 s in 2 s
    assert found.cpu_share_mean == pytest.approx((0.2 + 0.4) / 2)
    assert found.loop_lag_max_s == 0.004
    assert health(facts(), []).cpu_share_max is None


def test_a_timeline_is_means_over_its_bins() -> None:
    """The phase lasts 210 s, so that a bin is 1.75 s. One answer: due and sent at 100 s, first output at 110 s, last at 130 s."""
    found = timeline(facts(), Turns.from_rows([row(OPENS_S, ttft_s=10, speed=6, tokens=121)]))
    assert found.bin_s == pytest.approx(1.75)
    assert len(found.in_flight) == 120
    assert sum(found.in_flight) * found.bin_s == pytest.approx(30)
    assert sum(found.waiting) * found.bin_s == pytest.approx(10)
    assert sum(found.output_tokens_per_s) * found.bin_s == pytest.approx(121)
    assert max(found.in_flight) == pytest.approx(1)
    assert found.in_flight[round(120 / 1.75)] == pytest.approx(1)
    assert (found.window_from_s, found.window_to_s) == (OPENS_S, CLOSES_S)
    assert [share for share in found.cached_share if share is not None] == [0.8]


def node_meter(*devices: str) -> MeterFacts:
    return MeterFacts(
        name="m", kind="k", boundary="node", basis="measured", source="", devices=tuple(DeviceFacts(device=d) for d in devices),
        period_s=1, max_gap_s=3, stale_s=3,
    )  # fmt: skip


def power_lines(meter: MeterFacts, *sensors: Watched) -> list[PowerLine]:
    return list(timeline(facts(), Turns.from_rows([row(OPENS_S)]), sensors, [meter]).power)


def test_power_is_read_from_a_counter_where_there_is_one() -> None:
    t = np.arange(0, 211 * NS_PER_S, NS_PER_S)
    counter = Watched("m", "a", "energy", t, 300.0 * np.arange(len(t)))
    power = Watched("m", "b", "power", t, np.full(len(t), 100.0))
    stray = Watched("other", "c", "power", t, np.full(len(t), 7.0))
    (line,) = power_lines(node_meter("a", "b"), counter, power, stray)
    assert line.name == "node, measured"
    assert line.watts[5:-5] == pytest.approx([400.0] * 110)
    late = Watched("m", "a", "power", t[50:], np.full(len(t) - 50, 5.0))
    (line,) = power_lines(node_meter("a"), late)
    assert line.watts[0] is None, "before the first reading nothing is known"


def test_power_of_a_meter_is_of_all_its_devices_or_of_none() -> None:
    t = np.arange(0, 211 * NS_PER_S, NS_PER_S)
    one = Watched("m", "a", "power", t, np.full(len(t), 100.0))
    (line,) = power_lines(node_meter("a", "b"), one)
    assert set(line.watts) == {None}, "100 W of one device are not the node's"
    half = Watched("m", "b", "power", t[:106], np.full(106, 50.0))
    (line,) = power_lines(node_meter("a", "b"), one, half)
    assert line.watts[5] == pytest.approx(150)
    assert line.watts[-1] is None


@pytest.mark.parametrize("quantity", ["power", "energy"])
def test_a_hole_in_the_readings_is_a_hole_in_the_line(quantity: str) -> None:
    """No reading from 50 s to 150 s, at most 3 s apart. Bins of 1.75 s: 28 (49 s to 50.75 s) to 85 (148.75 s to 150.5 s) touch it."""
    t = np.concatenate((np.arange(0, 51), np.arange(150, 211))) * NS_PER_S
    watts = 300.0 * t / NS_PER_S if quantity == "energy" else np.full(len(t), 300.0)
    (line,) = power_lines(node_meter("a"), Watched("m", "a", quantity, t, watts))
    assert [i for i, w in enumerate(line.watts) if w is None] == list(range(28, 86))
    assert [w for w in line.watts if w is not None] == pytest.approx([300.0] * (120 - 58))


def test_lanes_show_a_sample_of_agents_from_the_window_s_beginning() -> None:
    rows = [row(OPENS_S + i, agent=a, turn=i) for a in range(40) for i in range(60)]
    found = lanes(facts(agents=40), Turns.from_rows(rows))
    assert len(found.agents) == AGENTS
    assert len(found.bars) == TURNS
    assert found.of_agents == 40
    assert {bar.agent for bar in found.bars} == set(found.agents)
    assert found.from_s == OPENS_S
    assert found.to_s == pytest.approx(OPENS_S + TURNS / AGENTS)
    assert found == lanes(facts(agents=40), Turns.from_rows(rows))


@given(st.integers(0, 2_000), st.integers(0, 50), st.integers(0, 2**60))
def test_a_draw_is_of_different_numbers_in_order(of: int, most: int, seed: int) -> None:
    found = drawn(of, most, seed, "x").tolist()
    assert found == sorted(set(found))
    assert len(found) == min(of, most)
    assert all(0 <= number < of for number in found)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.9, 11, [1, 2, 5, 10]),
        (0.01, 1_000, [0.01, 0.1, 1, 10, 100, 1_000]),
        (3, 3, []),
        (0, 10, []),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == ticks


def test_levels_that_matter_keep_their_tick() -> None:
    levels = [1, 2, 4, 8, 16, 32, 64, 96, 97, 98, 99, 100, 128]
    assert level_ticks(levels, (98, 99)) == [1, 2, 4, 8, 16, 32, 64, 98]
    assert level_ticks([5]) == [5]
    assert level_ticks([]) == []
