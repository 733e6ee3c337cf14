"""Where the system under test listens: a name looked up once, a TLS context, and the unchanging part of a request."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

from openagentperf.errors import EndpointError

Sockaddr: TypeAlias = Any
_PROBE_S = 5.0


class Address(Struct, frozen=True, kw_only=True):
    """A resolved endpoint: name look-ups happen once, before load."""

    family: int
    sockaddr: tuple[object, ...]
    host: str
    """Value of the Host header."""
    server_name: str
    """For TLS verification."""
    tls: bool
    path: str
    """Base path without a trailing slash, `/v1` for most."""
    url: str


def resolve(url: str, option: str = "--endpoint") -> Address:
    """Parse and look up an endpoint's base URL, given as `option`. Raises EndpointError for a bad URL or an unknown host."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise EndpointError(
            f"endpoint {url}",
            "is not a URL that can be called",
            "http://HOST[:PORT]/v1 or https://... was needed",
            f"check {option}",
        )
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
        host=parts.netloc.rpartition("@")[2],
        server_name=parts.hostname,
        tls=parts.scheme == "https",
        path=parts.path.rstrip("/"),
        url=url,
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
