"""Turns from a recording that holds the full message list of every request: what each adds to the one before is found by comparing.

Where the earlier list is not a prefix of the later one, the turn keeps the common part and is marked `undeclared`, unless the caller knows
better. Messages are compared as we would send them: a recorder's extra keys do not count as a rewrite.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
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
        self._raw: list[bytes | Message] = []
        self._recorded: list[list[Message]] = []
        self._taken: list[Message] = []
        """As mended, without what settles a request that ends with open calls."""
        self._sent: list[Message] = []
        self._mender = Mender(Counter())
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
        messages: Sequence[Raw] | Sequence[bytes] | Sequence[Message],
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
        visible_tokens: int = 1,
        tool_calls: int = 0,
        delay_ns: Ns | None = None,
        cut: Literal["compaction", "microcompaction", "undeclared"] = "undeclared",
    ) -> tuple[Message, ...]:
        """One request with its full messages, and what is known of its answer; returns the messages that it adds.

        messages        as recorded, for `convert`; or read already
        visible_tokens  the estimate over the answer's text, taken where the output is not recorded
        cut             what it is called where it does not hold all of the request before

        Counts as in `steps.Steps.answer`; with neither output nor text the turn asks for one token. Nothing changes where it raises (one of
        `lines.BAD`: a message that cannot be used).
        """
        before = len(self._sent)
        keep, appended = self._advance(
            [message if isinstance(message, Message) else bytes(message) for message in messages]
        )
        if not self._sent:
            raise ValueError("a request without messages")
        rewritten = keep < before
        self._turns.append(
            Turn(
                appended=tuple(appended),
                output_tokens=output_tokens or max(1, visible_tokens),
                input_tokens=input_tokens or max(1, sum(map(estimate_message, self._sent)) + self._tool_tokens),
                counted=("recorded" if output_tokens else "output estimated") if input_tokens else "estimated",
                cached_tokens=cached_tokens if input_tokens else None,
                tool_calls=tool_calls,
                tool_delay_ns=delay_ns,
                keep=keep if rewritten else None,
                cut=cut if rewritten else "",
            )
        )
        return tuple(appended)

    def offer(self, tools: tuple[str, ...]) -> None:
        """The definitions, where they are known only behind the constructor: for the estimates from now on."""
        self._tool_tokens = sum(map(estimate, tools))

    def amend(self, **fields: Any) -> None:
        """Fields of the last turn that are known only with the next request. Before the first request: nothing."""
        if self._turns:
            self._turns[-1] = msgspec.structs.replace(self._turns[-1], **fields)

    def fold(self) -> None:
        """The last request was the one before it sent once more: they are one turn, with the counts of the last."""
        again = self._turns.pop()
        self.amend(
            output_tokens=again.output_tokens,
            input_tokens=again.input_tokens,
            counted=again.counted,
            cached_tokens=again.cached_tokens,
            tool_calls=again.tool_calls,
        )

    def join(self, other: Snapshots) -> None:
        """The turns of `other` follow behind a compaction, its first request being the next one of this recording."""
        first = other._turns[0]
        keep = common(self._sent, first.appended)
        rewritten = keep < len(self._sent)
        first = msgspec.structs.replace(
            first,
            appended=first.appended[keep:],
            keep=keep if rewritten else None,
            cut="compaction" if rewritten else "",
        )
        self._turns += [first, *other._turns[1:]]
        self._converted += other._converted
        self._mended += other._mended
        self._raw, self._recorded, self._sent = other._raw, other._recorded, other._sent
        self._mender, self._taken = other._mender, other._taken

    def _advance(self, raw: list[bytes | Message]) -> tuple[int, list[Message]]:
        """How many sent messages of the last request stay as they are, and what this request adds to those."""
        same = common(self._raw, raw)
        notes: Counter[str] = Counter()
        new = [[item] if isinstance(item, Message) else self._convert(item, notes) for item in raw[same:]]
        self._recorded[same:] = new
        if same < len(self._raw):
            self._mender, self._taken, new = Mender(Counter()), [], self._recorded
        # What only adds to the request before is mended from where that one ended: a session must not cost the square of its length.
        taken = len(self._taken)
        self._taken += self._mender.take(message for group in new for message in group)
        mender = self._mender.copy()
        sent = self._taken + mender.settle()
        keep = taken + common(self._sent[taken:], sent[taken:])
        self._converted += notes
        self._mended |= mender.notes
        self._raw, self._sent = raw, sent
        return keep, sent[keep:]


def common(old: Sequence[object], new: Sequence[object]) -> int:
    """How many in front are the same."""
    same = 0
    for before, now in zip(old, new, strict=False):
        if before is not now and before != now:
            break
        same += 1
    return same
