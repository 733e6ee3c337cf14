"""A PDU by SNMP, version 2c or 3: one object for each outlet or inlet.

The package `snmp` (MIT, blocking, one dependency for version 3's ciphers) speaks the protocol. pysnmp needs an event loop for a GET;
gufo-snmp hands out numbers without their type, swallows error statuses and aborts on a malformed datagram; a codec of our own would have
no version 3, which is all that a PDU offers once v2c is switched off.
"""

from __future__ import annotations

import importlib
import ipaddress
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from openagentperf.errors import MeterError
from openagentperf.meters.base import Stamp, failed, stamped
from openagentperf.records.power import DeviceFacts, MeterFacts, Reading
from openagentperf.system import Snmp as Spec

_PORT = 161
_PERIOD_S = 1.0
_MAX_GAP_S = 15.0
_STALE_S = 30.0
_TIMEOUT_S = 2.0
_TRIES = 2
"""A datagram may be lost; a PDU that has not answered twice is asked again at the next poll."""
_OIDS_A_REQUEST = 16
"""So many fit into the 484 bytes that every agent must take."""
_COUNTER32 = 1 << 32
_DESCRIPTION = "1.3.6.1.2.1.1.1.0"  # sysDescr.0
_OID = re.compile(r"\d+(\.\d+)+")
_AUTH = {
    "md5": "HmacMd5", "sha1": "HmacSha", "sha224": "HmacSha224", "sha256": "HmacSha256", "sha384": "HmacSha384", "sha512": "HmacSha512",
}  # fmt: skip
_PRIVACY = {"des": "DesCbc", "aes128": "AesCfb128"}


class _NoAnswerError(Exception):
    """In a few words."""


class _Answer(NamedTuple):
    """One response: values by OID, and when it was asked for."""

    values: Mapping[str, Any]
    stamp: Stamp


