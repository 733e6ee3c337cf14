"""The client that most people write: aiohttp on uvloop, one session, an SSE split and a JSON decode an event (benchmarks.peers).

    ENV/bin/python aiohttp_client.py http://127.0.0.1:PORT [--streams 500] [--seconds 9]

It runs in an environment of its own (`pip install aiohttp uvloop`) and imports nothing of this project. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import aiohttp
import uvloop


async def one(
    session: aiohttp.ClientSession, url: str, body: dict[str, object], done: list[tuple[float, float, int]]
) -> None:
    """One request; appends (TTFT in s, first to last output in s, output tokens)."""
    began = last = time.perf_counter()
    first = 0.0
    tokens = 0
    rest = b""
    async with session.post(url, json=body) as response:
        async for data in response.content.iter_any():
            rest += data
            while (end := rest.find(b"\n\n")) >= 0:
                event, rest = rest[:end], rest[end + 2 :]
                if not event.startswith(b"data: ") or event == b"data: [DONE]":
                    continue
                now = time.perf_counter()
                chunk = json.loads(event[6:])
                if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                    first, last = first or now, now
                elif chunk.get("usage"):
                    tokens = chunk["usage"]["completion_tokens"]
    done.append((first - began, last - first, tokens))


async def load(url: str, streams: int, seconds: float, body: dict[str, object]) -> list[tuple[float, float, int]]:
    done: list[tuple[float, float, int]] = []
    end = time.perf_counter() + seconds
    connector = aiohttp.TCPConnector(limit=streams, limit_per_host=streams)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600)) as session:

        async def stream() -> None:
            while True:
                await one(session, url, body, done)
                if time.perf_counter() > end:
                    return

        await asyncio.gather(*(stream() for _ in range(streams)))
    return done


def at(values: list[float], q: float) -> float:
    """The value at rank q (n - 1), rounded down."""
    return sorted(values)[int(q * (len(values) - 1))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=9)
    parser.add_argument("--body-bytes", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=100)
    given = parser.parse_args()
    body: dict[str, object] = {
        "model": "mock", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": given.tokens,
        "messages": [{"role": "user", "content": "x" * (given.body_bytes - 160)}],
    }  # fmt: skip
    done = uvloop.run(load(f"{given.url}/v1/chat/completions", given.streams, given.seconds, body))
    waits = [ttft_s * 1e3 for ttft_s, _, _ in done]
    speeds = [(tokens - 1) / span_s for _, span_s, tokens in done if span_s > 0]
    report = {"ttft_p50": at(waits, 0.5), "ttft_p95": at(waits, 0.95), "speed_p50": at(speeds, 0.5) if speeds else None}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
