"""The numbers of a generated session, drawn before a word of its text.

They alone make 40,000 turns a second or more, so a test can hold 2,000 sessions against the published figures without making their text.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, NamedTuple, TypeAlias

from openagentperf.corpus.laws import count, weighted
from openagentperf.corpus.profiles import Compaction, Profile, Returns, Subagents
from openagentperf.seeds import Stream
from openagentperf.units import Ns, s_to_ns

OpeningKind: TypeAlias = Literal["task", "summary", "return"]

_PROMPT_ROOM = (1.25, 40)
"""An answer that starts a sub-agent holds the prompt as a JSON argument: so much longer by escapes, and so many tokens around it."""


class Opening(NamedTuple):
    """The user message that a history starts with, right behind the system prompt. All tokens include the overhead of the message."""

    kind: OpeningKind
    """`task`: what a person asks for. `summary`: what a compaction leaves. `return`: what an agent with a memory comes back with."""
    tokens: int
    memory_tokens: int = 0
    """Of a return: its carried-over state. Behind it stand `blocks`, then the task, which is the rest."""
    blocks: tuple[int, ...] = ()
    """Of a return: numbers of the retrieved blocks in SessionShape.store, in their order."""


class TurnShape(NamedTuple):
    """The numbers of one turn. All tokens include the overhead of their message."""

    input_tokens: int
    output_tokens: int
    answer_tokens: int
    """Of the output, what the next request carries as the assistant's message. 0 where no request follows in this history."""
    result_tokens: tuple[int, ...]
    """One for each call of the answer; empty where no request follows in this history."""
    delay_ns: Ns
    opening: Opening | None = None
    """Not None: a history starts here; the one before, if there was one, is dropped."""
    order_tokens: int = 0
    """Not 0: the request ends with the harness's order to sum up the history; the answer is the summary."""
    agents: tuple[AgentShape, ...] = ()
    """Sub-agents that the answer starts: its calls are these and no others."""


class AgentShape(NamedTuple):
    """A sub-agent: the task of its first turn is the prompt that its parent gave it."""

    turns: tuple[TurnShape, ...]


class SessionShape(NamedTuple):
    """The numbers of one session. Where a turn has no opening, its input = input + answer + results of the turn before + its own order."""

    language: str
    turns: tuple[TurnShape, ...]
    store: tuple[int, ...] = ()
    """Tokens of each block that an agent with a memory may be given at a return."""


def plan_session(profile: Profile, stream: Stream) -> SessionShape:
    """Draw the numbers of one session; of an agent with a memory, of its whole life."""
    language = weighted(profile.languages, stream)
    if profile.returns is not None:
        return _life(profile, profile.returns, language, stream)
    wanted = count(profile.turns, stream)
    task = Opening("task", count(profile.first_input, stream) - profile.shared_tokens)
    return SessionShape(language, tuple(_line(profile, wanted, task, stream)))


def _life(profile: Profile, law: Returns, language: str, stream: Stream) -> SessionShape:
    """Sessions one after another, each with a history of its own and a pause before it."""
    store = tuple(count(law.block, stream) for _ in range(law.blocks))
    memory_tokens = count(law.memory, stream)
    turns: list[TurnShape] = []
    for _ in range(count(law.sessions, stream)):
        if turns:
            turns[-1] = turns[-1]._replace(delay_ns=s_to_ns(law.pause_s.draw(stream)))
            memory_tokens = min(memory_tokens + count(law.learnt, stream), round(law.memory.high))
        wanted = count(profile.turns, stream)
        task_tokens = count(profile.first_input, stream) - profile.shared_tokens
        blocks = _retrieved(law, stream)
        tokens = task_tokens + memory_tokens + sum(store[block] for block in blocks)
        turns += _line(profile, wanted, Opening("return", tokens, memory_tokens, blocks), stream)
    return SessionShape(language, tuple(turns), store)


def _retrieved(law: Returns, stream: Stream) -> tuple[int, ...]:
    """Different blocks of the store. The square makes low numbers frequent: some blocks suit nearly every task of an agent."""
    wanted = min(count(law.retrieved, stream), law.blocks)
    found: dict[int, None] = {}
    while len(found) < wanted:
        found.setdefault(int(law.blocks * stream.uniform() ** 2))
    return tuple(found)


