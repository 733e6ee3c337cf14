"""The log of an external power analyser: delimited text, a row a time, a column a device.

times    ISO 8601 with an offset or Z; seconds or milliseconds since 1970; without a zone only where one is named: a log that is an
         hour off would still give a number. The hour that a clock shows twice in autumn and the one that it skips in spring are no times
values   W (or kW, mW by `scale`), J for a counter; a header whose unit the scale does not know is refused; an empty cell or one that is
         no number is a reading without a value
rows     a row that is cut short or too long (an unquoted decimal comma), or whose time cannot be read, is counted and named; times that
         go back are kept as they are (the judge makes the window invalid)
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from openagentperf.errors import UsageError
from openagentperf.meters.unitnames import unit_of
from openagentperf.records.power import Quantity
from openagentperf.records.trajectory import Skipped
from openagentperf.units import NS_PER_S, NS_PER_US, Ns

KIND = "csv"
"""Of a meter that was attached; the run's own have those of system.Meter."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_MS_FROM = 1e11
"""A number of seconds as large as this lies in the year 5138: it is milliseconds."""


class Form(NamedTuple):
    """How to read a log."""

    times: tuple[str, ...]
    """Columns of the time; several (a date and a time) are joined by a space."""
    values: Mapping[str, str]
    """Column of each device's values."""
    quantity: Quantity = "power"
    scale: float = 1.0
    zone: str = ""
    """IANA name, for times that carry none; "": such times are refused."""
    offset_s: float = 0.0
    """Added to every time: how far the log's clock is behind ours."""
    delimiter: str = ","
    decimal: str = "."
    """What stands before the fraction of a value."""


class Row(NamedTuple):
    """One device at one time."""

    wall_ns: Ns
    device: str
    value: float | None
    why: str


def rows(data: bytes, source: str, form: Form, skipped: list[Skipped]) -> Iterator[Row]:
    """Yield every value, in the order of the file. UsageError where a column is not there, or times lack a zone and none is named."""
    log = io.StringIO(data.decode("utf-8-sig", "replace"), newline="")
    reader = csv.reader(log, delimiter=form.delimiter)
    head = [name.strip() for name in next(reader, [])]
    missing = [name for name in (*form.times, *form.values.values()) if name not in head]
    if missing:
        raise UsageError(
            source, f"has no column `{missing[0]}`", f"its columns are {', '.join(head) or 'none'}", "name one of these"
        )
    if len(set(form.values.values())) < len(form.values):
        raise UsageError("--value", "names one column for two devices", "each watt counts once", "leave one out")
    if twice := [name for name in (*form.times, *form.values.values()) if head.count(name) > 1]:
        raise UsageError(
            source,
            f"has more than one column `{twice[0]}`",
            "which one is meant is not known",
            "rename one in the header",
        )
    for name in form.values.values():
        _check_unit(source, name, form)
    at = [head.index(name) for name in form.times]
    columns = {device: head.index(name) for device, name in form.values.items()}
    last = max(*at, *columns.values())
    zone = _zone(form.zone)
    try:
        for cells in reader:
            if not any(map(str.strip, cells)):
                continue
            where = f"{source}:{reader.line_num}"
            if len(cells) <= last:
                skipped.append(
                    Skipped(where, f"the row has {len(cells)} cells, {last + 1} are needed: it is cut short")
                )
                continue
            if any(map(str.strip, cells[len(head) :])):
                why = f"the row has {len(cells)} cells, the header {len(head)}: a decimal comma, or another --delimiter"
                skipped.append(Skipped(where, why))
                continue
            text = " ".join(cells[i].strip() for i in at)
            stamp = _stamp(text, zone, where)
            if stamp is None:
                skipped.append(Skipped(where, f"`{text[:40]}` is no time{f' in {form.zone}' if form.zone else ''}"))
                continue
            wall_ns = stamp + round(form.offset_s * NS_PER_S)
            for device, column in columns.items():
                value, why = _value(cells[column], form.decimal)
                yield Row(wall_ns, device, None if value is None else value * form.scale, why)
    except csv.Error as error:
        skipped.append(Skipped(f"{source}:{reader.line_num}", f"is no delimited text from here on ({error})"))


def _check_unit(source: str, column: str, form: Form) -> None:
    unit = unit_of(column)
    if unit is None:
        return
    if unit.quantity != form.quantity:
        raise UsageError(source, f"column `{column}` is in {unit.name}, {'an energy' if unit.quantity == 'energy' else 'a power'}, by its "
                         f"name, and --quantity is {form.quantity}", "which of them it is must be known",
                         f"say --quantity {unit.quantity}, or name another column")  # fmt: skip
    if unit.scale != 1 and form.scale == 1:
        each = "watts" if unit.quantity == "power" else "joules"
        fix = (
            f"say --scale {unit.scale:g}"
            if unit.scale is not None
            else f"say --scale with the {each} of one {unit.name}"
        )
        raise UsageError(
            source, f"column `{column}` is in {unit.name} by its name, and --scale is 1", f"{each} are needed", fix
        )


def _value(cell: str, decimal: str) -> tuple[float | None, str]:
    text = cell.strip()
    try:
        if (decimal != "." and "." in text) or "_" in text:  # 1.234,5 and Python's own 1_234
            raise ValueError
        return float(text.replace(decimal, ".")), ""
    except ValueError:
        return None, f"`{text[:40]}` is no number with `{decimal}` before its fraction" if text else "an empty cell"


def _zone(name: str) -> ZoneInfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise UsageError(
            f"time zone {name!r}",
            "is not known here",
            "an IANA name such as UTC or Europe/Berlin is needed",
            "correct it",
        ) from error


def _stamp(text: str, zone: ZoneInfo | None, where: str) -> Ns | None:
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        if not math.isfinite(number):
            return None
        return round(number * (NS_PER_S if abs(number) < _MS_FROM else NS_PER_S / 1000))
    try:
        when = datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None
    if when.tzinfo is None:
        if zone is None:
            raise UsageError(
                where,
                f"`{text[:40]}` names no time zone",
                "a zone is needed: an hour off, a log still gives a number",
                "say --timezone UTC, or whatever the logger's clock shows",
            )
        if not _once(when, zone):
            return None
        when = when.replace(tzinfo=zone)
    try:
        return (when - _EPOCH) // _US * NS_PER_US
    except OverflowError:
        return None


def _once(when: datetime, zone: tzinfo) -> bool:
    """Whether the zone's clocks showed this time exactly once: not in the hour that they show twice, nor in the one that they skip."""
    first, second = when.replace(tzinfo=zone, fold=0), when.replace(tzinfo=zone, fold=1)
    return first.utcoffset() == second.utcoffset()
