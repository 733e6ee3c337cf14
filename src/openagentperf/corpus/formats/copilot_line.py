"""One line of a Copilot CLI session, the main one or a sub-agent's, on its way to turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import counts
from openagentperf.corpus.formats.copilot_events import Answered, Spent, ToolRequest
from openagentperf.corpus.formats.documents import mended
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.mend import call_of
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.tokens import estimate_message
from openagentperf.records.trajectory import Message, ToolCall, Turn
from openagentperf.units import Ns

UNHEARD = Message(role="user", content="[the user's message, not recorded]")
_NULL = Raw(b"null")
_STRING = msgspec.json.Decoder(str)


class Open(Struct):
    """An answer that more messages may belong to."""

    call: str
    """Id of the API call, "" where not told."""
    texts: list[str]
    thoughts: list[str]
    calls: list[ToolCall]
    output: int
    stamp: Ns | None


class Line:
    """See the module's docstring.

    unrecorded    tokens of system prompt and tools that no event holds, filled in with text that all sessions of `harness` share
    spent         what is known of the API calls, by their ids
    """

    def __init__(
        self, name: str, harness: str, unrecorded: int, spent: Mapping[str, Spent], notes: Counter[str]
    ) -> None:
        self.name = name
        self.steps = Steps(notes, harness=harness)
        self.asked: Ns | None = None
        """When its first event came."""
        self.last: Ns | None = None
        self.order = 0
        """Number of its last event in the file."""
        self.opening = UNHEARD
        """What stands for a first message that was not recorded."""
        self.calls: dict[str, int] = {}
        """The turn that made each call."""
        self.next_turn: dict[str, int] = {}
        """The first turn that was asked with each call's result."""
        self._unrecorded = unrecorded
        self._spent = spent
        self._notes = notes
        self._open: Open | None = None
        self.answers = 0
        """Answers that are whole."""
        self.born = 0
        """For a sub-agent: the main line's last turn when it was first heard of."""
        self._heard: list[Message] = []
        self._bare = True
        """Nothing was answered yet, or since the history was cleared."""
        self._counted: set[int] = set()
        self._ends: list[Ns | None] = []
        self._results: list[dict[str, Ns | None]] = []
        self._kept: list[Message] | None = None
        """What came since a compaction began, which it leaves alone."""

    def hear(self, message: Message) -> None:
        """A system, user or tool message."""
        self.close()
        self._heard.append(message)
        if self._kept is not None:
            self._kept.append(message)

    def answer(self, data: Answered, calls: Sequence[ToolCall], stamp: Ns | None) -> None:
        """A message of the model, and the calls that it asks for."""
        part = self._open
        if part is None or not part.call or part.call != data.api_call_id:
            self.close()
            part = self._open = Open(data.api_call_id or "", [], [], [], 0, stamp)
        part.texts.append(data.content or "")
        part.thoughts.append(data.reasoning_text or "")
        part.calls += calls
        part.output = max(part.output, counts.tokens(data.output_tokens) or 0)
        part.stamp = stamp
        for call in calls:
            self.calls.setdefault(call.id, self.answers)

    def result(self, call_id: str, text: str, stamp: Ns | None) -> None:
        """What came back of a call."""
        self.hear(Message(role="tool", content=text, tool_call_id=call_id))
        turn = self.calls.get(call_id)
        if turn is not None and turn < self.answers:
            self._results[turn][call_id] = stamp
            self.next_turn.setdefault(call_id, self.answers)

    def compacting(self) -> None:
        """A compaction begins; the session goes on meanwhile."""
        self.close()
        self._kept = []

    def forget(self, left: Message | None) -> None:
        """The history is gone but for the system message, `left`, and what came since the compaction began."""
        self.close()
        kept, self._kept = self._kept or [], None
        self.steps.forget()
        self._heard = [left] if left is not None else []
        self._bare = True
        for message in kept:
            if message.role == "assistant":
                self.steps.hear(*self._heard)
                self.steps.recall(message)
                self._heard = []
            else:
                self._heard.append(message)

    def end_of(self, turn: int) -> Ns | None:
        """When the answer of `turn` was there."""
        return self._ends[turn]

    def turns(self, joined: Mapping[str, Ns | None]) -> tuple[Turn, ...]:
        """The turns. `joined`: calls that started a sub-agent which was waited for, and when that had ended."""
        turns: list[Turn] = []
        for number, turn in enumerate(self.steps.turns):
            waits = [
                wait
                for call, came in self._results[number].items()
                if (wait := counts.between_ns(joined.get(call, self._ends[number]), came)) is not None
            ]
            turns.append(
                msgspec.structs.replace(
                    turn,
                    tool_delay_ns=max(waits, default=None),
                    counted=turn.counted if number in self._counted else "estimated",
                )
            )
        return tuple(turns)

    def close(self) -> None:
        """The open answer is whole."""
        part, self._open = self._open, None
        if part is None:
            return
        message = Message(
            role="assistant",
            content="\n".join(filter(None, part.texts)),
            reasoning="\n".join(filter(None, part.thoughts)),
            tool_calls=tuple(part.calls),
        )
        prompt, output, cached = tokens_of(self._spent.get(part.call) if part.call else None)
        if prompt:
            self._counted.add(self.answers)
        elif not self.answers and self._unrecorded:
            prompt = self._unrecorded + sum(map(estimate_message, self._heard))
        if self._bare and not self._heard:
            self._heard = [self.opening]
        self._bare = False
        self.steps.hear(*self._heard)
        self.steps.answer(
            message, input_tokens=prompt or None, output_tokens=part.output or output or None, cached_tokens=cached
        )
        self._heard = []
        if self._kept is not None:
            self._kept.append(message)
        self._ends.append(part.stamp)
        self._results.append({})
        self.answers += 1


def tokens_of(spent: Spent | None) -> tuple[int, int, int | None]:
    """Input, output and cached tokens of an API call; zeros where not known."""
    if spent is None:
        return 0, 0, None
    prompt = counts.tokens(spent.input_tokens) or 0
    read = counts.tokens(spent.cache_read_tokens) or 0
    written = counts.tokens(spent.cache_write_tokens) or 0
    if prompt < read + written:
        prompt += read + written  # counted as Anthropic does, the fresh ones alone
    return prompt, counts.tokens(spent.output_tokens) or 0, read if prompt else None


def tool_call(request: ToolRequest, notes: Counter[str]) -> ToolCall:
    """One call, the text of a grammar-based one as its `input`. Raises one of `lines.BAD` where its arguments are no UTF-8."""
    if request.arguments == _NULL:
        return call_of(request.tool_call_id, request.name, "", notes)
    try:
        text = mended(_STRING, request.arguments)
    except BAD:
        return call_of(request.tool_call_id, request.name, bytes(request.arguments).decode(), notes)
    arguments = msgspec.json.encode({"input": text}).decode()
    return ToolCall(request.tool_call_id, request.name or "unknown", arguments)
