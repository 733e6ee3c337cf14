"""The compiled corpus: trajectories as bytes ready to send, in one file that many processes map (written by corpus.compiler).

    magic                       8 bytes
    blobs                       tools arrays (each distinct one once) and segments, back to back
    padding                     to a multiple of 8
    index                       little-endian int64 columns, in this order:
      per trajectory            first turn, first line (one entry more than trajectories, both)
      per line                  first, turns, parent, after, join, delay (ns) (records.tree.Line), tools start, tools end, shared bytes
      per turn                  start, end, phase_at, replay_at, output tokens, input tokens, delay (ns)
    about                       JSON for people (the card); not part of the digest
    footer                      counts, offsets, dialect, two sha256, magic

A trajectory is a tree of lines (records.tree); most have one. Turns are numbered through it, so that (trajectory, turn) is one request.

A *segment* is the longest run of a line's turns without a cut: their messages, encoded and joined by commas, each once. Turn k's messages
are a slice that starts where the segment starts, so the history is stored once and not once a turn, and the byte-stable prefix holds by
construction. A cut (Turn.keep) starts a new segment, with the kept messages encoded again.

A request body is spliced from slices of the map without copying. The index is read where it lies: a worker loads nothing, and 4,000
agents in ten processes share the pages of one file. Blobs come first and the index last so that compiling streams.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from bisect import bisect_right
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeAlias

from openagentperf.corpus.nonce import NONCE_BYTES
from openagentperf.errors import CorpusError
from openagentperf.records.tree import Line
from openagentperf.units import Ns

KIND = b"OAPcorp"
MAGIC = KIND + b"2"
"""Its last byte is the version of the form: 1 had no lines."""
SUFFIX = ".oapc"

HEAD = struct.Struct("<7q16s")
"""Index offset, trajectories, lines, turns, longest request + answer in tokens, about offset, about bytes, dialect."""
FOOTER_BYTES = HEAD.size + 32 + 32 + len(MAGIC)
PER_LINE, PER_TURN = len(Line._fields) + 3, 7

Piece: TypeAlias = "bytes | memoryview"


class Slot(NamedTuple):
    """One turn: the columns per turn, in their order. Offsets are into the file."""

    start: int
    end: int
    """The turn's messages, joined by commas and without brackets."""
    phase_at: int
    replay_at: int
    """Where the nonces go: start <= phase_at <= replay_at <= end. Equal where one message takes both, phase nonce first."""
    output_tokens: int
    input_tokens: int
    """Of the whole request, without the two nonces (about 20 tokens each)."""
    delay_ns: Ns
    """Tool delay between the end of the answer and the line's next turn; 0 where the recording has none."""


