"""Energy of a window: within 0.5 % of the truth, or invalid with the right reason. Never a plausible wrong number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openagentperf.records.power import DeviceFacts, MeterFacts, Reading
from openagentperf.score.energy import device_energy
from openagentperf.units import NS_PER_S, s_to_ns
from signals import Signal, constant, counted, flicker, meter, poll_times, polled, ramp, reading, square

COUNTER = meter("m", DeviceFacts(device="d0", counter=True))


def wrapping(span_j: float) -> MeterFacts:
    return meter("m", DeviceFacts(device="d0", counter=True, counter_range_j=span_j))


def judged(rows: Iterable[Reading], facts: MeterFacts | None = None, window: tuple[float, float] = (10, 70)):
    facts = facts or meter()
    return device_energy(list(rows), facts, facts.devices[0], s_to_ns(window[0]), s_to_ns(window[1]))


def but(rows: list[Reading], when: Callable[[float], bool] = lambda t: True, **changes: object) -> list[Reading]:
    """The rows, those at times `when` changed: a value or a function of the row for each field."""

    def changed(row: Reading) -> Reading:
        if not when(row.t_ns / 1e9):
            return row
        new = {name: value(row) if callable(value) else value for name, value in changes.items()}
        return msgspec.structs.replace(row, **new)

    return [changed(row) for row in rows]


def only(rows: list[Reading], when: Callable[[float], bool]) -> list[Reading]:
    return [row for row in rows if when(row.t_ns / 1e9)]


CONSTANT, SLOPE, SLOW_SQUARE, FAST_SQUARE = (
    constant(700),
    ramp(300, 1000, 80),
    square(200, 1000, 0.05),
    square(0, 1000, 10),
)
RIGHT: dict[str, tuple[list[Reading], MeterFacts | None, float]] = {
    # rows, meter, true joules from 10 s to 70 s
    "constant, polled": (polled(flicker(CONSTANT), 5, 75), None, 700 * 60),
    "constant, polled every 1.4 s": (polled(flicker(CONSTANT), 5, 75, 1.4), None, 700 * 60),
    "constant, with update stamps": (
        but(polled(flicker(CONSTANT), 5, 75), updated_ns=lambda r: r.t_ns),
        None,
        700 * 60,
    ),
    # 300 + 700/80 t: at 10 s 387.5, at 70 s 912.5, mean 650
    "ramp, polled": (polled(flicker(SLOPE), 5, 75, 1.0), None, 650 * 60),
    "slow square, polled at 10 Hz": (polled(flicker(SLOW_SQUARE), 5, 75), None, 600 * 60),
    "constant, counted": (counted(CONSTANT, 5, 75), COUNTER, 700 * 60),
    "ramp, counted": (counted(SLOPE, 5, 75), COUNTER, 650 * 60),
    "10 Hz square, counted": (counted(FAST_SQUARE, 5, 75), COUNTER, 500 * 60),
    "10 Hz square, counted, updates beside its beat": (counted(FAST_SQUARE, 5, 75, 0.13), COUNTER, 500 * 60),
    "a counter that wraps twice": (counted(CONSTANT, 5, 75, span_j=20_000, first_j=12_345), wrapping(20_000), 700 * 60),
    "a counter polled five times an update": (
        [r for row in counted(CONSTANT, 5, 75) for r in [row] * 5],
        COUNTER,
        700 * 60,
    ),
    "a gap of 2 s": ([r for r in polled(flicker(CONSTANT), 5, 75) if not 30 < r.t_ns / 1e9 < 32], None, 700 * 60),
    "failed polls between good ones": (
        [row for r in polled(flicker(CONSTANT), 5, 75) for row in (r, msgspec.structs.replace(r, value=None))],
        None,
        700 * 60,
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_the_energy_is_within_half_a_per_cent(name: str) -> None:
    rows, facts, truth = RIGHT[name]
    found = judged(rows, facts)
    assert found.faults == ()
    assert found.energy_j == pytest.approx(truth, rel=0.005)
    assert found.coverage == 1


LIVE = polled(flicker(CONSTANT), 5, 75)
COUNTED = counted(CONSTANT, 5, 75)
WRONG: dict[str, tuple[list[Reading], MeterFacts | None, tuple[str, ...], str]] = {
    # rows, meter, codes in order, words of the first
    "nothing": ([], None, ("no_readings",), "gave no reading near the window"),
    "only failures": (but(LIVE, value=None), None, ("no_readings",), "no value"),
    "only before the window": (only(LIVE, lambda t: t < 9), None, ("no_readings",), "no value"),
    "begins late": (only(LIVE, lambda t: t > 13.2), None, ("gap", "coverage"), "did not update for 3.2 s"),
    "begins a little late": (only(LIVE, lambda t: t > 12), None, ("coverage",), "cover 96.6% of the window"),
    "the device vanishes": (only(LIVE, lambda t: t < 40), None, ("gap", "coverage"), "did not update for 30.1 s"),
    # 35 s of 890 s less 1 %: the end is as much a part of the window as its middle
    "it vanishes so late that coverage forgives": (
        only(polled(flicker(CONSTANT), 5, 905), lambda t: t < 894),
        None,
        ("gap",),
        "did not update for 6",
    ),
    "a gap of 4 s": (only(LIVE, lambda t: not 30 < t < 34), None, ("gap", "coverage"), "did not update for 4"),
    "a gap that coverage forgives": (
        only(polled(flicker(CONSTANT), 5, 905), lambda t: not 30 < t < 34),
        None,
        ("gap",),
        "did not update for 4",
    ),
    "NaN": (but(LIVE, lambda t: t % 7 < 1, value=math.nan), None, ("not_finite",), "no number"),
    "infinity": (but(LIVE, lambda t: t % 7 < 1, value=math.inf), None, ("not_finite",), "no number"),
    "negative": ([*LIVE, reading(76, -1.0)], None, ("negative",), "showed -1 W"),
    "an old value": (but(LIVE, lambda t: 20 < t < 26, value=700.0), None, ("stale",), "repeated 700 W for 5."),
    "the clock is set back": (
        but(LIVE, lambda t: t > 40, t_ns=lambda r: r.t_ns - 20 * NS_PER_S),
        None,
        ("clock", "gap", "coverage"),
        "go back by 19.",
    ),
    "a sensor's clock is ahead": (
        but(LIVE, updated_ns=lambda r: r.t_ns + NS_PER_S),
        None,
        ("clock",),
        "updated 1 s after",
    ),
    "slow answers": (but(LIVE, spread_ns=4 * NS_PER_S), None, ("no_readings",), "no value"),
    "a stuck sensor with update stamps": (
        but(LIVE, updated_ns=lambda r: min(r.t_ns, 40 * NS_PER_S)),
        None,
        ("gap", "coverage"),
        "did not update for 30.0 s",
    ),
    # A scrape's stamp is not the sensor's: an exporter that hangs behind a Prometheus server is scraped on and on.
    "an old value with ever new stamps": (
        but(LIVE, lambda t: 20 < t < 60, value=700.0, updated_ns=lambda r: r.t_ns),
        None,
        ("stale",),
        "repeated 700 W for ",
    ),
    "a counter that starts again": (
        but(COUNTED, lambda t: t > 40, value=lambda r: r.value - 20_000),
        COUNTER,
        ("counter_reset",),
        "went back from",
    ),
    "one that starts again shortly before its range": (
        but(COUNTED, lambda t: t > 40, value=lambda r: r.value - 24_500),
        wrapping(30_000),
        ("counter_reset",),
        "no wrap at 30,000 J",
    ),
    "a counter that stands still": (but(COUNTED, value=0.0), COUNTER, ("stale",), "stands still at 0.0 J"),
    "a counter that ends early": (
        only(COUNTED, lambda t: t < 65),
        COUNTER,
        ("counter_edge", "gap", "coverage"),
        "both sides",
    ),
    # Updates of 20 s, as long as the load's own beat: each shows 600 W on average, and half of one at an edge is any of 2,000 to 10,000 J.
    "a counter with long updates at an edge": (
        counted(square(200, 1000, 1 / 20), 0, 80, 20.0),
        meter("m", COUNTER.devices[0], max_gap_s=30.0),
        ("counter_edge",),
        "up to 12,000.0 J of 36,000.0 J lie",
    ),
    "counter and power disagree": (
        but(COUNTED, value=lambda r: r.value * 0.94) + LIVE,
        COUNTER,
        ("disagree",),
        "its counter says 39,480.0 J",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_reason_is_the_right_one(name: str) -> None:
    rows, facts, codes, words = WRONG[name]
    window = (10.0, 900.0) if "coverage forgives" in name else (10.0, 70.0)
    found = judged(rows, facts, window)
    assert found.energy_j is None
    assert tuple(fault.code for fault in found.faults) == codes
    assert words in found.faults[0].why


def test_counter_and_power_that_agree_give_the_counter() -> None:
    found = judged(but(COUNTED, value=lambda r: r.value * 1.04) + LIVE, COUNTER)
    assert (found.faults, found.method) == ((), "counter")
    assert found.energy_j == pytest.approx(700 * 60 * 1.04)


def test_a_broken_counter_leaves_the_power_and_says_so() -> None:
    found = judged(but(COUNTED, value=0.0) + LIVE, COUNTER)
    assert (found.faults, found.method) == ((), "integral")
    assert "its energy counter was not used" in found.notes[0]


def test_a_counter_that_nothing_stands_beside_says_so() -> None:
    found = judged(COUNTED + but(LIVE, value=700.0), COUNTER)
    assert (found.faults, found.method) == ((), "counter")
    assert found.notes[0].startswith("an energy counter stands without its power beside it: d0: it repeated 700 W")
    # 0 or 1,000 W polled at 1 Hz: uncertain by 26 %, which says nothing against a counter that shows a tenth more.
    found = judged(but(counted(constant(550), 5, 75)) + polled(flicker(FAST_SQUARE), 5, 75, 1.0, seed=5), COUNTER)
    assert (found.faults, found.method) == ((), "counter")
    assert "apart, which its power is uncertain by itself" in found.notes[0]


@pytest.mark.parametrize(
    ("updates_s", "powers", "codes"),
    [
        (1.0, [], ("counter_edge",)),  # 0.5 s of each edge's update, 1 s of 60 s: 1.7 %
        (0.1, [], ()),  # a tenth of it
        (1.0, polled(flicker(CONSTANT), 5, 75), ()),  # its power shows that nothing happens inside an update
        (1.0, polled(flicker(square(1, 1399, 3)), 5, 75), ("counter_edge",)),  # and here that something does
    ],
)
def test_power_shows_what_a_counter_s_update_hides(
    updates_s: float, powers: list[Reading], codes: tuple[str, ...]
) -> None:
    facts = meter("m", DeviceFacts(device="d0", counter=True, averaged_s=0.0))
    rows = counted(CONSTANT, 5.5, 75.5, updates_s)
    whole = judged(rows + powers, facts)
    assert tuple(f.code for f in whole.faults) == (codes if not powers else ())
    if powers:
        assert whole.method == ("integral" if codes else "counter")


def test_irregular_updates_show_what_regular_ones_may_hide() -> None:
    """6 s: half an update of 0.1 s at each edge is 1.7 %. Polls at random times of a counter that moves all the time would meet a load of
    any beat with other means; regular updates need not."""
    jittered = [reading(t, CONSTANT.joules(t), "energy") for t in poll_times(5, 75, 0.1)]
    regular = counted(CONSTANT, 5.05, 75.05, 0.1)
    assert judged(jittered, COUNTER, (10, 16)).energy_j == pytest.approx(700 * 6)
    assert [fault.code for fault in judged(regular, COUNTER, (10, 16)).faults] == ["counter_edge"]
    beating = square(100, 1300, 1.3)
    found = [
        judged([reading(t, beating.joules(t), "energy") for t in poll_times(5, 75, 0.2, seed)], COUNTER, (10, 16))
        for seed in range(30)
    ]
    believed = [energy.energy_j for energy in found if energy.energy_j is not None]
    assert 0 < len(believed) < 30
    assert believed == pytest.approx([beating.joules(16) - beating.joules(10)] * len(believed), rel=0.01)


def test_a_sensor_that_averages_is_late_by_half_of_it() -> None:
    """A ramp of 8.75 W/s seen as the mean of the last 4 s lags by 17.5 W; without the correction the energy is 2.7 % low."""
    late = [msgspec.structs.replace(r, value=(r.value or 0) - 17.5) for r in polled(flicker(SLOPE), 5, 75)]
    found = judged(late, meter("m", DeviceFacts(device="d0", averaged_s=4.0)))
    assert found.energy_j == pytest.approx(650 * 60, rel=0.001)
    assert judged(late).energy_j == pytest.approx(632.5 * 60, rel=0.001)


@settings(max_examples=60, deadline=None)
@given(
    low=st.floats(50, 500), high=st.floats(550, 1500), period_s=st.sampled_from([0.1, 0.5, 1.0, 2.5]),
    start=st.floats(3, 20), length=st.floats(20, 60), seed=st.integers(0, 50),
)  # fmt: skip
def test_a_ramp_is_exact_wherever_the_window_lies(
    low: float, high: float, period_s: float, start: float, length: float, seed: int
) -> None:
    signal = ramp(low, high, 100)
    rows = polled(signal, 0, 90, period_s, seed=seed)
    found = judged(but(rows, updated_ns=lambda r: r.t_ns), meter(max_gap_s=5.1), (start, start + length))
    assert found.faults == ()
    assert found.energy_j == pytest.approx(signal.joules(start + length) - signal.joules(start), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), counter=st.booleans())
def test_whatever_is_missing_the_energy_is_right_or_there_is_none(data: st.DataObject, counter: bool) -> None:
    """Rows dropped, failed or doubled at random from a steady signal: what is left can only give the truth, or a reason."""
    rows = counted(CONSTANT, 5, 75, 0.5) if counter else polled(flicker(CONSTANT), 5, 75, 0.5)
    fates = data.draw(
        st.lists(
            st.sampled_from(["keep", "keep", "keep", "drop", "fail", "twice"]), min_size=len(rows), max_size=len(rows)
        )
    )
    hole = data.draw(st.integers(0, len(rows)))
    width = data.draw(st.integers(0, 40))
    kept: list[Reading] = []
    for k, (row, fate) in enumerate(zip(rows, fates, strict=True)):
        if fate == "drop" or hole <= k < hole + width:
            continue
        kept += [msgspec.structs.replace(row, value=None)] if fate == "fail" else [row] * (1 + (fate == "twice"))
    found = judged(kept, COUNTER if counter else None)
    if found.energy_j is None:
        assert found.faults
    else:
        assert found.energy_j == pytest.approx(700 * 60, rel=0.005)
        assert found.largest_gap_s <= 3
        assert found.coverage >= 0.99


@settings(max_examples=40, deadline=None)
@given(span=st.floats(800, 50_000), first=st.floats(0, 1), update_s=st.sampled_from([0.1, 0.5, 1.0]))
def test_a_wrap_changes_nothing(span: float, first: float, update_s: float) -> None:
    """700 W and updates of at most 1 s: at most 700 J an update, less than any range here."""
    found = judged(counted(CONSTANT, 5, 75, update_s, first_j=first * span, span_j=span), wrapping(span))
    assert found.faults == ()
    assert found.energy_j == pytest.approx(700 * 60, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    watts=st.floats(100, 20_000), span=st.floats(300, 20_000), period_s=st.sampled_from([0.2, 0.5, 1.0]), seed=st.integers(0, 50)
)  # fmt: skip
def test_a_counter_that_may_wrap_more_than_once_between_two_polls_is_not_believed(
    watts: float, span: float, period_s: float, seed: int
) -> None:
    """A Counter32 in microjoules holds 4,295 J: at 5 kW it wraps every 0.86 s, and polls of 1 s would show a sixth of the power."""
    times = list(poll_times(5, 75, period_s, seed))
    rows = [reading(t, watts * t % span, "energy") for t in times]
    found = judged(rows, wrapping(span))
    if found.energy_j is None:
        assert {fault.code for fault in found.faults} & {"counter_reset", "counter_edge"}
    else:
        assert found.energy_j == pytest.approx(watts * 60, rel=0.005)
    if watts * 2 * period_s < span:  # polls lie up to two periods apart
        assert found.energy_j is not None or {fault.code for fault in found.faults} == {"counter_edge"}


def test_long_updates_of_a_counter_that_wraps_are_not_believed() -> None:
    """700 W in updates of 20 s, and a range of 10,000 J: 14,000 J in each, which shows as 4,000."""
    facts = meter("m", DeviceFacts(device="d0", counter=True, counter_range_j=10_000), max_gap_s=30.0)
    rows = counted(CONSTANT, 5, 1025, 20.0, span_j=10_000) + polled(flicker(CONSTANT), 5, 1025, 1.0)
    found = judged(rows, facts, (10, 1010))
    assert found.energy_j == pytest.approx(700 * 1000, rel=0.005)
    assert found.method == "integral"


@pytest.mark.parametrize("counted_or_polled", [counted, lambda *at: polled(flicker(at[0]), *at[1:])])
@pytest.mark.parametrize(
    ("signal", "error_s", "codes"),
    [
        (CONSTANT, 3.0, ()),
        (SLOPE, 0.5, ()),  # 8.75 W/s of 650 W: 0.7 %
        (SLOPE, 1.0, ("clock",)),  # 1.3 %
        (CONSTANT, 8.0, ("clock",)),  # the log begins 5 s before the window
    ],
)
def test_a_clock_that_may_be_off_must_not_change_the_energy(
    counted_or_polled: Callable[..., list[Reading]], signal: Signal, error_s: float, codes: tuple[str, ...]
) -> None:
    found = judged(counted_or_polled(signal, 5, 75), meter("m", COUNTER.devices[0], clock_error_s=error_s))
    assert tuple(fault.code for fault in found.faults) == codes
    if not codes:
        assert found.energy_j == pytest.approx(signal.joules(70) - signal.joules(10), rel=0.005)
