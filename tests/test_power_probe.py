"""`power probe`: what it makes of readings, how it says it, and the whole way over real sampler processes."""

from __future__ import annotations

import ctypes.util
import json
import re
import stat
from pathlib import Path

import msgspec
import pytest

from fake_nvml import build
from openagentperf.cli.main import main
from openagentperf.cli.power import table
from openagentperf.powerprobe import Device, Found, Missing, Probe, Sensor, _found
from openagentperf.records.power import DeviceFacts, EnergyFault, MeterFacts, Reading
from signals import constant, counted, flicker, meter, polled, reading

GPU0, GPU1 = (f"GPU-{index:08x}-1111-2222-3333-444455556666" for index in range(2))


# -- what it makes of readings ---------------------------------------------------------------------------------------------------


def device(readings: list[Reading], facts: MeterFacts | None = None, alive: bool = True) -> Device:
    (found,) = _found(facts or meter(), sorted(readings, key=lambda row: row.t_ns), alive).devices
    return found


def test_a_counter_and_a_power_that_agree():
    found = device(counted(constant(300), 0, 5) + polled(flicker(constant(303)), 0, 5))
    energy, power = found.sensors
    assert (energy.quantity, energy.value, energy.mean_w) == ("energy", 1500.0, pytest.approx(300))
    assert energy.updates_per_s == pytest.approx(10, rel=0.02)
    assert (power.quantity, power.polls, power.failed) == ("power", 50, 0)
    assert power.mean_w == pytest.approx(303, rel=1e-3)
    assert power.updates_per_s == pytest.approx(10, rel=0.05)
    assert found.mean_w == energy.mean_w, "the counter comes first"
    assert found.apart == pytest.approx(3 / 303, rel=0.05)
    assert found.warnings == ()


def test_a_counter_and_a_power_that_do_not_agree():
    found = device(counted(constant(187), 0, 5) + polled(flicker(constant(327)), 0, 5))  # zeus #181
    assert found.apart == pytest.approx(1 - 187 / 327, rel=0.01)
    assert found.warnings == ("counter and power are 43% apart, a run would refuse more than 5%",)


def test_a_counter_that_wraps_goes_on_and_one_that_is_set_back_has_no_mean():
    wraps = meter("m", DeviceFacts(device="d0", counter=True, counter_range_j=1000.0))
    assert device(counted(constant(300), 0, 5, span_j=1000.0), wraps).mean_w == pytest.approx(300)
    assert device(counted(constant(300), 0, 5, span_j=1000.0)).mean_w is None


def test_a_counter_that_stands_still_leaves_power_to_be_shown():
    found = device(counted(constant(0), 0, 5, first_j=7.0) + polled(flicker(constant(250)), 0, 5))
    assert found.sensors[0].updates_per_s == 0
    assert found.mean_w == pytest.approx(250, rel=1e-3)
    assert found.apart is None
    assert found.warnings == ("its energy counter stands still",)


def test_a_power_that_repeats_itself_is_called_stale_after_stale_s():
    assert device(polled(constant(250), 0, 2.5)).warnings == ()
    (warning,) = device(polled(constant(250), 0, 5)).warnings
    assert re.fullmatch(r"its power repeated one value for [45]\.\d s: a run would call it stale", warning)


