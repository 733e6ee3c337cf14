"""RAPL over a powercap tree in a temporary folder: which zones are added up, wraps, permissions, zones that go away."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openagentperf.errors import MeterError
from openagentperf.meters.rapl import Rapl
from openagentperf.records.power import MeterFacts, Reading
from openagentperf.score.boundary import window_energies
from openagentperf.score.energy import device_energy
from openagentperf.system import Rapl as Spec
from openagentperf.system import System
from openagentperf.units import NS_PER_S

RANGE_UJ = 262_143_328_850  # of most packages: 262 kJ
INTEL = {
    "intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram", "intel-rapl:1": "package-1", "intel-rapl:1:0": "dram",
    "intel-rapl:2": "psys",
}  # fmt: skip


def tree(root: Path, zones: dict[str, str], uj: int = 1_000_000, span_uj: int | None = RANGE_UJ) -> Path:
    for index, (folder, name) in enumerate(zones.items()):
        zone = root / folder
        zone.mkdir(parents=True)
        (zone / "name").write_text(f"{name}\n")
        (zone / "energy_uj").write_text(f"{uj + index}\n")
        if span_uj is not None:
            (zone / "max_energy_range_uj").write_text(f"{span_uj}\n")
    (root / "intel-rapl").mkdir(parents=True, exist_ok=True)  # the control type: no zone
    return root


def spec(root: Path, **more: object) -> Spec:
    return Spec(name="cpu", boundary="accelerator", path=str(root), **more)  # type: ignore[arg-type]


def opened(root: Path, **more: object) -> tuple[MeterFacts, list[Reading]]:
    meter = Rapl(spec(root, **more))
    try:
        return meter.open(), meter.read()
    finally:
        meter.close()


def refusal(root: Path, **more: object) -> str:
    with pytest.raises(MeterError) as error:
        Rapl(spec(root, **more)).open()
    return error.value.sentence()


@pytest.mark.parametrize(
    ("zones", "chosen"),
    [
        (INTEL, ["package-0", "package-0/dram", "package-1", "package-1/dram"]),  # core is in its package, psys holds all
        ({"intel-rapl:0": "package-0", "intel-rapl:0:0": "core"}, ["package-0"]),  # AMD: the same names, no DRAM
        ({"intel-rapl:0": "package-0", "intel-rapl-mmio:0": "package-0"}, ["package-0"]),  # two ways to one package
        ({"intel-rapl:0": "package-0-die-0", "intel-rapl:1": "package-0-die-1"}, ["package-0-die-0", "package-0-die-1"]),
        ({"intel-rapl:0": "package-0", "intel-rapl:0:0": "uncore", "intel-rapl:0:0:0": "package-x"}, ["package-0"]),  # deeper inside
    ],
)  # fmt: skip
def test_packages_and_their_dram_are_read_and_what_lies_inside_them_is_not(
    tmp_path: Path, zones: dict[str, str], chosen: list[str]
):
    facts, rows = opened(tree(tmp_path, zones))
    assert [device.device for device in facts.devices] == chosen
    assert [row.device for row in rows] == chosen


def test_a_zone_gives_joules_and_knows_where_it_wraps(tmp_path: Path):
    facts, rows = opened(tree(tmp_path, INTEL, uj=123_456_789))
    assert (rows[0].value, rows[0].quantity) == (pytest.approx(123.456789), "energy")
    assert all(device.counter_range_j == pytest.approx(262_143.32885) for device in facts.devices)
    assert [(device.scope, device.name) for device in facts.devices[:2]] == [("package", "package-0"), ("dram", "dram")]
    assert (facts.kind, facts.source) == ("rapl", str(tmp_path))
    assert "not in it" in facts.notes[0]


def test_of_two_ways_to_a_package_the_register_s_is_read(tmp_path: Path):
    tree(tmp_path, {"intel-rapl-mmio:0": "package-0", "intel-rapl:0": "package-0"})
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("7000000\n")
    assert opened(tmp_path)[1][0].value == 7.0


@pytest.mark.parametrize("span", [None, 0])
def test_a_zone_without_a_range_does_not_wrap(tmp_path: Path, span: int | None):
    assert opened(tree(tmp_path, INTEL, span_uj=span))[0].devices[0].counter_range_j is None


def test_named_zones_are_read_and_no_other(tmp_path: Path):
    facts, rows = opened(tree(tmp_path, INTEL), devices=("package-1",))
    assert [row.device for row in rows] == [device.device for device in facts.devices] == ["package-1"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"devices": ("package-7",)}, "there is no zone `package-7`, a zone of the tree was needed: use one of: package-0, package-0/dram"),
        ({"zones": ("gpu",)}, "has no zone gpu: set `zones` to some of: core, dram, package-0, package-1, psys"),
        ({"zones": ("package", "psys")}, "`zones` are package, psys, psys holds the others, and would count them twice: set zones"),
    ],
)  # fmt: skip
def test_a_wrong_choice_is_refused_with_what_there_is(tmp_path: Path, more: dict[str, tuple[str, ...]], says: str):
    assert says in refusal(tree(tmp_path, INTEL), **more)


def test_psys_alone_and_cores_alone_can_be_asked_for(tmp_path: Path):
    tree(tmp_path, INTEL)
    assert [row.device for row in opened(tmp_path, zones=("psys",))[1]] == ["psys"]
    assert [row.device for row in opened(tmp_path, zones=("core",))[1]] == ["package-0/core"]


def test_a_machine_without_rapl_says_what_to_load(tmp_path: Path):
    fix = "load it (modprobe intel_rapl_msr, as root); virtual machines and most containers have none"
    there = refusal(tmp_path / "powercap")
    assert (
        there
        == f"meter cpu: {tmp_path}/powercap cannot be read (No such file or directory), the kernel's powercap is needed: {fix}"
    )
    assert refusal(tmp_path) == f"meter cpu: {tmp_path} has no zone with an energy counter, RAPL is needed: {fix}"


@pytest.mark.parametrize("text", ["", "nonsense\n", "0x10\n"])
def test_a_counter_that_is_no_number_is_refused_before_the_run(tmp_path: Path, text: str):
    tree(tmp_path, INTEL)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text(text)
    assert f"meter cpu: {tmp_path}/intel-rapl:0/energy_uj gives no number" in refusal(tmp_path)


def test_a_zone_without_a_name_is_refused(tmp_path: Path):
    tree(tmp_path, INTEL)
    (tmp_path / "intel-rapl:0" / "name").unlink()
    assert "intel-rapl:0/name cannot be read (No such file or directory)" in refusal(tmp_path)


@contextmanager
def a_user() -> Iterator[Path]:
    """A folder that anyone may enter, and this process as somebody who is not root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    root = os.geteuid() == 0
    try:
        tree(folder, INTEL)
        for file in folder.rglob("energy_uj"):
            file.chmod(0o400 if root else 0)
        if root:
            os.seteuid(65_534)
        yield folder
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_counters_for_root_alone_say_how_to_open_them():
    with a_user() as folder:
        said = refusal(folder)
    assert said == (
        f"meter cpu: {folder}/intel-rapl:0/energy_uj may be read by root alone, this user must read it: sudo chmod a+r "
        f"{folder}/*/energy_uj (until the next boot; docs/power.md has a rule that stays)"
    )


