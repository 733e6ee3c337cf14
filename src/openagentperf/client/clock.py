"""The one clock of a host, and the kernel's receive stamps turned into it."""

from __future__ import annotations

import socket
import struct
import sys
import time

from openagentperf.units import NS_PER_MS, NS_PER_S, Ns

now_ns = time.perf_counter_ns
"""CLOCK_MONOTONIC on Linux: the same in all processes of a host."""

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python has no name for it
ANCILLARY_BYTES = 64
_STAMP = struct.Struct("qq")
_PROOF_NS = NS_PER_MS // 2
_PROOF_LIMIT_NS = 500 * NS_PER_MS


class Clock:
    """Kernel wall-clock stamps to monotonic ns. `sample` is called about once a second.

    `kernel` says whether stamps are the kernel's. It is proven, not assumed: the first socket that asks for stamps makes the kernel
    switch them on *later*, in a work queue, and until then it hands out the time of the read under the same name (seen here: 52 ms off
    on a busy machine). So a datagram is sent to ourselves until one that was left lying for 0.5 ms carries a stamp at least that
    old; its socket stays open, because the kernel switches stamps off with the last socket that wants them.
    """

    __slots__ = ("_proof", "first_offset_ns", "kernel", "offset_ns")

    def __init__(self, kernel: bool | None = None) -> None:
        self.first_offset_ns = self.offset_ns = wall_minus_monotonic_ns()
        self._proof = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.kernel = sys.platform == "linux" and kernel is not False and self._proven()

    def sample(self) -> Ns:
        """Take a new offset; returns its change since the start (0 unless the wall clock was stepped or slewed)."""
        self.offset_ns = wall_minus_monotonic_ns()
        return self.offset_ns - self.first_offset_ns

    def stamp_ns(self, ancillary: list[tuple[int, int, bytes]]) -> Ns:
        """The monotonic time of a recvmsg's ancillary data, which must not be empty."""
        seconds, nanoseconds = _STAMP.unpack(ancillary[0][2])
        stamp: Ns = seconds * NS_PER_S + nanoseconds - self.offset_ns
        return stamp

    def close(self) -> None:
        self._proof.close()

    def _proven(self) -> bool:
        sock = self._proof
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(0.1)
            end = now_ns() + _PROOF_LIMIT_NS
            while now_ns() < end:
                sock.sendto(b"?", sock.getsockname())
                sent = now_ns()
                while now_ns() < sent + _PROOF_NS:
                    pass
                _, ancillary, _, _ = sock.recvmsg(1, ANCILLARY_BYTES)
                if not ancillary:
                    return False
                if now_ns() - self.stamp_ns(ancillary) >= _PROOF_NS:
                    return True
        except OSError:  # a sandbox without the option, or without loopback datagrams
            return False
        return False


def wall_minus_monotonic_ns() -> Ns:
    """Of three tries the one with the shortest bracket: a preempted try would be off by the preemption."""
    tries = []
    for _ in range(3):
        before = now_ns()
        wall = time.time_ns()
        after = now_ns()
        tries.append((after - before, wall - (before + after) // 2))
    return min(tries)[1]
