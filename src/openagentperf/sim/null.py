"""`python -m openagentperf.sim.null`: a server with no limit of its own worth the name, to find out what the client can do.

    --ttft-ms 200 --jitter-ms 300    the first token comes so long after the request was read: ttft + 0 to jitter, evenly spread
    --interval-ms 20                 between two tokens of an answer
    --count number                   usage.prompt_tokens is the request's number in the log, instead of its bytes / 3.5

Every answer is `max_tokens` long, one token an event of about 200 bytes, made in advance; a request costs a search for two numbers in its
head, a token one send. What was sent when is the truth that the client's rows are held against: `GET /log` answers with it, packed as
little-endian int64, for each request in the order in which they were read: read_ns (when the kernel had its last byte: how late this
program came to read it is not the client's doing), first_ns (just before its first token was sent), last_ns, tokens.
"""

from __future__ import annotations

import re
import select
import signal
import socket
import struct
import sys
from collections.abc import Sequence

from openagentperf.client.clock import ANCILLARY_BYTES, SO_TIMESTAMPNS, Clock, now_ns
from openagentperf.errors import UsageError
from openagentperf.seeds import Stream
from openagentperf.sim.serve import arguments, when_stdin_closes
from openagentperf.units import NS_PER_MS, Ns

TICKS = 4096
"""Of 1 ms: no delay is longer."""
ROW = struct.Struct("<4q")
_HEAD_BYTES = 4096
"""As much of a body is looked at: `max_tokens` stands before the messages."""
_RECEIVE_BYTES = 1 << 18
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TOKENS = re.compile(rb'"max_tokens": *(\d+)')


def _event(json: str) -> bytes:
    body = f"data: {json}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(body), body)


_ABOUT = '"id":"chatcmpl-0000000000000000","object":"chat.completion.chunk","created":1700000000,"model":"null"'
TOKEN = _event(
    f'{{{_ABOUT},"choices":[{{"index":0,"delta":{{"content":" the"}},"logprobs":null,"finish_reason":null}}]}}'
)
_OPENING = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + _event(
    f'{{{_ABOUT},"choices":[{{"index":0,"delta":{{"role":"assistant","content":""}},"finish_reason":null}}]}}'
)
_FINISH = _event(f'{{{_ABOUT},"choices":[{{"index":0,"delta":{{}},"finish_reason":"length"}}]}}')
_DONE = _event("[DONE]") + b"0\r\n\r\n"
_MODELS = (
    b'{"object":"list","data":[{"id":"null","object":"model","created":1,"owned_by":"null","max_model_len":1048576}]}'
)


def _ending(prompt_tokens: int, tokens: int) -> bytes:
    usage = f'{{"prompt_tokens":{prompt_tokens},"completion_tokens":{tokens},"total_tokens":{prompt_tokens + tokens}}}'
    return _FINISH + _event(f'{{{_ABOUT},"choices":[],"usage":{usage}}}') + _DONE


