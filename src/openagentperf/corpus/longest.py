"""Which turns of a compiled corpus may be the longest by a server's count, which is not the corpus's own."""

from __future__ import annotations

from openagentperf.corpus.layout import Compiled


def size_tokens(corpus: Compiled, at: tuple[int, int]) -> int:
    """Input and output of a turn (trajectory, turn) by the corpus's count: what `max_context_tokens` cuts by."""
    slot = corpus.slot(*at)
    return slot.input_tokens + slot.output_tokens


def size_bytes(corpus: Compiled, at: tuple[int, int]) -> int:
    """Messages and tools of a turn's request, as JSON."""
    return corpus.messages_bytes(*at) + len(corpus.tools(at[0], corpus.line_of(*at)))


def candidates(corpus: Compiled, count: int, limit_tokens: int | None = None) -> list[tuple[int, int]]:
    """At most `count` turns of those with at most `limit_tokens`; one is most likely the longest, whoever counts. [] where none has.

    The one with the most tokens first. Then of each trajectory the one with the most bytes, the most bytes first: recorded sessions
    carry the counts of several tokenizers, and a set of real ones whose longest turn was read as 14,371 tokens held another of 16,672.
    """
    turns = [corpus.locate(i) for i in range(corpus.total_turns)]
    if limit_tokens is not None:
        turns = [at for at in turns if size_tokens(corpus, at) <= limit_tokens]
    if not turns:
        return []
    first = max(turns, key=lambda at: size_tokens(corpus, at))
    widest: dict[int, tuple[int, int]] = {}
    for at in sorted(turns, key=lambda at: size_bytes(corpus, at)):
        widest[at[0]] = at
    others = sorted(widest.values(), key=lambda at: size_bytes(corpus, at), reverse=True)
    return [first, *(at for at in others if at != first)][:count]
