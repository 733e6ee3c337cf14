"""agentperf-local traces: one JSON line a request, each with its full message list and the tool delay after its answer.

Full lists make a file quadratic, so this importer compares each line's messages with those of the line before and keeps the
difference. Where the earlier list is not a prefix of the later one, the turn keeps the common part and is marked
`undeclared`: the bundled SWE-bench traces do that at every turn, because their last message ("Tool-call turn 3 of 100") is
never sent again. Messages are compared as we would send them: a recorder's extra keys do not count as a rewrite.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import chat, counts, languages
from openagentperf.corpus.formats.lines import BAD, decoded, why
from openagentperf.corpus.formats.mend import Mender, sentences
from openagentperf.corpus.tokens import estimate, estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory, Turn

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


class _History:
    """The messages of the last request: as bytes, as recorded, and as they would be sent."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.recorded: list[Message] = []
        self.sent: list[Message] = []
        self.converted: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()

    def advance(self, messages: list[Raw]) -> tuple[int, list[Message]]:
        """How many messages of the last request stay as they are, and what this request adds to those.

        Nothing changes where it raises (one of `lines.BAD`: a message that cannot be used).
        """
        raw = [bytes(message) for message in messages]
        same = 0
        for old, new in zip(self.raw, raw, strict=False):
            if old != new:
                break
            same += 1
        notes: Counter[str] = Counter()
        recorded = self.recorded[:same] + [chat.to_message(_MESSAGE.decode(text), notes) for text in raw[same:]]
        mended: Counter[str] = Counter()
        mender = Mender(mended)
        sent = mender.take(recorded)
        sent += mender.settle()
        keep = 0
        for before, now in zip(self.sent, sent, strict=False):
            if before is not now and before != now:
                break
            keep += 1
        self.converted += notes
        self.mended |= mended
        self.raw, self.recorded, self.sent = raw, recorded, sent
        return keep, sent[keep:]


def _trajectory(name: str, source: str, requests: list[tuple[str, Line]], skipped: list[Skipped]) -> Trajectory | None:
    history = _History()
    turns: list[Turn] = []
    notes: Counter[str] = Counter()
    tally: Counter[str] = Counter()
    tools: tuple[str, ...] = ()
    first_tools: list[bytes] = []
    harness = ""
    for where, line in requests:
        before = len(history.sent)
        try:
            keep, appended = history.advance(line.messages)
        except BAD as error:
            skipped.append(Skipped(where, why(error)))
            continue
        offered = [bytes(tool) for tool in line.tools or ()]
        if not turns:
            first_tools = offered
            tools = chat.tool_texts(line.tools or (), notes)
            harness = _harness(line.source)
        elif offered != first_tools:
            notes["requests that offered other tools than the first: the first set is used"] += 1
        for message in appended:
            for call in message.tool_calls:
                languages.tally_text(call.arguments, tally)
        turns.append(_turn(line, keep, before, appended, history.sent, tools))
    if not turns:
        return None
    return Trajectory(
        id=name,
        turns=tuple(turns),
        tools=tools,
        format=FORMAT,
        source=source,
        language=languages.main_language(tally),
        harness=harness,
        notes=sentences(notes + history.converted + history.mended),
    )


def _turn(
    line: Line, keep: int, before: int, appended: list[Message], sent: list[Message], tools: tuple[str, ...]
) -> Turn:
    prompt = counts.tokens(line.recorded_prompt_tokens)
    output = counts.tokens(line.recorded_completion_tokens) or counts.tokens(line.target_output_tokens)
    estimated = prompt is None or prompt == 0
    if prompt is None or estimated:
        prompt = sum(map(estimate_message, sent)) + sum(map(estimate, tools))
    rewritten = keep < before
    return Turn(
        appended=tuple(appended),
        output_tokens=max(1, output or 1),
        input_tokens=max(1, prompt),
        counted="estimated" if estimated else "recorded",
        tool_calls=len(line.recorded_tool_calls_after or ()),
        tool_delay_ns=counts.delay_ns(line.simulated_tool_delay_ms_after),
        keep=keep if rewritten else None,
        cut="undeclared" if rewritten else "",
    )


def _harness(source: object) -> str:
    if not isinstance(source, dict):
        return ""
    family = source.get("family")
    return family if isinstance(family, str) else ""
