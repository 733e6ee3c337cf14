"""Compile trajectories into the file form of corpus.layout, one at a time, in one pass."""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from openagentperf.corpus.layout import FOOTER_BYTES, HEAD, MAGIC, PER_LINE, PER_TURN, Slot, digest_of
from openagentperf.corpus.prefix import Encoder
from openagentperf.corpus.sharing import in_tree_bytes
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Message, Trajectory, histories, lines
from openagentperf.records.tree import NONE, Line


class CompileOptions(Struct, frozen=True, kw_only=True):
    dialect: str = "chat"
    """At most 16 ASCII bytes."""
    about: Callable[[], bytes] = bytes
    """Called once after the last trajectory: what the file says about itself (by default nothing).

    Left out of the digest: the digest names what is sent, and a card that learns a new figure must not give the same work a new name.
    """


class CompiledSummary(Struct, frozen=True, kw_only=True):
    digest: str
    """sha256 of everything but the about part, 64 hex characters; the file is called after the first 16."""
    trajectories: int
    total_lines: int
    total_turns: int
    file_bytes: int
    longest_tokens: int
    """Largest input + output of a turn, by the corpus's own counts."""


class _Sink:
    """Where the bytes go: counted and hashed on their way out."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.sha = hashlib.sha256()
        self.at = 0

    def put(self, data: bytes) -> None:
        self._write(data)
        self.sha.update(data)
        self.at += len(data)


def compile_corpus(
    trajectories: Iterable[Trajectory],
    encode: Encoder,
    options: CompileOptions,
    write: Callable[[bytes], object],
) -> CompiledSummary:
    """Write the compiled form of `trajectories`, one at a time.

    encode  the dialect's message encoder
    write   takes the file's bytes in order (a file's `write`)

    Holds one encoded message, 56 bytes a turn and 72 bytes a line in memory: 18 MB for 10,000 trajectories of 30 turns.
    A turn without a tool delay gets 0; drawing one is the caller's affair (corpus.fit).

    CorpusError where a segment's first turn has no message with a content: there is no place for its nonces.
    """
    sink = _Sink(write)
    sink.put(MAGIC)
    tools_at: dict[bytes, tuple[int, int]] = {}
    first_turn, first_line = array("q", [0]), array("q", [0])
    by_line = [array("q") for _ in range(PER_LINE)]
    by_turn = [array("q") for _ in range(PER_TURN)]
    longest = 0
    for trajectory in trajectories:
        in_tree = in_tree_bytes(trajectory, encode)
        for line, place, own in zip(lines(trajectory), _places(trajectory), in_tree, strict=True):
            before = -1
            for slot in _put_messages(line, trajectory.id, encode, sink):
                if before < 0:
                    before = max(slot.replay_at - slot.start, own)
                for column, value in zip(by_turn, slot, strict=True):
                    column.append(value)
                longest = max(longest, slot.input_tokens + slot.output_tokens)
            tools = b"[" + ",".join(line.tools).encode() + b"]" if line.tools else b""
            key = hashlib.sha256(tools).digest()
            if key not in tools_at:  # the sessions of one harness share their tools: 40 KB each for Claude Code
                tools_at[key] = (sink.at, sink.at + len(tools))
                sink.put(tools)
            shared = max(before, 0) + len(tools)
            for column, value in zip(by_line, (*place, *tools_at[key], shared), strict=True):
                column.append(value)
        first_turn.append(len(by_turn[0]))
        first_line.append(len(by_line[0]))

    sink.put(bytes(-sink.at % 8))
    index_at = sink.at
    for column in (first_turn, first_line, *by_line, *by_turn):
        sink.put(_little_endian(column))
    about = options.about()
    counts = (len(first_turn) - 1, first_line[-1], first_turn[-1])
    head = HEAD.pack(index_at, *counts, longest, sink.at, len(about), options.dialect.encode("ascii"))
    # The digest must not depend on the about part, nor therefore on its length: hash the head as it is for an empty one.
    digest = digest_of(sink.sha, head)
    write(about)
    write(head + digest + hashlib.sha256(about).digest() + MAGIC)
    return CompiledSummary(
        digest=digest.hex(),
        trajectories=counts[0],
        total_lines=counts[1],
        total_turns=counts[2],
        file_bytes=sink.at + len(about) + FOOTER_BYTES,
        longest_tokens=longest,
    )


def _places(trajectory: Trajectory) -> Iterator[Line]:
    """The lines of a tree, laid flat."""
    main = Line(0, len(trajectory.turns))
    yield main
    first, named = main.turns, {"": (0, main)}
    for index, branch in enumerate(trajectory.branches, 1):
        parent, its = named[branch.parent]
        join = NONE if branch.join is None else its.first + branch.join
        line = Line(first, len(branch.turns), parent, its.first + branch.after, join, branch.delay_ns or 0)
        yield line
        named[branch.name] = index, line
        first += line.turns


def _put_messages(line: Trajectory | Branch, trajectory_id: str, encode: Encoder, sink: _Sink) -> Iterator[Slot]:
    """Write a line's segments; yield each turn's place."""
    nonces = _Nonces()
    start = size = 0  # of the segment: where it begins, and how many messages it has so far
    for k, (turn, messages) in enumerate(zip(line.turns, histories(line), strict=True)):
        # A cut that keeps everything is none: the slice simply goes on.
        if k == 0 or (turn.keep is not None and turn.keep < size):
            start, size = sink.at, 0
            nonces.open_segment(messages, turn.keep or 0)
        for index in range(size, len(messages)):
            if index:
                sink.put(b",")
            body, content_at = encode(messages[index])
            if content_at >= 0:
                nonces.pass_content(index, sink.at + content_at)
            sink.put(body)
        size = len(messages)
        phase_at, replay_at = nonces.places()
        if phase_at < start:
            where = f"{trajectory_id}, branch {line.name}" if isinstance(line, Branch) else trajectory_id
            raise CorpusError(
                f"{where}, turn {k}", "no message has a content", "nonces need one", "leave this trajectory out"
            )
        yield Slot(start, sink.at, phase_at, replay_at, turn.output_tokens, turn.input_tokens, turn.tool_delay_ns or 0)


class _Nonces:
    """Where the nonces of a segment go.

    Phase nonce: the first message that has a content (an assistant that only called tools has none). Replay nonce: the first user message
    of the segment's first turn, else the same message as the phase nonce. Decided at the first turn, because a nonce that moved when a
    user message came later would itself break the prefix. Where a cut keeps the message that took the replay nonce, it stays there, so
    that the kept part stays byte-equal with its nonces in it.
    """

    def __init__(self) -> None:
        self._phase = self._replay = (-1, -1)  # message, offset in the file
        self._wanted = -1

    @property
    def replay_index(self) -> int:
        """The message that takes the replay nonce; what precedes it is shared between trajectories."""
        return self._wanted if self._wanted >= 0 else self._phase[0]

    def open_segment(self, messages: Sequence[Message], kept: int) -> None:
        if self.replay_index < 0 or self.replay_index >= kept:
            self._wanted = next((index for index, message in enumerate(messages) if message.role == "user"), -1)
        self._phase = self._replay = (-1, -1)

    def pass_content(self, index: int, offset: int) -> None:
        """Message `index` of the segment has a content, which begins at `offset` in the file."""
        if self._phase[0] < 0:
            self._phase = (index, offset)
        if index == self._wanted:
            self._replay = (index, offset)

    def places(self) -> tuple[int, int]:
        """Offsets of the phase nonce and of the replay nonce; -1 where no message had a content."""
        return self._phase[1], self._replay[1] if self._replay[0] >= 0 else self._phase[1]


def _little_endian(column: array[int]) -> bytes:
    if sys.byteorder != "little":
        column.byteswap()
    return column.tobytes()
