"""The byte-stable prefix, proven (docs/methodology.md#prefix).

Serving engines reuse what they have computed for a byte-equal beginning of a request. The message array of turn k+1 must therefore begin
with that of turn k, byte for byte and without its closing bracket, wherever the recording did not itself cut its history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct

from openagentperf.records.trajectory import Branch, Message, Trajectory, histories, lines

BreakCause: TypeAlias = Literal["compaction", "microcompaction", "undeclared", "encoder"]


class Encoded(NamedTuple):
    """One message in its dialect's JSON."""

    body: bytes
    content_at: int
    """Offset in `body` just after the opening quote of the content: where a nonce can be spliced in."""


Encoder: TypeAlias = Callable[[Message], tuple[bytes, int]]
"""A dialect's encoder of one message; what it returns reads as `Encoded`."""


class Break(Struct, frozen=True, kw_only=True):
    """A turn whose message array does not begin with the array of the turn before it."""

    branch: str = ""
    """Name of its line; "" is the main one."""
    turn: int
    """In its line."""
    cause: BreakCause
    """`undeclared`: the recording rewrote its history without saying so. `encoder`: equal messages gave unequal bytes (a bug of ours)."""
    kept_bytes: int
    """Length of the longest common beginning of the two arrays, neither with its closing bracket."""
    of_bytes: int
    """Length of the array of the turn before, without its closing bracket."""


class Proof(Struct, frozen=True, kw_only=True):
    """What `prove` found. Every turn that is not in `breaks` extends the turn before it byte for byte."""

    turns: int
    """Of all lines."""
    breaks: tuple[Break, ...] = ()

    @property
    def undeclared(self) -> tuple[Break, ...]:
        return tuple(b for b in self.breaks if b.cause == "undeclared")

    @property
    def encoder(self) -> tuple[Break, ...]:
        return tuple(b for b in self.breaks if b.cause == "encoder")


def prove(trajectory: Trajectory, encode: Encoder) -> Proof:
    """Compare the encoded message arrays of successive turns of each line, byte for byte. A branch begins a history of its own.

    An encoder that is a true function of its message cannot break the prefix by itself. It is not trusted to be one: message numbers, a
    cache-control mark on the newest message or a random id have all been seen in clients. So messages are encoded anew, not looked up.
    Encoding the whole history anew at *every* turn costs the square of the session's length (560 turns of 400K tokens: 400 MB of JSON for
    1.5 MB of text). Here the whole history is encoded anew at turns 1, 2, 4, 8 ..., on both sides of every cut, and at the last turn: each
    message is compared with itself at least once after the turn that brought it, most of them log2(turns) times, and the cost stays
    within log2(turns) of the text's size. An encoder that errs only at turns between these points goes unseen here; it does no harm,
    because the compiled form (corpus.layout) stores each message once a segment and never encodes it a second time within one.
    """
    breaks: list[Break] = []
    for line in lines(trajectory):
        breaks += _breaks(line, encode)
    return Proof(turns=sum(len(line.turns) for line in lines(trajectory)), breaks=tuple(breaks))


def _breaks(line: Trajectory | Branch, encode: Encoder) -> list[Break]:
    turns, name = line.turns, line.name if isinstance(line, Branch) else ""
    breaks: list[Break] = []
    bodies: list[bytes] = []
    for k, (turn, messages) in enumerate(zip(turns, histories(line), strict=True)):
        cut_next = k + 1 < len(turns) and turns[k + 1].keep is not None
        if k and turn.keep is None and not cut_next and k & (k - 1) and k + 1 < len(turns):
            bodies.extend(encode(message)[0] for message in turn.appended)
            continue
        fresh = [encode(message)[0] for message in messages]
        same = _equal_items(bodies, fresh)
        if same < len(bodies):
            cause: BreakCause = "encoder"
            if turn.keep is not None and same >= turn.keep:
                cause = turn.cut or "undeclared"
            kept, of = _kept_bytes(bodies, fresh, same), _array_bytes(bodies)
            breaks.append(Break(branch=name, turn=k, cause=cause, kept_bytes=kept, of_bytes=of))
        bodies = fresh
    return breaks


def _equal_items(old: Sequence[bytes], new: Sequence[bytes]) -> int:
    """How many items at the front are equal."""
    for index, (a, b) in enumerate(zip(old, new, strict=False)):
        if a != b:
            return index
    return min(len(old), len(new))


def _array_bytes(bodies: Sequence[bytes]) -> int:
    """len(b"[" + b",".join(bodies))."""
    return 1 + sum(map(len, bodies)) + max(0, len(bodies) - 1)


def _kept_bytes(old: Sequence[bytes], new: Sequence[bytes], same: int) -> int:
    """Common bytes of the two arrays, given that exactly their first `same` items are equal and `old` has more."""
    if same == len(new):
        return _array_bytes(new)  # `old` goes on with a comma where `new` ends
    # The comma after the last equal item is common too: both arrays go on.
    return _array_bytes(old[:same]) + (1 if same else 0) + common_bytes(old[same], new[same])


def common_bytes(a: bytes, b: bytes) -> int:
    """Length of the longest common beginning, by bisection: 17 slice comparisons for 100 KB, not 100,000 steps of Python."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
