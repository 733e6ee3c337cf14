"""The messages of one generated session, each of an exact length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from openagentperf.corpus.numbers import Opening
from openagentperf.corpus.text import calls, openings
from openagentperf.corpus.text.calls import Call
from openagentperf.corpus.text.fill import Source, fill
from openagentperf.corpus.text.memory import Memory
from openagentperf.corpus.text.repo import Repo
from openagentperf.corpus.text.results import RESULTS
from openagentperf.corpus.tokens import MESSAGE_TOKENS, Counter
from openagentperf.records.trajectory import Message, ToolCall


class Session:
    """Makes a session's messages in order. Lengths are by `count`, message overhead included (corpus.tokens.estimate_message).

    task     what a first user message says (openings.report or openings.repository)
    memory   of an agent that has one
    """

    __slots__ = ("_count", "_memory", "_repo", "_task")

    def __init__(self, repo: Repo, task: Callable[[Repo, int], str], memory: Memory | None, count: Counter) -> None:
        self._repo = repo
        self._task = task
        self._memory = memory
        self._count = count

    def opening(self, opening: Opening) -> Message:
        """The first user message of a history."""
        if opening.kind == "summary":
            return self._user(opening.tokens, lambda chars: openings.summary(self._repo, chars))
        front = ""
        if self._memory is not None:
            front = self._memory.front(opening.memory_tokens, opening.blocks)

        def source(chars: int) -> str:
            nonlocal front
            text, front = front + self._task(self._repo, max(0, chars - len(front))), ""
            return text

        return self._user(opening.tokens, source)

    def prompt(self, tokens: int) -> Message:
        """What a sub-agent is asked."""
        return self._user(tokens, self._repo.prose)

    def order(self, tokens: int) -> Message:
        """The harness asks for a summary."""
        return self._user(tokens, lambda chars: openings.ORDER + self._repo.prose(chars))

    def exchange(self, answer_tokens: int, result_tokens: tuple[int, ...]) -> tuple[Message, ...]:
        """An answer of `answer_tokens` with one call for each result, then the results."""
        room = answer_tokens - MESSAGE_TOKENS
        made = []
        for index, wanted in enumerate(result_tokens):
            call = calls.drawn(self._repo, room // (len(result_tokens) - index), wanted, self._count)
            room -= call.tokens(self._count)
            made.append(call)
        return self._answered(made, room, result_tokens)

    def delegation(
        self, answer_tokens: int, report_tokens: tuple[int, ...], prompts: Sequence[Message]
    ) -> tuple[Message, ...]:
        """An answer of `answer_tokens` that starts a sub-agent with each prompt, then their reports."""
        room = answer_tokens - MESSAGE_TOKENS
        made = []
        for index, prompt in enumerate(prompts):
            call = calls.agent(self._repo, prompt.content, room // (len(prompts) - index), self._count)
            room -= call.tokens(self._count)
            made.append(call)
        return self._answered(made, room, report_tokens)

    def _answered(self, made: Sequence[Call], room: int, result_tokens: tuple[int, ...]) -> tuple[Message, ...]:
        tool_calls = tuple(ToolCall(f"call_{self._repo.stream.u64():016x}", call.tool, call.arguments) for call in made)
        content = fill(self._count, room, self._repo.prose)
        return (
            Message("assistant", content, tool_calls=tool_calls),
            *(
                Message("tool", self._result(call.kind, wanted), tool_call_id=tool_call.id)
                for call, tool_call, wanted in zip(made, tool_calls, result_tokens, strict=True)
            ),
        )

    def _user(self, tokens: int, source: Source) -> Message:
        return Message("user", fill(self._count, tokens - MESSAGE_TOKENS, source))

    def _result(self, kind: str, tokens: int) -> str:
        render = RESULTS[kind]
        return fill(self._count, tokens - MESSAGE_TOKENS, lambda chars: render(self._repo, chars))
