"""Turns from a recording that is a sequence of messages, answers among them: one turn an answer.

    steps.hear(system); steps.hear(task); steps.answer(first, input_tokens=...); steps.hear(result); steps.delay(ns); steps.answer(...)

Every history goes through `mend.Mender`, so that no engine refuses it, and only ever grows, except where `forget` or `rewrite` declares a
compaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

import msgspec

from openagentperf.corpus.formats.mend import Mender, results_first
from openagentperf.corpus.formats.prefix import MOST_TOKENS, prefix
from openagentperf.corpus.formats.snapshots import common
from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate, estimate_answer, estimate_message
from openagentperf.records.trajectory import Message, Turn
from openagentperf.units import Ns

FILLED = "tokens of system prompt and tools that were not recorded filled in with text of our own"
UNREAD = "tokens of summaries that were not recorded filled in with text of our own"
SHARE = "per cent of the last request's recorded tokens are there as text"


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
        self._cut: Literal["compaction", "microcompaction"] = "compaction"
        self._filled: Message | None = None
        """The system message that was filled; it stands first."""
        self._tokens = 0
        """Estimate over the history."""
        self._answered = False
        """An answer was taken since the history began, or began anew."""
        self._unread: tuple[int, str] | None = None
        """Which of the heard messages lacks its text, and the name of the text that fills it."""
        self._sent_tokens = 0
        """Estimate over the last request."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns so far. What was heard after the last answer was never sent."""
        return tuple(self._turns)

    def hear(self, *messages: Message) -> None:
        """What stands before the next answer: system, user and tool messages, in recorded order."""
        self._heard += messages

    def hear_unread(self, message: Message, name: str) -> None:
        """A summary whose text the recording lacks, as an encrypted one does; `message` says so.

        Where the next answer's recorded input is longer than the text, the rest is filled in: behind `message`, with text of our own that
        belongs to `name` alone. Not before the first answer: there the system prompt is filled.
        """
        self._unread = (len(self._heard), name)
        self._heard.append(message)

    def answer(
        self,
        message: Message,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
        delay_ns: Ns | None = None,
        sent_back: bool = True,
    ) -> None:
        """An answer of the model, hence one request: everything before it.

        Counts: what the recording says of the whole request and the whole answer (checked by `counts.tokens`), or None. A recorded output
        below the visible answer's estimate stays as it is: only the caller knows whether the recorder can be trusted.
        delay_ns: from this answer's end to the next request, where known already; else see `delay`.
        sent_back: False where the program refused the answer and left it out of its history (mini-swe-agent's format errors).

        An answer before anything was heard is history, not a request: nobody can ask an engine with an empty list.
        """
        if not self._heard and not self._history:
            self._notes["answers before any request kept as history"] += 1
            self.recall(message)
            return
        if self._turns and self._unread and input_tokens:
            self._fill_unread(*self._unread, input_tokens)
        self._take_heard()
        self._extend(self._mender.settle())
        if not self._turns and self._harness and input_tokens:
            self._fill(input_tokens)
        base = self._mark if self._keep is None else min(self._keep, self._mark)
        rewritten = self._keep is not None and self._keep < self._mark
        counted: Literal["recorded", "output estimated", "estimated"] = "estimated"
        if input_tokens:
            counted = "recorded" if output_tokens else "output estimated"
        self._turns.append(
            Turn(
                appended=tuple(self._history[base:]),
                output_tokens=output_tokens or estimate_answer(message),
                input_tokens=input_tokens or max(1, self._tokens + self._tool_tokens),
                counted=counted,
                cached_tokens=cached_tokens if input_tokens else None,
                tool_calls=len(message.tool_calls),
                tool_delay_ns=delay_ns,
                keep=base if rewritten else None,
                cut=self._cut if rewritten else "",
            )
        )
        self._mark = len(self._history)
        self._keep = None
        self._answered = True
        self._sent_tokens = self._tokens + self._tool_tokens
        if sent_back:
            self._extend(self._mender.take([message]))

    def recall(self, message: Message) -> None:
        """An answer of the history that no request of this line gave: a demonstration, or copied from another session."""
        self._take_heard()
        self._answered = True
        self._extend(self._mender.take([message]))

    def note_share(self) -> None:
        """Note how much of the last request is there as text, where its input was counted: providers keep reasoning that files lack."""
        if self._turns and self._turns[-1].counted != "estimated":
            self._notes[SHARE] = round(100 * self._sent_tokens / self._turns[-1].input_tokens)

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
        self._unread = None
        self._answered = False
        self._tokens = sum(map(estimate_message, self._history))
        self._mender = Mender(self._notes)
        self._cut_at(keep, "compaction")

    def rewrite(
        self, messages: Iterable[Message], cut: Literal["compaction", "microcompaction"] = "compaction"
    ) -> None:
        """A declared compaction that keeps parts: `messages` are all that the next request sends so far, what was heard included.

        What stands in front as before stays as it was sent, a filled system message too: the cut is where the first other one stands.
        """
        mender = Mender(Counter())  # what stays was counted when it first came
        history = mender.take(_in_order(messages))
        mender.notes = self._notes
        if self._filled is not None:
            history[: bool(history) and history[0].role == "system"] = [self._filled]
        keep = common(self._history, history)
        self._history = history
        self._heard = []
        self._unread = None
        self._answered = any(message.role == "assistant" for message in history)
        self._tokens = sum(map(estimate_message, history))
        self._mender = mender
        self._cut_at(keep, cut)

    def _cut_at(self, keep: int, cut: Literal["compaction", "microcompaction"]) -> None:
        if not self._turns:
            return
        # Of two before one request, the compaction is what the request shows.
        self._cut = "compaction" if self._keep is not None and self._cut == "compaction" else cut
        self._keep = keep if self._keep is None else min(self._keep, keep)

    def _take_heard(self) -> None:
        # Before the first answer there are no calls, and a stray tool result must not pass the system message or a summary.
        self._extend(self._mender.take(results_first(self._heard, self._notes) if self._answered else self._heard))
        self._heard = []
        self._unread = None

    def _extend(self, messages: list[Message]) -> None:
        self._history += messages
        self._tokens += sum(map(estimate_message, messages))

    def _fill_unread(self, index: int, name: str, input_tokens: int) -> None:
        missing = input_tokens - self._tokens - self._tool_tokens - sum(map(estimate_message, self._heard))
        missing = min(missing, MOST_TOKENS)
        if missing <= 0:
            return
        self._notes[UNREAD] += missing
        message = self._heard[index]
        filled = f"{message.content}\n{prefix(name, missing * 7 // 2)}"
        self._heard[index] = msgspec.structs.replace(message, content=filled)

    def _fill(self, input_tokens: int) -> None:
        system = self._history[0] if self._history[0].role == "system" else None
        missing = input_tokens - self._tokens - self._tool_tokens - (0 if system else MESSAGE_TOKENS)
        missing = min(missing, MOST_TOKENS)
        if missing <= 0:
            return
        self._notes[FILLED] += missing
        if system is None:
            self._history.insert(0, Message(role="system", content=prefix(self._harness, missing * 7 // 2)))
        else:
            # As long as the whole message must be, so that its estimate comes out exactly.
            size = (estimate(system.content) + missing) * 7 // 2 - len(system.content.encode("utf-8", "surrogatepass"))
            filled = prefix(self._harness, max(0, size - 1))
            self._history[0] = msgspec.structs.replace(system, content=f"{system.content}\n{filled}")
        self._filled = self._history[0]
        self._tokens = sum(map(estimate_message, self._history))


def _in_order(messages: Iterable[Message]) -> Iterable[Message]:
    """The messages of a history as `answer` would have put them: behind the first answer, results before users' words."""
    step: list[Message] = []
    answered = False
    for message in messages:
        if message.role != "assistant":
            step.append(message)
            continue
        yield from results_first(step, Counter()) if answered else step
        yield message
        step, answered = [], True
    yield from results_first(step, Counter()) if answered else step
