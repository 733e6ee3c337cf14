"""Why a first, harmless request got no HTTP answer, as a failed check with its fix; nothing where it got one."""

from __future__ import annotations

from openagentperf.records.preflight import Check
from openagentperf.records.turns import RawTurn

_PLAIN = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "wrong version number", "record layer failure")
"""What OpenSSL calls the answer of a server that does not speak TLS at all."""


def complaint(raw: RawTurn, url: str, timeout_s: float) -> Check | None:
    """`raw` is what came of the request, within `timeout_s`."""
    if raw.failure == "connect" and raw.detail.startswith("TLS"):
        if any(word in raw.detail for word in _PLAIN):
            plain = url.replace("https://", "http://", 1)
            return _check("tls", f"{url}: {raw.detail}", "a server that speaks TLS", f"try {plain}, or check the port")
        fix = "name the authority's PEM file with --ca-file, or check the host name"
        return _check("tls", f"{url}: {raw.detail}", "a certificate this machine trusts", fix)
    if raw.failure == "connect":
        fix = "start the server, or check host and port in --endpoint"
        return _check("reachable", f"{url}: {raw.detail}", "a server that accepts connections", fix)
    if raw.failure == "timeout" and raw.sent_ns is None:
        fix = "check host and port in --endpoint, and that no firewall drops the packets"
        return _check(
            "reachable", f"{url}: no connection within {timeout_s:g} s", "a server that accepts connections", fix
        )
    if raw.failure == "timeout":  # the kernel takes connections for a process that has hung
        found = f"{url}: takes the connection, and does not answer GET /models within {timeout_s:g} s"
        return _check(
            "reachable", found, "an HTTP server that answers", "see the server's log: it hangs, or still starts"
        )
    if raw.failure in ("reset", "malformed") and not raw.data.startswith(b"HTTP/1."):
        fix = "check the port, and http against https, in --endpoint"
        return _check("reachable", f"{url}: {raw.detail}", "an HTTP/1.1 server", fix)
    return None


def _check(name: str, found: str, needed: str, fix: str) -> Check:
    return Check(name=name, status="failed", found=found, needed=needed, fix=fix)
