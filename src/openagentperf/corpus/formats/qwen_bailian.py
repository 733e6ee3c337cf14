"""Qwen-Bailian traces: a request a line, with the request that it continues; blocks of 16 tokens, hashes of the whole file.

    {chat_id, parent_chat_id: -1 where none, timestamp: s, input_length, output_length, type, turn, hash_ids}

A request whose parent was continued already opens a session of its own, which holds the shared messages from its first turn on. Text is
made (`hashed`). As in Mooncake's traces the time between two requests holds the answer: every tool delay is None.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats import counts
from openagentperf.corpus.formats.hash_sessions import Session, request_of, trajectories
from openagentperf.corpus.formats.head import Head
from openagentperf.corpus.formats.lines import decoded
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

FORMAT = "qwen-bailian"
BLOCK_TOKENS = 16


class Line(Struct, gc=False):
    hash_ids: list[int]
    chat_id: int
    parent_chat_id: int = -1
    input_length: object = None
    output_length: object = None


_LINE = msgspec.json.Decoder(Line)


def recognises(head: Head) -> bool:
    """Whether its lines hold lengths, hashes and a chat id."""
    return any({"hash_ids", "input_length", "chat_id"} <= record.keys() for record in head.records)


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a session. Raises CorpusError where no line is a usable request. Holds all hashes of the file in memory."""
    made: list[Session] = []
    ends: dict[int, Session | None] = {}
    """Of a chat id: the session that it ends so far; None where it was continued."""
    for number, line in decoded(data, source, skipped, _LINE):
        request = request_of(
            line.hash_ids, counts.tokens(line.input_length), counts.tokens(line.output_length), BLOCK_TOKENS
        )
        if isinstance(request, str):
            skipped.append(Skipped(f"{source}:{number}", request))
            continue
        session = ends.get(line.parent_chat_id)
        if session is not None:
            session.requests.append(request)
            ends[line.parent_chat_id] = None
        else:
            session = Session(number, [request], root=line.parent_chat_id not in ends)
            made.append(session)
        ends[line.chat_id] = session
    if not made:
        raise CorpusError(
            source,
            "holds no usable request",
            "lines with `chat_id`, `input_length`, `output_length` and `hash_ids` are needed",
            "check that it is a Qwen-Bailian trace",
        )
    yield from trajectories(made, source, FORMAT, BLOCK_TOKENS)
