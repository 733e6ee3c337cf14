"""What a step of the simulated node costs, and the node's sizes.

A replica asks its sizes for the price of each step (`NodeSizes.price`). `NodeConfig` is the linear one:

    step_ns = base + per_sequence x batch + per_kv_token x kv tokens in the batch + per_prefill_token x prefill tokens in the step

Every sequence that decodes in the step gets one token at its end, so decode speed is 1 / step and a prefill chunk delays everybody.
Linear terms are enough for a target whose capacity has to be found, not predicted: weights are read once a step (base), activations
and sampling grow with the batch, attention reads the KV, prefill is compute (docs/methodology.md#embedded).
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from openagentperf.errors import UsageError
from openagentperf.units import Count, Ns


class Chunk(NamedTuple):
    """Prompt tokens of one sequence that a step computes."""

    before: int
    """Tokens in front of them whose keys and values stand in the pool."""
    new: int
    starts: bool
    """The first of its prefill."""


class Step(NamedTuple):
    """What stands in one step."""

    batch: int
    """Sequences, prefilling ones included."""
    kv_tokens: int
    """Over them, tokens whose keys and values stand in the pool when the step ends."""
    decoding: int
    decode_kv_tokens: int
    """The same, of those that decode."""
    chunks: list[Chunk]


class Price(NamedTuple):
    """How long a step takes, at least 1 ns so that time moves; and the share of it that is prefill."""

    ns: Ns
    prefill_share: float


class NodeSizes(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sizes of one simulated node, whatever its steps cost."""

    block_tokens: Count = 64
    """Tokens a KV block holds; even, so that a block is a whole number of bytes at 3.5 bytes a token."""
    blocks: Count
    """KV blocks in the pool, shared by running sequences (pinned) and reusable prefixes (evicted, oldest first)."""
    max_batch: Count
    """Sequences that run at once; the others wait, first come first served."""
    max_model_len: Count
    """Prompt + output tokens of one request; more is refused with status 400."""
    chunk_tokens: Count
    """Prefill tokens a step may hold, over all sequences: the longest that a prompt can hold up everybody's next token."""
    tokens_per_step: float = 1.0
    """Of each sequence that decodes; above 1 by speculation. What is beyond a whole token counts towards the next step."""
    natural_median_tokens: float = 24.0
    natural_sigma: float = 0.8
    """Length of an answer that may stop by itself: log-normal."""

    def __post_init__(self) -> None:
        if self.block_tokens % 2:
            raise UsageError(
                f"{type(self).__name__}.block_tokens", f"is {self.block_tokens}", "an even number was needed"
            )
        if self.tokens_per_step < 1:
            raise UsageError(
                f"{type(self).__name__}.tokens_per_step", f"is {self.tokens_per_step:g}", "at least 1 was needed"
            )
        if self.blocks * self.block_tokens < self.max_model_len:
            # Preemption frees blocks only by stopping others: a sequence that is alone must fit, or it would wait for ever.
            raise UsageError(
                f"{type(self).__name__}.blocks",
                f"{self.blocks} blocks hold {self.blocks * self.block_tokens} tokens",
                f"max_model_len needs {self.max_model_len}",
                "raise blocks or lower max_model_len",
            )

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold `tokens`, the last one perhaps in part."""
        return -(-tokens // self.block_tokens)

    def price(self, step: Step) -> Price:
        raise NotImplementedError


class NodeConfig(NodeSizes, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One simulated node whose steps cost what a line says."""

    base_ns: Ns
    per_sequence_ns: Ns
    per_kv_token_ns: float
    per_prefill_token_ns: float

    def price(self, step: Step) -> Price:
        prefill = sum(chunk.new for chunk in step.chunks)
        length = step_ns(self, step.batch, step.kv_tokens, prefill)
        return Price(length, self.per_prefill_token_ns * prefill / length)


def step_ns(config: NodeConfig, batch: int, kv_tokens: int, prefill_tokens: int) -> Ns:
    """Length of one step; at least 1 ns, so that time moves whatever the parameters.

    batch           sequences in the step, prefilling ones included
    kv_tokens       sum over them of the tokens whose keys and values stand in the pool when the step ends
    prefill_tokens  prompt tokens computed in the step (those found in the prefix cache are not)
    """
    variable = config.per_kv_token_ns * kv_tokens + config.per_prefill_token_ns * prefill_tokens
    return max(1, config.base_ns + config.per_sequence_ns * batch + round(variable))


PRESETS: dict[str, NodeConfig] = {
    "demo": NodeConfig(
        blocks=310,
        max_batch=64,
        max_model_len=8_192,
        chunk_tokens=448,
        base_ns=200_000,
        per_sequence_ns=1_150_000,
        per_kv_token_ns=30.0,
        per_prefill_token_ns=80_000.0,
    ),
    "fast": NodeConfig(
        blocks=65_536,
        max_batch=4_096,
        max_model_len=131_072,
        chunk_tokens=1_048_576,
        base_ns=10_000_000,
        per_sequence_ns=0,
        per_kv_token_ns=0.0,
        per_prefill_token_ns=0.0,
    ),
}
"""`demo` is tuned to the `demo` corpus: about 2 agents at 300 tokens/s, 6 or 7 at 100, 12 or 13 at 30, and a cliff behind the last.

The cliff lies just below 16 so that the ramp ends there, and high enough that a few seconds of any level hold 67 turns: a whole quick
search is to end in about 200 s. Where the pool is full differs by two agents from phase to phase, as the contexts do, so the last
tier steps down once or twice. A full prefill chunk takes 448 x 80 us = 36 ms. Once the 310 blocks (19,840 tokens) no longer hold
everybody's prefix, most steps carry one, so decode falls below 30 tokens/s whatever the batch. With cheap chunks it would not fall:
the pool then limits the batch, few sequences decode fast while the rest wait, and a speed limit alone calls the overload fine (a first
draft passed 30 tokens/s at 32 agents).
`fast` gives every sequence a token each 10 ms whatever the load: a target to measure the load generator by.
"""