class Snmp:
    """See the module's docstring. Implements meters.base.Meter."""

    def __init__(self, spec: Spec, timeout_s: float = _TIMEOUT_S) -> None:
        self._spec = spec
        self._timeout_s = timeout_s
        self._oids: dict[str, str] = {}
        """Of each device."""
        self._snmp: Any = None
        self._engine: Any = None
        """Owner of the socket, which it closes when nobody holds it any more; a manager does not hold it."""
        self._manager: Any = None
        self._secrets: dict[str, str] = {}

    def open(self) -> MeterFacts:
        spec = self._spec
        try:
            self._snmp = importlib.import_module("snmp")
        except ImportError as error:
            raise self._error(
                "the package snmp is not installed", "it speaks the protocol", "pip install 'openagentperf[power]'"
            ) from error
        for name in (spec.community_env, spec.user_env, spec.auth_env, spec.privacy_env):
            if name and not os.environ.get(name):
                raise self._error(f"the variable {name} is not set", "what it holds is needed", "export it")
            self._secrets[name] = os.environ[name] if name else ""
        if (spec.auth_env and not spec.user_env) or (spec.privacy_env and not spec.auth_env):
            raise self._error("auth_env without user_env, or privacy_env without auth_env", "version 3 encrypts for a user that it knows",
                              "name the variables of all of them")  # fmt: skip
        self._oids = self._named()
        facts = []
        try:
            description = _text(self._ask((_DESCRIPTION,)).values.get(_DESCRIPTION))
            for part in _parts(tuple(self._oids)):
                answer = self._ask([self._oids[device] for device in part])
                facts += [self._facts(device, answer, description) for device in part]
        except _NoAnswerError as error:
            raise self._error(
                f"{spec.host} gives no reading ({error})", "an agent that answers is needed",
                "check host, community or user, and that the PDU lets this host ask: a community that it does not know gets no answer",
            ) from error  # fmt: skip
        return MeterFacts(
            name=spec.name, kind="snmp", boundary=spec.boundary, basis=spec.basis, source=f"snmp://{spec.host}", devices=tuple(facts),
            period_s=max(spec.period_s, _PERIOD_S), max_gap_s=max(spec.max_gap_s, _MAX_GAP_S), stale_s=max(spec.stale_s, _STALE_S),
            notes=(_allowed(spec),),
        )  # fmt: skip

    def read(self) -> list[Reading]:
        rows: list[Reading] = []
        lost = ""
        for part in _parts(tuple(self._oids)):
            with stamped() as stamp:
                try:
                    if lost:  # the next request would be waited for as long
                        raise _NoAnswerError(lost)
                    answer = self._ask([self._oids[device] for device in part])
                except _NoAnswerError as error:
                    lost = str(error)
            if lost:
                rows += [failed(self._spec, device, self._spec.quantity, stamp, lost) for device in part]
            else:
                rows += [self._reading(device, answer) for device in part]
        return rows

    def close(self) -> None:
        self._manager = self._engine = None

    # -- opening -----------------------------------------------------------------------------------------------------------------

    def _named(self) -> dict[str, str]:
        spec = self._spec
        oids: dict[str, str] = {}
        for written in spec.oids:
            oid, _, name = (part.strip() for part in written.partition("="))
            oid = oid.removeprefix(".")
            if not _OID.fullmatch(oid):
                raise self._error(
                    f"`{written}` is no OID",
                    "numbers with dots between them are needed",
                    "translate it (snmptranslate -On)",
                )
            name = name or f"{spec.host}/{oid}"  # two PDUs have the same OIDs
            if name in oids or oid in oids.values():
                raise self._error(f"`{written}` stands twice in oids", "each watt counts once", "leave one out")
            oids[name] = oid
        if missing := [device for device in spec.devices if device not in oids]:
            raise self._error(f"no OID is named `{missing[0]}`", "one for each of `devices`", "write OID=NAME")
        return {device: oids[device] for device in spec.devices} if spec.devices else oids

    def _facts(self, device: str, answer: _Answer, description: str) -> DeviceFacts:
        reading = self._reading(device, answer)
        if reading.value is None:
            raise self._error(f"{self._spec.host} gives no reading of {device} ({reading.why})", "a number is needed",
                              "correct the OID: snmpwalk shows those that there are")  # fmt: skip
        counter = self._spec.quantity == "energy"
        wraps = counter and type(answer.values[self._oids[device]]).__name__ == "Counter32"
        return DeviceFacts(
            device=device, name=description, scope="outlet", counter=counter,
            counter_range_j=_COUNTER32 * self._spec.scale if wraps else None,
        )  # fmt: skip

    def _error(self, found: str, needed: str, fix: str) -> MeterError:
        return MeterError(f"meter {self._spec.name}", found, needed, fix)

    # -- one request -------------------------------------------------------------------------------------------------------------

    def _ask(self, oids: Sequence[str]) -> _Answer:
        """_NoAnswerError where the agent does not answer, or with an error."""
        snmp = self._snmp
        for _ in range(_TRIES):
            with stamped() as stamp:
                try:
                    if self._manager is None:
                        self._manager = self._connect()
                    found = self._manager.get(*oids, timeout=self._timeout_s, refreshPeriod=self._timeout_s)
                except snmp.Timeout:
                    why = "no answer in time"
                except snmp.ErrorResponse as error:
                    raise _NoAnswerError(f"error status {error.status.name}") from error
                except (OSError, ValueError, snmp.exception.SNMPException, snmp.exception.SNMPLibraryBug) as error:
                    why = f"{type(error).__name__}: {error}".partition("\n")[0]
                else:
                    return _Answer({str(one.name): one.value for one in found}, stamp)
            self.close()  # version 3 has to learn the clock of an agent that was restarted
        raise _NoAnswerError(why)

    def _connect(self) -> Any:
        spec, snmp = self._spec, self._snmp
        address, port = _address(spec.host)
        domain = snmp.UDP_IPv6 if ":" in address else snmp.UDP_IPv4
        engine = self._engine = snmp.Engine()
        if not spec.user_env:
            community = (self._secrets[spec.community_env] or "public").encode()
            return engine.Manager((address, port), version=snmp.SNMPv2c, domain=domain, community=community)
        user: dict[str, Any] = {}
        if spec.auth_env:
            auth = importlib.import_module("snmp.security.usm.auth")
            user |= {
                "authProtocol": getattr(auth, _AUTH[spec.auth]),
                "authSecret": self._secrets[spec.auth_env].encode(),
            }
        if spec.privacy_env:
            ciphers = importlib.import_module("snmp.security.usm.priv")
            user |= {
                "privProtocol": getattr(ciphers, _PRIVACY[spec.privacy]),
                "privSecret": self._secrets[spec.privacy_env].encode(),
            }
        engine.addUser(self._secrets[spec.user_env], **user)
        return engine.Manager((address, port), version=snmp.SNMPv3, domain=domain)

    def _reading(self, device: str, answer: _Answer) -> Reading:
        oid, stamp = self._oids[device], answer.stamp
        found = answer.values.get(oid)
        value = _number(found)
        if value is None:
            why = f"{oid}: {type(found).__name__ if found is not None else 'not in the answer'}"
            return failed(self._spec, device, self._spec.quantity, stamp, why)
        return Reading(
            meter=self._spec.name, device=device, quantity=self._spec.quantity, t_ns=stamp.t_ns, spread_ns=stamp.spread_ns,
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


def _number(value: Any) -> float | None:
    """Of an INTEGER, Gauge32, Counter32 or Counter64; or of a string that is a number: scripts behind an agent give text."""
    if isinstance(number := getattr(value, "value", None), int):
        return float(number)
    try:
        return float(getattr(value, "data", b""))
    except ValueError:
        return None


def _text(value: Any) -> str:
    return " ".join(bytes(getattr(value, "data", b"")).decode("utf-8", "replace").split())[:80]
