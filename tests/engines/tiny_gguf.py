"""A language model of half a million random weights, as a GGUF file: what a real engine needs to be run on a small CPU.

It knows nothing. Chat template, tokenising, prefill, prompt cache, continuous batching, streaming, usage and the end of an answer are
the engine's own and real. Three properties make it useful:

- The vocabulary is a byte-level BPE trained on openagentperf's own generated code, so token counts are those of code, and no third
  party's tokenizer is bundled.
- Only tokens that decode to printable ASCII can be generated: every token becomes one streamed event.
- One in NATURAL_LENGTH tokens leads to the end of the answer, so `ignore_eos` makes a difference that a test can see.

The last two are wired, not sampled: residual dimension 0 is constant for every token and dimension 1 marks the "ending" tokens. No
layer writes to either, so the output matrix reads them as a bias and a flag.

Equal bytes everywhere: weights are sums of hash bytes (numpy's generators may change their streams between versions, and sin and log
differ between CPUs) followed only by operations that IEEE 754 rounds exactly; the text is ASCII, so Python's Unicode tables do not matter.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import gguf
import numpy as np

from openagentperf.corpus.text.pool import GRAMMARS, PLACEHOLDERS, Pool, prose_pool, source_pool
from openagentperf.corpus.text.words import joined

NAME = "tiny-random"
VOCABULARY, HIDDEN, LAYERS, HEADS, KV_HEADS, FEED_FORWARD = 4096, 64, 1, 2, 1, 128
CONTEXT = 131_072
NATURAL_LENGTH = 24
POOL_BYTES = 64_000

BIAS_DIMENSION, ENDING_DIMENSION, RESERVED_DIMENSIONS = 0, 1, 2
BIAS_VALUE = ENDING_VALUE = 6.0
BANNED_LOGIT_WEIGHT = -20.0
END_OF_TEXT, MESSAGE_START, MESSAGE_END = SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# GPT-2's pre-tokenizer, with Python's classes standing in for \p{L} and \p{N}.
PRE_TOKEN = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]+| ?\d+| ?(?:_|[^\s\w])+|\s+(?!\S)|\s+")
CHAT_TEMPLATE = """\
{%- set system = messages[0].content if messages[0].role == 'system' else '' %}
{%- if system or tools %}
    {{- '<|im_start|>system\\n' + system }}
    {%- if tools %}
        {{- '\\n\\n# Tools\\n' }}
        {%- for tool in tools %}
            {{- '\\n' }}{{- tool | tojson }}
        {%- endfor %}
        {{- '\\n\\nWrite each call as\\n<tool_call>\\n{"name": ..., "arguments": ...}\\n</tool_call>' }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if not (loop.first and message.role == 'system') %}
        {{- '<|im_start|>' + message.role + '\\n' }}
        {%- if message.content %}{{- message.content }}{%- endif %}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


class Vocabulary(NamedTuple):
    """Tokens in GPT-2's printable alphabet, special ones last, and the merges that make them."""

    tokens: tuple[str, ...]
    merges: tuple[str, ...]


def write_tiny_model(path: Path) -> None:
    """Write the model; 2 s of CPU, 1.25 MB."""
    vocabulary = train_vocabulary(training_text(), VOCABULARY)
    write_gguf(path, vocabulary, weights(vocabulary))


def training_text() -> str:
    sources = (_lines(source_pool(name, POOL_BYTES)) for name in sorted(GRAMMARS))
    return "\n".join((*sources, _lines(prose_pool(POOL_BYTES))))


def _lines(pool: Pool) -> str:
    """A line each, the words in place of their marks."""
    text = "\n".join(pool.lines(number, 1) for number in range(len(pool.starts)))
    for mark, noun, case in PLACEHOLDERS:
        text = text.replace(mark, joined((noun,), case))
    return text


# -- the tokenizer -----------------------------------------------------------------------------------------------------------


