"""Turns from a recording that holds lengths and no text: messages of text of our own, as long as the counts say.

request   messages
first     a system message as long as what a cache served of it, shared by all sessions of a harness; the rest is the user's
next      what it has more than the one before: the answer, then the user's (what tools returned, what a person said)
shorter   below 80 % of the one before the history was cut: the system message stays, the rest is new
"""

from __future__ import annotations

from openagentperf.corpus.formats.blocktext import BlockText, stream_bytes
from openagentperf.corpus.tokens import MESSAGE_TOKENS
from openagentperf.records.trajectory import Message, Role, Turn

RESET = 0.8
MOST_TOKENS = 1 << 22
"""4.2 million, of one request: no model takes a longer prompt, and the text is made in memory."""
MOST_MADE_TOKENS = 1 << 24
"""Of one line: 60 MB of text. A file of a few lines that claim millions of tokens each must not fill the memory."""
_LEAST = MESSAGE_TOKENS + 1
"""The shortest message, in tokens."""
_BLOCK_TOKENS = 256


class Lengths:
    """One line. `name` is the line's own, `harness` that of the program: texts of equal names are equal."""

    def __init__(self, name: str, harness: str) -> None:
        self._own, self._shared = BlockText(name, _BLOCK_TOKENS), BlockText(harness, _BLOCK_TOKENS)
        self._block = 0
        """The first block of the line's own text that was not used yet."""
        self._turns: list[Turn] = []
        self._sent = 0
        """Messages of the last request, and its tokens."""
        self._tokens = 0
        self._system = 0
        self._made = 0
        """Tokens of text so far."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        return tuple(self._turns)

    def add(self, input_tokens: int, output_tokens: int | None, cached_tokens: int | None, tool_calls: int) -> None:
        """The next request of so many input tokens, >= 1; tool_calls: in its answer. ValueError where so much text is not made."""
        grown = input_tokens - self._tokens if input_tokens >= RESET * self._tokens else input_tokens
        made = self._made + max(grown, 2 * _LEAST)
        if input_tokens > MOST_TOKENS or made > MOST_MADE_TOKENS:
            raise ValueError(f"a prompt of {input_tokens} tokens whose text was not recorded")
        self._made = made
        keep: int | None = None
        if not self._turns:
            appended = self._opening(input_tokens, cached_tokens or 0)
        elif input_tokens < RESET * self._tokens:
            keep = 1 if self._system and input_tokens >= self._system + _LEAST else 0
            appended = [self._message("user", input_tokens - (self._system if keep else 0))]
        else:
            appended = self._grown(input_tokens - self._tokens, self._turns[-1].output_tokens)
        self._sent = len(appended) + (self._sent if keep is None else keep)
        self._tokens = input_tokens
        self._turns.append(
            Turn(
                appended=tuple(appended),
                input_tokens=input_tokens,
                output_tokens=max(1, output_tokens or 1),
                counted="recorded" if output_tokens else "output estimated",
                cached_tokens=cached_tokens,
                tool_calls=tool_calls,
                keep=keep,
                cut="" if keep is None else "compaction",
            )
        )

    def _opening(self, tokens: int, cached: int) -> list[Message]:
        if not _LEAST <= cached <= tokens - _LEAST:
            return [self._message("user", tokens)]
        self._system = cached
        system = Message(role="system", content=_text(self._shared, 0, cached))
        return [system, self._message("user", tokens - cached)]

    def _grown(self, more: int, answer: int) -> list[Message]:
        said = min(max(_LEAST, answer + MESSAGE_TOKENS), max(_LEAST, more - _LEAST))
        return [self._message("assistant", said), self._message("user", more - said)]

    def _message(self, role: Role, tokens: int) -> Message:
        text = _text(self._own, self._block, tokens)
        self._block += -(-max(1, tokens) // _BLOCK_TOKENS)
        return Message(role=role, content=text)


def _text(blocks: BlockText, first: int, tokens: int) -> str:
    """Text of a message of so many tokens by corpus.tokens.estimate_message; of the shortest one for fewer."""
    size = stream_bytes(max(1, tokens - MESSAGE_TOKENS))
    return blocks.span(range(first, first + size // stream_bytes(_BLOCK_TOKENS) + 1), 0, size)
