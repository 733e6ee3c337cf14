"""The faults of the misbehaving server: each a short script, named as `--mode` names it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from openagentperf.sim.script import Script

Fault: TypeAlias = Callable[[Script], Awaitable[None]]

HTML = b"<!doctype html><html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>"
FAULT_TOKENS = 3
"""Tokens that a stream carries before it goes wrong."""


def error_body(status: int, message: str, kind: str) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": status}})


async def html(script: Script) -> None:
    script.exchange.answer(200, HTML, "text/html")


async def wrong_model(script: Script) -> None:
    message = f"The model `{script.request.model}` does not exist."
    script.exchange.answer(404, error_body(404, message, "NotFoundError"))


async def http500(script: Script) -> None:
    script.exchange.answer(500, error_body(500, "EngineCore encountered an issue.", "InternalServerError"))


async def http429(script: Script) -> None:
    body = error_body(429, "Rate limit reached, try again in 1 s.", "rate_limit_error")
    script.exchange.answer(429, body, headers="retry-after: 1\r\n")


async def never_ends(script: Script) -> None:
    """A token every 50 ms for ever: no limit on silence sees it, only one on the whole turn."""
    script.head()
    script.role()
    while not script.exchange.connection.closed:
        script.words()
        await script.pause(50)


async def stall(script: Script) -> None:
    """Three tokens, then nothing; the connection stays open."""
    await _some(script)
    await asyncio.Event().wait()


async def dies(script: Script) -> None:
    """The process ends in the middle of the stream, as on a segmentation fault: no goodbye."""
    await _some(script)
    os._exit(1)


async def reset_midstream(script: Script) -> None:
    await _some(script)
    script.reset()


async def no_usage(script: Script) -> None:
    script.head()
    await script.all_words()
    script.finish()
    script.done()
    script.close()


async def no_done(script: Script) -> None:
    """The body ends properly, the dialect's terminal event is missing."""
    script.head()
    await script.all_words()
    script.finish()
    script.last_usage()
    script.close()


async def no_stream(script: Script) -> None:
    """`"stream": true` is answered with one JSON object."""
    await script.whole()


async def error_in_stream(script: Script) -> None:
    """Status 200, two tokens, an error event, [DONE]: how some frontends report an overflow."""
    await _some(script, 2)
    script.raw(b"data: " + error_body(500, "the engine lost this request", "InternalServerError") + b"\n\n")
    script.done()
    script.close()


async def role_early(script: Script) -> None:
    """The role, an empty piece of content and a comment come at once: none of them is output."""
    script.head()
    script.role()
    script.delta({"content": ""})
    script.raw(b": keep-alive\n\n")
    await script.all_words()
    script.ending()


async def multi_token(script: Script) -> None:
    """Four tokens an event: who counts events reads a quarter."""
    script.head()
    await script.all_words(per_event=4)
    script.ending()


async def tool_calls_only(script: Script) -> None:
    """No text at all: a name, then arguments in fragments."""
    script.head()
    await script.pause(script.timing.ttft_ms)
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "bash", "arguments": ""}}
    script.delta({"role": "assistant", "content": None, "tool_calls": [call]}, tokens=1)
    while script.made < script.tokens:
        await script.pause(script.timing.interval_ms)
        opening = '{"command":"' if script.made == 1 else "x"
        piece = '"}' if script.made + 1 == script.tokens else opening
        script.delta({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, tokens=1)
    script.finish_reason = "tool_calls"
    script.ending()


async def reasoning(script: Script) -> None:
    """The first half is reasoning, in both fields that engines use, with the same text: it must not count twice."""
    script.head()
    await script.pause(script.timing.ttft_ms)
    thinking = script.tokens // 2
    while script.made < script.tokens:
        text = script.text(1)
        thought = {"reasoning": text, "reasoning_content": text}
        script.delta(thought if script.made < thinking else {"content": text}, tokens=1)
        await script.pause(script.timing.interval_ms)
    script.details = {"completion_tokens_details": {"reasoning_tokens": thinking}}
    script.ending()


async def keepalive_race(script: Script) -> None:
    """Closes right after a streamed answer that announced keep-alive: the next request meets a dead connection."""
    await script.honest()
    script.exchange.connection.transport.close()


async def buffered(script: Script) -> None:
    """Waits as long as an honest answer takes, then writes all of it, head included, at once."""
    script.held = []
    await script.pause(script.timing.ttft_ms + script.timing.interval_ms * (script.tokens - 1))
    script.head()
    script.role()
    while script.made < script.tokens:
        script.words()
    script.ending()


async def no_cache(script: Script) -> None:
    script.cached_tokens = None
    await script.honest()


async def cache_off(script: Script) -> None:
    """Prefix caching switched off: reported, and always 0."""
    script.cached_tokens = 0
    await script.honest()


async def ignores_eos_not(script: Script) -> None:
    """Stops at half of the length asked for, in spite of `ignore_eos`."""
    script.tokens = max(1, script.tokens // 2)
    script.finish_reason = "stop"
    await script.honest()


async def ok(script: Script) -> None:
    await script.honest()


async def _some(script: Script, tokens: int = FAULT_TOKENS) -> None:
    """The beginning of an honest stream."""
    script.head()
    script.role()
    for _ in range(tokens):
        await script.pause(script.timing.interval_ms)
        script.words()
    await script.pause(1)  # written, and on its way, before what follows


FAULTS: dict[str, Fault] = {
    "ok": ok,
    "html": html,
    "html-chat": html,
    "wrong-model": wrong_model,
    "http500": http500,
    "storm500": http500,
    "http429": http429,
    "never-ends": never_ends,
    "stall": stall,
    "dies": dies,
    "reset-midstream": reset_midstream,
    "no-usage": no_usage,
    "no-done": no_done,
    "no-stream": no_stream,
    "error-in-stream": error_in_stream,
    "role-early": role_early,
    "multi-token": multi_token,
    "tool-calls-only": tool_calls_only,
    "reasoning": reasoning,
    "keepalive-race": keepalive_race,
    "buffered": buffered,
    "no-cache": no_cache,
    "cache-off": cache_off,
    "ignores-eos-not": ignores_eos_not,
    "slow": ok,
    "small-context": ok,
}
"""`html`, `wrong-model`, `slow` and `small-context` do more than their script: see faulty.py."""