def _line(profile: Profile, wanted: int, opening: Opening, stream: Stream) -> list[TurnShape]:
    """At most `wanted` turns and at least one; a compaction's request is one of them."""
    compaction, subagents = profile.compaction, profile.subagents
    agents_at = Counter[int]() if subagents is None else _places(subagents, wanted, stream)
    compact_at = 0 if compaction is None else count(compaction.at_tokens, stream)
    opens: Opening | None = opening
    input_tokens = profile.shared_tokens + opening.tokens
    turns: list[TurnShape] = []
    for k in range(wanted):
        if compaction is not None and input_tokens > compact_at and k + 1 < wanted:
            turn = _summed_up(compaction, input_tokens, stream)
        else:
            turn = _turn(profile, input_tokens, stream)
            if subagents is not None and k in agents_at:
                turn = _with_agents(turn, subagents, agents_at[k], stream)
        if k > 0 and turn.input_tokens + turn.output_tokens > profile.max_context_tokens:
            break
        turns.append(turn._replace(opening=opens))
        opens = None
        input_tokens += turn.answer_tokens + sum(turn.result_tokens)
        if compaction is not None and turn.order_tokens:
            opens = Opening("summary", turn.output_tokens + count(compaction.restored, stream))
            input_tokens = profile.shared_tokens + opens.tokens
    # What the last answer would have added is not drawn for nothing: the session would have gone on from it.
    turns[-1] = turns[-1]._replace(answer_tokens=0, result_tokens=(), agents=())
    return turns


def _turn(profile: Profile, input_tokens: int, stream: Stream) -> TurnShape:
    output_tokens = count(profile.output, stream)
    answer_tokens = max(profile.answer_low, int(output_tokens * profile.answer_share))
    results = _results(profile, answer_tokens, stream)
    return TurnShape(input_tokens, output_tokens, answer_tokens, results, s_to_ns(profile.delay_s.draw(stream)))


def _results(profile: Profile, answer_tokens: int, stream: Stream) -> tuple[int, ...]:
    """Tokens of each tool result of a turn: one, or several where a parallel turn is drawn and the answer has room for the calls."""
    total = count(profile.result, stream)
    low = int(profile.result.low)
    calls = 1
    if stream.uniform() < profile.parallel_share:
        calls = max(1, min(count(profile.calls, stream), answer_tokens // profile.answer_low, total // low))
    parts = []
    for left in range(calls, 1, -1):
        share = low + stream.below(max(1, 2 * (total // left - low)))
        parts.append(share)
        total -= share
    return (*parts, total)


def _summed_up(law: Compaction, input_tokens: int, stream: Stream) -> TurnShape:
    """The request that asks for a summary of the history. The harness goes on at once: no tool runs."""
    return TurnShape(
        input_tokens + law.order_tokens, count(law.summary, stream), 0, (), 0, order_tokens=law.order_tokens
    )


def _places(law: Subagents, wanted: int, stream: Stream) -> Counter[int]:
    """Which of a session's turns start sub-agents, and how many: anywhere but at the last turn."""
    places: Counter[int] = Counter()
    left = count(law.number, stream) if wanted > 1 and stream.uniform() < law.session_share else 0
    while left:
        together = left if stream.uniform() < law.together_share else 1
        places[stream.below(wanted - 1)] += together
        left -= together
    return places


def _with_agents(turn: TurnShape, law: Subagents, number: int, stream: Stream) -> TurnShape:
    """The turn with `number` sub-agents for its calls: their prompts make its answer longer, their reports are its results."""
    agents: list[AgentShape] = []
    reports: list[int] = []
    prompts = 0
    for _ in range(number):
        prompt = Opening("task", count(law.line.first_input, stream) - law.line.shared_tokens)
        prompts += round(prompt.tokens * _PROMPT_ROOM[0]) + _PROMPT_ROOM[1]
        line = _line(law.line, count(law.line.turns, stream), prompt, stream)
        room = law.line.max_context_tokens - line[-1].input_tokens
        reports.append(min(count(law.report, stream), room))
        line[-1] = line[-1]._replace(output_tokens=reports[-1], delay_ns=0)  # its last answer is the report
        agents.append(AgentShape(tuple(line)))
    return turn._replace(
        output_tokens=turn.output_tokens + prompts,
        answer_tokens=turn.answer_tokens + prompts,
        result_tokens=tuple(reports),
        agents=tuple(agents),
    )
