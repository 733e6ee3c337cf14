"""The requests of a recorder's log, each with its whole history again, and every message read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec
from msgspec import Raw

from openagentperf.corpus.formats import anthropic, chat, counts, responses
from openagentperf.corpus.formats.lines import BAD, decoded, why
from openagentperf.corpus.formats.snapshots import Convert
from openagentperf.corpus.formats.thread import Readings, Request, brings_results
from openagentperf.corpus.formats.usage import Counts
from openagentperf.records.capture import Dialect, Exchange, Row, Started
from openagentperf.records.trajectory import Message, Skipped

DECODER: msgspec.json.Decoder[Row] = msgspec.json.Decoder(Row)
_CHAT = msgspec.json.Decoder(chat.ChatMessage)
NONE = Raw(b"null")
_ROLE = msgspec.json.Decoder(responses.Item)
_ARRAY = msgspec.json.Decoder(list[Raw])


class Requests:
    """Reads a log. Messages that many requests share are read once, and are one object."""

    def __init__(self, data: bytes, source: str, skipped: list[Skipped]) -> None:
        self._data, self._source, self._skipped = data, source, skipped
        self._readings = Readings()
        self._tools: dict[tuple[Dialect, tuple[bytes, ...]], tuple[str, ...]] = {}

    @property
    def notes(self) -> Counter[str]:
        return self._readings.notes

    def __iter__(self) -> Iterator[tuple[Request, bool]]:
        """In the order of the log, each with whether it was answered. A line that cannot be used becomes a row of `skipped`."""
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
                request = self._request(f"run {run}", row, items, tools[row.number])
                if row.answer_id and row.answer != NONE and row.dialect == "responses":
                    by_answer[row.answer_id] = (items, [bytes(raw) for raw in _ARRAY.decode(row.answer)])
            except BAD as error:
                self._skipped.append(Skipped(where, why(error)))
                continue
            if request.messages:
                yield request, 200 <= row.status < 300 and request.answer is not None
            else:
                self._skipped.append(Skipped(where, row.error or "a request without messages"))

    def _request(self, scope: str, row: Exchange, items: list[bytes], tools: tuple[bytes, ...]) -> Request:
        groups = responses.grouped(items) if row.dialect == "responses" else items
        messages = self._readings.of(_CONVERT[row.dialect], groups)
        answer = None if row.answer == NONE else _answer(row.dialect, bytes(row.answer))
        if (row.dialect, tools) not in self._tools:
            self._tools[row.dialect, tools] = _TOOLS[row.dialect](map(Raw, tools), self.notes)
        return Request(
            messages=messages,
            answer=answer,
            counted=Counts(
                counts.tokens(row.input_tokens), counts.tokens(row.output_tokens), counts.tokens(row.cached_tokens)
            ),
            tools=self._tools[row.dialect, tools],
            began=row.arrived_ns,
            ended=row.answered_ns,
            calls=answer is not None and bool(answer.tool_calls),
            returns=brings_results(messages),
            broken=bool(row.ending),
            scope=scope,
            session=row.session,
            model=row.model,
            agent=row.agent,
            name=f"{row.session or 'session'}-{row.at}-{row.number}",
        )


def _behind(before: list[bytes], answer: list[bytes], items: list[bytes]) -> list[bytes]:
    """A history of which the request repeats nothing; its own instructions take the place of the earlier ones."""
    mine, theirs = _opens_with_system(items), _opens_with_system(before)
    return items[:mine] + before[theirs:] + answer + items[mine:]


def _opens_with_system(items: list[bytes]) -> int:
    return int(bool(items) and _ROLE.decode(items[0]).role == "system")


def _answer(dialect: Dialect, text: bytes) -> Message | None:
    """The answer as one message; None where it says nothing."""
    found = responses.convert(text, Counter()) if dialect == "responses" else _CONVERT[dialect](text, Counter())
    answer = next((message for message in found if message.role == "assistant"), None)
    return answer if answer is not None and (answer.content or answer.reasoning or answer.tool_calls) else None


def _chat(text: bytes, notes: Counter[str]) -> list[Message]:
    return [chat.to_message(_CHAT.decode(text), notes)]


_CONVERT: dict[Dialect, Convert] = {"chat": _chat, "messages": anthropic.to_messages, "responses": responses.convert}
_TOOLS: dict[Dialect, Callable[..., tuple[str, ...]]] = {
    "chat": chat.tool_texts,
    "messages": anthropic.tool_texts,
    "responses": responses.tool_texts,
}
