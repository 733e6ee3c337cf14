"""External logs: every time is one time, and nothing that cannot be read becomes a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.errors import UsageError
from openagentperf.meters.csvlog import Form, rows
from openagentperf.records.trajectory import Skipped

ONE = Form(("time",), {"W1": "p"})


def read(text: str, form: Form = ONE) -> tuple[list[tuple[int, str, float | None]], list[str]]:
    skipped: list[Skipped] = []
    found = [(row.wall_ns, row.device, row.value) for row in rows(text.encode(), "log.csv", form, skipped)]
    return found, [f"{row.where.removeprefix('log.csv:')} {row.why}" for row in skipped]


T = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
TIMES = {
    # text, zone, ns after T
    "2026-01-01T00:00:01Z": ("", 1e9),
    "2026-01-01T01:00:01.5+01:00": ("", 1.5e9),
    "2026/01/01 00:00:02Z": ("", 2e9),
    "1767225603": ("", 3e9),
    "1767225603.25": ("", 3.25e9),
    "1767225604000": ("", 4e9),
    "2026-01-01 00:00:05": ("UTC", 5e9),
    "2026-01-01 01:00:06": ("Europe/Berlin", 6e9),
}


@pytest.mark.parametrize("text", TIMES)
def test_a_time_is_read_for_what_it_is(text: str) -> None:
    zone, after = TIMES[text]
    found, skipped = read(f"time,p\n{text},700\n", ONE._replace(zone=zone))
    assert (found, skipped) == ([(T + after, "W1", 700.0)], [])


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(UsageError, match=r"log.csv:2: `2026-01-01 00:00:05` names no time zone, .*say --timezone UTC"):
        read("time,p\n2026-01-01 00:00:05,700\n")


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-10-25 02:30:00", "Europe/Berlin"),  # shown twice: at 00:30 and at 01:30 UTC
        ("2026-11-01 01:30:00", "America/New_York"),
        ("2026-03-29 02:30:00", "Europe/Berlin"),  # skipped: no clock showed it
    ],
)
def test_a_time_that_was_not_shown_exactly_once_is_none(text: str, zone: str) -> None:
    found, skipped = read(f"time,p\n{text},700\n", ONE._replace(zone=zone))
    assert (found, skipped) == ([], [f"2 `{text}` is no time in {zone}"])


def test_the_hours_beside_a_clock_change_are_what_they_are() -> None:
    """01:30 and 03:30 in Berlin that night are 23:30 the day before and 02:30 UTC: three hours apart."""
    found, skipped = read("time,p\n2026-10-25 01:30:00,1\n2026-10-25 03:30:00,2\n", ONE._replace(zone="Europe/Berlin"))
    assert skipped == []
    assert found[1][0] - found[0][0] == 3 * 3600 * 10**9


def test_what_cannot_be_read_is_counted_or_has_no_value() -> None:
    text = "time,p\n1767225601,700\nnonsense,1\n\n1767225602,\n1767225603,n/a\n1767225604,nan\n1767225605"
    found, skipped = read(text)
    assert [value for _, _, value in found[:3]] == [700.0, None, None]
    assert found[3][2] != found[3][2]  # NaN is passed on: the judge names it
    assert skipped == ["3 `nonsense` is no time", "8 the row has 1 cells, 2 are needed: it is cut short"]


def test_columns_scale_offset_and_delimiter() -> None:
    form = Form(("Date", "Time"), {"a": "P1", "b": "P2"}, scale=1000.0, zone="UTC", offset_s=0.5, delimiter=";")
    found, _ = read("\ufeffDate;Time;P1;P2\n2026-01-01;00:00:01;0.5;0.75\n", form)
    assert found == [(T + 15 * 10**8, "a", 500.0), (T + 15 * 10**8, "b", 750.0)]


def test_an_unquoted_decimal_comma_is_not_cut_off() -> None:
    """0,85 kW between commas would be 0 kW, and 12,345 kW 12: within 3 % of the truth."""
    found, skipped = read("time,p\n1767225601,12,345\n1767225602,12\n1767225603,13,\n")
    assert [value for _, _, value in found] == [12.0, 13.0]  # an empty last cell is a logger's habit
    assert skipped == ["2 the row has 3 cells, the header 2: a decimal comma, or another --delimiter"]


@pytest.mark.parametrize(
    ("cell", "decimal", "value"),
    [
        ("700,5", ",", 700.5),
        ("700.5", ".", 700.5),
        ("7e2", ".", 700.0),
        ("700,5", ".", None),  # a thousand and a fraction look alike: say which
        ("1.700,5", ",", None),
        ("1 700,5", ",", None),
        ("1_700", ".", None),
    ],
)
def test_the_fraction_stands_behind_the_declared_mark(cell: str, decimal: str, value: float | None) -> None:
    found, skipped = read(f"time;p\n1767225601;{cell}\n", ONE._replace(delimiter=";", decimal=decimal))
    assert (found, skipped) == ([(T + 10**9, "W1", value)], [])


@pytest.mark.parametrize(
    ("text", "form", "words"),
    [
        ("time,p,p\n1,2,3\n", ONE, "has more than one column `p`"),
        ("time,p\n1,2\n", Form(("time",), {"a": "p", "b": "p"}), "names one column for two devices"),
        ("t,p\n", ONE, "has no column `time`, its columns are t, p"),
        ("", ONE, "its columns are none"),
        ("time,p\n1,2\n", ONE._replace(zone="Mars/Olympus"), "is not known here"),
    ],
)
def test_a_log_that_is_not_described_is_refused(text: str, form: Form, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read(text, form)


@pytest.mark.parametrize(
    ("column", "form", "words"),
    [
        ("P / kW", ONE, "is in kW by its name, and --scale is 1.*say --scale 1000"),
        ("P (mW)", ONE, "say --scale 0.001"),
        ("power_mw", ONE, "say --scale with the watts of one mw"),
        ("WP [Wh]", ONE._replace(quantity="energy"), "say --scale 3600"),
        ("WP [Wh]", ONE, "is in Wh, an energy, by its name, and --quantity is power"),
        (
            "P / kW",
            ONE._replace(quantity="energy", scale=1000),
            "is in kW, a power, by its name, and --quantity is energy",
        ),
    ],
)
def test_a_unit_in_the_header_that_the_scale_forgets_is_refused(column: str, form: Form, words: str) -> None:
    """4.24 kW taken for 4.24 W would be 2.6 million agents a megawatt, and nothing else would look wrong."""
    with pytest.raises(UsageError, match=words):
        read(f"time,{column}\n1767225601,4.24\n", form._replace(values={"W1": column}))
    unit = 3600 if "Wh" in column else 1000
    quantity = "energy" if "Wh" in column else "power"
    right = form._replace(values={"W1": column}, scale=unit, quantity=quantity)
    assert read(f"time,{column}\n1767225601,4.24\n", right)[0] == [(T + 10**9, "W1", 4.24 * unit)]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_else(data: bytes) -> None:
    skipped: list[Skipped] = []
    for row in rows(b"time,p\n" + data, "f", ONE._replace(zone="UTC"), skipped):
        assert isinstance(row.wall_ns, int)
