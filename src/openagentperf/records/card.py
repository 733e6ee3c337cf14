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


class Card(Struct, frozen=True, kw_only=True):
    """`card.json`, `corpus.card.json`. Shares are 0..1."""

    schema: str = "openagentperf/card/1"
    trajectories: int
    turns: int
    turns_per_trajectory: Spread
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
    """Input of a request less that of the one before, within a trajectory; negative at a cut. None: no trajectory has two turns."""
    tool_delay_s: Spread | None
    """After all turns but a trajectory's last. None where no turn has a recorded one."""
    tool_delay_missing: float
    """Share of those turns without a recorded delay."""
    prefix_reuse: float
    """Share of all input tokens that an endless cache could serve: sum of shared / sum of input, over all turns.

    Shared is 0 for a first turn (cold, though harness prefixes are shared in practice), the whole input of the turn before where
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
