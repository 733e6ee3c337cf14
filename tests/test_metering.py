"""A run's meters: what stands in its folder before, between and after the phases, and when a run goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from openagentperf import rundir, tables
from openagentperf.client.clock import now_ns
from openagentperf.metering import Metering
from openagentperf.records.phase import PhaseFacts, PhaseOrder
from openagentperf.records.power import IdleSpans, Meters
from openagentperf.score.boundary import window_energies
from openagentperf.system import Rapl, System
from openagentperf.units import NS_PER_S
from signals import meter


@contextmanager
def package(root: Path) -> Iterator[Rapl]:
    """A CPU package that draws 1,000 W, as the kernel's powercap shows it."""
    zone, stop, began = root / "intel-rapl:0", threading.Event(), now_ns()
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "name").write_text("package-0\n")

    def show() -> None:
        (zone / "new").write_text(f"{(now_ns() - began) // 1000 * 1000}\n")
        (zone / "new").rename(zone / "energy_uj")

    def run() -> None:
        while not stop.wait(0.002):
            show()

    show()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield Rapl(name="cpu", boundary="accelerator", path=str(root), period_s=0.005)
    finally:
        stop.set()
        thread.join()


def phase(start_ns: int, window_start_ns: int, window_end_ns: int) -> PhaseFacts:
    order = PhaseOrder(
        index=0, agents=1, kind="certify", seed=1, phase_nonce="", nonce_key=b"", start_ns=start_ns, spawn_per_s=1, settle_s=0,
        measure_s=1, limit_s=9, turn_timeout_s=9,
    )  # fmt: skip
    return PhaseFacts(
        order=order, window_start_ns=window_start_ns, window_end_ns=window_end_ns, ended_ns=window_end_ns, hit_limit=False, workers=1,
        stamps="user", min_active_share=1.0,
    )  # fmt: skip


def meters_of(folder: Path) -> tuple[str, ...]:
    record = rundir.read_record(folder / rundir.METERS, Meters, "", "")
    return tuple(facts.name for facts in record.meters)


def test_a_phase_that_ends_with_its_window_has_readings_behind_it(tmp_path: Path) -> None:
    folder = tmp_path / "phase"
    folder.mkdir()
    with package(tmp_path / "powercap") as spec, Metering((spec,), tmp_path, 0.0) as metered:
        start = now_ns()
        threading.Event().wait(0.3)
        end = now_ns()
        metered.phase_ended(folder, phase(start, start + NS_PER_S // 10, end))
        rows = tables.read_readings(folder / rundir.POWER)
        record = rundir.read_record(tmp_path / rundir.METERS, Meters, "", "")
    assert min(row.t_ns for row in rows) <= start + NS_PER_S // 10
    assert max(row.t_ns for row in rows) > end
    (found,) = window_energies(record.meters, rows, System(), start + NS_PER_S // 10, end)
    assert not {"no_readings"} & {fault.code for fault in found.faults}
    assert not any("no update on both sides" in fault.why for fault in found.faults)
    assert not (tmp_path / "power.frames").exists()


def test_a_run_that_goes_on_keeps_its_idle_power_and_its_attached_logs(tmp_path: Path) -> None:
    known = Meters(meters=(meter("wall", kind="csv", boundary="node"), meter("gone", kind="nvml")))
    with package(tmp_path / "powercap") as spec:
        with Metering((spec,), tmp_path, 0.05) as metered:
            metered.idle("before")
        assert meters_of(tmp_path) == ("cpu",)
        rundir.write(tmp_path / rundir.METERS, msgspec.json.encode(known))
        with Metering((spec,), tmp_path, 0.05) as metered:
            metered.idle("before")
            metered.idle("after")
    assert meters_of(tmp_path) == ("cpu", "wall"), "of another run's meters only the log that somebody attached is kept"
    spans = rundir.read_record(tmp_path / rundir.IDLE_SPANS, IdleSpans, "", "").spans
    assert [span.when for span in spans] == ["before", "after"]
    rows = tables.read_readings(tmp_path / rundir.IDLE)
    for span in spans:
        assert any(span.start_ns <= row.t_ns <= span.end_ns for row in rows)


def test_a_run_without_meters_writes_nothing(tmp_path: Path) -> None:
    with Metering((), tmp_path, 1.0) as metered:
        metered.idle("before")
        metered.phase_ended(tmp_path, phase(0, 1, 2))
    assert list(tmp_path.iterdir()) == []
