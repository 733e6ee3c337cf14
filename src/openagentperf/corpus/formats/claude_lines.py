"""The lines of a Claude Code session file, decoded once: what each says and where it hangs in the tree.

What a sub-agent did stands in a file of its own, or in this one: in lines marked `isSidechain`, or inside of `progress` lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats.lines import BAD, decoded, why
from openagentperf.records.trajectory import Skipped

Kind: TypeAlias = Literal["user", "assistant", "attachment", "compaction", "microcompaction", "link"]
"""`link`: a line that says nothing to the model (progress, hooks' reports) but that others name as their parent."""


class Line(Struct, rename="camel", gc=False):
    """A line as written. Its large `toolUseResult` and `data` are only read where they tell of a sub-agent: else they repeat what the
    messages hold."""

    type: str = ""
    subtype: str | None = None
    uuid: str | None = None
    parent_uuid: str | msgspec.UnsetType | None = msgspec.UNSET
    logical_parent_uuid: str | None = None
    is_sidechain: bool | None = False
    agent_id: str | None = None
    session_id: str | None = None
    version: str | None = None
    timestamp: str | None = None
    message: Raw = Raw(b"null")
    attachment: Raw = Raw(b"null")
    is_compact_summary: bool | None = False
    is_visible_in_transcript_only: bool | None = False
    microcompact_metadata: Raw = Raw(b"null")
    tool_use_result: Raw = Raw(b"null")
    data: Raw = Raw(b"null")
    parent_tool_use_id: str | None = msgspec.field(name="parentToolUseID", default=None)


class Block(Struct, gc=False):
    """One content block of any type."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = Raw(b"{}")
    tool_use_id: str | None = None
    content: Raw = Raw(b"null")
    tool_name: str | None = None


class Usage(Struct, gc=False):
    input_tokens: object = None
    cache_creation_input_tokens: object = None
    cache_read_input_tokens: object = None
    output_tokens: object = None


class ApiMessage(Struct, gc=False):
    id: str | None = None
    model: str | None = None
    content: str | list[Block] | None = None
    usage: Usage | None = None


class Microcompacted(Struct, rename="camel"):
    compacted_tool_ids: list[str] = []


class Report(Struct, rename="camel"):
    """What a call of a sub-agent came back with, beside its text for the model."""

    agent_id: str = ""
    status: str | None = None
    is_async: bool | None = None
    content: Raw = Raw(b"null")
    usage: Usage | None = None
    """Of the sub-agent's last request."""


class Progress(Struct, rename="camel"):
    """`data` of a `progress` line."""

    type: str = ""
    agent_id: str | None = None
    message: Raw = Raw(b"null")
    """Of an `agent_progress`: a line of the sub-agent's own."""


class Node(Struct):
    """One line of the tree. `blocks` is what a message holds, a plain text being one `text` block."""

    kind: Kind
    uuid: str
    parent: str | None
    logical_parent: str | None
    agent: str
    sidechain: bool
    session: str
    version: str
    stamp: str | None
    where: str
    number: int
    """Of the line in the file."""
    response: str = ""
    """Id of the API response that an assistant line is part of; "" for other lines."""
    model: str = ""
    blocks: list[Block] = []
    usage: Usage | None = None
    calls: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    attachment: dict[str, object] = {}
    compacted: tuple[str, ...] = ()
    report: Report | None = None
    """Of a line with the result of a sub-agent's call."""
    spawned_by: str = ""
    """Of a sub-agent's line: the call that it works for, where the line says so."""

    @property
    def talks(self) -> bool:
        return self.kind in ("user", "assistant")

    @property
    def injects(self) -> bool:
        return self.kind == "attachment"

    @property
    def compaction(self) -> bool:
        return self.kind == "compaction"


_LINE = msgspec.json.Decoder(Line)
_MESSAGE = msgspec.json.Decoder(ApiMessage)
_ATTACHMENT = msgspec.json.Decoder(dict[str, object])
_MICRO = msgspec.json.Decoder(Microcompacted)
_REPORT = msgspec.json.Decoder(Report)
_PROGRESS = msgspec.json.Decoder(Progress)


def nodes(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Node]:
    """The lines that form the tree, in file order, each uuid once: a resumed session copies earlier lines into its file."""
    seen: set[str] = set()
    last: str | None = None
    last_of: dict[str, str] = {}
    """Of each sub-agent that is told of by progress: its newest line."""
    for number, line in decoded(data, source, skipped, _LINE):
        if line.uuid is None and line.type not in ("user", "assistant"):
            continue  # titles, file snapshots, queue operations: not part of the conversation
        uuid = line.uuid or f"line {number}"
        if uuid in seen:
            continue
        seen.add(uuid)
        node = _node(line, uuid, last, f"{source}:{number}", number, skipped)
        last = uuid
        yield node
        inner = _of_progress(line) if line.type == "progress" else None
        if inner is not None and inner.agent_id and inner.uuid not in seen:
            made = _node(
                inner, inner.uuid or f"progress {number}", last_of.get(inner.agent_id), node.where, number, skipped
            )
            made.spawned_by = line.parent_tool_use_id or ""
            last_of[inner.agent_id] = made.uuid
            seen.add(made.uuid)
            yield made


def _node(line: Line, uuid: str, before: str | None, where: str, number: int, skipped: list[Skipped]) -> Node:
    """`before`: the line that this one hangs on where it does not say."""
    node = Node(
        kind="link",
        uuid=uuid,
        parent=before if line.parent_uuid is msgspec.UNSET else line.parent_uuid,
        logical_parent=line.logical_parent_uuid,
        agent=line.agent_id or "",
        sidechain=bool(line.is_sidechain),
        session=line.session_id or "",
        version=line.version or "",
        stamp=line.timestamp,
        where=where,
        number=number,
    )
    try:
        _fill(node, line)
    except BAD as error:
        # It still links its children to its parent.
        skipped.append(Skipped(where, why(error)))
        node.kind = "link"
    return node


def _of_progress(line: Line) -> Line | None:
    """The sub-agent's line inside of a progress line; None where it is about something else, or of another form."""
    try:
        progress = _PROGRESS.decode(line.data)
        if progress.type != "agent_progress" or not progress.agent_id:
            return None
        inner = _LINE.decode(progress.message)
    except BAD:
        return None
    inner.agent_id, inner.is_sidechain, inner.parent_uuid = progress.agent_id, True, msgspec.UNSET
    inner.session_id, inner.version = line.session_id, line.version
    return inner


def _fill(node: Node, line: Line) -> None:
    """Decode what the line says. Raises one of `lines.BAD` where that is not of the known form."""
    if line.type == "system":
        if line.subtype == "compact_boundary":
            node.kind = "compaction"
        elif line.subtype == "microcompact_boundary":
            node.compacted = tuple(_MICRO.decode(line.microcompact_metadata).compacted_tool_ids)
            node.kind = "microcompaction"
    elif line.type == "attachment":
        node.attachment = _ATTACHMENT.decode(line.attachment)
        node.kind = "attachment"
    elif line.type == "user":
        if line.is_visible_in_transcript_only and not line.is_compact_summary:
            return
        _message(node, line)
        node.kind = "user"
        node.results = tuple(block.tool_use_id or "" for block in node.blocks if block.type == "tool_result")
        if b'"agentId"' in bytes(line.tool_use_result):
            with suppress(*BAD):
                node.report = _REPORT.decode(line.tool_use_result)
    elif line.type == "assistant":
        _message(node, line)
        if (
            node.model == "<synthetic>"
        ):  # written by the program, for instance about an API error: no request stands behind it
            return
        node.kind = "assistant"
        node.response = node.response or node.uuid
        node.calls = tuple(block.id or "" for block in node.blocks if block.type == "tool_use")


def _message(node: Node, line: Line) -> None:
    message = _MESSAGE.decode(line.message)
    content = message.content
    node.blocks = [Block(type="text", text=content)] if isinstance(content, str) else content or []
    for block in node.blocks:
        bytes(block.input).decode()  # raises where it is no UTF-8: Raw values were only skipped so far
        bytes(block.content).decode()
    node.response = (message.id or "") if line.type == "assistant" else ""
    node.model = message.model or ""
    node.usage = message.usage
