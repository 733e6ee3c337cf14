"""agentperf-local traces: one JSON line a request, each with its full message list and the tool delay after its answer.

The bundled SWE-bench traces rewrite their history at every turn, because their last message ("Tool-call turn 3 of 100") is never
sent again: such turns are marked `undeclared` (see `snapshots`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import chat, counts, languages
from openagentperf.corpus.formats.head import Head
from openagentperf.corpus.formats.lines import BAD, decoded, why
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.snapshots import Snapshots
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory

FORMAT = "agentperf-local"


class Line(Struct):
    """One request. Only what is used; token counts and delays are checked by `counts`, so that a bad one is just unknown."""

    messages: list[Raw]
    conversation_id: str | None = None
    conversation_idx: int = 0
    task_id: str | None = None
    tools: list[Raw] | None = None
    simulated_tool_delay_ms_after: object = None
    recorded_tool_calls_after: list[Raw] | None = None
    target_output_tokens: object = None
    recorded_prompt_tokens: object = None
    recorded_completion_tokens: object = None
    source: object = None


class Manifest(Struct):
    """What lists the traces of a set; it holds no request itself."""

    tasks: list[Raw]
    mode: str


_LINE = msgspec.json.Decoder(Line)
_MANIFEST = msgspec.json.Decoder(Manifest)
_MESSAGE = msgspec.json.Decoder(chat.ChatMessage)


def recognises(head: Head) -> bool:
    """Whether its lines are requests, or it is a manifest (so that `read` can say what to import instead)."""
    if head.whole is not None and {"mode", "tasks"} <= head.whole.keys():
        return True
    return any(
        "messages" in record
        and ("simulated_tool_delay_ms_after" in record or {"conversation_idx", "target_output_tokens"} <= record.keys())
        for record in head.records
    )


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a conversation id, its requests in the order of their index.

    Raises CorpusError where the file holds no usable request, and for a manifest.
    """
    if is_manifest(data):
        raise CorpusError(
            source,
            "is a manifest: it lists traces and holds none",
            "a trace is needed",
            "import the trace files that it lists, or their folder",
        )
    conversations: dict[str, dict[int, tuple[str, Line]]] = {}
    for number, line in decoded(data, source, skipped, _LINE):
        where = f"{source}:{number}"
        requests = conversations.setdefault(line.conversation_id or line.task_id or source, {})
        if not line.messages:
            skipped.append(Skipped(where, "a request without messages"))
        elif line.conversation_idx in requests:
            skipped.append(Skipped(where, f"request {line.conversation_idx} of its conversation again"))
        else:
            requests[line.conversation_idx] = (where, line)
    found = False
    for name, requests in conversations.items():
        trajectory = _trajectory(name, source, [requests[index] for index in sorted(requests)], skipped)
        if trajectory is not None:
            found = True
            yield trajectory
    if not found:
        raise CorpusError(
            source,
            "holds no usable request",
            "lines with `messages` are needed",
            "check that it is an agentperf-local trace",
        )


def is_manifest(data: bytes) -> bool:
    """Whether the file lists traces instead of being one."""
    try:
        _MANIFEST.decode(data)
    except BAD:
        return False
    return True


def _convert(text: bytes, notes: Counter[str]) -> list[Message]:
    return [chat.to_message(_MESSAGE.decode(text), notes)]


def _trajectory(name: str, source: str, requests: list[tuple[str, Line]], skipped: list[Skipped]) -> Trajectory | None:
    notes: Counter[str] = Counter()
    tally: Counter[str] = Counter()
    first = requests[0][1] if requests else Line(messages=[])
    first_tools = [bytes(tool) for tool in first.tools or ()]
    tools = chat.tool_texts(first.tools or (), notes)
    snapshots = Snapshots(_convert, tools)
    for where, line in requests:
        prompt = counts.tokens(line.recorded_prompt_tokens)
        output = counts.tokens(line.recorded_completion_tokens) or counts.tokens(line.target_output_tokens)
        try:
            appended = snapshots.add(
                line.messages,
                input_tokens=prompt,
                output_tokens=output or 1,
                tool_calls=len(line.recorded_tool_calls_after or ()),
                delay_ns=counts.delay_ns(line.simulated_tool_delay_ms_after),
            )
        except BAD as error:
            skipped.append(Skipped(where, why(error)))
            continue
        if [bytes(tool) for tool in line.tools or ()] != first_tools:
            notes["requests that offered other tools than the first: the first set is used"] += 1
        for message in appended:
            for call in message.tool_calls:
                languages.tally_text(call.arguments, tally)
    if not snapshots.turns:
        return None
    return Trajectory(
        id=name,
        turns=snapshots.turns,
        tools=tools,
        format=FORMAT,
        source=source,
        task=first.task_id or "",
        language=languages.main_language(tally),
        harness=_harness(first.source),
        notes=sentences(notes + snapshots.notes),
    )


def _harness(source: object) -> str:
    if not isinstance(source, dict):
        return ""
    family = source.get("family")
    return family if isinstance(family, str) else ""