class _Stream:
    """A connection, and the answer that it is given."""

    __slots__ = (
        "buffer",
        "first_ns",
        "left",
        "need",
        "number",
        "pending",
        "prompt_tokens",
        "read_ns",
        "sock",
        "tokens",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = bytearray()
        self.need = 0
        """Bytes of the request that have not come yet; 0 before its head is whole."""
        self.number = self.prompt_tokens = self.tokens = self.left = 0
        self.read_ns = self.first_ns = 0
        self.pending: bytes | memoryview = b""
        """Of a send that the client's full buffer cut off."""


class NullServer:
    """One thread, one epoll, a wheel of 1 ms ticks."""

    def __init__(self, port: int, ttft_ms: float, jitter_ms: float, interval_ms: float, *, numbered: bool) -> None:
        longest = max(ttft_ms + jitter_ms, interval_ms)
        if not 0 < longest < TICKS - 1 or min(ttft_ms, jitter_ms, interval_ms) < 0:
            raise UsageError("sim.null", f"a delay of {longest:g} ms", f"0 to {TICKS - 2} ms were needed")
        self._ttft_ms, self._jitter_ms, self._interval_ms = ttft_ms, jitter_ms, interval_ms
        self._numbered = numbered
        self._draw = Stream(1, "null")
        self._wheel: list[list[_Stream]] = [[] for _ in range(TICKS)]
        self._log: list[tuple[Ns, Ns, Ns, int]] = []
        self._streams: dict[int, _Stream] = {}
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._clock = Clock()
        self._tick = now_ns() // NS_PER_MS
        self.stopping = False

    def run(self) -> None:
        """Until `stopping`."""
        listener = self._listener.fileno()
        while not self.stopping:
            for descriptor, event in self._poll.poll(0.001, 4096):
                if descriptor == listener:
                    self._accept()
                elif event & select.EPOLLIN:
                    self._receive(descriptor)
                else:
                    self._close(descriptor)
            self._fire(now_ns() // NS_PER_MS)
            if not self._tick % 1024:
                self._clock.sample()
        for descriptor in list(self._streams):
            self._close(descriptor)
        self._poll.close()
        self._listener.close()
        self._clock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._clock.kernel:
                sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self._streams[sock.fileno()] = _Stream(sock)
            self._poll.register(sock, select.EPOLLIN)

    def _close(self, descriptor: int) -> None:
        stream = self._streams.pop(descriptor)
        self._poll.unregister(descriptor)
        stream.sock.close()
        stream.left = -1  # its place on the wheel is skipped

    def _receive(self, descriptor: int) -> None:
        stream = self._streams[descriptor]
        try:
            data, ancillary, _, _ = stream.sock.recvmsg(_RECEIVE_BYTES, ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:
            self._close(descriptor)
            return
        stream.read_ns = self._clock.stamp_ns(ancillary) if ancillary else now_ns()
        if stream.need:
            stream.need -= len(data)
            if len(stream.buffer) < _HEAD_BYTES:  # the head came alone
                stream.buffer += data[:_HEAD_BYTES]
            if stream.need <= 0:
                self._answer(stream)
        else:
            self._open(stream, data)

    def _open(self, stream: _Stream, data: bytes) -> None:
        """The head of a request, perhaps with all of it. No client of ours sends a second one before the first is answered."""
        stream.buffer += data
        head = stream.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(stream.buffer, 0, head + 2)
        body_bytes = int(length[1]) if length else 0
        stream.prompt_tokens = body_bytes * 2 // 7
        stream.need = head + 4 + body_bytes - len(stream.buffer)
        if stream.need <= 0:
            self._answer(stream)
        del stream.buffer[head + 4 + _HEAD_BYTES :]

    def _answer(self, stream: _Stream) -> None:
        stream.need = 0
        request, stream.buffer = stream.buffer, bytearray()
        if request.startswith(b"GET "):
            body = b"".join(ROW.pack(*row) for row in self._log) if request.startswith(b"GET /log") else _MODELS
            stream.sock.setblocking(True)
            stream.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            stream.sock.setblocking(False)
            return
        tokens = _TOKENS.search(request)
        stream.tokens = stream.left = max(2, int(tokens[1])) if tokens else 16
        stream.first_ns = 0
        stream.number = len(self._log)
        if self._numbered:
            stream.prompt_tokens = stream.number
        self._log.append((stream.read_ns, 0, 0, 0))
        wait_ms = self._ttft_ms + self._draw.uniform() * self._jitter_ms
        at = (stream.read_ns + round(wait_ms * NS_PER_MS)) // NS_PER_MS
        self._wheel[max(at, self._tick) % TICKS].append(stream)

    def _fire(self, now: int) -> None:
        """Everything that is due up to this tick. One that was late does not move what follows it."""
        wheel, interval = self._wheel, max(1, round(self._interval_ms))
        while self._tick <= now:
            slot = self._tick % TICKS
            due, wheel[slot] = wheel[slot], []
            for stream in due:
                whole = stream.left > 0 and self._send(stream)
                if stream.left > 0:  # a client that does not read is asked again at the next tick
                    wheel[(slot + (interval if whole else 1)) % TICKS].append(stream)
            self._tick += 1

    def _send(self, stream: _Stream) -> bool:
        """One token; whether it went out whole."""
        sent_ns = now_ns()
        if stream.pending:
            data: bytes | memoryview = stream.pending
        elif not stream.first_ns:
            stream.first_ns, data = sent_ns, _OPENING + TOKEN
        elif stream.left == 1:
            data = TOKEN + _ending(stream.prompt_tokens, stream.tokens)
        else:
            data = TOKEN
        try:
            gone = stream.sock.send(data)
        except BlockingIOError:
            gone = 0
        except OSError:
            stream.left = -1
            return False
        if gone < len(data):
            stream.pending = memoryview(data)[gone:]
            return False
        stream.pending = b""
        stream.left -= 1
        if not stream.left:
            self._log[stream.number] = (stream.read_ns, stream.first_ns, sent_ns, stream.tokens)
        return True


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments("A server that answers by the clock and computes nothing.", names_a_model=False)
    parser.add_argument("--ttft-ms", type=float, default=200)
    parser.add_argument("--jitter-ms", type=float, default=300)
    parser.add_argument("--interval-ms", type=float, default=20)
    parser.add_argument("--count", choices=("bytes", "number"), default="bytes")
    given = parser.parse_args(argv)
    server = NullServer(given.port, given.ttft_ms, given.jitter_ms, given.interval_ms, numbered=given.count == "number")

    def stop(*_: object) -> None:
        server.stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if given.until_stdin_closes:
        when_stdin_closes(stop)
    sys.stdout.write(f"listening on http://127.0.0.1:{server.port}/v1\n")
    sys.stdout.flush()
    server.run()


if __name__ == "__main__":
    main()
