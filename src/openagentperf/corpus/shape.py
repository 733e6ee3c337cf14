"""Generated sessions: first their numbers (`plan_session`), then text of exactly those lengths (`generate`).

The numbers alone make 40,000 turns a second or more, so a test can hold 2,000 sessions against the published figures without
making their text. Session i depends on (profile, seed, i) alone: the first 10 of a set of 500 are the set of 10.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from openagentperf.corpus.formats.languages import of_extension
from openagentperf.corpus.profiles import PROFILES, LogNormal, Profile
from openagentperf.corpus.text.harness import Harness
from openagentperf.corpus.text.pool import GRAMMARS
from openagentperf.corpus.text.session import Session
from openagentperf.corpus.tokens import Counter
from openagentperf.errors import CorpusError, PlanError
from openagentperf.records.trajectory import Message, Trajectory, Turn
from openagentperf.seeds import Stream
from openagentperf.units import Ns, s_to_ns

__all__ = ["PROFILES", "Profile", "SessionShape", "TurnShape", "generate", "plan_session", "profile_named"]


class TurnShape(NamedTuple):
    """The numbers of one turn. All tokens include the overhead of their message."""

    input_tokens: int
    output_tokens: int
    answer_tokens: int
    """Of the output, what the next request carries as the assistant's message. 0 for a session's last turn."""
    result_tokens: tuple[int, ...]
    """One for each call of the answer; empty for the last turn."""
    delay_ns: Ns


class SessionShape(NamedTuple):
    """The numbers of one session: input of turn k+1 = input of turn k + answer of k + results of k."""

    language: str
    turns: tuple[TurnShape, ...]


def profile_named(name: str) -> Profile:
    """The profile of that name; PlanError names those that exist."""
    if name not in PROFILES:
        raise PlanError(
            "profile", f"{name!r} is not known", f"one of {', '.join(sorted(PROFILES))}", "choose one of these"
        )
    return PROFILES[name]


def plan_session(profile: Profile, stream: Stream) -> SessionShape:
    """Draw the numbers of one session."""
    language = _weighted(profile.languages, stream)
    wanted = _count(profile.turns, stream)
    input_tokens = _count(profile.first_input, stream)
    turns: list[TurnShape] = []
    for k in range(wanted):
        output_tokens = _count(profile.output, stream)
        answer_tokens = max(profile.answer_low, int(output_tokens * profile.answer_share))
        results = _results(profile, answer_tokens, stream)
        delay_ns = s_to_ns(_draw(profile.delay_s, stream))
        if k > 0 and input_tokens + output_tokens > profile.max_context_tokens:
            break
        turns.append(TurnShape(input_tokens, output_tokens, answer_tokens, results, delay_ns))
        input_tokens += answer_tokens + sum(results)
    # What the last answer would have added is not drawn for nothing: the session would have gone on from it.
    turns[-1] = turns[-1]._replace(answer_tokens=0, result_tokens=())
    return SessionShape(language, tuple(turns))


def generate(
    profile: Profile, count: int, seed: int, count_tokens: Counter, counter: str = "estimate"
) -> Iterator[Trajectory]:
    """`count` sessions with text whose lengths are exact by `count_tokens`; `counter` is its name, kept in `source`.

    Turn.counted is `estimated` whatever the counter: a tokenizer counts the texts exactly, but the 4 tokens a message and the
    server's own rendering of tools remain an estimate. Memory is one session and the profile's source pools (a few 10 MB).
    CorpusError where the counter needs more than `answer_low` tokens for the shortest call: lengths could not be met.
    """
    harness = Harness(profile.name, profile.tools, profile.shared_tokens, count_tokens)
    if harness.shortest_answer_tokens > profile.answer_low:
        raise CorpusError(
            f"profile {profile.name}",
            f"the token counter {counter!r} counts {harness.shortest_answer_tokens} tokens for the shortest answer",
            f"answers of {profile.answer_low} tokens are part of the profile",
            "use `estimate` or a byte-pair vocabulary",
        )
    for index in range(count):
        shape = plan_session(profile, Stream(seed, "shape", profile.name, index))
        session = Session(shape.language, profile.pool_bytes, Stream(seed, "text", profile.name, index), count_tokens)
        yield Trajectory(
            id=f"{profile.name}-{seed}-{index:05d}",
            turns=_turns(shape, harness, session),
            tools=harness.tools,
            format=f"generated:{profile.name}",
            source=f"profile {profile.name}, seed {seed}, tokens by {counter}",
            licence="Apache-2.0",
            language=of_extension(GRAMMARS[shape.language].extension),
            harness=harness.name,
        )


def _turns(shape: SessionShape, harness: Harness, session: Session) -> tuple[Turn, ...]:
    appended: tuple[Message, ...] = (
        harness.system,
        session.task(shape.turns[0].input_tokens - harness.tokens),
    )
    turns = []
    for turn in shape.turns:
        turns.append(
            Turn(
                appended=appended,
                output_tokens=turn.output_tokens,
                input_tokens=turn.input_tokens,
                tool_calls=len(turn.result_tokens),
                tool_delay_ns=turn.delay_ns,
            )
        )
        if turn.result_tokens:
            appended = session.exchange(turn.answer_tokens, turn.result_tokens)
    return tuple(turns)


def _results(profile: Profile, answer_tokens: int, stream: Stream) -> tuple[int, ...]:
    """Tokens of each tool result of a turn: one, or several where a parallel turn is drawn and the answer has room for the calls."""
    total = _count(profile.result, stream)
    low = int(profile.result.low)
    calls = 1
    if stream.uniform() < profile.parallel_share:
        calls = 2
        while calls < 6 and stream.uniform() < 0.4:  # most parallel turns have two or three calls
            calls += 1
        calls = max(1, min(calls, answer_tokens // profile.answer_low, total // low))
    parts = []
    for left in range(calls, 1, -1):
        share = low + stream.below(max(1, 2 * (total // left - low)))
        parts.append(share)
        total -= share
    return (*parts, total)


def _draw(law: LogNormal, stream: Stream) -> float:
    return min(law.high, max(law.low, stream.lognormal(law.median, law.sigma)))


def _count(law: LogNormal, stream: Stream) -> int:
    return round(_draw(law, stream))


def _weighted(choices: tuple[tuple[str, int], ...], stream: Stream) -> str:
    place = stream.below(sum(weight for _, weight in choices))
    for name, weight in choices:
        place -= weight
        if place < 0:
            return name
    raise AssertionError("weights are positive")
