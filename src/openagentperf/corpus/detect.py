"""Which format a recording has, told from its content: names of files say nothing (`full.jsonl` may be anything)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import agentperf_local, claude_code, openai_chat
from openagentperf.corpus.formats.lines import BAD
from openagentperf.records.trajectory import Skipped, Trajectory

Importer: TypeAlias = Callable[[bytes, str, list[Skipped]], Iterator[Trajectory]]
"""`read(data, source, skipped)`: lazily, one trajectory after the other; bad lines go to `skipped`; raises only CorpusError."""

IMPORTERS: dict[str, Importer] = {
    agentperf_local.FORMAT: agentperf_local.read,
    claude_code.FORMAT: claude_code.read,
    openai_chat.FORMAT: openai_chat.read,
}

_LINES_LOOKED_AT = 64
"""Claude Code files may open with dozens of titles and file snapshots before the first line of the tree."""


class _Keys(Struct, rename={"parent_uuid": "parentUuid", "session_id": "sessionId"}):
    """What tells the formats apart; everything optional, nothing decoded further."""

    messages: Raw | msgspec.UnsetType = msgspec.UNSET
    conversation_idx: Raw | msgspec.UnsetType = msgspec.UNSET
    simulated_tool_delay_ms_after: Raw | msgspec.UnsetType = msgspec.UNSET
    target_output_tokens: Raw | msgspec.UnsetType = msgspec.UNSET
    uuid: Raw | msgspec.UnsetType = msgspec.UNSET
    parent_uuid: Raw | msgspec.UnsetType = msgspec.UNSET
    session_id: Raw | msgspec.UnsetType = msgspec.UNSET
    type: Raw | msgspec.UnsetType = msgspec.UNSET
    kwargs: Raw | msgspec.UnsetType = msgspec.UNSET
    ttft_ms: Raw | msgspec.UnsetType = msgspec.UNSET


class _Role(Struct):
    role: str


_KEYS = msgspec.json.Decoder(_Keys)
_ROLES = msgspec.json.Decoder(list[_Role])
_ARRAY = msgspec.json.Decoder(list[Raw])


def detect(data: bytes, source: str) -> str | None:
    """The name of the importer that reads `data`; None where none does. `source` is not looked at, on purpose."""
    del source
    if agentperf_local.is_manifest(data):
        return agentperf_local.FORMAT  # so that its reader can say what to import instead
    for record in _records(data):
        name = _format_of(record)
        if name:
            return name
    return None


def _records(data: bytes) -> Iterator[bytes | Raw]:
    """The first records: of the whole file where it is one JSON value, else of its first lines."""
    try:
        yield from _ARRAY.decode(data)[:1]
    except BAD:
        yield data
    else:
        yield data
        return
    start = 0
    for _ in range(_LINES_LOOKED_AT):
        end = data.find(b"\n", start)
        yield data[start : end if end >= 0 else len(data)]
        if end < 0:
            return
        start = end + 1


def _format_of(record: bytes | Raw) -> str | None:
    try:
        keys = _KEYS.decode(record)
    except BAD:
        return openai_chat.FORMAT if _is_messages(record) else None
    unset = msgspec.UNSET
    if keys.messages is not unset:
        if keys.simulated_tool_delay_ms_after is not unset or (
            keys.conversation_idx is not unset and keys.target_output_tokens is not unset
        ):
            return agentperf_local.FORMAT
        # Proxy captures and OpenHands completions hold `messages` too, but each is one request, not one session.
        if keys.kwargs is unset and keys.ttft_ms is unset and _is_messages(keys.messages):
            return openai_chat.FORMAT
        return None
    tree = keys.uuid is not unset and keys.parent_uuid is not unset and keys.type is not unset
    return claude_code.FORMAT if tree and keys.session_id is not unset else None


def _is_messages(value: bytes | Raw | msgspec.UnsetType) -> bool:
    if isinstance(value, msgspec.UnsetType):
        return False
    try:
        return bool(_ROLES.decode(value))
    except BAD:
        return False
