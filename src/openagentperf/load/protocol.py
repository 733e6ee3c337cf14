"""What the fleet and its workers say to each other: two or three messages a phase, none per request.

Over the worker's stdin and stdout as u32 length + msgpack. Which agents a worker runs and what they replay is arithmetic
(seeds.shard, Agent), so a phase's order is the same for all of them.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

import msgspec
from msgspec import Struct

from openagentperf.records.phase import PhaseOrder
from openagentperf.units import Ns


class Setup(Struct, frozen=True, kw_only=True, tag=True):
    """Once, before the first phase. Holds the API key inside `headers`: it travels by pipe, never in an argument list."""

    worker: int
    workers: int
    urls: tuple[str, ...]
    """Base URLs of the endpoints; agent i speaks to number i modulo how many there are (load.requests.route)."""
    ca_file: str
    headers: dict[str, str]
    fixed_head: bytes
    """Request body up to the number of `max_tokens` (wire.chat.fixed_head)."""
    exact: bool
    max_output_tokens: int
    context_tokens: int = 0
    """The server's context; 0: not known. On the natural track `max_tokens` is lowered to what the prompt leaves of it."""
    token_ratio: float = 1.0
    """The server's prompt tokens / the corpus's."""
    corpus: str
    """Path of the compiled corpus."""
    idle_reuse_s: float
    dials_per_s: float = 2000.0
    """Of all workers together."""
    cores: tuple[int, ...] = ()
    """CPU cores that this worker keeps to; none: any."""


class Begin(Struct, frozen=True, kw_only=True, tag=True):
    order: PhaseOrder
    folder: str


class Close(Struct, frozen=True, kw_only=True, tag=True):
    """The measure window ends at this time; keep the load on."""

    window_end_ns: Ns


class Stop(Struct, frozen=True, tag=True):
    """End the phase: give up what is open, close the connections."""


class Ready(Struct, frozen=True, tag=True):
    """Set up, the corpus open."""


class Drained(Struct, frozen=True, tag=True):
    """All measured turns of this worker have closed."""


class Stopped(Struct, frozen=True, tag=True):
    """The phase is over here and every row is in the file."""


class Broken(Struct, frozen=True, kw_only=True, tag=True):
    """This worker cannot go on."""

    kind: str
    """`storage`, `endpoint`, `corpus` or `internal`."""
    where: str
    found: str
    needed: str = ""
    fix: str = ""


ToWorker: TypeAlias = Setup | Begin | Close | Stop
FromWorker: TypeAlias = Ready | Drained | Stopped | Broken

_LENGTH = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode


def pack(message: ToWorker | FromWorker) -> bytes:
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


class Inbox:
    """Whole messages out of a byte stream."""

    def __init__(self, kind: object) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[ToWorker | FromWorker]:
        self._pending += data
        found: list[ToWorker | FromWorker] = []
        while len(self._pending) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._pending)[0]
            if len(self._pending) < end:
                break
            found.append(self._decoder.decode(bytes(self._pending[_LENGTH.size : end])))
            del self._pending[:end]
        return found
