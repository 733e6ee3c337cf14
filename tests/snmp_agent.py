"""SNMP agents on loopback: a scripted one for what a real one will not do on demand, and Debian's snmpd."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

INTEGER, STRING, NULL, COUNTER32, GAUGE32, OPAQUE, COUNTER64 = 0x02, 0x04, 0x05, 0x41, 0x42, 0x44, 0x46
NO_SUCH_OBJECT, NO_SUCH_INSTANCE = 0x80, 0x81


class Ask(NamedTuple):
    """A GET of version 2c; OIDs in dotted form."""

    request_id: bytes
    community: bytes
    oids: list[str]


Values = Mapping[str, tuple[int, int | bytes]]
"""Tag and value of each OID."""


def response(ask: Ask, values: Values, *, status: int = 0) -> bytes:
    bindings = b""
    for oid in ask.oids:
        tag, value = values.get(oid, (NO_SUCH_OBJECT, b"")) if not status else (NULL, b"")
        content = value if isinstance(value, bytes) else value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
        bindings += _tlv(0x30, _tlv(0x06, _oid(oid)) + _tlv(tag, content))
    pdu = (
        _tlv(0x02, ask.request_id)
        + _tlv(0x02, bytes([status]))
        + _tlv(0x02, bytes([bool(status)]))
        + _tlv(0x30, bindings)
    )
    return _tlv(0x30, _tlv(0x02, b"\x01") + _tlv(0x04, ask.community) + _tlv(0xA2, pdu))


class Agent:
    """Answers each datagram by `script`: the datagrams to send back, in order. Replace it at any time."""

    def __init__(self, script: Callable[[Ask], list[bytes]]) -> None:
        self.script = script
        self.asks: list[Ask] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Agent:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, client = self._socket.recvfrom(65_535)
            if not data:
                return
            ask = _ask(data)
            self.asks.append(ask)
            for answer in self.script(ask):
                self._socket.sendto(answer, client)


def _ask(data: bytes) -> Ask:
    _, community, pdu = _items(_items(data)[0])
    request_id, _, _, bindings = _items(pdu)
    return Ask(request_id, community, [_dotted(_items(binding)[0]) for binding in _items(bindings)])


def _items(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        length = data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        found.append(data[at : at + length])
        at += length
    return found


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x82, *size.to_bytes(2, "big")])
    return bytes([tag]) + length + content


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    data = bytes([40 * first + second])
    for number in rest:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(number & 0x7F | 0x80)
        data += bytes(reversed(groups))
    return data


def _dotted(data: bytes) -> str:
    numbers, number = [data[0] // 40, data[0] % 40], 0
    for byte in data[1:]:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    return ".".join(map(str, numbers))


def snmpd_missing() -> str:
    """Why there is no real agent here; "" where there is one."""
    return "" if _snmpd() else "snmpd is not installed: apt install snmpd"


@contextmanager
def snmpd(folder: Path, config: str, port: int = 0) -> Iterator[int]:
    """A real agent on a loopback port (0: a free one), with `config` besides; its own data in `folder`. Yields the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", port))
        port = int(probe.getsockname()[1])
    path = folder / "snmpd.conf"
    path.write_text(f"agentAddress udp:127.0.0.1:{port}\n{config}\n")
    program = _snmpd()
    assert program is not None
    # -C -c: no other configuration; -f: no daemon; -Lf: its log; SNMP_PERSISTENT_DIR: the keys of version 3's users.
    command = [program, "-f", "-C", "-c", str(path), "-Lf", str(folder / "log"), "-I", "-smux"]
    environment = {"SNMP_PERSISTENT_DIR": str(folder / "keys"), "MIBS": "", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _snmpd() -> str | None:
    return shutil.which("snmpd", path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin")
