"""What the events of one chat stream add up to."""

from __future__ import annotations

from collections.abc import Sequence

from openagentperf.units import Ns
from openagentperf.wire import servererror, sse
from openagentperf.wire.chatchunk import (
    Chunk,
    NotAChunk,
    Usage,
    count,
    error_in,
    finish_of,
    read_chunk,
    shows_reasoning,
    visible,
)

SEVERAL_AN_EVENT = 1.5
SEVERAL_FROM_TOKENS = 8
"""Tokens an output event, and tokens, from which an answer counts as sent several at a time. Below, the surplus is special tokens."""


class Answer:
    """What the events said so far."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        """Reads that completed an output event, rising, each once..."""
        self.chars: list[int] = []
        """... the visible characters of the events that it completed..."""
        self.events: list[int] = []
        """... and how many of them it completed."""
        self.output_events = 0
        self.first_chars = 0
        self.first_tokens = 1
        self.counts_up = False
        """Usage came with the first output event: `first_tokens` is the server's own figure."""
        self.saw_reasoning = False
        self.usage = Usage()
        self.cache_n: int | None = None
        self.finish = ""
        self.done = False

    def take(self, event: sse.Event, chunk: Chunk) -> None:
        if chunk.usage is not None and (
            chunk.usage.completion_tokens is not None or self.usage.completion_tokens is None
        ):
            self.usage = chunk.usage
        if chunk.timings is not None:
            self.cache_n = count(chunk.timings.cache_n)
        if chunk.choices:
            self.finish = finish_of(chunk) or self.finish
            if chars := visible(chunk):
                self.saw_reasoning = self.saw_reasoning or shows_reasoning(chunk)
                self.output(event.read, chars, chunk.usage)

    def output(self, read: int, chars: int, usage: Usage | None) -> None:
        if not self.output_events:
            self.first_chars = chars
        if not self.output_events and usage is not None:
            # Continuous usage counts up; what it says here was generated before the first visible text, all within TTFT.
            self.first_tokens = max(1, count(usage.completion_tokens) or 1)
            self.counts_up = True
        self.output_events += 1
        if self.reads and self.reads[-1] == read:
            self.chars[-1] += chars
            self.events[-1] += 1
        else:
            self.reads.append(read)
            self.chars.append(chars)
            self.events.append(1)

    def paid_by_ttft(self) -> int:
        """Tokens that were there when the first output arrived, and that the decode span therefore did not make; at least 1.

        Continuous usage says so itself. Else, where the answer has markedly more tokens than output events (speculative decoding,
        a stream interval), the first event's share of the visible characters of what was visible; taking one token there reads 206 tokens/s
        for a true 200 at four an event. Reasoning that was counted and never shown came before the first output: all of it.
        Source: docs/methodology.md#speed.
        """
        tokens = self.output_tokens()
        if self.counts_up or tokens is None or not self.output_events:
            return self.first_tokens
        hidden = 0 if self.saw_reasoning else min(self.reasoning_tokens() or 0, tokens)
        shown = tokens - hidden
        first = 1
        if shown >= max(SEVERAL_FROM_TOKENS, SEVERAL_AN_EVENT * self.output_events):
            first = max(1, round(shown * self.first_chars / sum(self.chars)))
        return min(tokens, hidden + first)

    def output_tokens(self) -> int | None:
        """The server's count; None where it gave none, and where it says 0 beside visible output."""
        tokens = count(self.usage.completion_tokens)
        return None if tokens == 0 and self.output_events else tokens

    def cached_tokens(self) -> int | None:
        """OpenAI's field, else DeepSeek's, else llama.cpp's; None where the server does not report it."""
        details = self.usage.prompt_tokens_details
        told = (None if details is None else details.cached_tokens, self.usage.prompt_cache_hit_tokens)
        return next((n for n in map(count, told) if n is not None), self.cache_n)

    def reasoning_tokens(self) -> int | None:
        details = self.usage.completion_tokens_details
        tokens = count(details.reasoning_tokens) if details is not None else None
        return count(self.usage.reasoning_tokens) if tokens is None else tokens

    def burst_share(self, times: Sequence[Ns], ttft_ns: Ns) -> float:
        """Largest share of the visible characters that one read brought after a silence longer than TTFT.

            max over i >= 1 with t[i] - t[i-1] > ttft of chars[i] / sum(chars)

        t are the reads that completed output. The first has no silence but TTFT itself. Source: docs/methodology.md#buffered.
        """
        reads, chars, biggest = self.reads, self.chars, 0
        for i in range(1, len(reads)):
            if chars[i] > biggest and times[reads[i]] - times[reads[i - 1]] > ttft_ns:
                biggest = chars[i]
        return biggest / sum(chars) if chars else 0.0


def read_events(events: Sequence[sse.Event], answer: Answer) -> str:
    """Take events up to the terminal one; what is wrong with the first that is no chunk, else "". Later ones are ignored."""
    for number, event in enumerate(events):
        data = event.data
        if event.name == "error":
            return f"error event in the stream: {servererror.message_of(data)}"
        if data == b"[DONE]" or (len(data) < 16 and data.strip() == b"[DONE]"):
            answer.done = True
            return ""
        try:
            chunk = read_chunk(data)
        except NotAChunk as error:
            if not data.strip():
                continue  # an empty event, sent by some proxies to keep the connection open
            return servererror.plain(
                f"event {number} is no chat chunk: {error}: {data[:100].decode('utf-8', 'replace')}"
            )
        if (chunk.error or not chunk.choices) and (said := error_in(chunk, data)):
            return f"error in the stream: {said}"
        answer.take(event, chunk)
    return ""
