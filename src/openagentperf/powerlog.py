"""Attach the log of an external analyser to a finished run, as one more meter. Its result is then derived anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from openagentperf import planfile, rundir, tables
from openagentperf.errors import StorageError, UsageError
from openagentperf.meters.csvlog import KIND, Form, Row, rows
from openagentperf.records.power import DeviceFacts, MeterFacts, Meters, ReadBoundary, Reading
from openagentperf.records.trajectory import Skipped
from openagentperf.score import logclock
from openagentperf.score.normalise import accelerators
from openagentperf.system import System
from openagentperf.units import NS_PER_MS, NS_PER_S, Ns

MAX_WALL_STEP_NS: Ns = 50 * NS_PER_MS
"""The wall clock may drift by this much against the monotonic one in a phase; NTP slews by 0.5 ms a second at most. More is a step."""
_MARGIN_NS: Ns = 5 * NS_PER_S


class Attached(Struct, frozen=True, kw_only=True):
    """What `attach` did."""

    meter: str
    rows: int
    """Values in the log."""
    phases: int
    """Phases that the log reaches into."""
    skipped: tuple[Skipped, ...]
    clock: str
    """What is known of its clock, in words."""


def attach(
    run: Path,
    log: Path,
    form: Form,
    *,
    name: str,
    boundary: ReadBoundary,
    max_gap_s: float = 3.0,
    stale_s: float = 30.0,
    replace: bool = False,
    clock_error_s: float | None = None,
) -> Attached:
    """Put the log's readings into every phase's power.parquet and the meter into meters.json; with `replace`, in place of those of the log
    that was attached under this name.

    Wall-clock times become the run's own by the offset that each phase recorded when it began and when it had ended; where the two differ
    by more than 50 ms the clock was stepped, and the phase's readings carry no value. The logger's own clock is held against the load,
    which its power follows (score.logclock); where it does not, `clock_error_s` has to say by how much it may be off.

    UsageError: a meter of that name is there, or one that reads the same; the log has not the columns, or covers no phase; its clock is
    off, or cannot be checked. Nothing is written then. StorageError.
    """
    try:
        data = log.read_bytes()
    except OSError as error:
        raise UsageError(str(log), f"cannot be read ({error.strerror})", "a log is needed", "check the path") from error
    path = run / rundir.METERS
    known = rundir.read_record(path, Meters, "a run with meters has one", "restore it").meters if path.exists() else ()
    for meter in known:
        if meter.name == name and not (replace and meter.kind == KIND):
            fix = "choose one with --name" + (", or say --replace" if meter.kind == KIND else "")
            raise UsageError(f"meter {name}", "is in this run already", "another name is needed", fix)
    known = tuple(meter for meter in known if meter.name != name)
    _check_boundary(boundary, len(form.values), known, planfile.read(run / "plan.toml").system)
    skipped: list[Skipped] = []
    found = list(rows(data, str(log), form, skipped))
    folders = [folder for folder in sorted((run / "phases").glob("*")) if (folder / "phase.json").exists()]
    offset_ns: Ns | None = None
    facts_of = {folder: rundir.read_facts(folder) for folder in folders}
    for folder, about in facts_of.items():
        if about.wall_offset_ns is None:
            raise StorageError(
                str(folder), "does not say how its clock stood to the wall clock", "phases of this version do",
                "run again, or give the log's meter to the run (docs/power.md)",
            )  # fmt: skip
        offset_ns = about.wall_offset_ns[0] if offset_ns is None else offset_ns

    def cut(error_s: float) -> dict[Path, list[Reading]]:
        """What lies around each phase, and as much more as the clock may be off: a window is asked for that far, too."""
        margin_ns = _MARGIN_NS + round(error_s * NS_PER_S)
        return {
            folder / rundir.POWER: list(
                _inside(
                    found,
                    about.wall_offset_ns,
                    about.order.start_ns - margin_ns,
                    about.ended_ns + margin_ns,
                    name,
                    form,
                )
            )
            for folder, about in facts_of.items()
            if about.wall_offset_ns is not None
        }

    if offset_ns is None or not any(cut(0.0).values()):
        first = f", rows skipped: {len(skipped)}; the first: {skipped[0].where}: {skipped[0].why}" if skipped else ""
        raise UsageError(
            str(log),
            f"covers no phase of {run} (values in it: {len(found)}{first})",
            "a log of the time of the run is needed",
            "check --timezone, --offset and --decimal",
        )
    error_s, clock = _clock(folders, found, form, offset_ns, str(log), clock_error_s)
    written = cut(error_s)
    for table, readings in written.items():
        _put(table, name, readings)
    facts = MeterFacts(
        name=name, kind=KIND, boundary=boundary, basis="measured", source=log.name,
        devices=tuple(DeviceFacts(device=device, counter=form.quantity == "energy") for device in form.values),
        period_s=max_gap_s, max_gap_s=max_gap_s, stale_s=stale_s, clock_error_s=error_s,
        notes=("an external log, attached after the run", clock),
    )  # fmt: skip
    rundir.write(path, msgspec.json.format(msgspec.json.encode(Meters(meters=(*known, facts))), indent=1) + b"\n")
    return Attached(
        meter=name, rows=len(found), phases=sum(map(bool, written.values())), skipped=tuple(skipped), clock=clock
    )  # fmt: skip


def _clock(
    folders: Sequence[Path], found: Sequence[Row], form: Form, offset_ns: Ns, where: str, declared_s: float | None
) -> tuple[float, str]:
    """By how much the log's clock may be off, and how that is known. UsageError where it is off, or where that cannot be told."""
    fit = _fit(folders, found, form, offset_ns)
    if fit is not None and fit.flat:
        return 0.0, "its power varies nowhere in the log, so that its clock changes nothing"
    if fit is not None and fit.agrees:
        error_s = fit.tolerance_s if declared_s is None else declared_s
        return (
            error_s,
            f"its power follows the load (correlation {fit.here:.2f}): its clock is right to {fit.tolerance_s:g} s",
        )
    if fit is not None and fit.is_off and (declared_s is None or abs(fit.lag_s) > declared_s + fit.tolerance_s):
        late = "behind" if fit.lag_s > 0 else "ahead"
        raise UsageError(
            where,
            f"its power follows the load best {abs(fit.lag_s):,.1f} s {'later' if fit.lag_s > 0 else 'earlier'} than its times say "
            f"(correlation {fit.correlation:.2f}, {max(fit.here, 0):.2f} as they are): its clock is {late}",
            "power of the phases' own time is needed",
            f"say --offset {form.offset_s + fit.lag_s:g}, or correct --timezone",
        )
    if declared_s is not None:
        return declared_s, f"its clock is declared right to {declared_s:g} s, and the load does not contradict"
    seen = "the log covers too little of the run" if fit is None else f"correlation {max(fit.correlation, 0):.2f}"
    raise UsageError(
        where,
        f"its power does not follow the load ({seen}), so that its clock cannot be checked",
        f"a correlation of {logclock.MIN_CORRELATION:g} is needed, or a declared bound",
        "synchronise the clocks and say with --clock-error how far they may be apart (NTP: 0.1)",
    )