class Compiled:
    """A compiled corpus, read where it lies: `buffer` is its bytes or a map of its file, and is never copied.

    `where` names it in errors. CorpusError where the ends or the sizes do not fit: not a compiled corpus, or a cut copy of one. That the
    middle is as it was written is what `verify` checks, at the price of reading all of it.
    """

    def __init__(self, buffer: Piece, where: str = "compiled corpus") -> None:
        view = memoryview(buffer).cast("B")
        self._view = view
        self._where = where
        opening = bytes(view[: len(MAGIC)])
        if opening[:-1] == KIND and opening != MAGIC:
            form = opening[-1:].decode("ascii", "replace")
            raise CorpusError(
                where,
                f"was compiled by another version (its form is {form}, this version reads {MAGIC[-1:].decode()})",
                "a file of this version is needed",
                "compile it again from its recordings",
            )
        if opening != MAGIC:
            raise self._broken("is not a compiled corpus (its first bytes are others)")
        if len(view) < len(MAGIC) + FOOTER_BYTES or view[-len(MAGIC) :] != MAGIC:
            raise self._broken("is cut short")
        if sys.byteorder != "little":
            raise CorpusError(where, "holds little-endian columns", "this host is big-endian", "use another host")
        self._head_at = len(view) - FOOTER_BYTES
        head = bytes(view[self._head_at : self._head_at + HEAD.size])
        self._index_at, t, lines, n, self.longest_tokens, about_at, about_bytes, name = HEAD.unpack(head)
        self.trajectories: int = t
        self.total_lines: int = lines
        self.total_turns: int = n
        cells = 2 * (t + 1) + PER_LINE * lines + PER_TURN * n
        if (
            min(t, lines, n, about_bytes) < 0
            or self._index_at < len(MAGIC)
            or about_at != self._index_at + 8 * cells
            or about_at + about_bytes != self._head_at
        ):
            raise self._broken("has a footer that does not fit its length")
        self.dialect: str = name.rstrip(b"\0").decode("ascii", "replace")
        digests = bytes(view[self._head_at + HEAD.size : -len(MAGIC)])
        self.digest: str = digests[:32].hex()
        self._about_digest = digests[32:]
        self._about_at = about_at

        columns = view[self._index_at : about_at].cast("q")
        ends = accumulate([t + 1, t + 1, *[lines] * PER_LINE, *[n] * PER_TURN], initial=0)
        self._first, self._first_line, *rest = (columns[a:b] for a, b in pairwise(ends))
        self._lines, self._columns = rest[: len(Line._fields)], tuple(rest[PER_LINE:])
        self._tools_start, self._tools_end, self._shared = rest[len(Line._fields) : PER_LINE]

    @property
    def about(self) -> bytes:
        """What the file says about itself; see corpus.compiler.CompileOptions.about."""
        return bytes(self._view[self._about_at : self._head_at])

    def turns(self, t: int) -> int:
        """Number of turns of trajectory t, all its lines together."""
        return self._first[t + 1] - self._first[t]

    def lines(self, t: int) -> list[Line]:
        """The lines of trajectory t, the main one first."""
        rows = range(self._line_row(t, 0), self._first_line[t + 1])
        return [Line(*(column[row] for column in self._lines)) for row in rows]

    def line_of(self, t: int, k: int) -> int:
        """Index of the line that turn k of trajectory t lies on."""
        start, end = self._line_row(t, 0), self._first_line[t + 1]
        self._row(t, k)
        return bisect_right(self._lines[0], k, start, end) - 1 - start

    def locate(self, i: int) -> tuple[int, int]:
        """(trajectory, turn) of turn number i of the set, 0 <= i < total_turns: uniform i is uniform over all turns."""
        if not 0 <= i < self.total_turns:
            raise IndexError(i)
        t = bisect_right(self._first, i) - 1
        return t, i - self._first[t]

    def slot(self, t: int, k: int) -> Slot:
        """Turn k of trajectory t."""
        row = self._row(t, k)
        return Slot(*(column[row] for column in self._columns))

    def delay_ns(self, t: int, k: int) -> Ns:
        """Tool delay after turn k of trajectory t."""
        return self._columns[6][self._row(t, k)]

    @property
    def longest_delay_ns(self) -> Ns:
        """The longest delay of all: after a turn, or before a branch's first; 0 for a corpus without any."""
        return max(max(self._columns[6], default=0), max(self._lines[Line._fields.index("delay_ns")], default=0))

    def tools(self, t: int, line: int = 0) -> memoryview:
        """The JSON array of the tools that a line of trajectory t offers at every turn; empty where it offers none."""
        row = self._line_row(t, line)
        return self._view[self._tools_start[row] : self._tools_end[row]]

    def shared_bytes(self, t: int, line: int = 0) -> int:
        """Of the request of the line's first turn, the bytes of tools and messages that can be found cached in its phase (corpus.sharing);
        more means that something other than the declared prefix was reused (docs/methodology.md#nonces)."""
        return self._shared[self._line_row(t, line)]

    def message_pieces(self, t: int, k: int, phase_nonce: bytes, replay_nonce: bytes) -> list[Piece]:
        """The JSON array of turn k's messages, brackets and nonces in place, as pieces to be joined (or written by writev)."""
        start, end, phase_at, replay_at, *_ = self.slot(t, k)
        view = self._view
        return [
            b"[", view[start:phase_at], phase_nonce, view[phase_at:replay_at], replay_nonce, view[replay_at:end], b"]",
        ]  # fmt: skip

    def messages_bytes(self, t: int, k: int) -> int:
        """Length of `message_pieces` joined, for nonces of NONCE_BYTES."""
        row = self._row(t, k)
        return self._columns[1][row] - self._columns[0][row] + 2 + 2 * NONCE_BYTES

    def verify(self) -> None:
        """Read everything and compare with both digests. CorpusError where a byte has changed."""
        view = self._view
        head = bytes(view[self._head_at : self._head_at + HEAD.size])
        if digest_of(hashlib.sha256(view[: self._about_at]), head).hex() != self.digest:
            raise self._broken("has changed since it was written (sha256 differs)")
        if hashlib.sha256(view[self._about_at : self._head_at]).digest() != self._about_digest:
            raise self._broken("has a description that changed since it was written (sha256 differs)")

    def _row(self, t: int, k: int) -> int:
        row = self._first[t] + k
        if t < 0 or k < 0 or row >= self._first[t + 1]:
            raise IndexError((t, k))
        return row

    def _line_row(self, t: int, line: int) -> int:
        row = self._first_line[t] + line
        if t < 0 or line < 0 or row >= self._first_line[t + 1]:
            raise IndexError((t, line))
        return row

    def _broken(self, found: str) -> CorpusError:
        return CorpusError(
            self._where, found, "a whole file of this version is needed", "compile it again from its recordings"
        )


def digest_of(content: hashlib._Hash, head: bytes) -> bytes:
    """sha256 of the content and of a head with an about part of length 0."""
    *counts, _, dialect = HEAD.unpack(head)
    total = content.copy()
    total.update(HEAD.pack(*counts, 0, dialect))
    return total.digest()
