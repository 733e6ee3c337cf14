"""One chunk of a chat stream: the fields that are read, and what in it a person would see."""

from __future__ import annotations

import json
from typing import TypeAlias

import msgspec
from msgspec import Struct

from openagentperf.wire.servererror import error_of

Number: TypeAlias = int | float | None
"""Some gateways write token counts as floats."""


class Part(Struct, gc=False):
    """A content part, where content is a list: text, or Mistral's thinking (itself text or parts)."""

    text: str | None = None
    thinking: str | list[Part] | None = None
    refusal: str | None = None


class Function(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class Call(Struct, gc=False):
    function: Function | None = None


class Delta(Struct, gc=False):
    content: str | list[Part] | None = None
    reasoning: str | list[Part] | None = None
    """vLLM from 0.12 on, OpenRouter, Ollama."""
    reasoning_content: str | list[Part] | None = None
    """DeepSeek, SGLang, llama.cpp, older vLLM."""
    thinking: str | list[Part] | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    """The form before `tool_calls`."""


class Choice(Struct, gc=False):
    delta: Delta | None = None
    finish_reason: str | None = None


class PromptDetails(Struct, gc=False):
    cached_tokens: Number = None


class CompletionDetails(Struct, gc=False):
    reasoning_tokens: Number = None


class Usage(Struct, gc=False):
    prompt_tokens: Number = None
    completion_tokens: Number = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: Number = None
    """DeepSeek."""
    reasoning_tokens: Number = None
    """SGLang."""


class Timings(Struct, gc=False):
    """llama.cpp's own object on its last event."""

    cache_n: Number = None


class Chunk(Struct, gc=False):
    choices: list[Choice] | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    error: object = None


_decode = msgspec.json.Decoder(Chunk).decode


class NotAChunk(Exception):
    """The event's data is not a chunk of this dialect; the text says where it departs from it."""


def read_chunk(data: bytes) -> Chunk:
    """The chunk in an event's data. Unknown fields are skipped.

    Raises NotAChunk. An event stream is decoded with replacement, and JSON may hold half a surrogate pair (a gateway in
    JavaScript that slices text); the quick decoder refuses both, so what it refuses gets a second, patient reading.
    """
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        try:
            return msgspec.convert(json.loads(data.decode("utf-8", "replace")), Chunk)
        except (ValueError, msgspec.ValidationError, RecursionError):
            raise NotAChunk(str(error)) from None


def error_in(chunk: Chunk, data: bytes) -> str:
    """The server's message where the chunk is an error, else "". Worth calling where `error` is set or choices are missing."""
    try:
        if chunk.error:
            return error_of({"error": chunk.error}) or "an error without a message"
        document = json.loads(data.decode("utf-8", "replace"))
        if document.get("object") == "error":  # SGLang and older vLLM put the message beside it
            return error_of(document) or "an error without a message"
    except (ValueError, RecursionError):
        return ""
    return ""


def visible(chunk: Chunk) -> int:
    """Characters of output in the chunk: text, reasoning, refusal, names and arguments of tools. 0: not output.

    Reasoning under two names at once (a server between renamings sends both) is one reasoning.
    """
    chars = 0
    for choice in chunk.choices or ():
        delta = choice.delta
        if delta is None:
            continue
        if text := delta.content:
            chars += len(text) if isinstance(text, str) else _parts(text)
        if text := delta.reasoning or delta.reasoning_content or delta.thinking:
            chars += len(text) if isinstance(text, str) else _parts(text)
        if delta.refusal:
            chars += len(delta.refusal)
        for call in delta.tool_calls or ():
            chars += _function(call.function)
        if delta.function_call is not None:
            chars += _function(delta.function_call)
    return chars


def shows_reasoning(chunk: Chunk) -> bool:
    """Whether the chunk carries reasoning text under any of its names."""
    for choice in chunk.choices or ():
        delta = choice.delta
        if delta is not None and (
            delta.reasoning
            or delta.reasoning_content
            or delta.thinking
            or (isinstance(delta.content, list) and any(part.thinking for part in delta.content))
        ):
            return True
    return False


def finish_of(chunk: Chunk) -> str:
    """The chunk's finish_reason, "" where it has none."""
    for choice in chunk.choices or ():
        if choice.finish_reason:
            return choice.finish_reason
    return ""


def count(value: Number) -> int | None:
    """A token count as an integer; None where it is missing or no count could have that value (2^53 fits every column)."""
    return int(value) if value is not None and 0 <= value < 2**53 else None


def _parts(parts: list[Part]) -> int:
    chars = 0
    for part in parts:
        chars += len(part.text or "") + len(part.refusal or "")
        if part.thinking:
            chars += len(part.thinking) if isinstance(part.thinking, str) else _parts(part.thinking)
    return chars


def _function(function: Function | None) -> int:
    return 0 if function is None else len(function.name or "") + len(function.arguments or "")
