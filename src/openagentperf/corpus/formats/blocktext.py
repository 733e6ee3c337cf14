"""Text for recordings that hold lengths and block hashes only: one text for each block, shared wherever its hash is.

A prompt is a stream of bytes, 3.5 to the token (corpus.tokens.estimate), cut into blocks of `block_tokens`. A block's text depends on
its hash and on the scope within which hashes can be compared, and on nothing else, so that two prompts share the bytes of a block
exactly where they share its hash. Two blocks differ within their first 30 bytes: a mark of its own stands there in each.

The text is source code of the grammars in corpus.text, mixed so that real vocabularies read it at 3.5 bytes a token too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from openagentperf.corpus.text import words
from openagentperf.corpus.text.repo import Repo
from openagentperf.corpus.tokens import MESSAGE_TOKENS
from openagentperf.seeds import Stream, derive

_SEED = 20
"""Any constant: changing it changes every text, hence every digest of a corpus made from such recordings."""
_LANGUAGES = ("c", "go", "shell")
"""Read by o200k, cl100k and Qwen3 at 3.6, 3.7 and 3.1 bytes a token: 3.4 to 3.5 together. Python or prose (4.4) would make every
prompt 20 % shorter for a real engine than the recording says."""
_POOL_BYTES = 64_000
"""Of each language; made once a process, in 0.1 s."""
_PIECE_BYTES = 1_024


def stream_bytes(tokens: int) -> int:
    """Where token `tokens` of a stream begins: floor(3.5 tokens)."""
    return tokens * 7 // 2


class BlockText:
    """Texts of the blocks of one scope.

    scope         within which equal hashes mean equal blocks: a trace's id, or the name of a format whose hashes are global
    block_tokens  tokens a block, >= 8: a smaller one has no room for its mark
    """

    def __init__(self, scope: str, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self._key = int.from_bytes(derive(_SEED, "block", scope)[:8], "little")
        self._pool = _pool()
        self._places = len(self._pool) - stream_bytes(block_tokens + 1)
        self._marks = _marks()

    def span(self, blocks: Sequence[int], start: int, size: int) -> str:
        """`size` bytes of the stream of these blocks, from its byte `start` on; fewer where the stream ends before."""
        per, key, pool, places, marks = self.block_tokens, self._key, self._pool, self._places, self._marks
        first = start * 2 // 7 // per
        at = begin = stream_bytes(first * per)
        parts: list[str] = []
        # Mixing 64 bits by multiply and shift costs a fifth of a blake2b, and blocks are nearly the whole cost of such an import.
        for index in range(first, min(len(blocks), -(-(start + size) * 2 // 7 // per) + 1)):
            after = (index + 1) * per * 7 // 2
            mixed = (blocks[index] + key) * _ODD & _MASK
            mixed = (mixed ^ mixed >> 32) * _ODD & _MASK
            mark = marks[mixed >> 52]
            place = (mixed >> 16 & 0xFFFFFFF) % places
            begun = place + _LEAD_BYTES
            parts.append(f"{pool[place:begun]} {mark}{mixed & 1023} {pool[begun : place + after - at]}"[: after - at])
            at = after
        return "".join(parts)[start - begin : start - begin + size]


_LEAD_BYTES = stream_bytes(MESSAGE_TOKENS)
"""In front of the mark: where a message begins with the block, its role markers take the place of so many bytes."""
_ODD = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


@cache
def _pool() -> str:
    """Pieces of source files of each language in turn. ASCII: as many bytes as characters."""
    texts = [
        Repo(language, _POOL_BYTES, Stream(_SEED, "blocks", language)).source(_POOL_BYTES) for language in _LANGUAGES
    ]
    size = min(map(len, texts))
    return "\n".join(text[at : at + _PIECE_BYTES] for at in range(0, size, _PIECE_BYTES) for text in texts)


@cache
def _marks() -> tuple[str, ...]:
    """4,096 pairs of words."""
    nouns, others = words.NOUNS[-64:], words.VERBS[:64]
    return tuple(f"{other}_{noun}" for other in others for noun in nouns)
