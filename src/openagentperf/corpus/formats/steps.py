"""Turns from a recording that is a sequence of messages, answers among them: one turn an answer.

    steps.hear(system); steps.hear(task); steps.answer(first, input_tokens=...); steps.hear(result); steps.delay(ns); steps.answer(...)

Every history goes through `mend.Mender`, so that no engine refuses it, and only ever grows, except where `forget` declares a compaction.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

import msgspec

from openagentperf.corpus.formats.mend import Mender, results_first
from openagentperf.corpus.formats.prefix import prefix
from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate, estimate_message
from openagentperf.records.trajectory import Message, Turn
from openagentperf.units import Ns

FILLED = "tokens of system prompt and tools that were not recorded filled in with text of our own"


class Steps:
    """See the module's docstring.

    notes    counts what was changed, by its description
    tools    definitions offered at every turn, for the estimates
    harness  name and version of a program that does not record its system prompt and tools: where the first answer's recorded input is
             longer than the text, the rest is filled in with text that all sessions of this harness share. "": never fill.
    """

    def __init__(self, notes: Counter[str], *, tools: tuple[str, ...] = (), harness: str = "") -> None:
        self._notes = notes
        self._harness = harness
        self._mender = Mender(notes)
        self._tool_tokens = sum(map(estimate, tools))
        self._history: list[Message] = []
        self._heard: list[Message] = []
        self._turns: list[Turn] = []
        self._mark = 0
        """So many messages of the history were sent by the last request."""
        self._keep: int | None = None
        self._tokens = 0
        """Estimate over the history."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns so far. What was heard after the last answer was never sent."""
        return tuple(self._turns)

    def hear(self, *messages: Message) -> None:
        """What stands before the next answer: system, user and tool messages, in recorded order."""
        self._heard += messages

    def answer(
        self,
        message: Message,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
        delay_ns: Ns | None = None,
    ) -> None:
        """An answer of the model, hence one request: everything before it.

        Counts: what the recording says of the whole request and the whole answer (checked by `counts.tokens`), or None. A recorded output
        below the visible answer's estimate stays as it is: only the caller knows whether the recorder can be trusted.
        delay_ns: from this answer's end to the next request, where known already; else see `delay`.

        An answer before anything was heard is history, not a request: nobody can ask an engine with an empty list.
        """
        if not self._heard and not self._history:
            self._notes["answers before any request kept as history"] += 1
            self._extend(self._mender.take([message]))
            return
        # Before the first answer there are no calls, and a stray tool result must not pass the system message.
        answered = bool(self._turns) or any(sent.role == "assistant" for sent in self._history)
        self._extend(self._mender.take(results_first(self._heard, self._notes) if answered else self._heard))
        self._extend(self._mender.settle())
        self._heard = []
        if not self._turns and self._harness and input_tokens:
            self._fill(input_tokens)
        base = self._mark if self._keep is None else min(self._keep, self._mark)
        rewritten = self._keep is not None and self._keep < self._mark
        visible = max(1, estimate_message(message) - MESSAGE_TOKENS + estimate(message.reasoning))
        counted: Literal["recorded", "output estimated", "estimated"] = "estimated"
        if input_tokens:
            counted = "recorded" if output_tokens else "output estimated"
        self._turns.append(
            Turn(
                appended=tuple(self._history[base:]),
                output_tokens=output_tokens or visible,
                input_tokens=input_tokens or max(1, self._tokens + self._tool_tokens),
                counted=counted,
                cached_tokens=cached_tokens if input_tokens else None,
                tool_calls=len(message.tool_calls),
                tool_delay_ns=delay_ns,
                keep=base if rewritten else None,
                cut="compaction" if rewritten else "",
            )
        )
        self._mark = len(self._history)
        self._keep = None
        self._extend(self._mender.take([message]))

    def delay(self, delay_ns: Ns | None) -> None:
        """The tool delay of the last answer, where it is known only with its results. Before the first answer: nothing."""
        if self._turns:
            self._turns[-1] = msgspec.structs.replace(self._turns[-1], tool_delay_ns=delay_ns)

    def forget(self) -> None:
        """A declared compaction: everything but the leading system messages is gone; what replaces it is heard next."""
        keep = 0
        while keep < len(self._history) and self._history[keep].role == "system":
            keep += 1
        del self._history[keep:]
        self._heard = []
        self._tokens = sum(map(estimate_message, self._history))
        self._mender = Mender(self._notes)
        if self._turns:
            self._keep = keep if self._keep is None else min(self._keep, keep)

    def _extend(self, messages: list[Message]) -> None:
        self._history += messages
        self._tokens += sum(map(estimate_message, messages))

    def _fill(self, input_tokens: int) -> None:
        missing = input_tokens - self._tokens - self._tool_tokens - MESSAGE_TOKENS
        if missing <= 0:
            return
        self._notes[FILLED] += missing
        filled = prefix(self._harness, missing * 7 // 2)
        first = self._history[0]
        if first.role == "system":
            self._history[0] = msgspec.structs.replace(first, content=f"{first.content}\n{filled}")
        else:
            self._history.insert(0, Message(role="system", content=filled))
        self._tokens = sum(map(estimate_message, self._history))
