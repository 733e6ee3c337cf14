"""Requests that hold their whole message lists, and the turns of those that go on with one another (`threads` tells which)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats import counts, languages
from openagentperf.corpus.formats.prefix import MOST_TOKENS, prefix
from openagentperf.corpus.formats.snapshots import Convert, Snapshots, common
from openagentperf.corpus.formats.steps import FILLED
from openagentperf.corpus.formats.subagents import Asked
from openagentperf.corpus.formats.usage import UNKNOWN, Counts
from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate, estimate_answer, estimate_message
from openagentperf.records.trajectory import Message, Turn
from openagentperf.units import Ns

_TOOLS = "requests that offered other tools than the first: the first set is used"
_KEPT = "answers that were cut off kept as far as they came"
_AGAIN = "answers that were cut off and asked for again left out"
_ANEW = "histories begun anew in the same session taken as compactions"


class Request(Struct, kw_only=True, eq=False):
    """One request and its answer."""

    messages: tuple[Message, ...]
    answer: Message | None = None
    """As it would be sent back; None where it was not recorded: the request that goes on holds it."""
    counted: Counts = UNKNOWN
    tools: tuple[str, ...] = ()
    began: Ns | None = None
    ended: Ns | None = None
    calls: bool = False
    """Whether the answer calls tools, in whatever form."""
    returns: bool = False
    """Whether it brings what tools returned, so that the time before it was theirs. See `brings_results`."""
    broken: bool = False
    """Whether the answer was cut off."""
    scope: str = ""
    """Requests of two scopes have nothing to do with each other: their clocks, labels or dialects are not the same."""
    session: str = ""
    """The client's name for the session; "" where it gave none."""
    harness: str = ""
    """Name of a program whose recordings lack a part of what it sends: as in `steps.Steps`. "": nothing is filled in."""
    model: str = ""
    agent: str = ""
    """The program that sent it, and its version."""
    name: str = ""
    """Of the session, if it is the first of one."""


class Readings:
    """Reads each message once, however many requests repeat it: equal ones are one object."""

    def __init__(self) -> None:
        self.notes: Counter[str] = Counter()
        self._read: dict[Convert, dict[bytes, tuple[Message, ...]]] = {}
        self._same: dict[tuple[Message, ...], tuple[Message, ...]] = {}

    def of(self, convert: Convert, texts: Sequence[bytes]) -> tuple[Message, ...]:
        """The messages behind `texts`. Raises one of `lines.BAD`."""
        messages: list[Message] = []
        seen = self._read.setdefault(convert, {})
        for text in texts:
            known = seen.get(text)
            if known is None:
                read = tuple(convert(text, self.notes))
                known = seen[text] = self._same.setdefault(read, read)
            messages += known
        return tuple(messages)


class Fills:
    """What stands for the unrecorded part of each system prompt, so that all requests that open with it are filled alike."""

    def __init__(self) -> None:
        self._tokens: dict[int, int] = {}

    def tokens(self, request: Request) -> int:
        """So many are missing in a request, going by the first one of its harness, system prompt and tools whose input was counted."""
        if not request.harness:
            return 0
        system = request.messages[0] if request.messages[0].role == "system" else None
        key = hash((request.harness, system, request.tools))
        if key not in self._tokens and request.counted.input:
            known = sum(map(estimate_message, request.messages)) + sum(map(estimate, request.tools))
            missing = request.counted.input - known - (MESSAGE_TOKENS if system is None else 0)
            self._tokens[key] = max(0, min(missing, MOST_TOKENS))
        return self._tokens.get(key, 0)


