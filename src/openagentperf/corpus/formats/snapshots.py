"""Turns from a recording that holds the full message list of every request: what each adds to the one before is found by comparing.

Where the earlier list is not a prefix of the later one, the turn keeps the common part and is marked `undeclared`. Messages are compared as
we would send them: a recorder's extra keys do not count as a rewrite.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec import Raw

from openagentperf.corpus.formats.mend import Mender
from openagentperf.corpus.tokens import estimate, estimate_message
from openagentperf.records.trajectory import Message, Turn
from openagentperf.units import Ns

Convert: TypeAlias = Callable[[bytes, Counter[str]], list[Message]]
"""One recorded message as those that we send (Anthropic's user message may hold several tool results). Raises one of `lines.BAD`."""


class Snapshots:
    """See the module's docstring. `convert` reads one message of the dialect; `tools` are the definitions, for the estimates."""

    def __init__(self, convert: Convert, tools: tuple[str, ...] = ()) -> None:
        self._convert = convert
        self._tool_tokens = sum(map(estimate, tools))
        self._turns: list[Turn] = []
        self._raw: list[bytes] = []
        self._recorded: list[list[Message]] = []
        self._sent: list[Message] = []
        self._converted: Counter[str] = Counter()
        self._mended: Counter[str] = Counter()

    @property
    def turns(self) -> tuple[Turn, ...]:
        return tuple(self._turns)

    @property
    def notes(self) -> Counter[str]:
        """What was changed, by its description."""
        return self._converted + self._mended

    def add(
        self,
        messages: Sequence[Raw] | Sequence[bytes],
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
        tool_calls: int = 0,
        delay_ns: Ns | None = None,
    ) -> tuple[Message, ...]:
        """One request with its full messages, and what is known of its answer; returns the messages that it adds.

        Counts as in `steps.Steps.answer`; without a recorded output the turn asks for one token. Nothing changes where it raises (one of
        `lines.BAD`: a message that cannot be used).
        """
        before = len(self._sent)
        keep, appended = self._advance([bytes(message) for message in messages])
        if not self._sent:
            raise ValueError("a request without messages")
        rewritten = keep < before
        self._turns.append(
            Turn(
                appended=tuple(appended),
                output_tokens=max(1, output_tokens or 1),
                input_tokens=input_tokens or max(1, sum(map(estimate_message, self._sent)) + self._tool_tokens),
                counted=("recorded" if output_tokens else "output estimated") if input_tokens else "estimated",
                cached_tokens=cached_tokens if input_tokens else None,
                tool_calls=tool_calls,
                tool_delay_ns=delay_ns,
                keep=keep if rewritten else None,
                cut="undeclared" if rewritten else "",
            )
        )
        return tuple(appended)

    def _advance(self, raw: list[bytes]) -> tuple[int, list[Message]]:
        """How many sent messages of the last request stay as they are, and what this request adds to those."""
        same = 0
        for old, new in zip(self._raw, raw, strict=False):
            if old != new:
                break
            same += 1
        notes: Counter[str] = Counter()
        recorded = self._recorded[:same] + [self._convert(text, notes) for text in raw[same:]]
        mended: Counter[str] = Counter()
        mender = Mender(mended)
        sent = mender.take(message for group in recorded for message in group)
        sent += mender.settle()
        keep = 0
        for before, now in zip(self._sent, sent, strict=False):
            if before is not now and before != now:
                break
            keep += 1
        self._converted += notes
        self._mended |= mended
        self._raw, self._recorded, self._sent = raw, recorded, sent
        return keep, sent[keep:]
