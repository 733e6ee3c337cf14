"""Trajectories from a file of requests whose block hashes hold for the whole file (Mooncake, Qwen-Bailian), once its sessions are known."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats.blocktext import BlockText
from openagentperf.corpus.formats.hashed import MOST_TOKENS, Layout, Request
from openagentperf.corpus.formats.mend import sentences
from openagentperf.records.trajectory import Trajectory


class Session(Struct):
    """Requests of one session in order; `number` is the first one's line in the file."""

    number: int
    requests: list[Request]
    root: bool
    """Whether nothing earlier begins the same session: no second continuation of one request, no repetition of it."""


def request_of(blocks: list[int], tokens: int | None, output: int | None, block_tokens: int) -> Request | str:
    """One request, or why it cannot be used."""
    if not tokens:
        return "a request without an input length"
    if tokens > MOST_TOKENS:
        return f"a prompt of {tokens} tokens"
    if len(blocks) * block_tokens < tokens:
        return f"a request of {tokens} tokens with {len(blocks)} hashes of {block_tokens}"
    return Request(blocks, tokens, output or 1)


def scope_of(format: str, first: Request) -> str:
    """A name for the hashes of one file, from its first usable request.

    Not from the file's name, for the same trace must give the same text anywhere; nor from all of its content, for a bad line must change
    nothing else. Two traces that open with the same request share text.
    """
    digest = hashlib.sha256(msgspec.json.encode((first.blocks, first.input_tokens, first.output_tokens)))
    return f"{format} {digest.hexdigest()}"


def trajectories(sessions: Sequence[Session], source: str, format: str, block_tokens: int) -> Iterator[Trajectory]:
    """One trajectory a session; at least one.

    Blocks in front that several sessions share become the system message: what precedes the first user message is what a run lets
    different sessions share (docs/methodology.md#nonces).
    """
    opening: Counter[int] = Counter()
    for session in sessions:
        if session.root:
            opening.update(session.requests[0].blocks)
    layout = Layout(BlockText(scope_of(format, sessions[0].requests[0]), block_tokens))
    for session in sessions:
        shared = 0
        if session.root:
            for block in session.requests[0].blocks:
                if opening[block] < 2:
                    break
                shared += block_tokens
        layout.notes.clear()
        turns = tuple(layout.turns(session.requests, shared))
        yield Trajectory(
            id=f"request-{session.number}",
            turns=turns,
            format=format,
            source=source,
            notes=sentences(layout.notes),
        )
