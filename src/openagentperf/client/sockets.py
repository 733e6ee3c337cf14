"""A socket of the measured path: made, stamped by the kernel where it can, and told to connect."""

from __future__ import annotations

import errno
import socket

from openagentperf.client.clock import SO_TIMESTAMPNS
from openagentperf.client.endpoint import Address

OUR_LIMITS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}
"""Of errors, those that this host runs into, whatever the server does."""
AGAIN_S = 0.005


def stream(address: Address, *, stamped: bool) -> socket.socket:
    """A socket that does not block, not connected yet. Raises OSError."""
    sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if not address.is_unix:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if stamped:
                sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        sock.close()
        raise
    return sock


def connect(sock: socket.socket, address: Address) -> int:
    """Begin to connect: 0, or why not. EAGAIN: try again in AGAIN_S.

    A full accept queue gives EAGAIN over a unix socket; over TCP the kernel itself asks again, after a second.
    """
    try:
        code = sock.connect_ex(address.sockaddr)
    except OSError as error:
        return error.errno or errno.EIO
    if code == errno.EAGAIN and not address.is_unix:
        return errno.EADDRNOTAVAIL
    return 0 if code == errno.EINPROGRESS else code
