"""agentic-swarm-bench captures: a request a line, with its full messages and how long it took.

    {seq, experiment_id, timestamp (start), total_time_s, messages, model, source_api, prompt_tokens?, completion_tokens, status_code}

The proxy stands between Claude Code and a server: messages of either dialect, OpenAI's where it translated them. Side requests (web
searches, titles) lie between those of the session (`beside`). Tool definitions are not captured: where the provider counted more than
the first request's text, the rest is filled in with text that sessions of this program version share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import anthropic, chat, counts
from openagentperf.corpus.formats.beside import sessions
from openagentperf.corpus.formats.claude_lines import Block
from openagentperf.corpus.formats.head import Head
from openagentperf.corpus.formats.lines import BAD, decoded, why
from openagentperf.corpus.formats.thread import Readings, Request, brings_results
from openagentperf.corpus.formats.usage import Counts
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory
from openagentperf.units import Ns

FORMAT = "asb"


class Line(Struct):
    messages: list[Raw]
    system: Raw = Raw(b"null")
    experiment_id: object = None
    timestamp: object = None
    total_time_s: object = None
    status_code: object = None
    model: object = None
    prompt_tokens: object = None
    completion_tokens: object = None


class _Kind(Struct):
    """What tells a message's dialect."""

    content: str | list[Block] | None = None


_LINE = msgspec.json.Decoder(Line)
_KIND = msgspec.json.Decoder(_Kind)
_CHAT = msgspec.json.Decoder(chat.ChatMessage)
_BLOCKS = frozenset({"tool_use", "tool_result", "thinking", "redacted_thinking"})
_VERSION = re.compile(r"cc_version=(\d+\.\d+\.\d+)")


def recognises(head: Head) -> bool:
    """Whether its lines are timed requests."""
    return any("messages" in record and "ttft_ms" in record for record in head.records)


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory an experiment, and one for each line of requests that ran before it. Raises CorpusError where none can be used."""
    experiments: dict[str, list[Request]] = {}
    readings = Readings()
    for number, line in decoded(data, source, skipped, _LINE):
        where = f"{source}:{number}"
        if isinstance(line.status_code, int) and not 200 <= line.status_code < 300:
            skipped.append(Skipped(where, f"a request that failed (status {line.status_code})"))
            continue
        name = line.experiment_id if isinstance(line.experiment_id, str) else ""
        try:
            request = _request(line, name or FORMAT, readings)
        except BAD as error:
            skipped.append(Skipped(where, why(error)))
            continue
        if request.messages:
            experiments.setdefault(name, []).append(request)
        else:
            skipped.append(Skipped(where, "a request without messages"))
    if not experiments:
        raise CorpusError(
            source,
            "holds no usable request",
            "lines with `messages` and `ttft_ms` are needed",
            "check that it is an agentic-swarm-bench capture",
        )
    notes = readings.notes
    for name, requests in experiments.items():
        about = Trajectory(
            id=name or source,
            turns=(),
            format=FORMAT,
            source=source,
            model=requests[0].model,
            harness=_harness(requests),
        )
        for request in requests:
            request.harness = about.harness or FORMAT
        yield from sessions(_ordered(requests), about, notes)
        notes = Counter()


def _ordered(requests: list[Request]) -> list[Request]:
    """By their start; one without a time keeps its place behind the one before it."""
    times: list[Ns] = []
    for request in requests:
        times.append(request.began if request.began is not None else times[-1] if times else 0)
    return [requests[index] for index in sorted(range(len(requests)), key=times.__getitem__)]


def _request(line: Line, session: str, readings: Readings) -> Request:
    texts = [bytes(message) for message in line.messages]
    system = bytes(line.system)
    if system not in (b"null", b'""', b"[]"):  # beside the messages where the proxy did not translate them
        texts.insert(0, b'{"role":"system","content":' + system + b"}")
    messages = readings.of(_messages, texts)
    start = counts.stamp_ns(line.timestamp) if isinstance(line.timestamp, str) else None
    took = line.total_time_s
    span = counts.delay_ns(took * 1e3) if isinstance(took, int | float) and not isinstance(took, bool) else None
    return Request(
        messages=messages,
        counted=Counts(counts.tokens(line.prompt_tokens), counts.tokens(line.completion_tokens)),
        began=start,
        ended=None if start is None or span is None else start + span,
        returns=brings_results(messages),
        session=session,
        model=line.model if isinstance(line.model, str) else "",
    )


def _harness(requests: Iterable[Request]) -> str:
    """Claude Code's version stands in its system prompt; "" where none does."""
    systems = (request.messages[0].content for request in requests if request.messages[0].role == "system")
    versions = (_VERSION.search(content, 0, 1_000) for content in systems)
    return next((f"claude-code {version[1]}" for version in versions if version), "")


def _messages(text: bytes, notes: Counter[str]) -> list[Message]:
    """One message of either dialect: Anthropic's where its content holds blocks that the other does not know."""
    try:
        content = _KIND.decode(text).content
    except BAD:
        content = None
    if isinstance(content, list) and any(block.type in _BLOCKS for block in content):
        return anthropic.to_messages(text, notes)
    return [chat.to_message(_CHAT.decode(text), notes)]
