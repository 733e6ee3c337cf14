"""Mooncake traces: a request a line, `{timestamp, input_length, output_length, hash_ids}`, blocks of 512 tokens, hashes of the whole file.

There is no session id. A hash stands for a block and all that precedes it, so a request continues an earlier one where its hashes begin
with all whole blocks of that one, and the last of these was first seen in that one's session: blocks that other sessions opened with
before are a shared system prompt or document, and prove nothing. Where a request was continued already, or is only repeated, the later
request opens a session of its own that holds the shared messages from its first turn on.

Text is made (`hashed`). Timestamps are arrivals: between two of them lie the answer, whose end is not recorded, and the user. Every tool
delay is therefore None, and arrival times only order the requests.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats import counts
from openagentperf.corpus.formats.hash_sessions import Session, request_of, trajectories
from openagentperf.corpus.formats.hashed import LEAST_TOKENS, Request
from openagentperf.corpus.formats.head import Head
from openagentperf.corpus.formats.lines import decoded
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

FORMAT = "mooncake"
BLOCK_TOKENS = 512


class Line(Struct, gc=False):
    hash_ids: list[int]
    input_length: object = None
    output_length: object = None
    timestamp: object = None


_LINE = msgspec.json.Decoder(Line)


def recognises(head: Head) -> bool:
    """Whether its lines hold lengths and hashes, and no chat id (that would be Qwen-Bailian)."""
    return any({"hash_ids", "input_length"} <= keys.keys() and "chat_id" not in keys for keys in head.records)


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a session. Raises CorpusError where no line is a usable request. Holds all hashes of the file in memory."""
    found: list[tuple[float, int, Request]] = []
    for number, line in decoded(data, source, skipped, _LINE):
        request = request_of(
            line.hash_ids, counts.tokens(line.input_length), counts.tokens(line.output_length), BLOCK_TOKENS
        )
        if isinstance(request, str):
            skipped.append(Skipped(f"{source}:{number}", request))
        else:
            found.append((_time(line.timestamp), number, request))
    if not found:
        raise CorpusError(
            source,
            "holds no usable request",
            "lines with `input_length`, `output_length` and `hash_ids` are needed",
            "check that it is a Mooncake trace",
        )
    found.sort(key=lambda row: row[:2])
    yield from trajectories(sessions(found), source, FORMAT, BLOCK_TOKENS)


def sessions(requests: list[tuple[float, int, Request]]) -> list[Session]:
    """The sessions of these requests (time, line, request; in order), by the module's rule; as many steps as there are hashes."""
    made: list[Session] = []
    families: list[int] = []
    """Of each request: the number of the first session that its own descends from."""
    homes: list[Session | None] = []
    """Of each request: its session while it is the last of it."""
    ends: dict[int, int] = {}
    """Of a block: the latest request whose last whole block it is."""
    owners: dict[int, int] = {}
    """Of a block: the family of the request in which it was first seen."""
    for index, (_, number, request) in enumerate(requests):
        whole = request.blocks[: request.input_tokens // BLOCK_TOKENS]
        before = -1
        for block in reversed(whole):
            end = ends.get(block, -1)
            if end >= 0 and owners[block] == families[end]:
                before = end
                break
        session = homes[before] if before >= 0 else None
        if session is not None and request.input_tokens >= session.requests[-1].input_tokens + 2 * LEAST_TOKENS:
            session.requests.append(request)
            homes[before] = None
        else:
            session = Session(number, [request], root=before < 0)
            made.append(session)
        homes.append(session)
        families.append(families[before] if before >= 0 else len(made))
        for block in request.blocks:
            owners.setdefault(block, families[index])
        if whole:
            ends[whole[-1]] = index
    return made


def _time(value: object) -> float:
    """A line without a time keeps its place only among its like: in front."""
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else 0.0
