"""One line of an ATIF trajectory: its steps as turns, and the sub-agents that they refer to.

What a step means for the requests:

    source system, user               heard; a system step that declares a compaction (Terminus 2 does) makes the history start anew
    source agent                      a request, its observation the tool results after it
    source agent, llm_call_count 0    dispatched by the program without asking the model: history, no request
    is_copied_context                 taken over from another trajectory: history, no request
    llm_call_count above 1            one request of unknown length: its metrics are sums over several
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import counts, languages
from openagentperf.corpus.formats.chat import ChatMessage, Part, to_message, tool_texts
from openagentperf.corpus.formats.documents import mended
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.corpus.formats.mend import NO_RESULT, call_of
from openagentperf.corpus.formats.steps import Steps
from openagentperf.records.trajectory import Message, Skipped, ToolCall, Turn
from openagentperf.units import Ns

MIXED = "answers with one time for model and tools together: no tool delay taken"
SUMMED = "steps that sum up several requests taken as one, its tokens estimated"
NO_REQUEST = "answers of other sessions, or of none, kept as history"

_NULL = Raw(b"null")


class Agent(Struct):
    name: object = None
    version: object = None
    model_name: object = None
    tool_definitions: list[Raw] | None = None


class Document(Struct):
    """A trajectory, at the top of a file or inside another."""

    schema_version: str
    steps: list[Raw]
    agent: Agent
    session_id: object = None
    trajectory_id: object = None
    subagent_trajectories: list[Raw] | None = None
    continued_trajectory_ref: object = None

    @property
    def harness(self) -> str:
        return " ".join(word for word in (self.agent.name, self.agent.version) if isinstance(word, str) and word)


class Call(Struct):
    tool_call_id: str | None = None
    function_name: str | None = None
    arguments: Raw = Raw(b"{}")


class Ref(Struct):
    trajectory_id: str | None = None
    """Of one inside the file. None: it is in another file, and nothing else (a session's id is shared) may find it."""


class ResultExtra(Struct):
    duration_ms: object = None
    """Harbor writes it for agents whose own log holds it."""


class Result(Struct):
    source_call_id: str | None = None
    content: str | list[Part] | None = None
    subagent_trajectory_ref: list[Ref] | Ref | None = None
    extra: ResultExtra | None = None

    @property
    def refs(self) -> Sequence[Ref]:
        ref = self.subagent_trajectory_ref
        return (ref,) if isinstance(ref, Ref) else ref or ()


class Observation(Struct):
    results: list[Result] = []


class Metrics(Struct):
    prompt_tokens: object = None
    completion_tokens: object = None
    cached_tokens: object = None


class StepExtra(Struct):
    context_management: object = None


class Step(Struct):
    source: str
    message: str | list[Part] | None = None
    timestamp: object = None
    model_name: object = None
    reasoning_content: object = None
    tool_calls: list[Call] | None = None
    observation: Observation | None = None
    metrics: Metrics | None = None
    llm_call_count: object = None
    is_copied_context: object = None
    extra: Raw = _NULL

    @property
    def results(self) -> Sequence[Result]:
        return self.observation.results if self.observation else ()

    @property
    def compacts(self) -> bool:
        """Whether everything before this step is gone from what the model sees."""
        if self.source == "agent" or b"context_management" not in bytes(self.extra):
            return False
        try:
            declared = _STEP_EXTRA.decode(self.extra).context_management
        except BAD:
            return False
        return isinstance(declared, dict) and declared.get("type") == "compaction"


class Spawn(NamedTuple):
    """A sub-agent that a step refers to."""

    after: int
    """The line's turn whose answer started it; -1 before the first."""
    ref: str
    """Its id; "" where it is in another file."""


class Line(NamedTuple):
    turns: tuple[Turn, ...]
    tools: tuple[str, ...]
    spawns: tuple[Spawn, ...]
    model: str
    """That of the steps, where they name one."""


DOCUMENT = msgspec.json.Decoder(Document)
_STEP = msgspec.json.Decoder(Step)
_STEP_EXTRA = msgspec.json.Decoder(StepExtra)


def line(
    document: Document,
    where: str,
    notes: Counter[str],
    tally: Counter[str],
    skipped: list[Skipped],
    *,
    main: bool = False,
) -> Line:
    """The turns of one document, its sub-agents left aside. Steps that do not decode go to `skipped`.

    main: note how much of the recorded counts is there as text (`Steps.note_share`).
    """
    tools = tool_texts(document.agent.tool_definitions or (), notes)
    steps = Steps(notes, tools=tools, harness=document.harness)
    spawns: list[Spawn] = []
    model = ""
    for step in _steps(document, where, skipped):
        if step.source == "agent":
            if not model and isinstance(step.model_name, str):
                model = step.model_name
            _agent(step, steps, notes, tally)
        else:
            if step.compacts:
                steps.forget()
            elif step.message:
                steps.hear(Message("system" if step.source == "system" else "user", _text(step.message, notes)))
            steps.hear(*(Message("user", _text(result.content, notes)) for result in step.results if result.content))
        after = len(steps.turns) - 1
        spawns += (Spawn(after, ref.trajectory_id or "") for result in step.results for ref in result.refs)
    if main:
        steps.note_share()
    return Line(steps.turns, tools, tuple(spawns), model)


def _steps(document: Document, where: str, skipped: list[Skipped]) -> Iterator[Step]:
    for number, raw in enumerate(document.steps, 1):
        try:
            yield mended(_STEP, raw)
        except BAD as error:
            skipped.append(Skipped(f"{where}: step {number}", why(error)))


def _agent(step: Step, steps: Steps, notes: Counter[str], tally: Counter[str]) -> None:
    calls = tuple(_call(call, notes) for call in step.tool_calls or ())
    for call in calls:
        languages.tally_text(call.arguments, tally)
    reasoning = step.reasoning_content if isinstance(step.reasoning_content, str) else ""
    message = Message("assistant", _text(step.message, notes), reasoning, calls)
    if step.llm_call_count == 0 or step.is_copied_context is True:
        notes[NO_REQUEST] += 1
        if message.content or calls:
            steps.recall(message)
    else:
        metrics = step.metrics or Metrics()
        if isinstance(step.llm_call_count, int) and step.llm_call_count > 1:
            notes[SUMMED] += 1
            metrics = Metrics()
        delay_ns = _tool_delay_ns(step.results)
        if calls and delay_ns is None and step.timestamp is not None:
            notes[MIXED] += 1
        steps.answer(
            message,
            input_tokens=counts.tokens(metrics.prompt_tokens),
            output_tokens=counts.tokens(metrics.completion_tokens),
            cached_tokens=counts.tokens(metrics.cached_tokens),
            delay_ns=delay_ns,
        )
    for result in step.results:
        text = _text(result.content, notes)
        if calls:
            # Without its call's id it is still what came back for the calls: Terminus 2 has one result for a batch of commands.
            steps.hear(Message("tool", text or NO_RESULT, tool_call_id=result.source_call_id or ""))
        elif text:
            steps.hear(Message("user", text))


def _tool_delay_ns(results: Sequence[Result]) -> Ns | None:
    """The longest of the calls' durations; that of a sub-agent is no tool's."""
    known = [
        delay_ns
        for result in results
        if result.extra is not None and not result.refs
        if (delay_ns := counts.delay_ns(result.extra.duration_ms)) is not None
    ]
    return max(known, default=None)


def _call(call: Call, notes: Counter[str]) -> ToolCall:
    text = bytes(call.arguments).decode("utf-8", "replace")
    return call_of(call.tool_call_id or "", call.function_name or "", text, notes)


def _text(content: str | list[Part] | None, notes: Counter[str]) -> str:
    return to_message(ChatMessage(role="user", content=content), notes).content
