"""Messages and parts of OpenCode as `opencode export` writes them, and what each says to the model (its `toModelMessages`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import counts
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.mend import call_of
from openagentperf.corpus.formats.usage import UNKNOWN, Counts
from openagentperf.records.trajectory import Message
from openagentperf.units import NS_PER_MS, Ns

CLEARED = "[Old tool result content cleared]"
"""What pruning leaves of a tool result."""
_INTERRUPTED = "[Tool execution was interrupted]"
_ASIDE = (1, 14)
"""From this version on `output` leaves the reasoning out (1.3.2 counts it in, 1.14.34 does not)."""
_MAX_MS = 1 << 43
_NULL = Raw(b"null")


class Cache(Struct, gc=False):
    read: object = None
    write: object = None


class Tokens(Struct, gc=False):
    total: object = None
    input: object = None
    output: object = None
    reasoning: object = None
    cache: Cache | None = None


class Time(Struct, gc=False):
    """Milliseconds since 1970."""

    created: object = None
    completed: object = None
    start: object = None
    end: object = None
    compacted: object = None


class _StateAbout(Struct, gc=False):
    session: str = msgspec.field(default="", name="sessionId")
    interrupted: bool = False
    output: object = None


class State(Struct, gc=False):
    status: str = ""
    input: Raw = _NULL
    output: str | None = None
    error: str | None = None
    metadata: Raw = _NULL
    time: Time | None = None


class Part(Struct, gc=False):
    type: str = ""
    text: str | None = None
    ignored: bool = False
    mime: str | None = None
    filename: str | None = None
    tool: str | None = None
    call: str | None = msgspec.field(default=None, name="callID")
    state: State | None = None
    tokens: Tokens | None = None
    tail: str | None = msgspec.field(default=None, name="tail_start_id")


class _Error(Struct, gc=False):
    name: str = ""


class Info(Struct, gc=False):
    id: str = ""
    role: str = ""
    parent: str | None = msgspec.field(default=None, name="parentID")
    model: str = msgspec.field(default="", name="modelID")
    mode: str = ""
    time: Time | None = None
    tokens: Tokens | None = None
    summary: Raw = _NULL
    """True in an answer that sums up; in a user's message the changes it led to."""
    system: str | None = None
    finish: str | None = None
    error: _Error | None = None


class Entry(Struct):
    """One message of an export."""

    info: Info
    parts: list[Part] = []

    @property
    def sums_up(self) -> bool:
        return self.info.role == "assistant" and bytes(self.info.summary) == b"true"

    @property
    def compaction(self) -> Part | None:
        """The part that asks for a compaction."""
        return next((part for part in self.parts if part.type == "compaction"), None)

    @property
    def failed(self) -> bool:
        """Whether the history leaves it out: a request that failed, unless its user stopped it with something to show."""
        if self.info.error is None:
            return False
        shows = any(part.type not in ("step-start", "reasoning") for part in self.parts)
        return not (self.info.error.name == "MessageAbortedError" and shows)

    @property
    def steps(self) -> list[list[Part]]:
        """The parts of each request: up to its `step-finish`, the last one perhaps without."""
        steps: list[list[Part]] = [[]]
        for part in self.parts:
            steps[-1].append(part)
            if part.type == "step-finish":
                steps.append([])
        return [step for step in steps if any(part.type not in ("step-start", "patch", "snapshot") for part in step)]


def stamp_ns(ms: object) -> Ns | None:
    """Milliseconds since 1970 as ns; None if not a number of this or the next two centuries."""
    if isinstance(ms, bool) or not isinstance(ms, int | float) or not 0 <= ms <= _MAX_MS:
        return None
    return round(ms * NS_PER_MS)


def heard_of(entry: Entry, notes: Counter[str]) -> list[Message]:
    """What a user's message says to the model; files that are text stand there as text already."""
    texts: list[str] = []
    for part in entry.parts:
        if part.type == "text" and not part.ignored:
            texts.append(part.text or "")
        elif part.type == "file" and part.mime not in ("text/plain", "application/x-directory"):
            texts.append(f"[Attached {part.mime}: {part.filename or 'file'}]")
            notes["content parts that are no text replaced by a placeholder"] += 1
        elif part.type == "compaction":
            texts.append("What did we do so far?")
        elif part.type == "subtask":
            texts.append("The following tool was executed by the user")
    return [Message(role="user", content="\n".join(texts))] if texts else []


def answer_of(step: Sequence[Part], notes: Counter[str]) -> Message:
    """The answer of one request."""
    return Message(
        role="assistant",
        content="\n".join(part.text for part in step if part.type == "text" and part.text),
        reasoning="\n".join(part.text for part in step if part.type == "reasoning" and part.text),
        tool_calls=tuple(
            call_of(part.call or "", part.tool or "", _arguments(part), notes) for part in step if part.type == "tool"
        ),
    )


def results_of(step: Sequence[Part]) -> list[Message]:
    return [
        Message(role="tool", content=_result(part.state or State()), tool_call_id=part.call or "")
        for part in step
        if part.type == "tool"
    ]


def session_of(part: Part) -> str:
    """The session of the sub-agent that a call started; "" where it started none."""
    return _about(part.state).session if part.state is not None else ""


def counts_of(tokens: Tokens | None, version: str) -> Counts:
    """A request's counts; unknown where all of them are zero.

    prompt = input + cache.read + cache.write. The total tells whether `output` holds the reasoning, else the version does.
    """
    if tokens is None:
        return UNKNOWN
    cache = tokens.cache or Cache()
    prompt = sum(counts.tokens(value) or 0 for value in (tokens.input, cache.read, cache.write))
    output, reasoning = counts.tokens(tokens.output) or 0, counts.tokens(tokens.reasoning) or 0
    if not prompt and not output:
        return UNKNOWN
    total = counts.tokens(tokens.total)
    if total:
        aside = abs(total - prompt - output - reasoning) < abs(total - prompt - output)
    else:
        aside = _numbers(version) >= _ASIDE or reasoning > output
    return Counts(prompt or None, (output + reasoning if aside else output) or None, counts.tokens(cache.read))


def _numbers(version: str) -> tuple[int, ...]:
    """1.14.34 as numbers; () for anything else."""
    parts = version.split("-")[0].split(".")
    return tuple(map(int, parts)) if all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts) else ()


def _arguments(part: Part) -> str:
    """As compact JSON: an export is indented, what the model wrote was not."""
    raw = bytes(part.state.input) if part.state is not None else b""
    if raw in (b"", b"null"):
        return ""
    try:
        return msgspec.json.format(raw, indent=-1).decode()
    except BAD:
        return raw.decode("utf-8", "replace")


def _result(state: State) -> str:
    if state.status == "completed":
        return state.output or ""
    if state.status == "error":
        about = _about(state)
        return about.output if about.interrupted and isinstance(about.output, str) else state.error or ""
    return _INTERRUPTED


def _about(state: State | None) -> _StateAbout:
    try:
        return _ABOUT.decode(state.metadata) if state is not None else _StateAbout()
    except BAD:
        return _StateAbout()


_ABOUT = msgspec.json.Decoder(_StateAbout)
