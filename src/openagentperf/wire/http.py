"""HTTP/1.1 over reads that were kept: one response, its body without framing, and which read brought each byte of it.

The load worker stamps every read of the socket and keeps the bytes; nothing is parsed while the stream is open. Here the
reads are fed one by one, as they came, so that the body stays tied to their times: an event may span many reads, and many
events may share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import httptools
from msgspec import Struct

Framing: TypeAlias = Literal["", "length", "chunked", "close"]


class Response(Struct, frozen=True, kw_only=True):
    """One response, as far as it came.

    status    HTTP status; 0 where the headers never ended. Informational responses (1xx, but for 101) are skipped
    headers   names in lower case; repeated ones joined with ", "
    body      without chunk framing, content encoding untouched
    ends      ends[r] = bytes of `body` that were complete once read r had been fed; rising, one entry per read up to the last
              one of this message
    framing   what ends the body: its length, its last chunk, or the connection's close
    complete  the message told its own end. Always False for framing "close": only who held the socket knows how it closed
    broken    the parser's words where the bytes are not HTTP/1.1; what came before them stands
    """

    status: int
    headers: dict[str, str]
    body: bytes
    ends: list[int]
    framing: Framing
    complete: bool
    broken: str = ""

    @property
    def encoded(self) -> str:
        """The coding that hides the text ("gzip"), or "". Requests ask for identity: decompressing has no place in a stamp."""
        coding = self.headers.get("content-encoding", "").strip().lower()
        if coding and coding != "identity":
            return coding
        transfer = [c.strip().lower() for c in self.headers.get("transfer-encoding", "").split(",")]
        return next((c for c in transfer if c not in ("", "chunked", "identity")), "")


class _Collector:
    """What the parser calls back. `on_body` is the list's own `append`: no Python frame per chunk."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append
        self.headers: dict[str, str] = {}
        self.status = 0
        self.complete = False
        self.pieces_at_end = 0
        self.parser: httptools.HttpResponseParser | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        if not self.complete and self.parser is not None:
            self.status = self.parser.get_status_code()

    def on_message_complete(self) -> None:
        if self.complete:
            return
        if 100 <= self.status < 200 and self.status != 101:
            self.headers.clear()
            self.status = 0
            return
        self.complete = True
        self.pieces_at_end = len(self.pieces)


def parse(data: bytes, sizes: Sequence[int]) -> Response:
    """The response in `data`, which came in reads of `sizes` bytes. Bytes after the message's end are ignored.

    Never raises: bytes that are not HTTP give `broken`, an early end gives `complete=False`.
    """
    collector = _Collector()
    parser = collector.parser = httptools.HttpResponseParser(collector)
    pieces, ends = collector.pieces, []
    view = memoryview(data)
    at = seen = total = 0
    broken = ""
    for size in sizes:
        try:
            parser.feed_data(view[at : at + size])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # After the message's end an error is about bytes that are not part of it ("Data after `Connection: close`").
            broken = "" if collector.complete else str(error) or type(error).__name__
        at += size
        while seen < len(pieces):
            total += len(pieces[seen])
            seen += 1
        ends.append(total)
        if collector.complete or broken:
            break
    collector.parser = None  # the parser holds the collector: a cycle per turn would be left to the garbage collector
    if collector.complete:
        del pieces[collector.pieces_at_end :]
        total = sum(map(len, pieces))
        ends[-1] = total
    return Response(
        status=collector.status,
        headers=collector.headers,
        body=b"".join(pieces),
        ends=ends,
        framing=_framing(collector.status, collector.headers),
        complete=collector.complete,
        broken=broken,
    )


def _framing(status: int, headers: dict[str, str]) -> Framing:
    if status == 0:
        return ""
    codings = headers.get("transfer-encoding", "").lower().split(",")
    if codings[-1].strip() == "chunked":
        return "chunked"
    return "length" if "content-length" in headers else "close"
