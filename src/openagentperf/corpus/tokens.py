"""Token counts from text alone, for recordings without counts and generation without a tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from openagentperf.records.trajectory import Message

Counter: TypeAlias = Callable[[str], int]
"""Tokens of a text: `estimate`, or a tokenizer's count."""

MESSAGE_TOKENS = 4
"""Role markers and separators of one message in the common chat templates (ChatML: 4)."""


def estimate(text: str) -> int:
    """Tokens of `text` at 3.5 UTF-8 bytes each: ceil(bytes / 3.5).

    Six public vocabularies (o200k, Qwen3, DeepSeek, tekken, cl100k, Llama 3) read code at 3.4 to 3.6 bytes a token, so the estimate is
    within 4 % on the texts that agents send. Other texts differ more: a count recorded by the provider is always preferred.
    """
    # Counting an ASCII text needs no copy of it. Lone surrogates come out of JSON escapes: they count, they do not raise.
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-2 * size // 7)


def estimate_answer(message: Message) -> int:
    """Tokens of an answer, its reasoning included and the markers around it not; >= 1."""
    return max(1, estimate_message(message) - MESSAGE_TOKENS + estimate(message.reasoning))


def estimate_message(message: Message, count: Counter = estimate) -> int:
    """Tokens of one message of the history: content, names and arguments of its calls, and MESSAGE_TOKENS.

    Recorded reasoning is not counted: it is not sent back (records.trajectory.Message.reasoning).
    """
    calls = sum(count(call.name) + count(call.arguments) for call in message.tool_calls)
    return count(message.content) + calls + MESSAGE_TOKENS
