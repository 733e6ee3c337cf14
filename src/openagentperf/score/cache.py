"""Was the cache cold where it had to be? First turns against the sharing that the corpus declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openagentperf.score.columns import Floats, Ints, Mask, Turns

MAX_WARM_SHARE = 0.01
"""Of the first turns. How many tokens the shared bytes are is an estimate, so one odd trajectory in a thousand proves nothing."""


@dataclass(frozen=True, eq=False)
class Sharing:
    """How much of the first request of each line may be in the cache: what precedes the replay nonce (tools and system prompt), and for a
    sub-agent what it has in common with the other lines of its tree, whose requests carry the same nonces.

    In bytes, which are known, turned into tokens by the request's own tokens a byte. The corpus's counts would not do: a recording's
    hold reasoning and images that no request of ours carries. 17 recorded sessions so came to 0.6 of their recorded tokens and their
    system prompts to 0.76, and by the first figure an honest server was called warm in each.
    """

    shared_bytes: Ints
    """One entry a line of the set."""
    first_turn: Ints
    """The same: number of the line's first turn in its trajectory."""
    main_line: Ints
    """One entry a trajectory: where its lines begin in the two above."""
    tolerance: float = 0.15
    """By this share the shared part may have more tokens a byte than the whole request. By four vocabularies, in 20 recorded and generated
    sets: at most 0.06 in first turns, 0.17 (next 0.11) in later ones."""
    slack_tokens: int = 256
    """A template's preamble, and one block of the cache's granularity."""

    @classmethod
    def of(cls, lines: Sequence[int], first_turns: Sequence[int], shared_bytes: Sequence[int]) -> Sharing:
        """`lines` says how many of the entries of the other two are each trajectory's."""
        counts = np.asarray(lines, dtype=np.int64)
        return cls(
            shared_bytes=np.asarray(shared_bytes, dtype=np.int64),
            first_turn=np.asarray(first_turns, dtype=np.int64),
            main_line=np.cumsum(counts) - counts,
        )

    def begins_line(self, turns: Turns) -> Mask:
        """Which turns are the first of their line."""
        begins: Mask = turns.turn == self.first_turn[self.main_line[turns.trajectory] + turns.line]
        return begins

    def shared_tokens(self, turns: Turns) -> Floats:
        """Of each turn, the part of its line's first request that may be in the cache, by the turn's own tokens a byte."""
        shared = self.shared_bytes[self.main_line[turns.trajectory] + turns.line]
        tokens: Floats = shared * (np.maximum(turns.prompt_tokens, 0) / np.maximum(turns.request_bytes, 1))
        return tokens

    def allowed_tokens(self, turns: Turns) -> Ints:
        """The most cached tokens that sharing explains, in the server's tokens, for the first turns of lines."""
        allowed: Ints = np.ceil(self.shared_tokens(turns) * (1 + self.tolerance)).astype(np.int64) + self.slack_tokens
        return allowed


def counted(turns: Turns) -> Mask:
    """Turns that did not fail and whose prompt the server counted."""
    mask: Mask = ~turns.failed & (turns.prompt_tokens >= 0)
    return mask


def reported(turns: Turns) -> bool:
    """Whether the server reports cached tokens.

    Engines that report them leave the field out where it is 0 (vLLM does), so once half of the counted turns carry it a missing one is 0.
    """
    cached = turns.cached_tokens[counted(turns)]
    return len(cached) > 0 and 2 * int((cached >= 0).sum()) >= len(cached)


def cached_fraction(turns: Turns) -> float | None:
    """Cached prompt tokens / prompt tokens over counted turns; None where the server reports no cached tokens."""
    answered = counted(turns)
    prompt = int(turns.prompt_tokens[answered].sum())
    if not prompt or not reported(turns):
        return None
    return int(np.maximum(turns.cached_tokens[answered], 0).sum()) / prompt


def first_turns(turns: Turns, sharing: Sharing) -> Turns:
    """The first request of each line of each replay; of an agent's partial first trajectory, where a tree may be found with several lines
    in their middle, only the earliest one.

    A redialled request may have reached the server twice and then finds its own first sending in the cache: left out.
    """
    partial = np.flatnonzero(turns.replay == 0)
    # Where several were due at once, the deepest line's: an ancestor's may find what that one has just left.
    partial = partial[np.lexsort((-turns.line[partial], turns.due_ns[partial], turns.agent[partial]))]
    _, earliest = np.unique(turns.agent[partial], return_index=True)
    first = (turns.replay > 0) & sharing.begins_line(turns)
    first[partial[earliest]] = True
    return turns.where(first & (turns.connection != "redialled"))


def warm(turns: Turns, sharing: Sharing) -> tuple[int, int]:
    """(first turns with more cached tokens than sharing explains, first turns whose count is known), over the whole phase."""
    first = first_turns(turns, sharing)
    first = first.where(first.cached_tokens >= 0)
    return int((first.cached_tokens > sharing.allowed_tokens(first)).sum()), len(first)
