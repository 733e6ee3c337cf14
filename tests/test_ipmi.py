"""IPMI DCMI through a program named ipmitool on the PATH: a script that prints what BMCs print, and the real one where there is no BMC."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from openagentperf.errors import MeterError
from openagentperf.meters import ipmi
from openagentperf.meters.ipmi import Ipmi
from openagentperf.records.power import MeterFacts, Reading
from openagentperf.system import Ipmi as Spec

PAGE = """
    Instantaneous power reading:                 {watts:>6} Watts
    Minimum during sampling period:                  8 Watts
    Maximum during sampling period:               9999 Watts
    Average power reading over sample period:     1111 Watts
    IPMI timestamp:                           Thu Jan  1 00:00:00 1970
    Sampling period:                          00000005 Seconds.
    Power reading state is:                   {state}

"""

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put an ipmitool alone on the PATH that prints `out` and `err`; what it was called with is written beside it."""

    def write(out: str = "", err: str = "", status: int = 0, before: str = "") -> Path:
        (tmp_path / "out").write_text(out)
        (tmp_path / "err").write_text(err)
        tool = tmp_path / "ipmitool"
        lines = [
            "#!/bin/sh", "PATH=/usr/bin:/bin", f'cd "{tmp_path}"', 'printf "%s\\n" "$@" >called', "env >environment", before,
            "cat out", "cat err >&2", f"exit {status}",
        ]  # fmt: skip
        tool.write_text("\n".join(lines) + "\n")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        return tmp_path

    monkeypatch.setenv("PATH", str(tmp_path))
    return write


def spec(**more: object) -> Spec:
    return Spec(name="bmc", boundary="node", **more)  # type: ignore[arg-type]


def opened(**more: object) -> tuple[MeterFacts, list[Reading]]:
    meter = Ipmi(spec(**more))
    try:
        return meter.open(), meter.read()
    finally:
        meter.close()


def refusal(**more: object) -> str:
    meter = Ipmi(spec(**more))
    with pytest.raises(MeterError) as error:
        meter.open()
    meter.close()
    return error.value.sentence()


def page(watts: object = 220, state: str = "activated") -> str:
    return PAGE.format(watts=watts, state=state)


@pytest.mark.parametrize(
    ("text", "watts"),
    [
        (page(4240), 4240.0),
        ("Instantaneous power reading: 5 Watts\n", 5.0),  # no state, no period: the watts are what matters
        (page(220).replace(" Watts", "Watts").replace(":  ", ":"), 220.0),
        (page(220).upper(), 220.0),
        (page(220).replace("\n", "\r\n"), 220.0),
        (page(123456), 123456.0),
    ],
)
def test_the_instantaneous_watts_are_read_and_no_other(install: Install, text: str, watts: float):
    install(text)
    facts, rows = opened()
    assert [(row.device, row.quantity, row.value, row.why) for row in rows] == [("local", "power", watts, "")]
    assert (facts.kind, facts.boundary, facts.source) == ("ipmi", "node", "ipmitool dcmi power reading, local")
    assert facts.devices[0].averaged_s is None, "what a BMC averages over is not what it calls its sampling period"


def test_it_is_polled_once_a_second_and_may_repeat_a_watt_for_half_a_minute(install: Install):
    install(page())
    facts, _ = opened()
    assert (facts.period_s, facts.stale_s, facts.max_gap_s) == (1.0, 30.0, 3.0)
    assert facts.notes == (
        "power comes in steps of 1 W, so that one value may stand for up to 30 s; the BMC's sampling period is 5 Seconds",
    )
    facts, _ = opened(period_s=10.0, stale_s=60.0)
    assert (facts.period_s, facts.stale_s) == (10.0, 60.0)


def test_this_host_s_bmc_needs_no_address(install: Install):
    folder = install(page())
    opened()
    assert (folder / "called").read_text().split() == ["dcmi", "power", "reading"]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("bmc.example", ["-H", "bmc.example"]),
        ("10.0.0.7:6230", ["-H", "10.0.0.7", "-p", "6230"]),
        ("fd00::7", ["-H", "fd00::7"]),
    ],
)
def test_the_password_goes_through_the_environment_alone(
    install: Install, monkeypatch: pytest.MonkeyPatch, host: str, address: list[str]
):
    monkeypatch.setenv("BMC_USER", "operator")
    monkeypatch.setenv("BMC_PASSWORD", "correct horse")
    monkeypatch.setenv("IPMITOOL_PASSWORD", "of another BMC")
    folder = install(page())
    facts, _ = opened(host=host, user_env="BMC_USER", password_env="BMC_PASSWORD")
    called = (folder / "called").read_text()
    assert called.split() == [
        "-I", "lanplus", *address, "-U", "operator", "-E", "-N", "2", "-R", "1", "dcmi", "power", "reading",
    ]  # fmt: skip
    assert "correct horse" not in called + repr(facts)
    environment = (folder / "environment").read_text().splitlines()
    assert {"IPMI_PASSWORD=correct horse", "IPMITOOL_PASSWORD=correct horse", "LC_ALL=C"} <= set(environment)
    assert facts.devices[0].device == host


