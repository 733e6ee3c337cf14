"""NVML through the real nvidia-ml-py and a compiled fake of NVIDIA's library: every value, and every error code at every call."""

from __future__ import annotations

import ctypes.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_nvml import FakeNvml, build
from openagentperf.errors import MeterError
from openagentperf.meters.nvml import Nvml
from openagentperf.meters.sampling import Sampling
from openagentperf.records.power import MeterFacts, Quantity, Reading
from openagentperf.system import Nvml as Spec

pynvml = pytest.importorskip("pynvml", reason="needs nvidia-ml-py (the `power` extra)")

CODES = sorted({(value, name) for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_")})
ABSENT = {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT}
NOT_SUPPORTED, UNKNOWN, GPU_IS_LOST = (
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_UNKNOWN,
    pynvml.NVML_ERROR_GPU_IS_LOST,
)
GPU0, GPU1 = (f"GPU-{index:08x}-1111-2222-3333-444455556666" for index in range(2))

every_code = pytest.mark.parametrize(("code", "name"), CODES, ids=[name for _, name in CODES])


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="module")
def loaded(library: Path) -> FakeNvml:
    return FakeNvml(library)


@pytest.fixture
def fake(loaded: FakeNvml) -> Iterator[FakeNvml]:
    loaded.reset()
    yield loaded
    assert loaded.started == 0, "every meter that was opened has shut NVML down"


def spec(**more: object) -> Spec:
    return Spec(name="gpu", boundary="accelerator", **more)  # type: ignore[arg-type]


def opened(**more: object) -> tuple[MeterFacts, list[Reading]]:
    """The facts and the first poll of a meter that is closed again."""
    meter = Nvml(spec(**more))
    try:
        return meter.open(), meter.read()
    finally:
        meter.close()


def refusal(**more: object) -> str:
    meter = Nvml(spec(**more))
    with pytest.raises(MeterError) as error:
        meter.open()
    meter.close()
    return error.value.sentence()


def values(rows: list[Reading], device: str = GPU0) -> dict[Quantity, float | None]:
    return {row.quantity: row.value for row in rows if row.device == device}


# -- what is read ----------------------------------------------------------------------------------------------------------------


def test_a_gpu_gives_joules_watts_cap_clock_and_reasons(fake: FakeNvml):
    fake.set(0, "energy", value=12_345_678)  # mJ
    fake.set(0, "field186/0", value=412_500)  # mW
    fake.set(0, "cap", value=650_000)
    fake.set(0, "clock", value=1_755)
    facts, rows = opened()
    assert values(rows) == {"energy": 12_345.678, "power": 412.5, "power_cap": 650.0, "clock": 1755.0, "throttle": 0.0}
    assert (facts.kind, facts.source, facts.notes) == ("nvml", "libnvidia-ml.so.1, driver 570.86.15", ())
    first = facts.devices[0]
    assert (first.device, first.name, first.scope, first.counter) == (GPU0, "NVIDIA H100 80GB HBM3", "gpu", True)
    assert (first.averaged_s, first.power_cap_w, first.driver) == (0.0, 650.0, "570.86.15")
    assert [device.device for device in facts.devices] == [GPU0, GPU1]
    assert all(row.meter == "gpu" and row.updated_ns is None and row.spread_ns >= 0 and not row.why for row in rows)


@pytest.mark.parametrize(
    ("mask", "throttle"),
    [
        (0x001, 0.0),  # idle
        (0x002, 0.0),  # clocks that were set on purpose
        (0x003 | 0x004, 4.0),  # the power cap, beside both
        (0x040 | 0x080, 192.0),  # heat, and the power brake
        (0x400, 1024.0),
    ],
)
def test_idle_and_chosen_clocks_are_no_throttling(fake: FakeNvml, mask: int, throttle: float):
    fake.set(0, "events", value=mask)
    assert values(opened()[1])["throttle"] == throttle


def test_cap_clock_and_reasons_are_read_once_a_second_and_not_at_every_poll(fake: FakeNvml):
    meter = Nvml(spec())
    meter.open()
    began = time.monotonic()
    rows = [row for _ in range(200) for row in meter.read()]
    seconds = time.monotonic() - began
    meter.close()
    count = {
        what: sum(row.quantity == what and row.device == GPU0 for row in rows)
        for what in ("power", "energy", "clock", "power_cap")
    }
    assert (count["power"], count["energy"]) == (200, 200)
    assert 1 <= count["clock"] == count["power_cap"] <= seconds + 1


@pytest.mark.parametrize(
    ("cc", "code", "averaged_s"),
    [
        (70, 0, 0.0),  # Volta: instantaneous
        (80, 0, 0.0),  # GA100 is the one Ampere that does not average
        (86, 0, 1.0),
        (90, 0, 1.0),
        (0, UNKNOWN, None),
    ],
)
def test_without_field_186_power_is_that_of_power_usage_which_may_be_an_average(
    fake: FakeNvml, cc: int, code: int, averaged_s: float | None
):
    fake.set(0, "field186/0", NOT_SUPPORTED)
    fake.set(0, "power", value=250_100)
    fake.set(0, "cc", code, cc)
    facts, rows = opened()
    assert values(rows)["power"] == 250.1
    assert facts.devices[0].averaged_s == averaged_s


@pytest.mark.parametrize(
    ("type_code", "value", "watts"),
    [
        (1, 300_250, 300.25),  # unsigned int: the union's upper half is not its own
        (5, 300_250, 300.25),  # int
        (3, 5_000_000_000, 5_000_000.0),  # unsigned long long: more than 32 bits
        (0, 300_250, 300.25),  # double
    ],
)
def test_a_field_s_value_is_read_by_its_type(fake: FakeNvml, type_code: int, value: int, watts: float):
    fake.set(0, "type", value=type_code)
    fake.set(0, "field186/0", value=value)
    assert values(opened()[1])["power"] == watts


def test_a_field_of_an_unknown_type_is_no_value(fake: FakeNvml):
    fake.set(0, "type", value=99)
    fake.set(0, "power", value=123_000)
    facts, rows = opened()
    assert values(rows)["power"] == 123.0
    assert facts.notes == (f"{GPU0}: power not used: field 186 is of the unknown type 99",)


def test_the_module_s_power_is_another_sensor_than_the_gpu_s(fake: FakeNvml):
    for gpu in (0, 1):
        fake.set(gpu, "field186/1", value=900_000)
        fake.set(gpu, "field191/1", value=2**40)
        fake.set(gpu, "field190/1", value=1_000_000)
    facts, rows = opened(scope="module")
    assert {device.scope for device in facts.devices} == {"module"}
    assert facts.devices[0].power_cap_w == 1000.0
    assert (values(rows)["power"], values(rows)["energy"], values(rows)["power_cap"]) == (900.0, 2**40 / 1000, 1000.0)
    assert values(opened()[1])["power"] < 310, "the scope `gpu` beside it"


def test_a_module_without_an_instantaneous_value_gives_its_average(fake: FakeNvml):
    fake.reset(1)
    fake.set(0, "field185/1", value=880_000)
    facts, rows = opened(scope="module")
    assert values(rows)["power"] == 880.0
    assert (facts.devices[0].averaged_s, facts.devices[0].counter) == (1.0, False)


def test_a_card_without_a_module_sensor_is_no_module(fake: FakeNvml):
    assert refusal(scope="module") == (
        f'meter gpu: `{GPU0}` has no sensor for the scope `module`, an energy counter or a power value is needed: use scope = "gpu"'
    )


# -- which devices ---------------------------------------------------------------------------------------------------------------


def test_named_devices_are_read_and_no_other(fake: FakeNvml):
    fake.set(0, "handle", pynvml.NVML_ERROR_NO_PERMISSION)
    facts, rows = opened(devices=(GPU1,))
    assert [device.device for device in facts.devices] == [GPU1]
    assert {row.device for row in rows} == {GPU1}


def test_a_device_that_is_not_there_is_refused_with_those_that_are(fake: FakeNvml):
    said = refusal(devices=(GPU0, "GPU-of-another-host"))
    assert (
        said
        == f"meter gpu: there is no GPU `GPU-of-another-host`, devices are named by their UUID: use one of: {GPU0}, {GPU1}"
    )


def test_a_mig_instance_has_no_power_of_its_own(fake: FakeNvml):
    assert (
        refusal(devices=("MIG-5",))
        == f"meter gpu: `MIG-5` is a MIG instance, power is that of a whole GPU: name its GPU: {GPU0}"
    )


def test_a_gpu_with_mig_on_says_whose_power_it_shows(fake: FakeNvml):
    fake.set(1, "mig", value=1)
    fake.set(0, "mig", NOT_SUPPORTED)
    assert opened()[0].notes == (
        f"{GPU1}: MIG is on; its power is that of the whole GPU, whoever uses the other instances",
    )


def test_no_gpu_is_no_meter(fake: FakeNvml):
    fake.reset(0)
    assert refusal().startswith("meter gpu: the driver shows no GPU, at least one is needed: a container or cgroup")


# -- what goes wrong -------------------------------------------------------------------------------------------------------------


@every_code
@pytest.mark.parametrize("call", ["init", "driver", "count", "handle", "uuid", "name"])
def test_every_error_before_the_run_is_a_sentence_with_a_remedy(fake: FakeNvml, call: str, code: int, name: str):
    fake.set(0 if call in ("handle", "uuid", "name") else -1, call, code)
    said = refusal()
    words = str(pynvml.NVMLError(code)).rstrip(".")
    assert said.startswith("meter gpu: ")
    assert f"({words}), a working NVIDIA driver is needed: " in said
    if call == "handle":
        assert "GPU 0 of 2 cannot be read" in said


@every_code
def test_every_error_in_the_run_is_a_row_without_a_value_and_the_other_gpu_goes_on(
    fake: FakeNvml, code: int, name: str
):
    meter = Nvml(spec())
    meter.open()
    meter.read()
    for call in ("energy", "fields", "power", "cap", "clock", "events", "throttle"):
        fake.set(0, call, code)
    rows = meter.read()
    good = [row for row in rows if row.device == GPU1]
    bad = [row for row in rows if row.device == GPU0]
    assert {row.quantity for row in bad} == {"energy", "power"}
    assert all(row.value is None and row.why == str(pynvml.NVMLError(code)).rstrip(".") for row in bad)
    assert {row.quantity for row in good} == {"energy", "power"}
    assert all(row.value and not row.why for row in good)
    for call in ("energy", "fields"):
        fake.set(0, call)
    assert all(row.value is not None for row in meter.read() if row.quantity == "power"), "it has come back"
    meter.close()


@every_code
def test_every_error_of_one_field_counts_as_the_field_s(fake: FakeNvml, code: int, name: str):
    meter = Nvml(spec(devices=(GPU0,)))
    meter.open()
    fake.set(0, "field186/0", code)
    assert values(meter.read())["power"] is None
    assert values(meter.read())["energy"]
    meter.close()


@every_code
def test_a_counter_that_fails_from_the_start_leaves_power_alone(fake: FakeNvml, code: int, name: str):
    fake.set(0, "energy", code)
    facts, rows = opened()
    assert [device.counter for device in facts.devices] == [False, True]
    assert "energy" not in values(rows)
    assert values(rows)["power"]
    words = str(pynvml.NVMLError(code)).rstrip(".")
    assert facts.notes == (() if code in ABSENT else (f"{GPU0}: energy counter not used: {words}",))


@every_code
def test_neither_counter_nor_power_is_no_meter(fake: FakeNvml, code: int, name: str):
    for call in ("energy", "field186/0", "power"):
        fake.set(0, call, code)
    said = refusal()
    if code in ABSENT:
        assert said.endswith(
            "has no sensor for the scope `gpu`, an energy counter or a power value is needed: use an external meter"
        )
    else:
        assert f"`{GPU0}` gives neither energy nor power ({str(pynvml.NVMLError(code)).rstrip('.')})" in said


@every_code
def test_cap_clock_and_reasons_may_be_missing(fake: FakeNvml, code: int, name: str):
    for call in ("cap", "clock", "events", "throttle"):
        fake.set(0, call, code)
    facts, rows = opened()
    assert set(values(rows)) == {"energy", "power"}
    assert facts.devices[0].power_cap_w is None


def test_a_counter_that_shows_0_is_none(fake: FakeNvml):
    fake.set(0, "energy", value=0)
    facts, rows = opened()
    assert "energy" not in values(rows)
    assert facts.notes == (f"{GPU0}: energy counter not used: it shows 0",)


def test_a_power_of_0_is_a_missing_one(fake: FakeNvml):
    meter = Nvml(spec(devices=(GPU0,)))
    meter.open()
    fake.set(0, "field186/0", value=0)
    (row,) = [row for row in meter.read() if row.quantity == "power"]
    meter.close()
    assert (row.value, row.why) == (None, "it shows 0 W, which no GPU that is on draws")


def test_a_counter_that_starts_again_at_0_is_shown_as_it_is(fake: FakeNvml):
    """The judge calls it a reset: hiding it here would leave a plausible difference."""
    meter = Nvml(spec(devices=(GPU0,)))
    meter.open()
    fake.set(0, "energy", value=0)
    assert values(meter.read())["energy"] == 0.0
    meter.close()


def test_a_driver_that_goes_away_under_the_run_is_no_exception(fake: FakeNvml):
    meter = Nvml(spec())
    meter.open()
    pynvml.nvmlShutdown()  # as after a reload of the driver: every call says so
    assert {row.why for row in meter.read()} == {"Uninitialized"}
    meter.close()


def test_closing_is_allowed_at_any_time(fake: FakeNvml):
    meter = Nvml(spec())
    meter.close()
    meter.open()
    meter.close()
    meter.close()


def test_two_meters_at_once_share_the_library(fake: FakeNvml):
    first, second = Nvml(spec(devices=(GPU0,))), Nvml(spec(devices=(GPU1,)))
    first.open()
    second.open()
    first.close()
    assert all(row.value is not None for row in second.read())
    second.close()


def test_without_the_package_the_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert refusal() == (
        "meter gpu: the package nvidia-ml-py is not installed, NVML is read through it: pip install 'openagentperf[power]'"
    )


# -- in the sampler's process, which loads the library by itself -----------------------------------------------------------------


def test_without_the_library_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if ctypes.util.find_library("nvidia-ml"):
        pytest.skip("this machine has NVIDIA's library")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    with pytest.raises(MeterError) as error:
        Sampling([spec()], tmp_path / "power.frames")
    assert error.value.sentence() == (
        "meter gpu: NVML does not start (NVML Shared Library Not Found), a working NVIDIA driver is needed: install NVIDIA's driver; in a "
        "container, start it with --gpus all and NVIDIA_DRIVER_CAPABILITIES=all"
    )


@pytest.mark.e2e
def test_the_sampler_reads_an_old_driver_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before 535 the reasons had another name, and the symbol of today is not in the library."""
    build(tmp_path, "-DOLD_DRIVER")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("FAKE_NVML_GPUS", "1")
    monkeypatch.setenv("FAKE_NVML_SCRIPT", "0 throttle 0 65; 0 field186/0 3 0")
    with Sampling([spec()], tmp_path / "power.frames") as sampling:
        rows: list[Reading] = []
        while sampling.alive and not rows:
            rows = sampling.between(0, 2**63)
    assert values(rows)["throttle"] == 64.0  # heat; 1 is idle
    assert values(rows)["power"]
    assert sampling.meters[0].devices[0].averaged_s == 1.0
