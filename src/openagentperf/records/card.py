"""The card of a set of trajectories: what is in it, beside what Artificial Analysis published of AA-AgentPerf's set."""

from __future__ import annotations

from msgspec import Struct


class Spread(Struct, frozen=True, kw_only=True):
    """How a figure is spread. Percentiles by linear interpolation; descriptive, no verdict hangs on them."""

    min: float
    p5: float
    p50: float
    p95: float
    max: float
    mean: float


class Comparison(Struct, frozen=True, kw_only=True):
    """One published figure beside this set's."""

    figure: str
    unit: str
    this: float | None
    """None where the set does not say (a recording without times has no delays)."""
    published: float
    ratio: float | None
    """this / published; None where `this` is None."""
    distance: float | None = None
    """|ln(this / published)|: 0 where equal, 0.69 where one is twice the other, whichever it is; 0 for more languages than were published.
    None where `this` is None or 0."""


class Card(Struct, frozen=True, kw_only=True):
    """`card.json`, `corpus.card.json`. Shares are 0..1."""

    schema: str = "openagentperf/card/1"
    trajectories: int
    turns: int
    """Of all lines, those of sub-agents too."""
    turns_per_trajectory: Spread
    trajectories_with_branches: int = 0
    """Those with a sub-agent that runs beside the line that spawned it."""
    branches: int = 0
    """Such sub-agents."""
    branch_turns: float = 0.0
    """Share of the turns that are theirs."""
    input_tokens: Spread
    """Per request: system prompt, tools and the whole history."""
    output_tokens: Spread
    """Per request, reasoning included."""
    output_sigma: float | None
    """Log-normal sigma that P50 and P95 of the output imply: ln(P95 / P50) / 1.6449. None where P50 is 0.

    The published 1.57 is implied in the same way; the standard deviation of the logarithms would also see the floor and the cap
    (1.50 for the `agentperf` profile, whose implied sigma is 1.57).
    """
    growth_tokens: Spread | None
    """Input of a request less that of the one before, within a line; negative at a cut. None: no line has two turns."""
    tool_delay_s: Spread | None
    """After all turns but a line's last. None where no turn has a recorded one."""
    tool_delay_missing: float
    """Share of those turns without a recorded delay."""
    prefix_reuse: float
    """Share of all input tokens that an endless cache could serve: sum of shared / sum of input, over all turns.

    Shared is 0 for a line's first turn (cold, though harness prefixes are shared in practice), the whole input of the turn before where
    history is append-only, and at a cut what is left of it: input less appended, within 0 .. input of the turn before.
    """
    tool_calls_per_turn: float
    parallel_share: float | None
    """Of the turns that call a tool, those with two calls or more; None where none calls."""
    cuts: dict[str, int]
    """Turns that rewrite history, by kind: compaction, microcompaction, undeclared."""
    languages: dict[str, float]
    """Share of trajectories by main language; "unknown" where the recording does not say."""
    formats: dict[str, float]
    """Share of trajectories by importer or generator."""
    licences: dict[str, float]
    """Share of trajectories by SPDX id of their text's licence."""
    counted: dict[str, float]
    """Share of turns by where their token counts come from: `recorded`, `output estimated` or `estimated` (records.trajectory.Turn)."""
    counter: str = ""
    """What counted the estimated turns' tokens: `estimate` (3.5 bytes a token) or a tokenizer's name; "" where not known."""
    published: tuple[Comparison, ...]
    """AA-AgentPerf's public figures (docs/methodology.md#workload) and this set's ratio to each."""
    farthest: float | None = None
    """Largest distance of `published`: e to this power is the factor by which the worst figure differs. None where a figure is missing."""
    output_ks: float | None = None
    """Largest difference between the shares of turns with at most x output tokens in this set and in the published law (log-normal, median
    150, sigma 1.57), over all x: 0 .. 1 (Kolmogorov-Smirnov)."""
    curves: dict[str, tuple[float, ...]] = {}
    """P0, P1, ... P100 of `input_tokens`, `output_tokens`, `growth_tokens`, `tool_delay_s`, `turns_per_trajectory` and `prefix_reuse` (of
    each trajectory), for pictures. A figure that the set does not say is left out."""