def byte_alphabet() -> dict[int, str]:
    """The printable character that GPT-2 writes for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in alphabet:
            alphabet[byte] = chr(0x100 + len(alphabet) - len(printable))
    return alphabet


def train_vocabulary(text: str, size: int) -> Vocabulary:
    """Byte-pair merges, the most frequent first (of equals the one that sorts first), until there are `size` tokens, special ones too."""
    alphabet = byte_alphabet()
    word_counts = Counter(PRE_TOKEN.findall(text))
    words = [[alphabet[byte] for byte in word.encode()] for word in word_counts]
    counts = list(word_counts.values())
    pair_counts: Counter[tuple[str, str]] = Counter()
    pair_words: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for index, word in enumerate(words):
        for pair in pairwise(word):
            pair_counts[pair] += counts[index]
            pair_words[pair].add(index)

    tokens = dict.fromkeys(alphabet[byte] for byte in range(256))
    merges: list[str] = []
    # Entries go stale when a count changes; a popped one is used only if it still holds.
    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(heap)
    while len(tokens) < size - len(SPECIAL):
        if not heap:
            raise ValueError(f"the text has words for {len(tokens)} tokens, {size} were asked for")
        negative_count, best = heapq.heappop(heap)
        if pair_counts[best] != -negative_count:
            continue
        merged = "".join(best)
        tokens[merged] = None
        merges.append(" ".join(best))
        changed: set[tuple[str, str]] = set()
        for index in pair_words.pop(best):
            word = words[index]
            for pair in pairwise(word):
                pair_counts[pair] -= counts[index]
                changed.add(pair)
            position = 0
            while position < len(word) - 1:
                if (word[position], word[position + 1]) == best:
                    word[position : position + 2] = [merged]
                position += 1
            for pair in pairwise(word):
                pair_counts[pair] += counts[index]
                pair_words[pair].add(index)
                changed.add(pair)
        for pair in changed - {best}:
            heapq.heappush(heap, (-pair_counts[pair], pair))
    return Vocabulary((*tokens, *SPECIAL), tuple(merges))


def generatable(vocabulary: Vocabulary) -> np.ndarray:
    """Which tokens decode to printable ASCII."""
    byte_of = {character: byte for byte, character in byte_alphabet().items()}
    flags = [
        token not in SPECIAL and all(32 <= byte_of[char] < 127 or byte_of[char] == 10 for char in token)
        for token in vocabulary.tokens
    ]
    return np.array(flags)


# -- the weights -------------------------------------------------------------------------------------------------------------


def normal(name: str, *shape: int) -> np.ndarray:
    """Numbers of mean 0 and deviation 1, nearly normal: each the sum of eight hash bytes, scaled."""
    count = int(np.prod(shape))
    raw = np.frombuffer(hashlib.shake_256(name.encode()).digest(8 * count), dtype=np.uint8)
    sums = raw.reshape(count, 8).sum(axis=1, dtype=np.int64)
    deviation = np.sqrt(8 * (256**2 - 1) / 12)
    return ((sums - 8 * 255 // 2) / deviation).reshape(shape)


def weights(vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """Every tensor in float64, with the bias and ending dimensions wired by hand."""

    def matrix(name: str, rows: int, columns: int, gain: float = 1.0) -> np.ndarray:
        return normal(name, rows, columns) * (gain / np.sqrt(columns))

    def writing(name: str, rows: int, columns: int) -> np.ndarray:
        values = matrix(name, rows, columns, gain=1.5)
        values[:RESERVED_DIMENSIONS] = 0.0
        return values

    size = len(vocabulary.tokens)
    allowed = generatable(vocabulary)
    drawn = np.frombuffer(hashlib.shake_256(b"ending").digest(8 * size), dtype="<u8")
    choices = np.flatnonzero(allowed)
    ending = np.zeros(size, dtype=bool)
    ending[choices[np.argsort(drawn[choices], kind="stable")[: len(choices) // NATURAL_LENGTH]]] = True

    embedding = normal("token_embd", size, HIDDEN)
    embedding[:, BIAS_DIMENSION] = BIAS_VALUE
    embedding[:, ENDING_DIMENSION] = np.where(ending, ENDING_VALUE, 0.0)
    output = matrix("output", size, HIDDEN, gain=3.0)
    output[:, BIAS_DIMENSION] = np.where(allowed, 0.0, BANNED_LOGIT_WEIGHT)
    output[:, ENDING_DIMENSION] = 0.0
    output[vocabulary.tokens.index(MESSAGE_END), ENDING_DIMENSION] = -4 * BANNED_LOGIT_WEIGHT

    ones = np.ones(HIDDEN)
    tensors = {"token_embd.weight": embedding, "output_norm.weight": ones, "output.weight": output}
    kv_width = KV_HEADS * HIDDEN // HEADS
    for layer in range(LAYERS):
        at = f"blk.{layer}."
        tensors |= {
            f"{at}attn_norm.weight": ones,
            f"{at}attn_q.weight": matrix(f"{at}q", HIDDEN, HIDDEN),
            f"{at}attn_k.weight": matrix(f"{at}k", kv_width, HIDDEN),
            f"{at}attn_v.weight": matrix(f"{at}v", kv_width, HIDDEN),
            f"{at}attn_output.weight": writing(f"{at}o", HIDDEN, HIDDEN),
            f"{at}ffn_norm.weight": ones,
            f"{at}ffn_gate.weight": matrix(f"{at}gate", FEED_FORWARD, HIDDEN),
            f"{at}ffn_up.weight": matrix(f"{at}up", FEED_FORWARD, HIDDEN),
            f"{at}ffn_down.weight": writing(f"{at}down", HIDDEN, FEED_FORWARD),
        }
    return tensors


def write_gguf(path: Path, vocabulary: Vocabulary, tensors: dict[str, np.ndarray]) -> None:
    """Metadata, tokenizer, chat template, and weights: vectors in float32, matrices in float16."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(NAME)
    writer.add_description("Random weights for engine tests; generates meaningless text.")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(500_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary.tokens))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_merges(vocabulary.merges)
    kinds = (gguf.TokenType.CONTROL, gguf.TokenType.NORMAL)
    writer.add_token_types([kinds[token not in SPECIAL] for token in vocabulary.tokens])
    writer.add_bos_token_id(vocabulary.tokens.index(END_OF_TEXT))
    writer.add_eos_token_id(vocabulary.tokens.index(MESSAGE_END))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, values in tensors.items():
        writer.add_tensor(name, values.astype(np.float32 if values.ndim == 1 else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
