"""A trajectory's tree of lines, laid flat: turns numbered 0, 1, 2 ... through the main line, then through each branch in its order.

    main      turn 0   1   2   3       first 0, turns 4
    branch    turn 4   5               first 4, turns 2, parent 0, after 1, join 3: turn 3 waits until turn 5 has ended
    branch    turn 6                   first 6, turns 1, parent 1, after 4, join -1: spawned by the other, in the background

(trajectory, turn) names one request wherever it stands: in a compiled corpus, in an agent, in a row of turns.parquet.
"""

from __future__ import annotations

from typing import NamedTuple

from openagentperf.units import Ns

NONE = -1


class Line(NamedTuple):
    """One line of a tree. All turn numbers are flat."""

    first: int
    """Number of its first turn."""
    turns: int
    parent: int = NONE
    """Index of the line that spawns it, lower than its own; NONE for the main line, whose index is 0."""
    after: int = NONE
    """SPAWN: the parent's turn whose answer starts it."""
    join: int = NONE
    """JOIN: the parent's turn that waits for its end; NONE in the background."""
    delay_ns: Ns = 0
    """From the end of the parent's answer to its first request."""
