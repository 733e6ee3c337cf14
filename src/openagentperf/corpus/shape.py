"""Generated sessions: first their numbers (`plan_session`), then text of exactly those lengths (`generate`).

The numbers alone make 40,000 turns a second or more, so a test can hold 2,000 sessions against the published figures without
making their text. Session i depends on (profile, seed, i) alone: the first 10 of a set of 500 are the set of 10.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from openagentperf.corpus.formats.languages import of_extension
from openagentperf.corpus.numbers import SessionShape, TurnShape, plan_session
from openagentperf.corpus.profiles import PROFILES, Profile
from openagentperf.corpus.text import openings
from openagentperf.corpus.text.harness import Harness
from openagentperf.corpus.text.memory import Memory
from openagentperf.corpus.text.pool import GRAMMARS
from openagentperf.corpus.text.repo import Repo
from openagentperf.corpus.text.session import Session
from openagentperf.corpus.tokens import Counter
from openagentperf.errors import CorpusError, PlanError
from openagentperf.records.trajectory import Branch, Message, Trajectory, Turn
from openagentperf.seeds import Stream

__all__ = ["PROFILES", "Profile", "SessionShape", "TurnShape", "generate", "plan_session", "profile_named"]


def profile_named(name: str) -> Profile:
    """The profile of that name; PlanError names those that exist."""
    if name not in PROFILES:
        raise PlanError(
            "profile", f"{name!r} is not known", f"one of {', '.join(sorted(PROFILES))}", "choose one of these"
        )
    return PROFILES[name]


def generate(
    profile: Profile, count: int, seed: int, count_tokens: Counter, counter: str = "estimate"
) -> Iterator[Trajectory]:
    """`count` sessions with text whose lengths are exact by `count_tokens`; `counter` is its name, kept in `source`.

    Turn.counted is `estimated` whatever the counter: a tokenizer counts the texts exactly, but the 4 tokens a message and the
    server's own rendering of tools remain an estimate. Memory is one session and a pool of source text for each language: 100 MB for
    `long`, the largest profile.
    CorpusError where the counter needs more than `answer_low` tokens for the shortest call: lengths could not be met.
    """
    harness = Harness(profile, count_tokens)
    if harness.shortest_answer_tokens > profile.answer_low:
        raise CorpusError(
            f"profile {profile.name}",
            f"the token counter {counter!r} counts {harness.shortest_answer_tokens} tokens for the shortest answer",
            f"answers of {profile.answer_low} tokens are part of the profile",
            "use `estimate` or a byte-pair vocabulary",
        )
    subagent = Harness(profile.subagents.line, count_tokens) if profile.subagents is not None else None
    for index in range(count):
        shape = plan_session(profile, Stream(seed, "shape", profile.name, index))
        repo = Repo(shape.language, profile.pool_bytes, Stream(seed, "text", profile.name, index))
        memory = (
            Memory(repo, shape.store, profile.returns.edited_share, count_tokens)
            if profile.returns is not None
            else None
        )
        text = _Text(Session(repo, _TASKS[profile.task], memory, count_tokens), harness, subagent)
        turns = text.turns(shape.turns)
        yield Trajectory(
            id=f"{profile.name}-{seed}-{index:05d}",
            turns=turns,
            branches=tuple(text.branches),
            tools=harness.tools,
            format=f"generated:{profile.name}",
            source=f"profile {profile.name}, seed {seed}, tokens by {counter}",
            licence="Apache-2.0",
            language=of_extension(GRAMMARS[shape.language].extension),
            harness=harness.name,
        )


_TASKS = {"report": openings.report, "repository": openings.repository}


class _Text:
    """Puts text to the numbers of one session, turn by turn."""

    def __init__(self, session: Session, harness: Harness, subagent: Harness | None) -> None:
        self._session = session
        self._harness = harness
        self._subagent = subagent
        self.branches: list[Branch] = []

    def turns(self, shapes: Sequence[TurnShape]) -> tuple[Turn, ...]:
        """The main line; its sub-agents come to be in `branches`."""
        return self._line(shapes, self._harness, None)

    def _line(self, shapes: Sequence[TurnShape], harness: Harness, prompt: Message | None) -> tuple[Turn, ...]:
        """`prompt`: the first user message where the parent has written it."""
        session = self._session
        turns: list[Turn] = []
        appended: tuple[Message, ...] = (harness.system,)
        for k, shape in enumerate(shapes):
            cut = k > 0 and shape.opening is not None
            if shape.opening is not None:
                opening = session.opening(shape.opening) if prompt is None else prompt
                appended = (opening,) if cut else (*appended, opening)
            if shape.order_tokens:
                appended = (*appended, session.order(shape.order_tokens))
            turns.append(
                Turn(
                    appended=appended,
                    output_tokens=shape.output_tokens,
                    input_tokens=shape.input_tokens,
                    tool_calls=len(shape.result_tokens),
                    tool_delay_ns=shape.delay_ns,
                    keep=1 if cut else None,  # the system prompt
                    cut="compaction" if cut else "",
                )
            )
            appended = self._delegated(shape, k) if shape.agents else self._exchanged(shape)
        return tuple(turns)

    def _exchanged(self, shape: TurnShape) -> tuple[Message, ...]:
        return self._session.exchange(shape.answer_tokens, shape.result_tokens) if shape.result_tokens else ()

    def _delegated(self, shape: TurnShape, k: int) -> tuple[Message, ...]:
        """The exchange after turn `k` of the main line, with a branch for each sub-agent that its answer starts."""
        harness = self._subagent
        assert harness is not None, "only a profile with sub-agents plans any"
        prompts = []
        for agent in shape.agents:
            opening = agent.turns[0].opening
            assert opening is not None, "a first turn has one"
            prompts.append(self._session.prompt(opening.tokens))
            self.branches.append(
                Branch(
                    name=f"agent-{len(self.branches) + 1}",
                    turns=self._line(agent.turns, harness, prompts[-1]),
                    after=k,
                    join=k + 1,
                    tools=harness.tools,
                )
            )
        return self._session.delegation(shape.answer_tokens, shape.result_tokens, prompts)
