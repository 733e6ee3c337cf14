"""Node power from the BMC by IPMI DCMI, through the program `ipmitool`: of this host, or of one reached over the network.

    power    "Instantaneous power reading" of `ipmitool dcmi power reading`: whole watts, at the power supplies' input on most boards

A BMC answers slowly, measures to about 1 to 5 %, and may smooth: how long, most do not say. It is asked once a second at most, since
each poll is a process and a transaction on its slow bus. The password goes to ipmitool in its environment, never on its command line,
which every user of the host can read.
"""

from __future__ import annotations

import os
import re
import subprocess

from openagentperf.errors import MeterError
from openagentperf.meters.base import failed, stamped
from openagentperf.records.power import DeviceFacts, MeterFacts, Reading
from openagentperf.system import Ipmi as Spec

LOCAL = "local"
"""Device name where no host is given."""
_PERIOD_S = 1.0
_STALE_S = 30.0
_TIMEOUT_S = 5.0

_WATTS = re.compile(r"Instantaneous power reading\s*:\s*(-?\d+)", re.IGNORECASE)
_STATE = re.compile(r"Power reading state is\s*:\s*(\S+)", re.IGNORECASE)
_PERIOD = re.compile(r"^\s*Sampling period\s*:\s*(\d+)\s*(\w*)", re.IGNORECASE | re.MULTILINE)

_FIXES = (
    ("not installed", "apt install ipmitool (or your system's package)"),
    ("permission denied", "run as root, or give this user /dev/ipmi0 by a udev rule"),
    ("could not open device", "load the driver (modprobe ipmi_devintf ipmi_si, as root), or name the BMC's address as `host`"),
    ("unable to establish", "check host, user, password and that IPMI over LAN is switched on in the BMC"),
    ("no hostname", "set `host`"),
    ("address lookup", "correct `host`"),
    ("no answer", "check that the BMC answers (`ipmitool mc info`); reset it if it hangs (`ipmitool mc reset cold`)"),
    ("deactivated", "switch power measurement on in the BMC's settings"),
    ("it shows", "use Redfish or a PDU: this BMC has no power sensor behind its DCMI"),
    ("dcmi request failed", "this BMC has no DCMI power reading: use Redfish or a PDU"),
)  # fmt: skip
"""What ipmitool or this module says, and what to do; the first that fits."""


class _NoReadingError(Exception):
    """No watts, and why."""


class Ipmi:
    """See the module's docstring. Implements meters.base.Meter."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._where = f"meter {spec.name}"
        self._device = spec.host or LOCAL
        self._command: list[str] = []
        self._environment: dict[str, str] = {}
        self._open = False

    def open(self) -> MeterFacts:
        spec = self._spec
        if any(device != self._device for device in spec.devices):
            what = f"`devices` are {', '.join(spec.devices)}"
            raise MeterError(self._where, what, f"a BMC is one device, `{self._device}`", "leave `devices` out")
        user, password = (self._variable(name) for name in (spec.user_env, spec.password_env))
        self._command = ["ipmitool", *self._address(user), "dcmi", "power", "reading"]
        # Both names: ipmitool asks the terminal where neither is set, and prefers the longer one, which may be somebody else's.
        secret = {"IPMI_PASSWORD": password, "IPMITOOL_PASSWORD": password} if spec.host else {}
        self._environment = {**os.environ, "LC_ALL": "C", **secret}
        try:
            text = self._ask()
            _watts(text)
        except _NoReadingError as error:
            said = str(error).lower()
            fix = next((fix for words, fix in _FIXES if words in said), "try `ipmitool dcmi power reading` by hand")
            raise MeterError(self._where, str(error), "a BMC that tells its power is needed", fix) from error
        self._open = True
        found = _PERIOD.search(text)
        period = f"; the BMC's sampling period is {int(found[1])} {found[2]}".rstrip() if found else ""
        return MeterFacts(
            name=spec.name,
            kind="ipmi",
            boundary=spec.boundary,
            basis=spec.basis,
            source=f"ipmitool dcmi power reading, {self._device}",
            devices=(DeviceFacts(device=self._device, scope="chassis"),),
            period_s=max(spec.period_s, _PERIOD_S),
            max_gap_s=spec.max_gap_s,
            stale_s=max(spec.stale_s, _STALE_S),
            notes=(f"power comes in steps of 1 W, so that one value may stand for up to {_STALE_S:g} s{period}",),
        )

    def read(self) -> list[Reading]:
        if not self._open:
            return []
        value, why = 0.0, ""
        with stamped() as stamp:
            try:
                value = _watts(self._ask())
            except _NoReadingError as error:
                why = str(error)
        if why:
            return [failed(self._spec, self._device, "power", stamp, why)]
        return [
            Reading(
                meter=self._spec.name, device=self._device, quantity="power", t_ns=stamp.t_ns, spread_ns=stamp.spread_ns, value=value
            )
        ]  # fmt: skip

    def close(self) -> None:
        self._open = False

    def _variable(self, name: str) -> str:
        if name and name not in os.environ:
            raise MeterError(
                self._where, f"the variable {name} is not set", "the BMC's user and password are needed", "export it"
            )
        return os.environ.get(name, "") if name else ""

    def _address(self, user: str) -> list[str]:
        spec = self._spec
        if not spec.host:
            return []
        host, _, port = spec.host.rpartition(":")
        if not (host and port.isdecimal() and ":" not in host):  # an IPv6 address has more than one colon
            host, port = spec.host, ""
        # One repetition after 2 s: ipmitool's own four would hold up the polls for longer than a gap may be.
        return [
            "-I", spec.interface, "-H", host, *(["-p", port] if port else []), *(["-U", user] if user else []), "-E", "-N", "2", "-R", "1",
        ]  # fmt: skip

    def _ask(self) -> str:
        """What ipmitool printed."""
        try:
            done = subprocess.run(
                self._command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, env=self._environment,
                check=False, encoding="utf-8", errors="replace",
            )  # fmt: skip
        except FileNotFoundError as error:
            raise _NoReadingError("ipmitool is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise _NoReadingError(f"no answer within {_TIMEOUT_S:g} s") from error
        except OSError as error:
            raise _NoReadingError(f"ipmitool cannot be run ({error.strerror})") from error
        if done.returncode and not _WATTS.search(done.stdout):
            said = " ".join((done.stderr or done.stdout).split())
            raise _NoReadingError(said[:180] or f"ipmitool ended with status {done.returncode}")
        return done.stdout


def _watts(text: str) -> float:
    """Watts of ipmitool's page. _NoReadingError where it has none, or the BMC says that it does not measure."""
    state, found = _STATE.search(text), _WATTS.search(text)
    if state and state[1].lower() != "activated":
        raise _NoReadingError(f"power reading is {state[1].lower()}")
    if not found:
        raise _NoReadingError(f"DCMI request failed: {' '.join(text.split())[:120] or 'an empty answer'}")
    if int(found[1]) <= 0:  # missing is not zero: a host that is on draws something
        raise _NoReadingError(f"it shows {found[1]} W")
    return float(found[1])
