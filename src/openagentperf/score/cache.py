"""Was the cache cold where it had to be? First turns against the sharing that the corpus declares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openagentperf.score.columns import Ints, Turns

MAX_WARM_SHARE = 0.01
"""Of the first turns. The shared length is an estimate for each trajectory, so one odd one in a thousand proves nothing."""


@dataclass(frozen=True, eq=False)
class Sharing:
    """How much of a trajectory's first request may be in the cache: what precedes the replay nonce (tools and system prompt)."""

    shared_tokens: Ints
    """One entry a trajectory of the set, in the corpus's own counts."""
    ratio: float = 1.0
    """Server's prompt tokens / corpus's input tokens (`token_ratio`): the corpus may only have estimates."""
    tolerance: float = 0.15
    """The shared part's own ratio may differ from the request's by this share."""
    slack_tokens: int = 256
    """A template's preamble, and one block of the cache's granularity."""

    def allowed_tokens(self, trajectory: Ints) -> Ints:
        """The most cached tokens that sharing explains, in the server's tokens, for each trajectory index given."""
        shared = self.shared_tokens[trajectory] * (self.ratio * (1 + self.tolerance))
        allowed: Ints = np.ceil(shared).astype(np.int64) + self.slack_tokens
        return allowed


def token_ratio(turns: Turns) -> float:
    """Server's prompt tokens / the corpus's counts, over the turns where both are known; 1 where there are none."""
    counted = (turns.prompt_tokens >= 0) & (turns.corpus_tokens > 0)
    ours = int(turns.corpus_tokens[counted].sum())
    return int(turns.prompt_tokens[counted].sum()) / ours if ours else 1.0


def cached_fraction(turns: Turns) -> float | None:
    """Cached prompt tokens / prompt tokens over turns that did not fail; None where the server reports no cached tokens.

    Engines that report them leave the field out where it is 0 (vLLM does), so once half of the turns carry it a missing one is 0.
    """
    answered = turns.where(~turns.failed & (turns.prompt_tokens >= 0))
    reported = int((answered.cached_tokens >= 0).sum())
    prompt = int(answered.prompt_tokens.sum())
    if not prompt or 2 * reported < len(answered):
        return None
    return int(np.maximum(answered.cached_tokens, 0).sum()) / prompt


def first_turns(turns: Turns) -> Turns:
    """The first request of each replay: turn 0, or for an agent's partial first trajectory the earliest one.

    A redialled request may have reached the server twice and then finds its own first sending in the cache: left out.
    """
    partial = np.flatnonzero(turns.replay == 0)
    partial = partial[np.lexsort((turns.due_ns[partial], turns.agent[partial]))]
    _, earliest = np.unique(turns.agent[partial], return_index=True)
    first = (turns.replay > 0) & (turns.turn == 0)
    first[partial[earliest]] = True
    return turns.where(first & (turns.connection != "redialled"))


def warm(turns: Turns, sharing: Sharing) -> tuple[int, int]:
    """(first turns with more cached tokens than sharing explains, first turns whose count is known), over the whole phase."""
    first = first_turns(turns)
    first = first.where(first.cached_tokens >= 0)
    return int((first.cached_tokens > sharing.allowed_tokens(first.trajectory)).sum()), len(first)
