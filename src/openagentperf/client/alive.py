"""Does anybody still listen there? Asked between phases, of the kernel alone: no request is spent on it."""

from __future__ import annotations

import socket
import time

from openagentperf.client.endpoint import Address

RETURN_S = 2.0
"""A server under a supervisor may come back within this; one that needs longer is met again with --resume."""
_PAUSE_S = 0.25
_CONNECT_S = 2.0


def gone(address: Address, within_s: float = RETURN_S) -> str:
    """Why no connection can be made, in the kernel's words, after trying for `within_s`; "" where one can.

    A connect that times out is not taken for an end: a server with a full accept queue looks like that.
    """
    end_s = time.monotonic() + within_s
    while why := _refused(address):
        if time.monotonic() >= end_s:
            return why
        time.sleep(_PAUSE_S)
    return ""


def _refused(address: Address) -> str:
    try:
        with socket.socket(address.family, socket.SOCK_STREAM) as sock:
            sock.settimeout(_CONNECT_S)
            sock.connect(address.sockaddr)
    except TimeoutError:
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return ""
