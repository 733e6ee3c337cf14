"""One answer of the misbehaving server, spelled out event by event, so that a fault is a line left out or changed."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from openagentperf.sim.chatapi import WORDS, ChatRequest, Prompt
from openagentperf.sim.http import LAST_CHUNK, Exchange, chunk


class Timing(Struct, frozen=True, kw_only=True):
    """How an honest answer of this server looks."""

    tokens: int
    """Of an answer that may stop by itself."""
    ttft_ms: float
    interval_ms: float


class Script:
    """The pieces of one answer."""

    def __init__(
        self, exchange: Exchange, request: ChatRequest, prompt: Prompt, cached_tokens: int, timing: Timing
    ) -> None:
        self.exchange = exchange
        self.request = request
        self.prompt = prompt
        self.cached_tokens: int | None = cached_tokens
        """None: not reported."""
        self.timing = timing
        limit = request.limit or timing.tokens
        self.tokens = limit if request.ignore_eos else min(limit, timing.tokens)
        self.finish_reason = "length" if self.tokens == limit else "stop"
        self.details: dict[str, object] = {}
        self.made = 0
        self.opened = False
        """The role was sent."""
        self.held: list[bytes] | None = None
        """Where a list, nothing is written before `close`."""

    async def pause(self, ms: float) -> None:
        await asyncio.sleep(ms / 1000)

    def write(self, data: bytes) -> None:
        if self.held is None:
            self.exchange.write(data)
        else:
            self.held.append(data)

    def head(self) -> None:
        self.write(self.exchange.start_stream())

    def event(self, choices: list[dict[str, object]], usage: bool = False) -> None:
        body: dict[str, object] = {
            "id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 0, "model": self.request.model,
            "choices": choices,
        }  # fmt: skip
        if usage or (choices and self.request.options.continuous_usage_stats):
            body["usage"] = self.usage()
        self.raw(b"data: " + msgspec.json.encode(body) + b"\n\n")

    def raw(self, event: bytes) -> None:
        self.write(chunk(event))

    def delta(self, delta: Mapping[str, object], finish: str | None = None, tokens: int = 0) -> None:
        self.made += tokens
        self.event([{"index": 0, "delta": dict(delta), "finish_reason": finish}])

    def role(self) -> None:
        self.opened = True
        self.delta({"role": "assistant", "content": ""})

    def words(self, count: int = 1) -> None:
        """`count` tokens in one event."""
        self.delta({"content": self.text(count)}, tokens=count)

    def text(self, count: int) -> str:
        escaped = b"".join(WORDS[k % len(WORDS)] for k in range(self.made, self.made + count))
        return str(msgspec.json.decode(b'"' + escaped + b'"'))

    async def all_words(self, per_event: int = 1) -> None:
        """Every token, at the interval, after the TTFT; the role before them, if it was not sent yet."""
        await self.pause(self.timing.ttft_ms)
        if not self.opened:
            self.role()
        while self.made < self.tokens:
            if self.made:
                await self.pause(self.timing.interval_ms * per_event)
            self.words(min(per_event, self.tokens - self.made))

    def usage(self) -> dict[str, object]:
        usage: dict[str, object] = {
            "prompt_tokens": self.prompt.tokens, "completion_tokens": self.made,
            "total_tokens": self.prompt.tokens + self.made,
        }  # fmt: skip
        if self.cached_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        return usage | self.details

    def finish(self) -> None:
        self.delta({}, self.finish_reason)

    def last_usage(self) -> None:
        if self.request.options.include_usage:
            self.event([], usage=True)

    def done(self) -> None:
        self.raw(b"data: [DONE]\n\n")

    def close(self) -> None:
        self.write(LAST_CHUNK)
        if self.held is not None:
            self.exchange.write(b"".join(self.held))
        self.exchange.finish()

    def ending(self) -> None:
        """Finish event, usage, [DONE], end of the body."""
        self.finish()
        self.last_usage()
        self.done()
        self.close()

    async def honest(self) -> None:
        """The answer without a fault."""
        if not self.request.stream:
            await self.whole()
            return
        self.head()
        await self.all_words()
        self.ending()

    async def whole(self) -> None:
        """One JSON object."""
        await self.pause(self.timing.ttft_ms + self.timing.interval_ms * (self.tokens - 1))
        message = {"role": "assistant", "content": self.text(self.tokens)}
        self.made = self.tokens
        body = {
            "id": "chatcmpl-scripted", "object": "chat.completion", "created": 0, "model": self.request.model,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason}], "usage": self.usage(),
        }  # fmt: skip
        self.exchange.answer(200, msgspec.json.encode(body))

    def reset(self) -> None:
        """Cut the connection with a RST instead of a FIN: what a crashed proxy does."""
        if self.exchange.connection.closed:
            return
        transport = self.exchange.connection.transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