def _fit(folders: Sequence[Path], found: Sequence[Row], form: Form, offset_ns: Ns) -> logclock.Fit | None:
    """The log held against the run's requests; None where there is too little of either."""
    turns = [tables.read_turns(folder, ("sent_ns", "closed_ns")) for folder in folders]
    sent, closed = (np.concatenate([each[name] for each in turns]) for name in ("sent_ns", "closed_ns"))
    signals = logclock.loads(sent[sent >= 0], closed[sent >= 0])
    by_device: dict[str, dict[Ns, float]] = defaultdict(dict)
    for row in found:
        if row.value is not None and np.isfinite(row.value):
            by_device[row.device][row.wall_ns - offset_ns] = row.value
    if not signals or set(by_device) != set(form.values) or min(map(len, by_device.values())) < 2:
        return None
    devices, step_s = [], 0.0
    for values in by_device.values():
        times = np.array(sorted(values), dtype=np.int64)
        shown = np.array([values[at] for at in times.tolist()])
        step_s = max(step_s, float(np.median(np.diff(times))) / NS_PER_S)
        counter = form.quantity == "energy"
        devices.append(logclock.Total(times, shown - shown[0]) if counter else logclock.power(times, shown))
    return logclock.fit(signals, devices, step_s)


def _check_boundary(boundary: ReadBoundary, devices: int, known: Iterable[MeterFacts], system: System) -> None:
    """Meters of one boundary are added up. An analyser beside the BMC of the same host would be counted twice, and both be lost by it."""
    others = [meter for meter in known if (meter.boundary, meter.basis) == (boundary, "measured")]
    declared = {"accelerator": accelerators(system), "node": system.hosts, "rack": 0}[boundary]
    there = sum(len(meter.devices) for meter in others)
    if others and there + devices > declared:
        raise UsageError(
            f"--boundary {boundary}",
            f"is read by `{others[0].name}` already ({there} devices of {declared} declared)",
            "meters of one boundary are added up, and each watt counts once",
            "attach the log to another boundary, or leave that meter out of the run",
        )


def _inside(
    found: Iterable[Row], offsets: tuple[Ns, Ns], start_ns: Ns, end_ns: Ns, name: str, form: Form
) -> Iterable[Reading]:
    before, after = offsets
    stepped = abs(after - before) > MAX_WALL_STEP_NS
    why = f"the wall clock was stepped by {(after - before) / NS_PER_S:.3f} s in this phase" if stepped else ""
    for row in found:
        at = row.wall_ns - before
        if start_ns <= at <= end_ns:
            yield Reading(
                meter=name, device=row.device, quantity=form.quantity, t_ns=at,
                value=None if stepped else row.value, why=why or row.why,
            )  # fmt: skip


def _put(path: Path, name: str, readings: list[Reading]) -> None:
    """Those of this name that are there are of a log that is replaced, or of an attempt that was broken off."""
    old = tables.read_readings(path) if path.exists() else []
    tables.write_readings(path, [*(row for row in old if row.meter != name), *readings])
