"""The requests of a recorder's log, each with its whole history again, and every message read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec import Raw

from openagentperf.corpus.formats import anthropic, chat, responses
from openagentperf.corpus.formats.lines import BAD, decoded, why
from openagentperf.corpus.formats.snapshots import Convert
from openagentperf.records.capture import Dialect, Exchange, Row, Started
from openagentperf.records.trajectory import Message, Skipped
from openagentperf.units import Ns

DECODER: msgspec.json.Decoder[Row] = msgspec.json.Decoder(Row)
_CHAT = msgspec.json.Decoder(chat.ChatMessage)
NONE = Raw(b"null")
_ROLE = msgspec.json.Decoder(responses.Item)
_ARRAY = msgspec.json.Decoder(list[Raw])


class Request:
    """One exchange. `groups` are its messages in their dialect's JSON, `said` the same as ours, one entry a group."""

    __slots__ = ("answer", "groups", "row", "run", "said", "tools", "where")

    def __init__(
        self,
        run: int,
        row: Exchange,
        where: str,
        groups: list[bytes],
        said: list[tuple[Message, ...]],
        tools: tuple[bytes, ...],
        answer: Message | None,
    ) -> None:
        self.run = run
        """Clocks and labels of two runs have nothing to do with each other."""
        self.row = row
        self.where = where
        self.groups = groups
        self.said = said
        self.tools = tools
        self.answer = answer
        """As it would be sent back; None where nothing usable came."""

    @property
    def answered(self) -> bool:
        return 200 <= self.row.status < 300 and self.answer is not None

    @property
    def arrived_ns(self) -> Ns:
        return self.row.arrived_ns

    @property
    def calls(self) -> frozenset[str]:
        """Ids of the tool calls in its answer."""
        return frozenset(call.id for call in self.answer.tool_calls) if self.answer is not None else frozenset()

    @property
    def brings_results(self) -> bool:
        """Whether tool results stand behind its last answer."""
        for messages in reversed(self.said):
            for message in reversed(messages):
                if message.role == "assistant":
                    return False
                if message.role == "tool":
                    return True
        return False


class Requests:
    """Reads a log. Messages that many requests share are read once, and are one object."""

    def __init__(self, data: bytes, source: str, skipped: list[Skipped]) -> None:
        self._data, self._source, self._skipped = data, source, skipped
        self.notes: Counter[str] = Counter()
        self._read: dict[tuple[Dialect, bytes], tuple[Message, ...]] = {}
        self._same: dict[tuple[Message, ...], tuple[Message, ...]] = {}

    def __iter__(self) -> Iterator[Request]:
        """In the order of the log. A line that cannot be used becomes a row of `skipped`."""
        run = last = 0
        own: dict[int, list[bytes]] = {}
        tools: dict[int, tuple[bytes, ...]] = {}
        by_answer: dict[str, tuple[list[bytes], list[bytes]]] = {}
        for number, row in decoded(self._data, self._source, self._skipped, DECODER):
            where = f"{self._source}:{number}"
            if isinstance(row, Started) or row.number <= last:  # a lost first line still shows by the numbers
                run, last = run + 1, 0
                own, tools, by_answer = {}, {}, {}
            if isinstance(row, Started):
                continue
            last = row.number
            if row.base and (row.base not in own or not 0 <= row.keep <= len(own[row.base])):
                self._skipped.append(Skipped(where, f"goes on from exchange {row.base}, which is not there"))
                continue
            items = (own[row.base][: row.keep] if row.base else []) + [bytes(raw) for raw in row.appended]
            own[row.number] = items
            tools[row.number] = tools.get(row.base, ()) if row.tools is None else tuple(map(bytes, row.tools))
            if row.previous in by_answer:
                items = _behind(*by_answer[row.previous], items)
            try:
                request = self._request(run, row, where, items, tools[row.number])
                if row.answer_id and row.answer != NONE and row.dialect == "responses":
                    by_answer[row.answer_id] = (items, [bytes(raw) for raw in _ARRAY.decode(row.answer)])
            except BAD as error:
                self._skipped.append(Skipped(where, why(error)))
                continue
            if request.groups:
                yield request
            else:
                self._skipped.append(Skipped(where, row.error or "a request without messages"))

    def _request(self, run: int, row: Exchange, where: str, items: list[bytes], tools: tuple[bytes, ...]) -> Request:
        groups = responses.grouped(items) if row.dialect == "responses" else items
        said = [self._messages(row.dialect, group) for group in groups]
        answer = None if row.answer == NONE else _answer(row.dialect, bytes(row.answer))
        return Request(run, row, where, groups, said, tools, answer)

    def _messages(self, dialect: Dialect, group: bytes) -> tuple[Message, ...]:
        known = self._read.get((dialect, group))
        if known is None:
            read = tuple(CONVERT[dialect](group, self.notes))
            known = self._read[dialect, group] = self._same.setdefault(read, read)
        return known


def tool_texts(dialect: Dialect, tools: Sequence[bytes], notes: Counter[str]) -> tuple[str, ...]:
    """Tool definitions of any dialect as JSON texts of the chat dialect."""
    return _TOOLS[dialect](map(Raw, tools), notes)


def _behind(before: list[bytes], answer: list[bytes], items: list[bytes]) -> list[bytes]:
    """A history of which the request repeats nothing; its own instructions take the place of the earlier ones."""
    mine, theirs = _opens_with_system(items), _opens_with_system(before)
    return items[:mine] + before[theirs:] + answer + items[mine:]


def _opens_with_system(items: list[bytes]) -> int:
    return int(bool(items) and _ROLE.decode(items[0]).role == "system")


def _answer(dialect: Dialect, text: bytes) -> Message | None:
    """The answer as one message; None where it says nothing."""
    found = responses.convert(text, Counter()) if dialect == "responses" else CONVERT[dialect](text, Counter())
    answer = next((message for message in found if message.role == "assistant"), None)
    return answer if answer is not None and (answer.content or answer.reasoning or answer.tool_calls) else None


def _chat(text: bytes, notes: Counter[str]) -> list[Message]:
    return [chat.to_message(_CHAT.decode(text), notes)]


CONVERT: dict[Dialect, Convert] = {"chat": _chat, "messages": anthropic.to_messages, "responses": responses.convert}
_TOOLS: dict[Dialect, Callable[..., tuple[str, ...]]] = {
    "chat": chat.tool_texts,
    "messages": anthropic.tool_texts,
    "responses": responses.tool_texts,
}
