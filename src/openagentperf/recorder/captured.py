"""From the bytes of one exchange to a line of the log: read, scrubbed, and without what an earlier line holds already.

Runs in the writer's process. What it remembers of the unscrubbed text are hashes, in memory: which histories have been written down.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from msgspec import Raw, Struct

from openagentperf.corpus.scrub import Scrubber
from openagentperf.recorder.protocol import Ended
from openagentperf.records.capture import Dialect, Exchange
from openagentperf.units import NS_PER_S
from openagentperf.wire import chatmessage, http, messagesanswer, responsesanswer, servererror, sse
from openagentperf.wire.answered import Answered, document

MAX_UNPACKED_BYTES = 256 << 20
"""A compressed body that unpacks to more is taken for unreadable."""
_KEPT_TOOLS = 64
_SESSION = re.compile(r"session_(?:id\W{1,6})?([0-9A-Za-z-]{8,})")
"""In Anthropic's `metadata.user_id`, as Claude Code fills it: `user_.._session_<uuid>`, or JSON with a `session_id`."""


_NULL = Raw(b"null")


class Unreadable(Exception):
    """A body of which nothing can be written down; the text says why."""


class _Request(Struct):
    """The fields of a request that are kept, of all three dialects."""

    model: object = None
    messages: list[Raw] | None = None
    system: Raw = _NULL
    input: Raw = _NULL
    instructions: Raw = _NULL
    tools: list[Raw] | None = None
    previous_response_id: object = None
    metadata: object = None


class Capturer:
    """Turns exchanges into log lines, numbered from 1."""

    def __init__(self, scrubber: Scrubber | None) -> None:
        self._scrubber = scrubber
        self._number = 0
        self._labels: dict[str, str] = {}
        self._written: dict[bytes, tuple[int, int]] = {}
        """By the hash over a history's beginning: the exchange that holds it, and how many items it is long."""
        self._tools_of: dict[int, bytes] = {}
        self._tools: dict[bytes, tuple[Raw, ...]] = {}
        self._pending: tuple[list[bytes], bytes] = ([], b"")

    def exchange(self, ended: Ended, request: bytes, response: bytes) -> Exchange:
        """The line for one exchange; call `written` when it stands. Never raises for its bodies: `error` says what could not be read."""
        number = self._number + 1
        error = ""
        asked, items = _Request(), list[bytes]()
        try:
            asked = _read(_unpacked(request, ended.encoding))
            items = _items(ended.dialect, asked)
        except Unreadable as why:
            error = f"the request {why}"
        answer = self._answer(ended, response)
        base, keep = self._base(items)
        tools_hash = _hash(b"", *map(bytes, asked.tools or ()))
        line = Exchange(
            number=number,
            dialect=ended.dialect,
            at=_iso(ended.at_unix_ns),
            arrived_ns=ended.arrived_ns,
            answered_ns=answer.at_ns,
            status=answer.status,
            base=base,
            keep=keep,
            appended=tuple(self._clean(item) for item in items[keep:]),
            tools=None if tools_hash == self._tools_of.get(base, _hash(b"")) else self._clean_tools(tools_hash, asked),
            model=self.text(asked.model if isinstance(asked.model, str) else answer.said.model),
            session=self._label(ended.session or _session_in(asked.metadata)),
            agent=self.text(ended.agent),
            previous=self.text(asked.previous_response_id if isinstance(asked.previous_response_id, str) else ""),
            answer=self._clean(answer.said.body) if answer.said.body else _NULL,
            answer_id=self.text(answer.said.id),
            finish=self.text(answer.said.finish),
            input_tokens=answer.said.input_tokens,
            output_tokens=answer.said.output_tokens,
            cached_tokens=answer.said.cached_tokens,
            # Clients exist that hang up at the terminal event (Codex): they have the whole answer.
            ending="" if answer.said.complete else ended.ending,
            error=self.text(error or answer.said.error),
        )  # fmt: skip
        self._pending = (items, tools_hash)
        return line

    def written(self) -> None:
        """The last line stands in the log: others may go on from it."""
        items, self._tools_of[self._number + 1] = self._pending
        self._number += 1
        chain = b""
        for count, item in enumerate(items, 1):
            chain = _hash(chain, item)
            self._written.setdefault(chain, (self._number, count))

    def _base(self, items: Sequence[bytes]) -> tuple[int, int]:
        """The exchange with the longest beginning in common, and its length; (0, 0) where none has any."""
        found = (0, 0)
        chain = b""
        for item in items:
            chain = _hash(chain, item)
            if chain not in self._written:
                break
            found = self._written[chain]
        return found

    def _answer(self, ended: Ended, response: bytes) -> _Answer:
        times = memoryview(ended.times_ns).cast("q")
        parsed = http.parse(response, memoryview(ended.sizes).cast("q").tolist())
        last_ns = times[-1] if times else ended.arrived_ns
        try:
            body = _unpacked(parsed.body, parsed.encoded)
        except Unreadable as why:
            return _Answer(parsed.status, Answered(error=f"the answer {why}"), last_ns)
        if not 200 <= parsed.status < 300:
            error = servererror.message_of(body) if parsed.status else "no answer came"
            return _Answer(parsed.status, Answered(error=error), last_ns)
        if "event-stream" not in parsed.headers.get("content-type", "") and not body.lstrip().startswith(
            (b"data:", b"event:")
        ):
            return _Answer(parsed.status, _WHOLE[ended.dialect](body), last_ns)
        ends = [len(body)] if parsed.encoded else parsed.ends
        events = sse.events(body, ends, ended=parsed.complete or not ended.ending)
        said = _STREAMED[ended.dialect](events)
        if said.last_event < 0 or parsed.encoded:
            return _Answer(parsed.status, said, last_ns)
        return _Answer(parsed.status, said, times[events[said.last_event].read])

    def _clean(self, raw: bytes) -> Raw:
        return Raw(raw if self._scrubber is None else self._scrubber.json(raw))

    def text(self, text: str) -> str:
        """Any text that is to be kept, scrubbed."""
        return text if self._scrubber is None else self._scrubber.text(text)

    def _clean_tools(self, key: bytes, asked: _Request) -> tuple[Raw, ...]:
        """Agents of one harness offer the same 100 KB of definitions: read once."""
        if key not in self._tools:
            if len(self._tools) >= _KEPT_TOOLS:
                self._tools.clear()
            self._tools[key] = tuple(self._clean(bytes(tool)) for tool in asked.tools or ())
        return self._tools[key]

    def _label(self, session: str) -> str:
        return self._labels.setdefault(session, f"s{len(self._labels) + 1}") if session else ""