def test_a_host_without_a_password_is_asked_without_one_and_not_at_the_terminal(install: Install):
    folder = install(page())
    opened(host="bmc", interface="lan")
    assert (folder / "called").read_text().split()[:5] == ["-I", "lan", "-H", "bmc", "-E"]
    assert {"IPMI_PASSWORD=", "IPMITOOL_PASSWORD="} <= set((folder / "environment").read_text().splitlines())


def test_a_variable_that_is_not_set_is_named(install: Install):
    install(page())
    said = refusal(host="bmc", user_env="NO_SUCH_USER")
    assert said == "meter bmc: the variable NO_SUCH_USER is not set, the BMC's user and password are needed: export it"


def test_a_bmc_is_one_device(install: Install):
    install(page())
    assert opened(host="bmc", devices=("bmc",))[0].devices[0].device == "bmc"
    said = refusal(host="bmc", devices=("bmc", "psu"))
    assert said == "meter bmc: `devices` are bmc, psu, a BMC is one device, `bmc`: leave `devices` out"


@pytest.mark.parametrize(
    ("printed", "found", "fix"),
    [
        ({"out": page(220, "deactivated")}, "power reading is deactivated", "switch power measurement on in the BMC's settings"),
        ({"out": page(0)}, "it shows 0 W", "use Redfish or a PDU: this BMC has no power sensor behind its DCMI"),
        ({"out": page("-")}, "DCMI request failed: Instantaneous power reading: - Watts", "this BMC has no DCMI power reading"),
        ({"out": ""}, "DCMI request failed: an empty answer", "this BMC has no DCMI power reading: use Redfish or a PDU"),
        (
            {"err": "DCMI request failed because: Invalid command (c1)\n", "status": 1},
            "DCMI request failed because: Invalid command (c1)", "this BMC has no DCMI power reading: use Redfish or a PDU",
        ),
        (
            {"err": "Error: Unable to establish IPMI v2 / RMCP+ session\n", "status": 1},
            "Error: Unable to establish IPMI v2 / RMCP+ session", "check host, user, password and that IPMI over LAN is switched on",
        ),
        (
            {"err": "Could not open device at /dev/ipmi0: Permission denied\n", "status": 1},
            "Could not open device at /dev/ipmi0: Permission denied", "run as root, or give this user /dev/ipmi0 by a udev rule",
        ),
        ({"status": 3}, "ipmitool ended with status 3", "try `ipmitool dcmi power reading` by hand"),
        ({"before": "exec sleep 60"}, "no answer within 0.2 s", "check that the BMC answers (`ipmitool mc info`)"),
    ],
)  # fmt: skip
def test_what_keeps_the_watts_back_is_said_with_a_remedy_before_the_run_and_is_a_row_in_it(
    install: Install, monkeypatch: pytest.MonkeyPatch, printed: dict[str, object], found: str, fix: str
):
    install(page())
    meter = Ipmi(spec())
    meter.open()
    if "before" in printed:
        monkeypatch.setattr(ipmi, "_TIMEOUT_S", 0.2)
    install(**printed)
    (row,) = meter.read()
    meter.close()
    assert (row.value, row.quantity) == (None, "power")
    assert row.why.startswith(found)
    said = refusal()
    assert said.startswith(f"meter bmc: {found}")
    assert f", a BMC that tells its power is needed: {fix}" in said


def test_an_ipmitool_that_warns_and_reads_is_believed(install: Install):
    """Some BMCs make it complain of a sensor database and end with status 1 after the answer."""
    install(page(300), "SDR record id 0x0001: invalid length\n", 1)
    assert opened()[1][0].value == 300.0


def test_without_ipmitool_the_sentence_says_how_to_get_it(install: Install, tmp_path: Path):
    install(page())
    meter = Ipmi(spec())
    meter.open()
    (tmp_path / "ipmitool").unlink()
    (row,) = meter.read()
    meter.close()
    assert (row.value, row.why) == (None, "ipmitool is not installed")
    assert refusal().endswith(
        "ipmitool is not installed, a BMC that tells its power is needed: apt install ipmitool (or your system's package)"
    )


def test_closing_is_allowed_at_any_time(install: Install):
    install(page())
    meter = Ipmi(spec())
    meter.close()
    assert meter.read() == []
    meter.open()
    meter.close()
    meter.close()


@pytest.mark.skipif(shutil.which("ipmitool") is None, reason="needs ipmitool (apt install ipmitool)")
@pytest.mark.skipif(any(Path("/dev").glob("ipmi*")), reason="this machine has a BMC")
def test_the_real_ipmitool_without_a_bmc():
    said = refusal()
    assert said.startswith("meter bmc: Could not open device at /dev/ipmi0")
    assert said.endswith(
        "load the driver (modprobe ipmi_devintf ipmi_si, as root), or name the BMC's address as `host`"
    )


@pytest.mark.skipif(shutil.which("ipmitool") is None, reason="needs ipmitool (apt install ipmitool)")
def test_the_real_ipmitool_against_a_host_without_a_bmc(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BMC_PASSWORD", "x")
    said = refusal(host="127.0.0.1:9", password_env="BMC_PASSWORD")
    assert "Unable to establish IPMI v2 / RMCP+ session" in said
    assert said.endswith("check host, user, password and that IPMI over LAN is switched on in the BMC")
