"""Where this program listens: addresses as URLs, which of them lead to this host alone, and ports that cannot be had."""

from __future__ import annotations

import socket

import pytest

from openagentperf.errors import UsageError
from openagentperf.listening import is_loopback, listener, url


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("127.0.0.1.x", False), ("", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, loopback: bool):
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("host", "port", "want"),
    [("127.0.0.1", 80, "http://127.0.0.1:80"), ("::1", 8, "http://[::1]:8"), ("a.b", 1, "http://a.b:1")],
)
def test_an_address_as_a_url(host: str, port: int, want: str):
    assert url(host, port) == want


def test_a_port_is_taken_at_once_and_one_that_is_taken_is_said_with_its_option():
    with listener("--port", "127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            pass
        with pytest.raises(
            UsageError, match=f"--metrics-port {port}: cannot be listened on at 127.0.0.1 .Address already in use"
        ):
            listener("--metrics-port", "127.0.0.1", port)
