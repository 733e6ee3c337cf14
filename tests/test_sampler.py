"""The sampler: no meter delays, silences or outlives another, and nothing that was written is unreadable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from openagentperf.client.clock import now_ns
from openagentperf.errors import MeterError, StorageError
from openagentperf.meters.protocol import Opened
from openagentperf.meters.sampler import sample
from openagentperf.meters.sampling import Sampling
from openagentperf.records.power import DeviceFacts, MeterFacts, Reading
from openagentperf.rundir import FrameReader
from openagentperf.system import Nvml, Rapl
from openagentperf.units import NS_PER_S

PATIENCE_S = 30.0


class Fake:
    """A meter of one device; `read` is the test's."""

    def __init__(self, name: str, read: Callable[[int], float | None]) -> None:
        self._name, self._value = name, read
        self.reads = 0
        self.closed = 0

    def open(self) -> MeterFacts:
        return MeterFacts(
            name=self._name, kind="fake", boundary="node", basis="measured", source="test", devices=(DeviceFacts(device=self._name),),
            period_s=0.002, max_gap_s=3, stale_s=3,
        )  # fmt: skip

    def read(self) -> list[Reading]:
        self.reads += 1
        value = self._value(self.reads)
        return [Reading(meter=self._name, device=self._name, quantity="power", t_ns=now_ns(), value=value)]

    def close(self) -> None:
        self.closed += 1


def until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()


def readings(path: Path) -> dict[str, list[Reading]]:
    found: dict[str, list[Reading]] = {}
    for row in FrameReader(path).read():
        assert isinstance(row, Reading)
        found.setdefault(row.meter, []).append(row)
    return found


def test_every_meter_s_readings_stand_in_its_own_order(tmp_path: Path) -> None:
    stop = threading.Event()
    meters = [Fake(name, lambda n: float(n)) for name in "abc"]
    said: list[Opened] = []
    thread = threading.Thread(target=sample, args=(meters, tmp_path / "f", stop, said.append))
    thread.start()
    assert until(lambda: all(meter.reads > 20 for meter in meters))
    stop.set()
    thread.join(PATIENCE_S)
    assert [facts.name for facts in said[0].meters] == ["a", "b", "c"]
    for meter in meters:
        rows = readings(tmp_path / "f")[meter.open().name]
        assert [row.value for row in rows] == [float(n + 1) for n in range(meter.reads)]
        assert sorted(row.t_ns for row in rows) == [row.t_ns for row in rows]
        assert meter.closed == 1


def test_a_meter_that_raises_loses_its_polls_and_nobody_else_s(tmp_path: Path) -> None:
    stop = threading.Event()

    def broken(n: int) -> float:
        if n % 2:
            raise ZeroDivisionError("by the driver")
        return 7.0

    bad, good = Fake("bad", broken), Fake("good", lambda n: 1.0)
    thread = threading.Thread(target=sample, args=([bad, good], tmp_path / "f", stop, lambda _: None))
    thread.start()
    assert until(lambda: bad.reads > 10 and good.reads > 10)
    stop.set()
    thread.join(PATIENCE_S)
    rows = readings(tmp_path / "f")
    assert [(row.value, row.why) for row in rows["bad"][:2]] == [(None, "ZeroDivisionError: by the driver"), (7.0, "")]
    assert {row.value for row in rows["good"]} == {1.0}


def test_a_read_that_blocks_holds_up_neither_another_meter_nor_the_end(tmp_path: Path) -> None:
    stop, free = threading.Event(), threading.Event()

    def blocked(_: int) -> float:
        free.wait(PATIENCE_S)
        return 1.0

    slow, good = Fake("slow", blocked), Fake("good", lambda n: float(n))
    thread = threading.Thread(target=sample, args=([slow, good], tmp_path / "f", stop, lambda _: None, 0.05))
    thread.start()
    assert until(lambda: slow.reads == 1 and good.reads > 10)
    stop.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert (slow.closed, good.closed) == (0, 1), "a library is not shut down under a call that is still in it"
    free.set()
    assert until(lambda: threading.active_count() == 1 or not any(t.name == "slow" for t in threading.enumerate()))
    assert set(readings(tmp_path / "f")) == {"good"}, "what comes after the end is not written"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a file that is always full")
def test_a_full_disk_ends_the_sampler_with_its_reason() -> None:
    meters = [Fake("a", lambda n: 1.0), Fake("b", lambda n: 1.0)]
    with pytest.raises(StorageError, match="/dev/full"):
        sample(meters, Path("/dev/full"), threading.Event(), lambda _: None)
    assert [meter.closed for meter in meters] == [1, 1]


# -- the process ---------------------------------------------------------------------------------------------------------------


class Package:
    """A tree as the kernel's powercap shows it, with one package."""

    def __init__(self, root: Path) -> None:
        self.spec = Rapl(name="cpu", boundary="accelerator", path=str(root), period_s=0.005)
        self._zone = root / "intel-rapl:0"
        self._zone.mkdir()
        (self._zone / "name").write_text("package-0\n")
        self.show(0)

    def show(self, microjoules: int) -> None:
        (self._zone / "new").write_text(f"{microjoules}\n")
        (self._zone / "new").rename(self._zone / "energy_uj")


def test_readings_come_out_of_the_process_until_it_is_closed(tmp_path: Path) -> None:
    package = Package(tmp_path)
    start = now_ns()
    with Sampling([package.spec], tmp_path / "f") as sampling:
        assert sampling.alive
        assert until(lambda: len(sampling.between(start, now_ns())) > 5)
        half = now_ns()
        assert until(lambda: bool(sampling.between(half, now_ns())))
        assert min(row.t_ns for row in sampling.between(half, now_ns())) >= half
    assert not sampling.alive


def test_an_edge_waits_for_an_update_and_not_for_a_poll(tmp_path: Path) -> None:
    package = Package(tmp_path)
    with Sampling([package.spec], tmp_path / "f") as sampling:
        assert until(lambda: bool(sampling.between(0, now_ns())))
        edge = now_ns()
        assert until(lambda: any(row.t_ns > edge + NS_PER_S // 100 for row in sampling.between(0, now_ns())))
        assert not sampling.updated_after(edge), "it was polled, and shows what it showed before"
        package.show(5_000_000)
        assert until(lambda: sampling.updated_after(edge))


def test_a_meter_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="cannot be read"):
        Sampling([Rapl(name="cpu", boundary="accelerator", path=str(tmp_path / "none"))], tmp_path / "f")
    with pytest.raises(MeterError, match="meter gpus"):
        Sampling(
            [Package(tmp_path).spec, Nvml(name="gpus", boundary="accelerator", devices=("GPU-none",))], tmp_path / "f"
        )


def test_no_sampler_outlives_a_run_that_was_killed(tmp_path: Path) -> None:
    package = Package(tmp_path)
    code = f"""
import sys, time
from pathlib import Path
from openagentperf.meters.sampling import Sampling
from openagentperf.system import Rapl
spec = Rapl(name="cpu", boundary="accelerator", path={package.spec.path!r}, period_s=0.005)
print(Sampling([spec], Path({str(tmp_path / "f")!r})).pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert until(lambda: (tmp_path / "f").exists() and os.path.getsize(tmp_path / "f") > 0)
        parent.send_signal(signal.SIGKILL)

    def gone() -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        return state == "Z"  # ended; whoever inherited it has not asked yet

    if not Path("/proc/self/stat").exists():
        pytest.skip("a process's state is read from /proc")
    assert until(gone)
