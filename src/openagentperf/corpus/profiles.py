"""Generator profiles: the statistics of a set of sessions, as data."""

from __future__ import annotations

from msgspec import Struct

LANGUAGES: tuple[tuple[str, int], ...] = (
    ("python", 18),
    ("typescript", 13),
    ("go", 12),
    ("rust", 9),
    ("java", 9),
    ("javascript", 7),
    ("cpp", 6),
    ("c", 5),
    ("csharp", 5),
    ("ruby", 4),
    ("php", 4),
    ("kotlin", 3),
    ("swift", 2),
    ("shell", 2),
    ("sql", 1),
)
"""Language and weight of a session's code. AA-AgentPerf says "12+ languages" and no shares; these are ours."""


class LogNormal(Struct, frozen=True):
    """A log-normal by its median and sigma, clipped: mass beyond an end sits on it, so that the median stays what it says."""

    median: float
    sigma: float
    low: float
    high: float


class Profile(Struct, frozen=True, kw_only=True):
    """What a session of this profile looks like. Lengths are tokens; message overhead (4 a message) is in them."""

    name: str
    turns: LogNormal
    first_input: LogNormal
    """System prompt + tools + first user message."""
    shared_tokens: int
    """Of that, the system prompt and tools: one harness, the same bytes in every session and for every seed."""
    tools: int
    """How many of the harness's tools are offered; the rest of `shared_tokens` is the system prompt."""
    output: LogNormal
    """Reasoning included."""
    answer_share: float
    """Of the output, what stays in the history; the rest was reasoning, which engines drop."""
    answer_low: int
    """The shortest answer in the history: a message with one call of `ls`. An output is no shorter either."""
    result: LogNormal
    """All tool results of a turn together."""
    parallel_share: float
    """Of the calling turns, how many try two calls or more (short answers hold only one)."""
    delay_s: LogNormal
    """Tool delay, from the end of an answer to the next request."""
    max_context_tokens: int
    """A session ends before the first turn whose input + output would be longer."""
    pool_bytes: int
    """Source text kept ready per language. A session walks it from a random place, so it repeats itself only if it reads more."""
    languages: tuple[tuple[str, int], ...] = LANGUAGES


AGENTPERF = Profile(
    name="agentperf",
    # Monte Carlo of these numbers: mean input 26.8K, P50 20K, P95 72K; turns P95 87; growth median 315, mean 756.
    # The real sessions nearest to it are lean bash-tool harnesses; interactive ones start at 20K to 50K and average 95K and more.
    turns=LogNormal(25, 0.75, 2, 200),
    first_input=LogNormal(6_000, 0.35, 5_000, 60_000),
    shared_tokens=3_600,
    tools=9,
    output=LogNormal(150, 1.575, 12, 16_384),
    answer_share=0.5,
    answer_low=12,
    result=LogNormal(130, 1.7, 8, 12_000),
    parallel_share=0.10,
    # AA publishes 0.1 to 5 s and a median of 1 s. Autonomous sessions measure sigma 1.4 with a tail to 60 s; 1.3 clipped keeps their
    # middle. 11 % of the turns wait 5 s and 4 % wait 0.1 s: clipped, not redrawn, so that the median is 1 s exactly.
    delay_s=LogNormal(1.0, 1.3, 0.1, 5.0),
    max_context_tokens=131_072,
    pool_bytes=512_000,
)

DEMO = Profile(
    name="demo",
    # Small enough for a laptop's CPU: inputs up to 4K, outputs up to 64, delays up to 0.3 s (docs/methodology.md#rigor).
    turns=LogNormal(9, 0.25, 6, 14),
    first_input=LogNormal(1_200, 0.12, 1_000, 1_500),
    shared_tokens=600,
    tools=4,
    output=LogNormal(24, 0.6, 12, 64),
    answer_share=0.8,
    answer_low=12,
    result=LogNormal(100, 0.7, 8, 500),
    parallel_share=0.10,
    delay_s=LogNormal(0.08, 0.8, 0.02, 0.3),
    max_context_tokens=4_096,
    pool_bytes=24_000,
)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (AGENTPERF, DEMO)}
