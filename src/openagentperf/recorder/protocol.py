"""What the proxy and its writer process tell each other over a socket pair: frames of a head, then up to three parts.

    u32 length of the message | u64 length of the request's body | u64 length of the response | message (msgpack) | body | response

Bodies travel as they came, in the pieces in which they came: joining and encoding 10 MB would stop every stream for milliseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec
from msgspec import Struct

from openagentperf.corpus.scrubrules import Rules
from openagentperf.records.capture import Dialect, Ending, Started
from openagentperf.units import Ns


class Setup(Struct, frozen=True, tag=True, kw_only=True):
    """First of all: where to write, and what to take out."""

    folder: str
    started: Started
    rules: Rules | None
    """None: nothing is scrubbed."""


class Ended(Struct, frozen=True, tag=True, kw_only=True):
    """An exchange is over. Its bodies follow."""

    dialect: Dialect
    at_unix_ns: int
    arrived_ns: Ns
    ending: Ending
    agent: str
    session: str
    """The client's own session id: for the writer's memory, never for the disk."""
    encoding: str
    """Content-Encoding of the request's body."""
    times_ns: bytes
    """One int64 for each read of the response..."""
    sizes: bytes
    """... and its length."""


class Ready(Struct, frozen=True, tag=True):
    """Set up; the folder can be written."""


class Wrote(Struct, frozen=True, tag=True):
    """So many exchanges stand in the log."""

    exchanges: int


class Trouble(Struct, frozen=True, tag=True, kw_only=True):
    """Something could not be written or read; `storage`: nothing will be any more."""

    storage: bool
    where: str
    found: str
    needed: str = ""
    fix: str = ""


class Done(Struct, frozen=True, tag=True, kw_only=True):
    """The last word."""

    exchanges: int
    unreadable: int
    """Exchanges that could not be written down, by a mistake of ours or a disk that refused."""
    distinct: dict[str, int]
    """Different secrets met, by rule."""
    replaced: dict[str, int]


ToWriter: TypeAlias = Setup | Ended
FromWriter: TypeAlias = Ready | Wrote | Trouble | Done

HEAD = struct.Struct("<IQQ")
_encode = msgspec.msgpack.Encoder().encode
_said = msgspec.msgpack.Decoder(FromWriter)


def frame(message: ToWriter | FromWriter, request: Iterable[bytes] = (), response: Iterable[bytes] = ()) -> list[bytes]:
    """The pieces of one frame."""
    request, response = list(request), list(response)
    body = _encode(message)
    return [HEAD.pack(len(body), sum(map(len, request)), sum(map(len, response))), body, *request, *response]


class Inbox:
    """Frames of the writer, out of reads of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[FromWriter]:
        self._buffer += data
        while len(self._buffer) >= HEAD.size:
            end = HEAD.size + HEAD.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[HEAD.size : end])
            del self._buffer[:end]
            yield _said.decode(message)
