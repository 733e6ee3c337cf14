"""Where this program listens: a socket that is taken before anything else is begun, its address as a URL, and who can reach it."""

from __future__ import annotations

import ipaddress
import socket

from openagentperf.errors import UsageError


def listener(option: str, host: str, port: int) -> socket.socket:
    """A listening socket; UsageError, at the `option` that asked for it, where it cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            f"{option} {port}",
            f"cannot be listened on at {host} ({error.strerror or error})",
            "a free port and an address of this host were needed",
            "choose another; 0 takes a free one",
        ) from error


def url(host: str, port: int) -> str:
    """`http://HOST:PORT`, an IPv6 address in brackets."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a name or an address leads to this host alone; a name that is not `localhost` may lead anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