def test_updates_are_told_by_the_sensor_s_own_stamp_where_it_has_one():
    rows = [
        reading(t / 10, 250.0, updated_ns=t // 10 * 1_000_000_000) for t in range(51)
    ]  # polled at 10 Hz, updated at 1 Hz
    found = device(rows)
    assert found.sensors[0].updates_per_s == pytest.approx(1.0)
    assert found.warnings == ()


def test_polls_without_a_value_are_counted_with_the_last_reason():
    found = device([*polled(flicker(constant(250)), 0, 5), reading(6, None), reading(7, None)])
    assert found.sensors[0].value is None, "what it shows now is nothing"
    assert found.mean_w == pytest.approx(250, rel=1e-3)
    assert found.warnings == ("power: 2 of 52 polls gave no value (no answer)",)


@pytest.mark.parametrize(
    ("alive", "warning"),
    [(True, "it gave no reading yet"), (False, "its sampler process has ended: see its message above")],
)
def test_a_meter_that_says_nothing(alive: bool, warning: str):
    found = device([], alive=alive)
    assert (found.sensors, found.mean_w, found.warnings) == ((), None, (warning,))


def test_one_poll_is_a_value_and_no_rate():
    (sensor,) = device([reading(0, 250.0)]).sensors
    assert (sensor.value, sensor.mean_w, sensor.updates_per_s) == (250.0, 250.0, None)


def test_states_are_the_last_ones_and_reasons_all_that_were_seen():
    states = [
        reading(1, 700.0, "power_cap"), reading(2, 650.0, "power_cap"), reading(2, 1980.0, "clock"), reading(3, None, "clock"),
        reading(1, 4.0, "throttle"), reading(2, 64.0, "throttle"),
    ]  # fmt: skip
    found = device(states, meter(kind="nvml"))
    assert (found.power_cap_w, found.clock_mhz, found.throttle) == (650.0, 1980.0, ("power cap", "hardware thermal"))
    assert device([reading(1, 0.0, "throttle")], meter(kind="nvml")).throttle == ()
    assert device([reading(1, 250.0)], meter(kind="nvml")).throttle is None


# -- how it says it --------------------------------------------------------------------------------------------------------------

FACTS = MeterFacts(
    name="nvml", kind="nvml", boundary="accelerator", basis="measured", source="libnvidia-ml.so.1, driver 570.86.15",
    devices=(DeviceFacts(device=GPU0, name="NVIDIA H100 80GB HBM3", scope="gpu", counter=True),), period_s=0.1, max_gap_s=3, stale_s=3,
    notes=("a note",),
)  # fmt: skip
ENERGY = Sensor(quantity="energy", value=1_234_567.89, mean_w=412.0, updates_per_s=9.96, polls=50, failed=0)
POWER = Sensor(quantity="power", value=411.26, mean_w=411.0, updates_per_s=9.0, polls=50, failed=0)
DEVICE = Device(
    facts=FACTS.devices[0], sensors=(ENERGY, POWER), mean_w=412.0, apart=0.0024, power_cap_w=700.0, clock_mhz=1980.0,
    throttle=("power cap",), warnings=("counter and power are 43% apart",),
)  # fmt: skip
MISSING = Missing(
    name="ipmi", found="ipmitool is not installed", needed="a BMC that tells its power is needed",
    fix="apt install ipmitool (or your system's package)",
)  # fmt: skip
FULL = Probe(
    seconds=5.0, meters=(Found(facts=FACTS, devices=(DEVICE,)),), missing=(MISSING,),
    inventory=(EnergyFault(code="missing_device", meter="nvml", why="devices read: 1, accelerators declared: 8"),),
)  # fmt: skip


def test_the_table_fits_into_80_columns_without_colours():
    assert (
        table(FULL)
        == f"""1 power meter can be read, for 5.0 s

nvml: accelerator, measured; 1 device, 412.0 W together
  libnvidia-ml.so.1, driver 570.86.15; polled every 0.1 s
  device                                    quantity           value  updates/s
  {GPU0}  energy     1,234,567.9 J       10.0
                                            power            411.3 W        9.0
    NVIDIA H100 80GB HBM3; counter and power 0.2% apart; cap 700 W; 1,980 MHz;
    throttled: power cap
    warning: counter and power are 43% apart
  note: a note

Against the declared system
  missing_device: devices read: 1, accelerators declared: 8

Missing
  ipmi: ipmitool is not installed, a BMC that tells its power is needed: apt
    install ipmitool (or your system's package)"""
    )


def test_a_machine_without_any_meter():
    assert table(Probe(seconds=0.0, meters=(), missing=())) == "No power meter can be read"


def test_what_a_device_calls_itself_cannot_paint_the_terminal_or_break_the_table():
    odd = msgspec.structs.replace(
        DEVICE, facts=DeviceFacts(device="https://bmc.example/redfish/v1/Chassis/\x1b[31mred", name="x\x07y")
    )
    unread = msgspec.structs.replace(
        DEVICE, sensors=(msgspec.structs.replace(POWER, value=None, updates_per_s=None),), mean_w=None
    )
    text = table(Probe(seconds=1.0, meters=(Found(facts=FACTS, devices=(odd, unread)),), missing=()))
    assert re.search(r"^  https://\S+/ \[31mred\n {44}energy ", text, re.MULTILINE), "a long name has a line of its own"
    assert re.search(r"power +- +-$", text, re.MULTILINE), "missing is not zero"
    assert "W together" not in text, "a sum without one of its devices is none"
    assert all(character.isprintable() or character == "\n" for character in text)
    assert max(len(line) for line in text.splitlines()) <= 80


# -- the whole way ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two fake GPUs, a BMC that says 1,234 W, and a RAPL tree that a system file can name."""
    build(tmp_path)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("FAKE_NVML_GPUS", "2")
    monkeypatch.setenv("FAKE_NVML_SCRIPT", "1 events 0 4; 1 energy 3 0")
    tool = tmp_path / "ipmitool"
    tool.write_text("#!/bin/sh\necho 'Instantaneous power reading: 1234 Watts'\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    zone = tmp_path / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "energy_uj").write_text("5000000\n")
    return tmp_path


def probed(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, Probe]:
    status = main(["power", "probe", "--seconds", "1.5", "--json", *options])
    printed = capsys.readouterr()
    assert printed.err == ""
    return status, msgspec.json.decode(printed.out, type=Probe)


@pytest.mark.e2e
def test_every_local_meter_is_found_and_what_is_missing_says_why(machine: Path, capsys: pytest.CaptureFixture[str]):
    status, found = probed(capsys)
    assert status == 0
    meters = {one.facts.name: one for one in found.meters}
    first, second = meters["nvml"].devices
    assert (first.facts.device, second.facts.device) == (GPU0, GPU1)
    assert first.mean_w == pytest.approx(300.3, rel=0.005), "by its counter"
    assert second.mean_w == pytest.approx(301.3, rel=0.005), "by its power"
    assert first.apart is not None
    assert first.apart < 0.005
    assert (second.apart, second.facts.counter, second.power_cap_w, second.clock_mhz) == (None, False, 700.0, 1980.0)
    assert (first.throttle, second.throttle) == ((), ("power cap",))
    assert first.warnings == second.warnings == ()
    assert meters["ipmi"].facts.boundary == "node"
    assert meters["ipmi"].facts.period_s == 1.0
    assert meters["ipmi"].devices[0].sensors[0].value == 1234.0
    assert meters["ipmi"].devices[0].sensors[0].polls <= 3, "a BMC is asked once a second"
    missing = {one.name: one for one in found.missing}
    assert "nvml-module" not in meters.keys() | missing.keys(), (
        "no GPU of this machine has a module sensor, and none is missed"
    )
    assert {"amdsmi", "rapl"} <= meters.keys() | missing.keys()
    assert all(one.found and one.fix for one in found.missing)
    assert found.inventory == ()


@pytest.mark.e2e
def test_the_system_s_meters_are_tried_against_its_inventory(machine: Path, capsys: pytest.CaptureFixture[str]):
    (machine / "system.toml").write_text(f"""
        accelerators = 8
        hosts = 1
        [[meters]]
        kind = "nvml"
        name = "gpus"
        boundary = "accelerator"
        [[meters]]
        kind = "rapl"
        name = "sockets"
        boundary = "accelerator"
        path = "{machine}/powercap"
        [[meters]]
        kind = "ipmi"
        name = "bmc"
        boundary = "rack"
        host = "bmc"
        user_env = "NO_SUCH_USER"
        """)
    status, found = probed(capsys, "--system", str(machine / "system.toml"))
    assert status == 5, "a run with this system ends at its BMC"
    meters = {one.facts.name: one for one in found.meters}
    assert meters.keys() - {"rapl"} == {"gpus", "sockets", "ipmi"}, (
        "the declared NVML meter stands for the machine's own"
    )
    (package,) = meters["sockets"].devices
    assert (package.sensors[0].value, package.warnings) == (5.0, ("its energy counter stands still",))
    # CPUs beside GPUs are two kinds of accelerator in one sum.
    assert [fault.code for fault in found.inventory] == ["mixed", "missing_device"]
    assert found.inventory[1].why.startswith("devices read: 3, accelerators declared: 8: ")
    assert {one.name: one.found for one in found.missing}["bmc"] == "the variable NO_SUCH_USER is not set"


@pytest.mark.e2e
def test_a_log_gets_the_table_and_no_control_codes(machine: Path, capsys: pytest.CaptureFixture[str]):
    status = main(["power", "probe", "--seconds", "1"])
    printed = capsys.readouterr()
    assert (status, printed.err) == (0, "")
    assert "\x1b" not in printed.out
    assert f"  {GPU0}  energy " in printed.out
    assert re.search(r"^ipmi: node, measured; 1 device, 1,234\.0 W together$", printed.out, re.MULTILINE)
    assert max(len(line) for line in printed.out.splitlines()) <= 80


@pytest.mark.e2e
def test_status_5_where_there_is_no_meter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    if ctypes.util.find_library("nvidia-ml") or Path("/sys/class/powercap/intel-rapl:0").exists():
        pytest.skip("this machine has a power meter")
    monkeypatch.setenv("PATH", str(tmp_path))
    status, found = probed(capsys)
    assert (status, found.meters) == (5, ())
    assert [one.name for one in found.missing] == ["nvml", "amdsmi", "rapl", "ipmi"]
    assert all(one.found and one.fix for one in found.missing)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--system", "no-such-system"],
            "--system: no system `no-such-system`, a catalogue entry or a file was needed",
        ),
        (["--seconds", "0"], "Invalid value for '--seconds'"),
    ],
)
def test_a_misuse_is_one_sentence_and_status_2(capsys: pytest.CaptureFixture[str], options: list[str], says: str):
    assert main(["power", "probe", *options, "--json"]) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert json.loads(printed.out)["exit_code"] == 2
