"""Generator profiles: the statistics of a set of sessions, as data."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from openagentperf.corpus.laws import Geometric, Law, LogNormal, Mixture

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


class Compaction(Struct, frozen=True, kw_only=True):
    """How a harness makes room: it asks the model for a summary, then starts a new history with it behind the same system prompt."""

    at_tokens: LogNormal
    """Of the history, drawn for each session: what is longer is summed up before the next request."""
    order_tokens: int
    """The user message at the end of the long history that asks for the summary."""
    summary: LogNormal
    """Output of that request."""
    restored: LogNormal
    """Files that the harness reads again: they stand behind the summary in the new history's first user message."""


class Subagents(Struct, frozen=True, kw_only=True):
    """Lines of requests that an answer starts and the next request waits for (records.trajectory.Branch)."""

    session_share: float
    """Of the sessions, how many start any."""
    number: LogNormal
    """How many such a session starts."""
    together_share: float
    """Of the answers that start one, how many start all that are left to start."""
    report: LogNormal
    """What the parent gets as the call's result: the sub-agent's last answer."""
    line: Profile
    """A sub-agent is a session of this profile, in its parent's repository. Its `first_input` holds the prompt from its parent."""


class Returns(Struct, frozen=True, kw_only=True):
    """An agent with a memory: a trajectory is its life, session after session, each with a history of its own. A session's first request is

    system prompt and tools | memory, as it is by now; blocks that were retrieved; task
    """

    sessions: LogNormal
    """In a life. Profile.turns are those of one session."""
    pause_s: LogNormal
    """From a session's last answer to the first request of the next: carried as the tool delay of that answer, so that
    `workload.max_tool_delay_s` cuts it like a person's pause in a recording (docs/methodology.md#workload)."""
    memory: LogNormal
    """The notes at the first session, which is not the agent's first ever. Notes of `high` tokens are reworded only, none is added."""
    learnt: LogNormal
    """New notes at each return, behind the old ones."""
    edited_share: float
    """Of the old notes, how many are worded anew at each return, wherever they stand."""
    blocks: int
    """In the agent's store. The same ones all its life, with the same bytes."""
    block: LogNormal
    """Tokens of one."""
    retrieved: LogNormal
    """How many stand in front of a task."""


class Profile(Struct, frozen=True, kw_only=True):
    """What a session of this profile looks like. Lengths are tokens; message overhead (4 a message) is in them."""

    name: str
    turns: LogNormal
    first_input: LogNormal
    """System prompt + tools + first user message; of an agent with a memory: without memory and blocks."""
    shared_tokens: int
    """Of that, the system prompt and tools: one harness, the same bytes in every session and for every seed."""
    tools: int
    """How many of the harness's tools are offered; the rest of `shared_tokens` is the system prompt."""
    tools_tokens: int = 0
    """More tools, of plugins, until all definitions have so many tokens or up to 400 more. 0: none."""
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
    calls: Law = Geometric(2, 0.4, 6)
    """How many such a turn tries: most two or three."""
    delay_s: Law
    """Tool delay, from the end of an answer to the next request."""
    max_context_tokens: int
    """A session ends before the first turn whose input + output would be longer."""
    compaction: Compaction | None = None
    """None: histories only grow."""
    subagents: Subagents | None = None
    returns: Returns | None = None
    task: Literal["report", "repository"] = "report"
    """First user message: a bug report with one file, or the files of a repository and what to do with them."""
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

TOOL_DELAY_S = Mixture(((LogNormal(0.1, 0.8, 0.01, 0.5), 45), (LogNormal(3.5, 1.3, 0.01, 60.0), 55)))
"""As recorded sessions have them: reading or editing a file, or running something. In four sources 27 to 61 % of the delays are 0.5 s
or less; above it their medians are 2.1 to 4.6 s, sigma 1.1 to 1.7. Above 60 s (0.2 to 3.8 %) lie people and sub-agents, not tools."""

_MODEL_OUTPUT = LogNormal(185, 1.05, 12, 16_384)
"""Five sources: median 136 to 321, P95 0.9K to 2.6K, sigma 0.9 to 1.3."""
_PARALLEL_CALLS = LogNormal(2.0, 0.7, 2, 22)
"""Of 259 recorded answers with several calls 67 % have two, 18 % three, 2 % ten and more; the most is 22."""

