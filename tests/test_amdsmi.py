"""AMD SMI through a module with the names, units and errors of the releases of ROCm's `amdsmi` package."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from openagentperf.errors import MeterError
from openagentperf.meters.amdsmi import AmdSmi
from openagentperf.records.power import MeterFacts, Reading
from openagentperf.system import AmdSmi as Spec

MI300_METRICS = {
    "throttle_status": "N/A", "indep_throttle_status": "N/A", "accumulation_counter": 1000, "prochot_residency_acc": 0,
    "ppt_residency_acc": 40, "socket_thm_residency_acc": 7, "vr_thm_residency_acc": 0, "hbm_thm_residency_acc": 2**64 - 1,
}  # fmt: skip
STATUS = {
    1: "AMDSMI_STATUS_INVAL - Invalid parameters", 2: "AMDSMI_STATUS_NOT_SUPPORTED - Feature not supported",
    8: "AMDSMI_STATUS_TIMEOUT - Timeout in API call", 9: "AMDSMI_STATUS_RETRY - Retry operation",
    10: "AMDSMI_STATUS_NO_PERM - Permission Denied", 12: "AMDSMI_STATUS_IO - I/O Error",
    18: "AMDSMI_STATUS_INIT_ERROR - Initialization error",
    30: "AMDSMI_STATUS_BUSY - Device busy", 32: "AMDSMI_STATUS_NOT_INIT - Device not initialized",
    34: "AMDSMI_STATUS_DRIVER_NOT_LOADED - Driver not loaded", 40: "AMDSMI_STATUS_NO_DATA - No data was found for given input",
    43: "AMDSMI_STATUS_UNEXPECTED_DATA - The data read or provided was unexpected",
}  # fmt: skip
every_status = pytest.mark.parametrize("status", STATUS, ids=[text.split()[0] for text in STATUS.values()])


class AmdSmiException(Exception):
    pass


class AmdSmiLibraryException(AmdSmiException):
    def __init__(self, err_code: int) -> None:
        super().__init__(err_code)
        self.err_code = abs(err_code)
        self.err_info = STATUS[self.err_code]

    def __str__(self) -> str:
        return f"Error code:\n\t{self.err_code} | {self.err_info}"


class AmdSmiClkType(IntEnum):
    SYS = 0
    GFX = 1


class Card:
    """What one processor handle answers, call by call; an int stands for that error."""

    def __init__(self, index: int, **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "bdf": f"0000:{index:02x}:00.0",
            "uuid": f"{index:02x}ff74a1-0000-1000-8000-000000000000",
            "asic": {"market_name": "AMD Instinct MI300X"},
            "driver": {"driver_name": "amdgpu", "driver_version": "6.12.12", "driver_date": "N/A"},
            "energy": {"energy_accumulator": 10_000_000, "counter_resolution": 15.3, "timestamp": 1},
            "power": {
                "socket_power": 512, "current_socket_power": 512, "average_socket_power": "N/A", "gfx_voltage": "N/A",
                "soc_voltage": "N/A", "mem_voltage": "N/A", "power_limit": 750,
            },
            "cap": {"power_cap": 750_000_000, "default_power_cap": 750_000_000, "dpm_cap": 0},
            "clock": {"clk": 2100, "min_clk": 132, "max_clk": 2100, "clk_locked": False, "clk_deep_sleep": 0},
            "metrics": dict(MI300_METRICS),
        } | answers  # fmt: skip

    def __call__(self, call: str) -> Any:
        answer = self.answers[call]
        if isinstance(answer, int):
            raise AmdSmiLibraryException(answer)
        return answer


class Fake:
    """The module, and what it is scripted to say."""

    def __init__(self) -> None:
        self.cards = [Card(0), Card(1)]
        self.init_status = 0
        self.started = 0
        module: Any = types.ModuleType("amdsmi")
        module.__version__ = "26.0.0"
        module.AmdSmiException, module.AmdSmiClkType = AmdSmiException, AmdSmiClkType
        module.amdsmi_init, module.amdsmi_shut_down = self._init, self._shut_down
        module.amdsmi_get_processor_handles = lambda: list(self.cards)
        for name, call in {
            "gpu_device_bdf": "bdf", "gpu_device_uuid": "uuid", "gpu_asic_info": "asic", "gpu_driver_info": "driver",
            "energy_count": "energy", "power_info": "power", "power_cap_info": "cap", "gpu_metrics_info": "metrics",
        }.items():  # fmt: skip
            setattr(module, f"amdsmi_get_{name}", self._getter(call))
        module.amdsmi_get_clock_info = self._clock
        self.module = module

    def _init(self) -> None:
        if self.init_status:
            raise AmdSmiLibraryException(self.init_status)
        self.started += 1

    def _shut_down(self) -> None:
        self.started -= 1

    @staticmethod
    def _getter(call: str) -> Callable[[Card], Any]:
        return lambda card: card(call)

    @staticmethod
    def _clock(card: Card, kind: AmdSmiClkType) -> Any:
        assert kind is AmdSmiClkType.GFX
        return card("clock")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    found = Fake()
    monkeypatch.setitem(sys.modules, "amdsmi", found.module)
    yield found
    assert found.started == 0, "every meter that was opened has shut the library down"


def spec(**more: object) -> Spec:
    return Spec(name="gpu", boundary="accelerator", **more)  # type: ignore[arg-type]


def opened(**more: object) -> tuple[MeterFacts, list[Reading]]:
    meter = AmdSmi(spec(**more))
    try:
        return meter.open(), meter.read()
    finally:
        meter.close()


def refusal(**more: object) -> str:
    meter = AmdSmi(spec(**more))
    with pytest.raises(MeterError) as error:
        meter.open()
    meter.close()
    return error.value.sentence()


def values(rows: list[Reading], device: str) -> dict[str, float | None]:
    return {row.quantity: row.value for row in rows if row.device == device}


UUID0, UUID1 = (Card(index).answers["uuid"] for index in range(2))


def test_a_socket_gives_joules_watts_cap_clock_and_reasons(fake: Fake):
    facts, rows = opened()
    # 10,000,000 ticks of 15.3 uJ are 153 J; a cap of 750,000,000 uW is 750 W
    want = {"energy": pytest.approx(153.0), "power": 512.0, "power_cap": 750.0, "clock": 2100.0, "throttle": 0.0}
    assert values(rows, UUID0) == want
    assert values(rows, UUID1) == want
    first = facts.devices[0]
    assert (first.device, first.name, first.scope, first.counter) == (UUID0, "AMD Instinct MI300X", "socket", True)
    assert (first.averaged_s, first.power_cap_w, first.driver) == (0.0, 750.0, "6.12.12")
    assert (facts.source, facts.stale_s) == ("amdsmi 26.0.0", 10.0), "whole watts may stand still longer than 3 s"


@pytest.mark.parametrize(
    ("power", "watts", "averaged_s"),
    [
        ({"average_socket_power": 90, "power_limit": 300}, 90.0, None),  # 5.7: no other key
        ({"current_socket_power": "N/A", "average_socket_power": 301}, 301.0, None),  # MI200
        ({"current_socket_power": 0xFFFF, "average_socket_power": 301}, 301.0, None),  # the raw sentinel
        ({"current_socket_power": 0xFFFFFFFF, "average_socket_power": 301}, 301.0, None),
        ({"current_socket_power": 0, "average_socket_power": 301}, 301.0, None),  # missing is not zero
        ({"current_socket_power": 700, "average_socket_power": 690}, 700.0, 0.0),  # never their sum or mean
        ({"socket_power": 512, "current_socket_power": "N/A", "average_socket_power": "N/A"}, 512.0, None),  # 7.0
    ],
)
def test_power_is_the_field_that_this_card_and_release_have(
    fake: Fake, power: dict[str, Any], watts: float, averaged_s: float | None
):
    fake.cards = [Card(0, power=power)]
    facts, rows = opened()
    assert values(rows, UUID0)["power"] == watts
    assert facts.devices[0].averaged_s == averaged_s


def test_the_field_that_was_found_first_is_kept_through_the_run(fake: Fake):
    """An average that steps in for a present value would be another sensor in the same series."""
    meter = AmdSmi(spec(devices=(UUID0,)))
    meter.open()
    fake.cards[0].answers["power"] = {"current_socket_power": "N/A", "average_socket_power": 500}
    (row,) = [row for row in meter.read() if row.quantity == "power"]
    meter.close()
    assert (row.value, row.why) == (None, "it shows 'N/A'")


@pytest.mark.parametrize(
    ("energy", "joules"),
    [
        ({"power": 2_000_000, "counter_resolution": 15.3, "timestamp": 1}, 30.6),  # its name before 6.1
        (
            {"energy_accumulator": 0xFFFF, "counter_resolution": 1.0},
            0.065535,
        ),  # a count, not the sentinel of a 16-bit power
        ({"energy_accumulator": 2**64 - 1, "counter_resolution": 15.3}, None),
        ({"energy_accumulator": 2**32 - 1, "counter_resolution": 15.3}, None),
        ({"energy_accumulator": 0, "counter_resolution": 15.3}, None),  # a missing counter shows 0
        ({"energy_accumulator": 5, "counter_resolution": 0.0}, None),
        ({"energy_accumulator": "N/A", "counter_resolution": 15.3}, None),
        ({}, None),
        (2, None),
    ],
)
def test_energy_is_ticks_times_their_size(fake: Fake, energy: Any, joules: float | None):
    fake.cards = [Card(0, energy=energy)]
    facts, rows = opened()
    assert values(rows, UUID0).get("energy") == (None if joules is None else pytest.approx(joules))
    assert facts.devices[0].counter == (joules is not None)
    assert values(rows, UUID0)["power"] == 512.0


@pytest.mark.parametrize(
    ("cap", "watts"), [(750_000_000, 750.0), (750, 750.0), (1_000_000_000, 1000.0), ("N/A", None), (2**64 - 1, None)]
)
def test_a_cap_is_in_watts_or_in_microwatts_by_release(fake: Fake, cap: Any, watts: float | None):
    fake.cards = [Card(0, cap={"power_cap": cap})]
    facts, rows = opened()
    assert facts.devices[0].power_cap_w == watts
    assert values(rows, UUID0).get("power_cap") == watts


def test_the_clock_s_old_name_is_known(fake: Fake):
    fake.cards = [Card(0, clock={"cur_clk": 1700, "min_clk": 500, "max_clk": 1700})]
    assert values(opened()[1], UUID0)["clock"] == 1700.0


@pytest.mark.parametrize(
    ("status", "mask"),
    [
        (0, 0.0),
        (1 << 2, 1.0),  # PPT: power
        (1 << 17, 2.0),  # EDC: current
        (1 << 34 | 1 << 3, 5.0),  # temperature and power
        (1 << 57, 8.0),  # a bit that no float would keep beside bit 0
        (True, 8.0),  # releases that say whether, and not why
        (False, 0.0),
    ],
)
def test_reasons_are_put_together(fake: Fake, status: Any, mask: float):
    fake.cards = [Card(0, metrics={"indep_throttle_status": status})]
    assert values(opened()[1], UUID0)["throttle"] == mask


def test_a_residency_that_rises_is_a_reason(fake: Fake):
    fake.cards = [Card(0)]
    meter = AmdSmi(spec())
    meter.open()
    metrics = fake.cards[0].answers["metrics"]
    metrics["ppt_residency_acc"] += 1
    metrics["socket_thm_residency_acc"] += 9
    metrics["accumulation_counter"] += 1000
    assert values(meter.read(), UUID0)["throttle"] == 5.0  # power and temperature
    meter.close()


def test_metrics_without_any_reason_are_not_recorded(fake: Fake):
    fake.cards = [Card(0, metrics={"throttle_status": "N/A"})]
    assert "throttle" not in values(opened()[1], UUID0)


# -- which devices ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "second",
    [
        Card(1, energy=2, power=2),  # a secondary die of an MI250 has no sensor
        Card(1, energy=2, power={"current_socket_power": "N/A", "average_socket_power": 0}),
        Card(1, bdf="0000:00:00.1"),  # a partition repeats what its socket draws
    ],
)
def test_a_socket_is_counted_once(fake: Fake, second: Card):
    fake.cards = [Card(0), second]
    facts, rows = opened()
    assert {row.device for row in rows} == {UUID0}
    assert facts.notes[-1] == f"left out: {UUID1} (secondary dies and partitions, whose power their socket shows)"


@pytest.mark.parametrize("uuid", [{0: "", 1: "b"}, {0: "a", 1: "a"}, {0: 2, 1: "b"}])
def test_where_a_uuid_is_missing_or_stands_for_two_the_pci_address_is_the_name(fake: Fake, uuid: dict[int, Any]):
    fake.cards = [Card(index, uuid=uuid[index]) for index in range(2)]
    assert [device.device for device in opened()[0].devices] == ["0000:00:00.0", "0000:01:00.0"]


def test_named_devices_are_read_and_no_other(fake: Fake):
    facts, rows = opened(devices=(UUID1,))
    assert [device.device for device in facts.devices] == [UUID1]
    assert {row.device for row in rows} == {UUID1}


def test_a_named_device_must_be_there_and_have_a_sensor(fake: Fake):
    needed = "devices are named by UUID (by PCI address where they have none)"
    assert refusal(devices=("x",)) == f"meter gpu: there is no GPU `x`, {needed}: use one of: {UUID0}, {UUID1}"
    fake.cards[1] = Card(1, energy=2, power=2)
    assert (
        refusal(devices=(UUID1,))
        == f"meter gpu: `{UUID1}` gives neither energy nor power, {needed}: use one of: {UUID0}"
    )


def test_no_gpu_is_no_meter(fake: Fake):
    fake.cards = []
    assert refusal().startswith(
        "meter gpu: GPUs with a power sensor: none of 0, at least one is needed: see whether `amd-smi list`"
    )


# -- what goes wrong -------------------------------------------------------------------------------------------------------------


@every_status
def test_every_error_before_the_run_is_a_sentence_with_a_remedy(fake: Fake, status: int):
    fake.init_status = status
    said = refusal()
    assert said.startswith(
        f"meter gpu: AMD SMI does not answer ({STATUS[status]}), a working amdgpu driver is needed: "
    )
    assert {10: "groups render and video", 34: "modprobe amdgpu"}.get(status, "amd-smi list") in said


@every_status
def test_every_error_in_the_run_is_a_row_without_a_value_and_the_other_gpu_goes_on(fake: Fake, status: int):
    meter = AmdSmi(spec())
    meter.open()
    for call in ("energy", "power", "cap", "clock", "metrics"):
        fake.cards[0].answers[call] = status
    rows = meter.read()
    meter.close()
    bad = [row for row in rows if row.device == UUID0]
    assert {row.quantity for row in bad} == {"energy", "power", "power_cap", "clock", "throttle"}
    assert all((row.value, row.why) == (None, STATUS[status]) for row in bad)
    assert all(row.value is not None for row in rows if row.device == UUID1)


@pytest.mark.parametrize(
    "answer", [{}, {"current_socket_power": None}, {"current_socket_power": True}, None, [], "N/A"]
)
def test_an_answer_of_another_shape_is_no_value(fake: Fake, answer: Any):
    meter = AmdSmi(spec(devices=(UUID0,)))
    meter.open()
    fake.cards[0].answers["power"] = answer
    (row,) = [row for row in meter.read() if row.quantity == "power"]
    meter.close()
    assert row.value is None
    assert row.why


def test_a_release_without_these_functions_is_refused(fake: Fake):
    del fake.module.amdsmi_get_gpu_device_bdf
    assert "AMD SMI does not answer (module 'amdsmi' has no attribute 'amdsmi_get_gpu_device_bdf')" in refusal()


def test_closing_is_allowed_at_any_time(fake: Fake):
    meter = AmdSmi(spec())
    meter.close()
    meter.open()
    meter.close()
    meter.close()


def test_without_the_package_the_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    assert refusal() == (
        "meter gpu: the package amdsmi is not installed, AMD's GPUs are read through it: pip install /opt/rocm/share/amd_smi (the one that "
        "ROCm ships)"
    )


@pytest.mark.parametrize(
    ("raises", "words"),
    [
        ("KeyError('libamd_smi.so')", "'libamd_smi.so'"),  # 7.0 without its library
        ("OSError('libamd_smi.so: cannot open shared object file')", "libamd_smi.so: cannot open shared object file"),
        ("AttributeError('undefined symbol: amdsmi_init')", "undefined symbol: amdsmi_init"),  # of another version
    ],
)
def test_a_package_without_its_library_says_so_and_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raises: str, words: str
):
    (tmp_path / "amdsmi").mkdir()
    (tmp_path / "amdsmi" / "__init__.py").write_text(f"print('Unable to find libamd_smi.so library')\nraise {raises}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "amdsmi", raising=False)
    said = refusal()
    assert (
        f"the package amdsmi finds no library of its own version ({words}), libamd_smi.so is needed: install ROCm's amd-smi-lib"
        in said
    )
    assert capsys.readouterr().out == "", "standard output is the sampler's"
