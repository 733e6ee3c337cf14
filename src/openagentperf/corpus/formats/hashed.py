"""Turns from recordings that hold, of each request, its length and the hashes of its blocks.

Content is made (blocktext), structure is kept: bytes are shared where hashes are. A line's prompt is a stream of tokens; messages are
spans of it. Of each span the first MESSAGE_TOKENS stand for the template's role markers, the rest is content, byte for byte the
stream's. So the estimate of a request is its recorded input exactly (docs/corpus.md#hash-traces names the exceptions), and two requests
of one scope whose first n blocks are the same have the same first n blocks of bytes, role markers included.

    request k       |system        |user                |
    request k + 1   |system        |user                |assistant  |user          |
                    0              system_tokens        in(k)       + out(k)       in(k + 1)

Where the hashes of request k + 1 leave those of request k, the history is cut there: the messages before stay, the message in which it
happens is sent again with the same role and the same start, and differs from the block where the hashes do. So that lines which share a
beginning cut it into the same messages, the first line that lays a block decides where messages begin in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from openagentperf.corpus.formats.blocktext import BlockText, stream_bytes
from openagentperf.corpus.tokens import MESSAGE_TOKENS
from openagentperf.records.trajectory import Message, Role, Turn
from openagentperf.units import Ns

LEAST_TOKENS = MESSAGE_TOKENS + 1
"""No message is shorter: a template's markers, and something to mark."""
MOST_TOKENS = 1 << 24
"""16.8 million, of one request: no model takes a longer prompt, and the text is made in memory."""
RESET = 0.8
"""A request shorter than this part of the one before it, whose hashes leave it, is taken for a compaction: in recordings that declare
theirs, nothing else shortens a prompt by a fifth."""

MADE = "turns of which lengths and block hashes are recorded: text of our own, equal where the hashes are"
LOOSENED = "requests whose last blocks do not come back in the next one: sent as that one has them"


class Request(Struct, gc=False):
    """One request. `blocks` cover at least input_tokens - block + 1 tokens, and are compared by `==`."""

    blocks: list[int]
    input_tokens: int
    output_tokens: int
    tool_calls: int = 0
    delay_ns: Ns | None = None
    """Tool delay after its answer."""


class _Span(NamedTuple):
    """One message: `role`, and its first token and the one after its last in the stream."""

    role: Role
    start: int
    end: int