class Thread:
    """The turns of one line of requests, each going on from the one before. `add` at least one."""

    def __init__(self, fills: Fills) -> None:
        self.tally: Counter[str] = Counter()
        """Languages of the files that its calls name."""
        self.asked: list[Asked] = []
        """One a turn."""
        self.tools: tuple[str, ...] = ()
        """The first that were offered."""
        self.first: Request
        self.last: Request
        self._fills = fills
        self.noted: Counter[str] = Counter()
        """Of what no request adds to: as many as there were in the one that had most."""
        self._notes: Counter[str] = Counter()
        self._snapshots = Snapshots(lambda _text, _notes: [])
        self._filled = ""
        """What was not recorded of the system prompt and the tools."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        return self._snapshots.turns

    @property
    def notes(self) -> Counter[str]:
        return self.noted + self._notes + self._snapshots.notes

    @property
    def began(self) -> Ns | None:
        return self.first.ended if self.first.began is None else self.first.began

    def add(self, request: Request, cut: Literal["compaction", "undeclared"] = "undeclared") -> None:
        """The next request, in the order of time; cut: what it is called where it does not hold all of the last one's messages."""
        if self.asked:
            self._go_on(request)
        else:
            self.first = request
            self._fill(request)
        if request.tools and not self.tools:
            self.tools = request.tools
            self._snapshots.offer(request.tools)
        self._notes[_TOOLS] += request.tools != self.tools
        self._notes[_KEPT] += request.broken
        self._notes[_ANEW] += cut == "compaction"
        if request.answer is not None:
            self._tally(request.answer)
        self._snapshots.add(
            self._sent(request.messages),
            input_tokens=request.counted.input,
            output_tokens=request.counted.output,
            cached_tokens=request.counted.cached,
            visible_tokens=1 if request.answer is None else estimate_answer(request.answer),
            tool_calls=0 if request.answer is None else len(request.answer.tool_calls),
            cut=cut,
        )
        self.asked.append(Asked(request.ended, sent=request.began))
        self.last = request

    def again(self, request: Request) -> None:
        """The last request was sent once more, its answer having been cut off: this answer stands for it."""
        sent = self.asked[-1].sent
        self._notes[_KEPT] -= self.last.broken
        self._notes[_AGAIN] += 1
        self.add(msgspec.structs.replace(request, returns=False))
        self._snapshots.fold()
        self.asked[-2:] = [Asked(request.ended, sent=sent)]

    def join(self, other: Thread) -> None:
        """What `other` asked comes next, behind a compaction."""
        self._go_on(other.first)
        self._notes[_ANEW] += 1
        self._snapshots.join(other._snapshots)
        self.tools = self.tools or other.tools
        self.asked += other.asked
        self.last = other.last
        self.tally += other.tally
        self._notes += other._notes
        self.noted |= other.noted

    def note(self, what: str) -> None:
        self._notes[what] += 1

    def _go_on(self, request: Request) -> None:
        """What only the next request tells of the last answer: its end, and the answer itself where it was not recorded."""
        last = self.last
        same = common(last.messages, request.messages)
        # Equal messages are kept once: each request may have been decoded anew, with all its history.
        request.messages = (*last.messages[:same], *request.messages[same:])
        self.asked[-1] = msgspec.structs.replace(self.asked[-1], done=request.began)
        self._snapshots.amend(tool_delay_ns=counts.between_ns(last.ended, request.began) if request.returns else None)
        if last.answer is None and (answer := answer_in(request.messages[same:])) is not None:
            self._snapshots.amend(tool_calls=len(answer.tool_calls))
            self._tally(answer)

    def _tally(self, answer: Message) -> None:
        for call in answer.tool_calls:
            languages.tally_text(call.arguments, self.tally)

    def _fill(self, request: Request) -> None:
        missing = self._fills.tokens(request)
        if missing:
            self._filled = prefix(request.harness, missing * 7 // 2)
            self._notes[FILLED] += missing

    def _sent(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        if not self._filled:
            return messages
        first = messages[0]
        if first.role != "system":
            return (Message(role="system", content=self._filled), *messages)
        return (msgspec.structs.replace(first, content=f"{first.content}\n{self._filled}"), *messages[1:])


def answer_in(messages: Iterable[Message]) -> Message | None:
    """The first answer among them."""
    return next((message for message in messages if message.role == "assistant"), None)


def brings_results(messages: Sequence[Message], *, alone: bool = False) -> bool:
    """Whether tool results stand behind the last answer; alone: and no word of a user.

    What stands beside a result is a reminder of the program in one agent, and in another a person's next prompt, the last call having said
    that the work was done: whoever reads the recording knows which.
    """
    roles: set[str] = set()
    for message in reversed(messages):
        if message.role == "assistant":
            break
        roles.add(message.role)
    return "tool" in roles and not (alone and "user" in roles)
