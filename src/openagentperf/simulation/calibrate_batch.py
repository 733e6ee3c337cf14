"""How many answers an engine runs at once at most, as far as its clients can see it.

An answer runs between its first and its last output. Where a limit binds, the number that run stands at it while more requests wait; where
none does, more requests in flight mean more answers at once now and then. So it counts as a limit only where that number was never
passed at a level with at least two agents more, and stood for a twentieth of the time in which requests were waiting (not for more, where
prompts are long: one of the places then nearly always holds a prompt that is being computed).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from openagentperf.simulation.calibrate_rows import Level

_RARE = 0.005
"""Share of the time that a number must be seen for to count: stamps of neighbours cross by a read's lag."""
_STANDS = 0.05


class Batch(Struct, frozen=True, kw_only=True):
    most: int
    """Answers at once."""
    reached: bool
    """It is a limit, not only the most that was seen."""
    waiting_share: float
    """Of the time at levels beyond `most`: in which more requests than that were in flight and exactly `most` answers ran."""


def fit_batch(levels: Sequence[Level]) -> Batch:
    seen = [_shares(level) for level in levels]
    most = max((answers for shares in seen for (_, answers), share in shares.items() if share > _RARE), default=0)
    beyond = [shares for level, shares in zip(levels, seen, strict=True) if level.agents >= most + 2]
    waiting = sum(share for shares in beyond for (flying, _), share in shares.items() if flying > most)
    standing = sum(
        share for shares in beyond for (flying, answers), share in shares.items() if flying > most == answers
    )
    share = standing / waiting if waiting else 0.0
    return Batch(most=most, reached=share >= _STANDS, waiting_share=share)


def _shares(level: Level) -> dict[tuple[int, int], float]:
    """Share of the time by (requests in flight, answers that run), while the load was known whole."""
    at = np.concatenate([level.sent_s, level.first_s, level.last_s])
    flying = np.repeat([1, 0, -1], len(level))
    answers = np.repeat([0, 1, -1], len(level))
    order = np.argsort(at, kind="stable")
    at, flying, answers = at[order], np.cumsum(flying[order]), np.cumsum(answers[order])
    spans = np.diff(np.minimum(at, level.seen_until_s))
    total = float(spans.sum())
    shares: dict[tuple[int, int], float] = {}
    for key, span in zip(zip(flying[:-1].tolist(), answers[:-1].tolist(), strict=True), spans.tolist(), strict=True):
        shares[key] = shares.get(key, 0.0) + (span / total if total else 0.0)
    return shares