def common_blocks(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common beginning, by bisection over slices: 12 comparisons in C for 2,000 blocks."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while low + 1 < high:  # a[:low] is common, a[:high] is not
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


_TAIL = (1 << 61) - 1
"""Takes the numbers of text without a hash far from those of recorded blocks."""
_Start: TypeAlias = tuple[int, Role]
"""Where a message begins, in tokens, and whose it is."""


class Layout:
    """All lines of one scope: a trace, or a whole file whose hashes are global.

    loose  so many blocks at the end of a request may differ in the next one without being a rewrite: what a template puts behind the last
           message is part of the recorded prompt, yet not of the history. They are then sent as the next request has them.
    """

    def __init__(self, text: BlockText, loose: int = 0) -> None:
        self._text = text
        self.block_tokens = text.block_tokens
        self._loose = loose
        self._laid: dict[int, tuple[_Start, ...]] = {}
        """Of each block sent so far: the messages that begin in it, by their offset from the block's first token."""
        self.notes: Counter[str] = Counter()
        """What was made up or changed, by its description."""

    def continues(self, before: Request, after: Request) -> bool:
        """Whether `after` holds all of `before`, but for the loose blocks at its end. Less than a block has no hash: it is believed."""
        full = before.input_tokens // self.block_tokens
        if after.input_tokens < before.input_tokens:
            return False
        held = before.blocks[:full]
        return after.blocks[:full] == held or common_blocks(held, after.blocks) >= max(1, full - self._loose)

    def turns(self, requests: Sequence[Request], system_tokens: int = 0) -> Iterator[Turn]:
        """The turns of one line, which opens with a system message of `system_tokens` where these leave room for a user message."""
        history: list[_Span] = []
        before: list[int] = []
        reached = 0
        for group in self._groups(requests):
            blocks = group[-1].blocks[: -(-group[-1].input_tokens // self.block_tokens)]
            stream = self._stream(blocks, group[-1].input_tokens)
            starts, laid = self._inherited(blocks)
            spans = self._opening(group[0].input_tokens, starts, laid, system_tokens)
            keep = _kept(history, spans, common_blocks(before, stream) * self.block_tokens)
            cut = keep < len(history)
            shorter = group[0].input_tokens < RESET * reached
            for index, request in enumerate(group):
                self.notes[MADE] += 1
                full = request.input_tokens // self.block_tokens
                tail = slice(max(0, full - self._loose), full)
                if request.blocks[tail] != stream[tail]:
                    self.notes[LOOSENED] += 1
                if index:
                    cut, keep = False, len(spans)
                    self._grow(spans, group[index - 1].output_tokens, request.input_tokens, starts, laid)
                yield Turn(
                    appended=tuple(self._message(stream, span) for span in spans[keep:]),
                    output_tokens=request.output_tokens,
                    input_tokens=request.input_tokens,
                    counted="recorded",
                    tool_calls=request.tool_calls,
                    tool_delay_ns=request.delay_ns,
                    keep=keep if cut else None,
                    cut=("compaction" if shorter else "undeclared") if cut else "",
                )
            self._lay(blocks, spans)
            history, before, reached = spans, stream, group[-1].input_tokens

    def _groups(self, requests: Sequence[Request]) -> Iterator[list[Request]]:
        """Runs of requests of which each holds the one before: the last one's blocks are those of them all."""
        group: list[Request] = []
        for request in requests:
            if group and not self.continues(group[-1], request):
                yield group
                group = []
            group.append(request)
        if group:
            yield group

    def _stream(self, blocks: list[int], tokens: int) -> list[int]:
        """The blocks of a stream, and behind them text of its own for what no hash covers."""
        bare = -(-(tokens + 2 * LEAST_TOKENS) // self.block_tokens) - len(blocks)
        last = blocks[-1] if blocks else 0
        return [*blocks, *((last + 1) * _TAIL + index for index in range(bare))]

    def _inherited(self, blocks: list[int]) -> tuple[list[_Start], int]:
        """The messages that begin in the blocks in front which were sent before, and how many tokens these are."""
        starts: list[_Start] = []
        for index, block in enumerate(blocks):
            found = self._laid.get(block)
            if found is None:
                return starts, index * self.block_tokens
            for offset, role in found:
                start = (index * self.block_tokens + offset, role)
                # Hashes that name a block but not what precedes it can bring starts together that do not follow one another.
                if _follows(starts[-1] if starts else None, start):
                    starts.append(start)
        return starts, len(blocks) * self.block_tokens

    def _lay(self, blocks: list[int], spans: list[_Span]) -> None:
        begun: dict[int, list[_Start]] = {}
        for span in spans:
            begun.setdefault(span.start // self.block_tokens, []).append((span.start % self.block_tokens, span.role))
        for index, block in enumerate(blocks):
            if block not in self._laid:
                self._laid[block] = tuple(begun.get(index, ()))

    def _opening(self, end: int, starts: list[_Start], laid: int, system_tokens: int) -> list[_Span]:
        """The messages of a line's first request, or of the first behind a cut."""
        end = max(end, LEAST_TOKENS)
        inside = [start for start in starts if start[0] < end]
        if not inside:
            inside = [(0, "system" if system_tokens >= LEAST_TOKENS else "user")]
        return _closed(inside, end, max(laid, system_tokens if len(inside) == 1 else 0))

    def _grow(self, spans: list[_Span], answer: int, end: int, starts: list[_Start], laid: int) -> None:
        """Append the answer before and what follows it, up to `end`. Nothing where the request only repeats the one before."""
        at = spans[-1].end
        if end <= at:
            return
        end = max(end, at + 2 * LEAST_TOKENS)
        inside = [start for start in starts if at <= start[0] < end]
        if not inside or inside[0] != (at, "assistant"):
            inside, laid = [(at, "assistant")], 0
        spans += _closed(inside, end, max(laid, at + answer if len(inside) == 1 else 0))

    def _message(self, stream: list[int], span: _Span) -> Message:
        size = stream_bytes(span.end - span.start - MESSAGE_TOKENS)
        return Message(role=span.role, content=self._text.span(stream, stream_bytes(span.start + MESSAGE_TOKENS), size))


def _follows(before: _Start | None, start: _Start) -> bool:
    """Whether a message may begin there: roles take turns behind the system message, which alone may open beside the user."""
    if before is None:
        return start[0] == 0 and start[1] != "assistant"
    taken_turns = start[1] == ("assistant" if before[1] == "user" else "user")
    return taken_turns and start[0] - before[0] >= LEAST_TOKENS


def _closed(starts: list[_Start], end: int, split: int) -> list[_Span]:
    """Messages that begin at `starts` and reach to `end`, the last one a user's: where it is not, a user message begins at `split`, or as
    near to it as the shortest message allows. A message for which no room is left is left out; the only one becomes the user's."""
    starts = list(starts)
    while len(starts) > 1 and end - starts[-1][0] < (1 if starts[-1][1] == "user" else 2) * LEAST_TOKENS:
        starts.pop()
    at, role = starts[-1]
    if role != "user":
        if end - at < 2 * LEAST_TOKENS:
            starts[-1] = (at, "user")
        else:
            starts.append((min(max(split, at + LEAST_TOKENS), end - LEAST_TOKENS), "user"))
    ends = [start for start, _ in starts[1:]]
    return [_Span(role, start, to) for (start, role), to in zip(starts, [*ends, end], strict=True)]


def _kept(old: list[_Span], new: list[_Span], common: int) -> int:
    """How many messages in front are the same, `common` being the tokens that both streams have in common."""
    kept = 0
    for before, now in zip(old, new, strict=False):
        if before != now or now.end > common:
            break
        kept += 1
    return kept