class _Answer(Struct, frozen=True):
    status: int
    said: Answered
    at_ns: int
    """When it had come."""


_STREAMED: dict[Dialect, Callable[[Sequence[sse.Event]], Answered]] = {
    "chat": chatmessage.streamed, "responses": responsesanswer.streamed, "messages": messagesanswer.streamed,
}  # fmt: skip
_WHOLE: dict[Dialect, Callable[[bytes], Answered]] = {
    "chat": chatmessage.whole, "responses": responsesanswer.whole, "messages": messagesanswer.whole,
}  # fmt: skip


def _read(body: bytes) -> _Request:
    found = document(body, _Request)
    if found is None:
        raise Unreadable("is no JSON object of a known shape")
    return found


def _items(dialect: Dialect, asked: _Request) -> list[bytes]:
    """What the model reads, in order; a system prompt that stands beside the messages comes first."""
    items: list[bytes] = []
    if dialect == "messages" and asked.system != _NULL:
        items.append(b'{"role":"system","content":%b}' % bytes(asked.system))
    if dialect == "responses":
        if asked.instructions != _NULL:
            items.append(b'{"type":"message","role":"system","content":%b}' % bytes(asked.instructions))
        return items + _input(bytes(asked.input))
    return items + [bytes(message) for message in asked.messages or ()]


def _input(raw: bytes) -> list[bytes]:
    if raw == b"null":
        return []
    if raw[:1] == b'"':
        return [b'{"type":"message","role":"user","content":%b}' % raw]
    found = document(raw, list[Raw])
    if found is None:
        raise Unreadable("has an `input` that is neither a text nor a list")
    return [bytes(item) for item in found]


def _unpacked(body: bytes, encoding: str) -> bytes:
    """The body behind its content encoding."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Unreadable(f"is compressed ({encoding}), which this program does not read")
    unpack = zlib.decompressobj(wbits=47 if "gzip" in encoding else (-15 if body[:1] not in (b"\x78", b"\x58") else 15))
    try:
        plain = unpack.decompress(body, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise Unreadable(f"is broken {encoding} ({error})") from None
    if unpack.unconsumed_tail:
        raise Unreadable(f"unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB")
    return plain


def _session_in(metadata: object) -> str:
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    found = _SESSION.search(user) if isinstance(user, str) else None
    return found[1] if found else ""


def _hash(chain: bytes, *items: bytes) -> bytes:
    digest = hashlib.blake2b(chain, digest_size=16)
    for item in items:
        digest.update(b"%d:" % len(item))
        digest.update(item)
    return digest.digest()


def _iso(unix_ns: int) -> str:
    return datetime.fromtimestamp(unix_ns / NS_PER_S, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
