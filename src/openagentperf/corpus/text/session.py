"""The messages of one generated session, each of an exact length."""

from __future__ import annotations

from openagentperf.corpus.text import calls
from openagentperf.corpus.text.fill import fill
from openagentperf.corpus.text.repo import Repo
from openagentperf.corpus.text.results import RESULTS, listing, trace
from openagentperf.corpus.tokens import MESSAGE_TOKENS, Counter
from openagentperf.records.trajectory import Message, ToolCall
from openagentperf.seeds import Stream


class Session:
    """Makes a session's messages in order. Lengths are by `count`, message overhead included (corpus.tokens.estimate_message)."""

    __slots__ = ("_count", "_repo")

    def __init__(self, language: str, pool_bytes: int, stream: Stream, count: Counter) -> None:
        self._repo = Repo(language, pool_bytes, stream)
        self._count = count

    def task(self, tokens: int) -> Message:
        """The user's message: a bug report with a trace, the layout of the repository, and the file in question."""
        return Message("user", fill(self._count, tokens - MESSAGE_TOKENS, self._report))

    def exchange(self, answer_tokens: int, result_tokens: tuple[int, ...]) -> tuple[Message, ...]:
        """An answer of `answer_tokens` with one call for each result, then the results."""
        room = answer_tokens - MESSAGE_TOKENS
        made = []
        for index, wanted in enumerate(result_tokens):
            call = calls.drawn(self._repo, room // (len(result_tokens) - index), wanted, self._count)
            room -= call.tokens(self._count)
            made.append(call)
        tool_calls = tuple(ToolCall(f"call_{self._repo.stream.u64():016x}", call.tool, call.arguments) for call in made)
        content = fill(self._count, room, self._repo.prose)
        return (
            Message("assistant", content, tool_calls=tool_calls),
            *(
                Message("tool", self._result(call.kind, wanted), tool_call_id=tool_call.id)
                for call, tool_call, wanted in zip(made, tool_calls, result_tokens, strict=True)
            ),
        )

    def _result(self, kind: str, tokens: int) -> str:
        render = RESULTS[kind]
        return fill(self._count, tokens - MESSAGE_TOKENS, lambda chars: render(self._repo, chars))

    def _report(self, chars: int) -> str:
        repo = self._repo
        frames = "\n".join(trace(repo, 4 + repo.stream.below(8)))
        return (
            f"# {repo.title()}\n\n{repo.prose(chars // 6)}\n\n```\n{frames}\n```\n\n"
            f"Files of the repository, with their sizes:\n\n{listing(repo, chars // 4)}\n\n"
            f"It probably starts in {repo.path()}:\n\n```\n{repo.source(chars - chars // 4 - chars // 6)}\n```\n"
        )
