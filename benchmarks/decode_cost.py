"""What decoding one finished turn costs, in microseconds per event. Decoding runs after the stream closed, never inside it.

    python -m benchmarks.decode_cost [--events 6000] [--repeats 15]

Prints, for one event per read and for ten: the whole of `wire.chat.decode`, and each layer alone. Best of the repeats: on a
shared machine every other number measures the neighbours.
"""

from __future__ import annotations

import argparse
import sys
import time
from array import array
from collections.abc import Callable, Sequence

from openagentperf.records.turns import RawTurn
from openagentperf.wire import http, sse
from openagentperf.wire.chat import decode
from openagentperf.wire.chatanswer import Answer, read_events

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = (  # about 200 bytes, as vLLM writes them
    b'data: {"id":"chatcmpl-0a1b2c3d4e5f60718293a4b5c6","object":"chat.completion.chunk","created":1764000000,"model":"m/x",'
    b'"choices":[{"index":0,"delta":{"content":" tok"},"logprobs":null,"finish_reason":null}]}'
)


def turn(events: int, per_read: int, eol: bytes) -> RawTurn:
    """One terminated answer of `events` text events, `per_read` of them in each read, each its own HTTP chunk."""
    parts = [EVENT] * events
    parts.append(b'data: {"choices":[],"usage":{"prompt_tokens":27000,"completion_tokens":%d}}' % events)
    parts.append(b"data: [DONE]")
    framed = [b"%x\r\n%b%b\r\n" % (len(p) + 2 * len(eol), p, 2 * eol) for p in parts]
    reads = [HEAD] + [b"".join(framed[i : i + per_read]) for i in range(0, len(framed), per_read)]
    reads[-1] += b"0\r\n\r\n"
    times = array("q", (i * 1_000_000 for i in range(len(reads)))).tobytes()
    sizes = array("q", map(len, reads)).tobytes()
    return RawTurn(0, 0, 0, 0, 0, False, 0, 0, 10**12, times, sizes, b"", b"".join(reads), "", "", "new", 0)


def best_us(work: Callable[[], object], events: int, repeats: int) -> float:
    """Microseconds per event of the quickest of `repeats` calls."""
    spans = []
    for _ in range(repeats):
        start = time.perf_counter_ns()
        work()
        spans.append(time.perf_counter_ns() - start)
    return min(spans) / events / 1_000


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.decode_cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=6_000)
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args(argv)
    print(f"{given.events} events of {len(EVENT) + 2} bytes; us per event, best of {given.repeats}")
    print(f"{'line end':>9} {'events/read':>12} {'decode':>8} {'http':>8} {'sse':>8} {'chunks':>8}")
    for name, eol in (("LF", b"\n"), ("CRLF", b"\r\n"), ("CR", b"\r")):
        for per_read in (1, 10):
            raw = turn(given.events, per_read, eol)
            row = decode(raw)
            if row.failure or row.output_events != given.events:
                print(f"decoded wrongly: {row.failure} {row.detail}", file=sys.stderr)
                return 1
            sizes = memoryview(raw.sizes).cast("q").tolist()
            response = http.parse(raw.data, sizes)
            found = sse.events(response.body, response.ends, ended=True)
            layers = (
                lambda raw=raw: decode(raw),
                lambda raw=raw, sizes=sizes: http.parse(raw.data, sizes),
                lambda r=response: sse.events(r.body, r.ends, ended=True),
                lambda found=found: read_events(found, Answer()),
            )
            costs = [best_us(layer, given.events, given.repeats) for layer in layers]
            print(f"{name:>9} {per_read:>12} " + " ".join(f"{c:8.2f}" for c in costs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
