"""What a provider's `usage` says of one request, in any of the spellings that recorders keep."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats import counts
from openagentperf.corpus.formats.lines import BAD


class Counts(NamedTuple):
    """Tokens of one request; None where the recording does not say, or says nonsense."""

    input: int | None = None
    """All of the prompt, what a cache served included."""
    output: int | None = None
    """All of the answer, reasoning included."""
    cached: int | None = None


UNKNOWN = Counts()


class Usage(Struct):
    prompt_tokens: object = None
    completion_tokens: object = None
    input_tokens: object = None
    output_tokens: object = None
    prompt_tokens_details: object = None
    input_tokens_details: object = None
    cache_read_input_tokens: object = None
    cache_creation_input_tokens: object = None


def counts_of(recorded: object) -> Counts:
    """The counts of a decoded `usage` object.

        OpenAI chat        prompt_tokens (cached ones included), completion_tokens, prompt_tokens_details.cached_tokens
        OpenAI Responses   input_tokens (cached ones included), output_tokens, input_tokens_details.cached_tokens
        Anthropic          input_tokens + cache_creation_input_tokens + cache_read_input_tokens, output_tokens

    A chat usage with Anthropic's cache counts beside it is LiteLLM's, whose prompt_tokens hold them already.
    """
    try:
        usage = msgspec.convert(recorded, Usage)
    except BAD:
        return UNKNOWN
    cached = _cached(usage.prompt_tokens_details, usage.input_tokens_details, usage.cache_read_input_tokens)
    prompt = counts.tokens(usage.prompt_tokens)
    if not prompt:
        prompt = counts.tokens(usage.input_tokens)
        if prompt is not None:
            prompt += counts.tokens(usage.cache_read_input_tokens) or 0
            prompt += counts.tokens(usage.cache_creation_input_tokens) or 0
    output = counts.tokens(usage.completion_tokens) or counts.tokens(usage.output_tokens)
    return Counts(prompt, output, cached)


def _cached(prompt_details: object, input_details: object, beside: object) -> int | None:
    for details in (prompt_details, input_details):
        if isinstance(details, dict) and (cached := counts.tokens(details.get("cached_tokens"))) is not None:
            return cached
    return counts.tokens(beside)
