"""Where the system under test listens: a name looked up once, a TLS context, and the unchanging part of a request."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

from openagentperf.errors import EndpointError

Sockaddr: TypeAlias = Any
UNIX = "unix:"
_ZONE = re.compile(r"%[^]:]*(?=\])")
"""The zone of a link-local IPv6 address is of this host alone: RFC 6874 keeps it out of the Host header."""
_PROBE_S = 5.0
_UNIX_PATH_BYTES = 107
"""What fits into a sockaddr_un behind its closing zero."""


class Address(Struct, frozen=True, kw_only=True):
    """A resolved endpoint: name look-ups happen once, before load."""

    family: int
    sockaddr: tuple[object, ...] | str
    """A string for a unix socket: its path."""
    host: str
    """Value of the Host header."""
    server_name: str
    """For TLS verification."""
    tls: bool
    path: str
    """Base path without a trailing slash, `/v1` for most."""
    url: str

    @property
    def is_unix(self) -> bool:
        """A unix socket: no ports, and no stamps of the kernel's."""
        return isinstance(self.sockaddr, str)


def resolve(url: str, option: str = "--endpoint", *, unix: bool = True) -> Address:
    """Parse and look up an endpoint's base URL, given as `option`; `unix` takes the path of a unix socket too.

    Raises EndpointError for a bad URL or an unknown host.
    """
    if unix and url.startswith(UNIX):
        return _unix(url, option)
    try:
        parts = urlsplit(url)  # raises for an unclosed bracket
        port = parts.port
    except ValueError:
        raise _uncallable(url, option) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _uncallable(url, option)
    try:
        found = socket.getaddrinfo(
            parts.hostname, port or (443 if parts.scheme == "https" else 80), type=socket.SOCK_STREAM
        )
    except OSError as error:
        raise EndpointError(
            f"endpoint {url}",
            f"the host name {parts.hostname} is not known ({error.strerror})",
            "a name that resolves was needed",
            "check the spelling and the DNS of this machine",
        ) from error
    family, sockaddr = _first_that_connects([(family, sockaddr) for family, _, _, _, sockaddr in found])
    return Address(
        family=family,
        sockaddr=sockaddr,
        host=_ZONE.sub("", parts.netloc.rpartition("@")[2]),
        server_name=parts.hostname.partition("%")[0],
        tls=parts.scheme == "https",
        path=parts.path.rstrip("/"),
        url=url,
    )


def split_unix(url: str) -> tuple[str, str]:
    """`unix:/run/engine.sock[:/v1]` as the socket's path and the base path behind its last colon, `/v1` where none is given."""
    rest = url.removeprefix(UNIX)
    path, colon, base = rest.rpartition(":")
    return (path, base.rstrip("/")) if colon and base.startswith("/") else (rest, "/v1")


def _unix(url: str, option: str) -> Address:
    path, base = split_unix(url)
    if not path.startswith("/"):
        raise _uncallable(url, option)
    if len(os.fsencode(path)) > _UNIX_PATH_BYTES:
        raise EndpointError(
            f"endpoint {url}",
            f"the socket's path is {len(os.fsencode(path))} bytes long",
            f"at most {_UNIX_PATH_BYTES} were needed",
            "let the server listen at a shorter path, or link one to it",
        )
    return Address(
        family=socket.AF_UNIX, sockaddr=path, host="localhost", server_name="localhost", tls=False, path=base, url=url
    )


def _uncallable(url: str, option: str) -> EndpointError:
    return EndpointError(
        f"endpoint {url}",
        "is not a URL that can be called",
        f"http://HOST[:PORT]/v1, https://... or {UNIX}/PATH was needed",
        f"check {option}",
    )


def _first_that_connects(candidates: list[tuple[int, Sockaddr]]) -> tuple[int, Sockaddr]:
    """`localhost` is ::1 first on many hosts, and many servers listen on 127.0.0.1 only. The first where none connects."""
    if len(candidates) > 1:
        for family, sockaddr in candidates:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.settimeout(_PROBE_S)
                if probe.connect_ex(sockaddr) == 0:
                    return family, sockaddr
    return candidates[0]


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Verifying context; `ca_file` adds a private authority to the system's. Raises EndpointError where it cannot be read."""
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise EndpointError(
                ca_file,
                f"cannot be used as a CA file ({error})",
                "a PEM file of certificates was needed",
                "check --ca-file",
            ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def request_head(address: Address, method: str, path: str, headers: Mapping[str, str]) -> bytes:
    """Everything of a request's head that does not change, up to and with `Content-Length: `.

    No User-Agent and no header of our own: a server must not be able to tell a benchmark from its users.
    """
    lines = [f"{method} {address.path}{path} HTTP/1.1", f"Host: {address.host}", "Accept-Encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Content-Length: "]).encode("latin-1")
