"""A PDU by SNMP, version 2c or 3: one object for each outlet or inlet.

gufo-snmp (BSD-3, Rust, no dependencies, blocking calls that let other threads run) speaks the protocol: pysnmp needs an event loop for a
GET, and codecs of our own would have no version 3, which is what PDUs are left with once v2c is switched off. It hands out numbers without
their type, so that a 32-bit counter is known by its size: an energy counter that shows less than 2^32 when it is opened may wrap there.
Whether a step back is that wrap or a reset is judged by its length (score.energy).
"""

from __future__ import annotations

import importlib
import ipaddress
import os
import re
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from openagentperf.errors import MeterError
from openagentperf.meters.base import Stamp, failed, stamped
from openagentperf.records.power import DeviceFacts, MeterFacts, Reading
from openagentperf.system import Snmp as Spec

if TYPE_CHECKING:
    from gufo.snmp.sync import SnmpSession

_PORT = 161
_PERIOD_S = 1.0
_MAX_GAP_S = 15.0
_STALE_S = 30.0
_TIMEOUT_S = 2.0
_TRIES = 2
"""A datagram may be lost; a PDU that has not answered twice in 2 s is asked again at the next poll."""
_OIDS_A_REQUEST = 16
"""So many fit into the 484 bytes that every agent must take."""
_COUNTER32 = 1 << 32
_DESCRIPTION = "1.3.6.1.2.1.1.1.0"  # sysDescr.0
_OID = re.compile(r"\d+(\.\d+)+")
_AUTH = {
    "md5": "Md5Key", "sha1": "Sha1Key", "sha224": "Sha224Key", "sha256": "Sha256Key", "sha384": "Sha384Key", "sha512": "Sha512Key",
}  # fmt: skip
_PRIVACY = {"des": "DesKey", "aes128": "Aes128Key", "aes192": "Aes192Key", "aes256": "Aes256Key"}


class _NoAnswerError(Exception):
    """In a few words."""


