"""Server-sent events from a whole body, each with the read that completed it.

The algorithm is WHATWG HTML 9.2.6 (event stream interpretation): lines end in CR, LF or CRLF, a line's first colon splits
field from value, one space after it is dropped, several `data` lines are joined with LF, lines that open with a colon are
comments, an empty line dispatches. `id` and `retry` mean nothing to a client that never reconnects.

One departure: WHATWG drops what follows the last empty line. Servers exist that end with `data: [DONE]` and no empty line,
and their answer is whole; so that event is taken where the HTTP message ended properly, and dropped where it was cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\r|\n")


class Event(Struct, frozen=True, gc=False):
    """`data` is UTF-8 as sent, never empty of fields; `name` is the `event:` field, "" where none was given.

    `read` is the index of the read that brought the event's end: the first byte of the line end of its empty line (a CR is
    already a line end, whether or not an LF follows).
    """

    data: bytes
    read: int
    name: str = ""


def events(body: bytes, ends: Sequence[int], *, ended: bool) -> list[Event]:
    """The events of `body`, of which `ends[r]` bytes were there after read r (wire.http.Response).

    ended   the message came to its proper end, so a last event without its empty line counts
    """
    start = len(_BOM) if body.startswith(_BOM) else 0
    returns = body.count(b"\r", start)
    if not returns:
        return _uniform(body, start, ends, ended, b"\n")
    if returns == body.count(b"\n", start) == body.count(b"\r\n", start):
        return _uniform(body, start, ends, ended, b"\r\n")
    return _mixed(body, start, ends, ended)


def _uniform(body: bytes, start: int, ends: Sequence[int], ended: bool, eol: bytes) -> list[Event]:
    """One kind of line end: blocks are cut by a C-level split, and a block of one line is its event's data."""
    found: list[Event] = []
    blocks = (body[start:] if start else body).split(eol + eol)
    tail = blocks.pop()
    step, back = 2 * len(eol), len(eol) - 1
    at, read = start, 0
    for block in blocks:
        at += len(block) + step
        while ends[read] < at - back:
            read += 1
        if block[:6] == b"data: " and eol not in block:
            found.append(Event(block[6:], read))
        else:
            _add(found, block.split(eol), read)
    if ended and tail:
        _add(found, tail.split(eol), _last_read(ends))
    return found


def _mixed(body: bytes, start: int, ends: Sequence[int], ended: bool) -> list[Event]:
    """Any mixture of line ends, line by line."""
    found: list[Event] = []
    lines: list[bytes] = []
    at, read = start, 0
    for end in _LINE_END.finditer(body, start):
        line = body[at : end.start()]
        at = end.end()
        if line:
            lines.append(line)
        elif lines:
            while ends[read] <= end.start():
                read += 1
            _add(found, lines, read)
            lines = []
    if ended:
        _add(found, [*lines, body[at:]], _last_read(ends))
    return found


def _last_read(ends: Sequence[int]) -> int:
    """The read that brought the body's last byte: later ones brought only framing."""
    read = len(ends) - 1
    while read and ends[read - 1] == ends[-1]:
        read -= 1
    return read


def _add(found: list[Event], lines: Sequence[bytes], read: int) -> None:
    """Interpret one block of lines; a block without a `data` field dispatches nothing."""
    data: list[bytes] = []
    name = ""
    for line in lines:
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ").decode("utf-8", "replace")
    if data:
        found.append(Event(b"\n".join(data), read, name))