INTERACTIVE = Profile(
    name="interactive",
    # Beside each number what public recordings of Claude Code and Codex have, source by source (32,000 requests, 407 sessions, and
    # 49,000 requests of which only the lengths are public).
    turns=LogNormal(52, 1.08, 4, 600),  # median 45 to 72, P95 203 to 332
    first_input=LogNormal(32_000, 0.35, 20_400, 53_000),  # Codex 19K, Claude Code 24K to 54K
    shared_tokens=20_000,
    tools=10,
    tools_tokens=11_500,
    output=_MODEL_OUTPUT,
    answer_share=0.8,
    answer_low=12,
    result=LogNormal(420, 1.55, 8, 25_000),  # a turn adds 570 to 770 in the median, 1.3K to 2.0K in the mean
    parallel_share=0.11,  # 7 to 14 %
    calls=_PARALLEL_CALLS,
    delay_s=TOOL_DELAY_S,
    max_context_tokens=262_144,
    compaction=Compaction(
        at_tokens=LogNormal(205_000, 0.2, 145_000, 240_000),  # of 200K: 145K to 168K; of 258K: 187K to 250K
        order_tokens=400,
        summary=LogNormal(3_500, 0.5, 1_200, 12_000),
        restored=LogNormal(7_000, 1.0, 500, 40_000),  # after it Codex begins at 20K to 23K, Claude Code at 46K to 73K
    ),
    subagents=Subagents(
        session_share=0.40,  # 32 % and 63 %
        number=LogNormal(2, 0.7, 1, 8),
        together_share=0.13,  # 5 of 38 answers
        report=LogNormal(1_250, 0.6, 200, 4_500),  # median 1.1K and 1.5K
        line=Profile(
            name="interactive-subagent",
            turns=LogNormal(27, 0.5, 3, 80),  # 19 and 41 uses of tools
            first_input=LogNormal(9_700, 0.08, 9_080, 13_000),  # 8.9K to 12.3K
            shared_tokens=9_000,
            tools=6,
            tools_tokens=5_000,
            output=_MODEL_OUTPUT,
            answer_share=0.8,
            answer_low=12,
            result=LogNormal(1_250, 1.2, 8, 25_000),  # so that it ends at about 80K: 71K and 104K are recorded
            parallel_share=0.11,
            calls=_PARALLEL_CALLS,
            delay_s=TOOL_DELAY_S,
            max_context_tokens=200_000,
            pool_bytes=0,
        ),
    ),
    pool_bytes=1_500_000,
)
"""Sessions as people have them with Claude Code or Codex: 3.6 times the mean input of `agentperf`, a harness of 20K tokens that all share,
compactions (each with the request that asks for the summary), sub-agents whose end the parent waits for.

Left out: what a person types in the middle of a session, and the wait for it. An agent of this profile waits for tools and sub-agents only.
"""

LONG = Profile(
    name="long",
    # A choice: the longest public coding sessions have 435K tokens at P95. A large read first, then the growth of a session that reads
    # much, so that about half of them come to the end of the context.
    turns=LogNormal(250, 0.6, 40, 1_200),
    first_input=LogNormal(180_000, 0.8, 40_000, 800_000),
    shared_tokens=20_000,
    tools=10,
    tools_tokens=11_500,
    output=_MODEL_OUTPUT,
    answer_share=0.8,
    answer_low=12,
    result=LogNormal(800, 1.6, 8, 60_000),
    parallel_share=0.11,
    calls=_PARALLEL_CALLS,
    delay_s=TOOL_DELAY_S,
    max_context_tokens=1_048_576,
    task="repository",
    pool_bytes=4_000_000,  # a session of 1M tokens is 3.7 MB, and a part of it is prose, paths and numbers
)
"""Contexts to 1,048,576 tokens: the files of a repository in the first message, then a long session without a compaction."""

STATEFUL = Profile(
    name="stateful",
    turns=LogNormal(14, 0.7, 2, 80),
    first_input=LogNormal(10_200, 0.12, 9_400, 16_000),
    shared_tokens=9_000,
    tools=9,
    tools_tokens=4_500,
    output=_MODEL_OUTPUT,
    answer_share=0.8,
    answer_low=12,
    result=LogNormal(300, 1.5, 8, 16_000),
    parallel_share=0.11,
    calls=_PARALLEL_CALLS,
    delay_s=TOOL_DELAY_S,
    max_context_tokens=131_072,
    returns=Returns(
        sessions=LogNormal(5, 0.5, 2, 16),
        pause_s=LogNormal(1_800, 1.3, 60, 28_800),
        memory=LogNormal(3_000, 0.4, 1_000, 7_000),
        learnt=LogNormal(250, 0.6, 40, 1_000),
        edited_share=0.05,
        blocks=60,
        block=LogNormal(450, 0.5, 100, 1_200),
        retrieved=LogNormal(10, 0.4, 4, 24),
    ),
    pool_bytes=512_000,
)
"""Agents that come back: one identity, five sessions, minutes to hours apart. All numbers are a choice; nobody has published any.

What comes back is not the old history, which is dropped (a declared compaction), but what the agent kept of it: the same harness, a memory
of 3K to 4K tokens of which a twentieth was worded anew since, about 10 blocks from a store of 60 in another order each time, a new task.
Where a return's 20.3K tokens stood before, in the requests of the same agent (benchmarks/corpus_reuse.py, 200 agents, 941 returns):

    harness      44 %   the beginning, byte for byte: a prefix cache serves it, whoever sent it last
    prefix        4 %   the memory up to the first note that was worded anew: if the cache still holds it after the pause
    moved        28 %   the rest of the memory, and blocks that were retrieved before: equal bytes behind unequal ones
    new          24 %   new notes, new blocks, the task

Over all requests a prefix cache without end serves 95 % (`agentperf` 97 %); of what it does not serve, a sixth is `moved`. Returns are
4.6 % of the requests and 29 % of the tokens that no prefix serves. A replay has one nonce in front of its memory at all its returns: two
replays of one trajectory are two agents.
"""

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (AGENTPERF, DEMO, INTERACTIVE, LONG, STATEFUL)}
