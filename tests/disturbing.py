"""`python -m disturbing --mode tail`: sim.null with some of its connections gone wrong, and a log of what it truly sent when.

    tail       of every eight answers one stalls behind its third token for ever, and one comes at a third of the pace
    storm      whenever a hundred more requests have come, half of all connections are reset at once
    deaf       every eighth connection is not read any more behind the head of its first request: its body stays half-written
    together   the last token of every answer is held back until a whole second: all that are due end in one instant
    none       nothing goes wrong

`GET /log` answers with a row a request, packed as little-endian int64: read_ns, first_ns, second_ns, last_ns, tokens; 0 where that never
came.
"""

from __future__ import annotations

import argparse
import select
import socket
import struct
import sys

from openagentperf.client.clock import now_ns
from openagentperf.sim.null import NullServer, _Stream
from openagentperf.sim.serve import when_stdin_closes

ROW = struct.Struct("<5q")
STALLED, SLOW, EVERY = 3, 7, 8
"""Of the numbers of requests modulo EVERY."""
SLOWER = 3
STORM_EVERY = 100


class Disturbing(NullServer):
    """See the module."""

    def __init__(self, mode: str, ttft_ms: float, jitter_ms: float, interval_ms: float) -> None:
        super().__init__(0, ttft_ms, jitter_ms, interval_ms, numbered=True)
        self._mode = mode
        self._second: dict[int, int] = {}
        self._skipped: dict[int, int] = {}
        self._accepted = 0
        self._deaf: set[int] = set()

    def _accept(self) -> None:
        before = set(self._streams)
        super()._accept()
        for descriptor in self._streams.keys() - before:
            self._accepted += 1
            if self._mode == "deaf" and not self._accepted % EVERY:
                self._deaf.add(descriptor)

    def _close(self, descriptor: int) -> None:
        self._deaf.discard(descriptor)
        if descriptor in self._streams:  # else: reset by a storm in the same round of events
            super()._close(descriptor)

    def _receive(self, descriptor: int) -> None:
        if descriptor in self._streams:
            super()._receive(descriptor)

    def _open(self, stream: _Stream, data: bytes) -> None:
        super()._open(stream, data)
        if stream.sock.fileno() in self._deaf:
            self._poll.modify(stream.sock.fileno(), select.EPOLLHUP)

    def _answer(self, stream: _Stream) -> None:
        if bytes(stream.buffer[:8]) == b"GET /log":
            body = b"".join(
                ROW.pack(read, first, self._second.get(number, 0), last, tokens)
                for number, (read, first, last, tokens) in enumerate(self._log)
            )
            stream.need, stream.buffer = 0, bytearray()
            stream.sock.setblocking(True)
            stream.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            stream.sock.setblocking(False)
            return
        super()._answer(stream)
        if self._mode == "storm" and stream.left > 0 and not (stream.number + 1) % STORM_EVERY:
            for descriptor in list(self._streams)[::2]:
                self._streams[descriptor].sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._close(descriptor)

    def _send(self, stream: _Stream) -> bool:
        sent = stream.tokens - stream.left
        if self._mode == "tail" and sent == STALLED and stream.number % EVERY == STALLED:
            stream.left = -1
            return False
        if self._mode == "tail" and stream.number % EVERY == SLOW and sent:
            self._skipped[stream.number] = self._skipped.get(stream.number, 0) + 1
            if self._skipped[stream.number] % (SLOWER * max(1, round(self._interval_ms))):
                return False  # asked again at the next tick of 1 ms
        if self._mode == "together" and stream.left == 1 and self._tick % 1000:
            return False
        if sent == 1:
            self._second.setdefault(stream.number, now_ns())
        return super()._send(stream)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=("tail", "storm", "deaf", "together", "none"), required=True)
    parser.add_argument("--ttft-ms", type=float, default=100)
    parser.add_argument("--jitter-ms", type=float, default=100)
    parser.add_argument("--interval-ms", type=float, default=40)
    parser.add_argument("--until-stdin-closes", action="store_true")
    given = parser.parse_args()
    server = Disturbing(given.mode, given.ttft_ms, given.jitter_ms, given.interval_ms)

    def stop() -> None:
        server.stopping = True

    when_stdin_closes(stop)
    sys.stdout.write(f"listening on http://127.0.0.1:{server.port}/v1\n")
    sys.stdout.flush()
    server.run()


if __name__ == "__main__":
    main()