class Snmp:
    """See the module's docstring. Implements meters.base.Meter."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._devices: dict[str, str] = {}
        """OID of each device."""
        self._session: SnmpSession | None = None
        self._snmp: Any = None
        self._secrets: dict[str, str] = {}

    def open(self) -> MeterFacts:
        spec = self._spec
        try:
            self._snmp = importlib.import_module("gufo.snmp")
        except ImportError as error:
            raise self._error(
                "gufo-snmp is not installed", "it speaks SNMP", "pip install 'openagentperf[power]'"
            ) from error
        for name in (spec.community_env, spec.user_env, spec.auth_env, spec.privacy_env):
            if name and not os.environ.get(name):
                raise self._error(f"the variable {name} is not set", "what it holds is needed", "export it")
            self._secrets[name] = os.environ[name] if name else ""
        if (spec.auth_env and not spec.user_env) or (spec.privacy_env and not spec.auth_env):
            raise self._error("auth_env needs user_env, and privacy_env needs auth_env", "version 3 encrypts for a user that it knows",
                              "name the variables of all three")  # fmt: skip
        self._devices = self._named()
        stamp = Stamp()
        found: dict[str, object] = {}
        try:
            for part in _parts(tuple(self._devices.values())):
                stamp, values = self._ask(part)
                found |= values
            description = self._ask((_DESCRIPTION,))[1].get(_DESCRIPTION)
        except _NoAnswerError as error:
            raise self._error(
                f"{spec.host} gives no reading ({error})", "an agent that answers is needed",
                "check host, version, community or user, and that the PDU lets this host ask (an unknown community gets no answer)",
            ) from error  # fmt: skip
        readings = [self._reading(device, oid, stamp, found) for device, oid in self._devices.items()]
        if missing := [reading for reading in readings if reading.value is None]:
            raise self._error(f"{spec.host} gives no reading of {missing[0].device} ({missing[0].why})", "a number is needed",
                              "correct the OID: `snmpwalk` shows those that there are")  # fmt: skip
        return MeterFacts(
            name=spec.name, kind="snmp", boundary=spec.boundary, basis=spec.basis, source=f"snmp://{spec.host}",
            devices=tuple(self._facts(reading, _text(description)) for reading in readings), period_s=max(spec.period_s, _PERIOD_S),
            max_gap_s=max(spec.max_gap_s, _MAX_GAP_S), stale_s=max(spec.stale_s, _STALE_S),
            notes=(_allowed(spec),),
        )  # fmt: skip

    def read(self) -> list[Reading]:
        rows = []
        lost = ""
        for part in _parts(tuple(self._devices)):
            with stamped() as stamp:
                try:
                    if lost:  # what has not answered once would be waited for as long by every further request
                        raise _NoAnswerError(lost)
                    answered, found = self._ask([self._devices[device] for device in part])
                except _NoAnswerError as error:
                    lost = str(error)
            if lost:
                rows += [failed(self._spec, device, self._spec.quantity, stamp, lost) for device in part]
            else:
                rows += [self._reading(device, self._devices[device], answered, found) for device in part]
        return rows

    def close(self) -> None:
        self._session = None

    # -- opening -----------------------------------------------------------------------------------------------------------------

    def _named(self) -> dict[str, str]:
        spec = self._spec
        devices: dict[str, str] = {}
        for written in spec.oids:
            oid, _, name = (part.strip() for part in written.partition("="))
            oid = oid.removeprefix(".")
            if not _OID.fullmatch(oid):
                raise self._error(
                    f"`{written}` is no OID",
                    "numbers with dots between them are needed",
                    "translate it (snmptranslate -On)",
                )
            if (name or oid) in devices or oid in devices.values():
                raise self._error(f"`{written}` stands twice in oids", "each watt counts once", "leave one out")
            devices[name or oid] = oid
        if spec.devices:
            if missing := [device for device in spec.devices if device not in devices]:
                raise self._error(f"no OID is named `{missing[0]}`", "one for each of `devices`", "write OID=NAME")
            devices = {device: devices[device] for device in spec.devices}
        return devices

    def _facts(self, reading: Reading, description: str) -> DeviceFacts:
        counter = self._spec.quantity == "energy"
        short = counter and reading.value is not None and reading.value < _COUNTER32 * self._spec.scale
        return DeviceFacts(
            device=reading.device, name=description, scope="outlet", counter=counter,
            counter_range_j=_COUNTER32 * self._spec.scale if short else None,
        )  # fmt: skip

    def _error(self, found: str, needed: str, fix: str) -> MeterError:
        return MeterError(f"meter {self._spec.name}", found, needed, fix)

    # -- one request -------------------------------------------------------------------------------------------------------------

    def _ask(self, oids: Sequence[str]) -> tuple[Stamp, dict[str, object]]:
        """Values by OID, those that the agent has. _NoAnswerError where it does not answer, or not in SNMP."""
        error: Exception | None = None
        for _ in range(_TRIES):
            with stamped() as stamp:
                try:
                    if self._session is None:
                        self._session = self._connect()
                    return stamp, dict(self._session.get_many(oids))
                except (OSError, self._snmp.SnmpError) as caught:
                    error = caught
            self._session = (
                None  # what arrives late belongs to nobody; and version 3 has to learn a restarted agent's clock anew
            )
        assert error is not None
        if isinstance(error, TimeoutError):
            raise _NoAnswerError(str(error) or "no answer in time") from error
        raise _NoAnswerError(f"{type(error).__name__.removeprefix('Py')}: {error}") from error

    def _connect(self) -> SnmpSession:
        from gufo.snmp.sync import SnmpSession

        spec, snmp = self._spec, self._snmp
        address, port = _address(spec.host)
        if not spec.user_env:
            community = self._secrets[spec.community_env] or "public"
            return SnmpSession(addr=address, port=port, community=community, timeout=_TIMEOUT_S)
        auth, privacy = self._secrets[spec.auth_env].encode(), self._secrets[spec.privacy_env].encode()
        user = snmp.User(
            self._secrets[spec.user_env],
            auth_key=getattr(snmp, _AUTH[spec.auth])(auth) if auth else None,
            priv_key=getattr(snmp, _PRIVACY[spec.privacy])(privacy) if privacy else None,
        )
        session = SnmpSession(addr=address, port=port, user=user, timeout=_TIMEOUT_S)
        session.refresh()
        return session

    def _reading(self, device: str, oid: str, stamp: Stamp, found: dict[str, object]) -> Reading:
        quantity = self._spec.quantity
        if oid not in found:
            return failed(self._spec, device, quantity, stamp, f"the agent has no {oid}, or answers with an error")
        value = _number(found[oid])
        if value is None:
            return failed(self._spec, device, quantity, stamp, f"{oid} is no number")
        return Reading(
            meter=self._spec.name, device=device, quantity=quantity, t_ns=stamp.t_ns, spread_ns=stamp.spread_ns,
            value=value * self._spec.scale,
        )  # fmt: skip


def _allowed(spec: Spec) -> str:
    gap_s, stale_s = max(spec.max_gap_s, _MAX_GAP_S), max(spec.stale_s, _STALE_S)
    values = "a PDU's values come every 1 to 10 s in steps of 1 to 10 W"
    return f"{values}: gaps of {gap_s:g} s are allowed, and one value may stand for {stale_s:g} s"


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[i : i + _OIDS_A_REQUEST] for i in range(0, len(names), _OIDS_A_REQUEST))


def _address(host: str) -> tuple[str, int]:
    """Numeric address and port of `name`, `name:port`, `1.2.3.4:port`, `::1` or `[::1]:port`. OSError where the name is not known."""
    name, port = host, ""
    if found := re.fullmatch(r"\[(.+)\](?::(\d+))?|([^:]+)(?::(\d+))?", host):
        name, port = found[1] or found[3], found[2] or found[4] or ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        name = str(socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)[0][4][0])
    return name, int(port or _PORT)


def _number(value: object) -> float | None:
    """Of a number, or of a string that is one: scripts behind an agent give text."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    if not isinstance(text, int | float | str) or isinstance(text, bool):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _text(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    return " ".join(text.split())[:80]