def test_a_zone_that_goes_away_or_turns_to_nonsense_is_a_row_without_a_value(tmp_path: Path):
    meter = Rapl(spec(tree(tmp_path, INTEL)))
    meter.open()
    shutil.rmtree(tmp_path / "intel-rapl:0")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("?\n")
    rows = {row.device: row for row in meter.read()}
    meter.close()
    assert (rows["package-0"].value, rows["package-0"].why) == (
        None,
        "energy_uj cannot be read (No such file or directory)",
    )
    assert (rows["package-1"].value, rows["package-1"].why) == (None, "energy_uj holds no number")
    assert rows["package-1/dram"].value is not None


def test_closing_is_allowed_at_any_time(tmp_path: Path):
    meter = Rapl(spec(tree(tmp_path, INTEL)))
    meter.close()
    meter.open()
    meter.close()
    meter.close()


@pytest.mark.parametrize(
    ("declared", "faults"),
    [
        (System(accelerators=2), ()),  # two packages, each with its memory
        (System(accelerators=4), ("missing_device",)),
    ],
)
def test_packages_are_what_is_counted_and_their_memory_is_added_to_them(
    tmp_path: Path, declared: System, faults: tuple[str, ...]
):
    meter = Rapl(Spec(name="cpu", boundary="accelerator", path=str(tree(tmp_path, INTEL))))
    facts = meter.open()
    rows = []
    for tick in range(100):
        for folder, watts in {
            "intel-rapl:0": 200,
            "intel-rapl:0:1": 20,
            "intel-rapl:1": 180,
            "intel-rapl:1:0": 10,
        }.items():
            (tmp_path / folder / "energy_uj").write_text(f"{watts * tick * 100_000}")
        rows += [msgspec.structs.replace(row, t_ns=tick * NS_PER_S // 10, spread_ns=0) for row in meter.read()]
    meter.close()
    (found,) = window_energies([facts], rows, declared, NS_PER_S, 9 * NS_PER_S)
    assert tuple(fault.code for fault in found.faults) == faults
    assert found.mean_w == (None if faults else pytest.approx(410))


@settings(deadline=None, max_examples=25)
@given(
    watts=st.floats(5, 400),
    first_uj=st.integers(0, 1_999_999_999),
    range_j=st.sampled_from([2000.0, 65.53261, 262_143.32885]),
)
def test_energy_over_any_number_of_wraps_is_power_times_time(watts: float, first_uj: int, range_j: float):
    """A read a tenth of a second over 60 s: 65.5 J wrap after 0.16 s at 400 W, and 2,000 J three times at 100 W."""
    span_uj = round(range_j * 1e6)
    with tempfile.TemporaryDirectory() as folder:
        meter = Rapl(spec(tree(Path(folder), {"intel-rapl:0": "package-0"}, span_uj=span_uj)))
        facts = meter.open()
        file = Path(folder) / "intel-rapl:0" / "energy_uj"
        rows = []
        for tick in range(650):
            file.write_text(f"{(first_uj + round(watts * tick * 1e5)) % span_uj}\n")
            (row,) = meter.read()
            rows.append(msgspec.structs.replace(row, t_ns=tick * NS_PER_S // 10, spread_ns=0))
        meter.close()
    found = device_energy(rows, facts, facts.devices[0], 2 * NS_PER_S, 62 * NS_PER_S)
    assert found.faults == ()
    assert found.method == "counter"
    assert found.energy_j == pytest.approx(60 * watts, rel=1e-3)
