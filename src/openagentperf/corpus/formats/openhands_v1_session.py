"""The events of one conversation of the OpenHands SDK on their way to turns.

Events form a tree by `parent_id`, where going back in a conversation leaves a branch behind; the conversation is the path from its last
event to the root, and events without a parent follow the one before. A request is a response of the model: several ActionEvents with one
`llm_response_id` are its parallel calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import counts, languages
from openagentperf.corpus.formats.lines import BAD
from openagentperf.corpus.formats.openhands_usage import Usages
from openagentperf.corpus.formats.openhands_v1_events import (
    ROOT,
    Event,
    answer_of,
    heard_of,
    offered,
    result_of,
    system_of,
)
from openagentperf.corpus.formats.openhands_view import View
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.formats.subagents import Asked, Node
from openagentperf.corpus.formats.summaries import SUMMED_UP, UNPLACED, joined, summary_branch
from openagentperf.corpus.formats.usage import Counts
from openagentperf.records.trajectory import Branch, Message, Turn
from openagentperf.units import Ns

_RESULTS = frozenset({"ObservationEvent", "AgentErrorEvent", "UserRejectObservation"})


class _Response(Struct):
    id: str = ""


class _Summary(Struct):
    prompt_tokens: object = None
    completion_tokens: object = None
    cache_read_tokens: object = None


class _Log(Struct):
    """A completion log inside an event."""

    response: _Response | None = None
    usage_summary: _Summary | None = None


_LOG = msgspec.json.Decoder(_Log)


class Session:
    """See the module's docstring."""

    def __init__(self, events: Sequence[Event], usages: Usages) -> None:
        self._notes = notes = Counter[str]()
        self._usages = usages
        path, left = active_path(events)
        if left:
            notes["requests on abandoned branches left out"] += left
        _learn(events, usages)
        prompt = next((event for event in path if event.kind == "SystemPromptEvent"), None)
        self.tools = offered((prompt and prompt.tools) or (), notes)
        self.tally: Counter[str] = Counter()
        self.began: Ns | None = None
        """When its first user message came: sub-agents prepare themselves before."""
        self.ended: Ns | None = None
        self.asked: list[Asked] = []
        """One a turn."""
        self._steps = Steps(notes, tools=self.tools, harness="openhands-v1")
        self._view = View()
        self._summaries: list[Branch] = []
        self._calls: set[str] = set()
        self._parts = _parts_of(path)
        self._done: set[str] = set()
        for event in path:
            self._take(event)
        self._steps.note_share()

    @property
    def turns(self) -> tuple[Turn, ...]:
        return self._steps.turns

    def node(self, name: str) -> Node:
        """The conversation as a line of that name."""
        return Node(
            name=name,
            turns=self.turns,
            asked=self.asked,
            tools=self.tools,
            began=self.began,
            ended=self.ended,
            notes=self._notes,
            tally=self.tally,
            summaries=joined(self._summaries, len(self.turns)),
        )

    def _take(self, event: Event) -> None:
        if event.answers:
            self._answer(event)
        elif event.kind in _RESULTS:
            self._result(event)
        elif event.kind == "SystemPromptEvent":
            self._hear(event, system_of(event, self._notes))
        elif event.kind == "MessageEvent":
            self.began = self.began or counts.stamp_ns(event.timestamp)
            self._hear(event, heard_of(event, self._notes))
        elif event.kind == "CondensationSummaryEvent":
            self._hear(event, Message(role="user", content=event.summary or ""))
        elif event.kind == "Condensation":
            self._condense(event)

    def _hear(self, event: Event, message: Message) -> None:
        self._steps.hear(message)
        self._view.add(event.id, message)

    def _answer(self, event: Event) -> None:
        parts = self._parts.get(event.llm_response_id or "", [event])
        if event.llm_response_id and event.llm_response_id in self._done:
            self._view.add(event.id)
            return
        self._done.add(event.llm_response_id or "")
        message = answer_of(parts, self._notes)
        for call in message.tool_calls:
            languages.tally_text(call.arguments, self.tally)
        counted = self._usages.of(event.llm_response_id or "")
        before = len(self.turns)
        self._steps.answer(
            message, input_tokens=counted.input, output_tokens=counted.output, cached_tokens=counted.cached
        )
        stamp = counts.stamp_ns(event.timestamp)
        if len(self.turns) > before:
            self.asked.append(Asked(stamp))
        self.ended = stamp or self.ended
        self._calls = {call.id for call in message.tool_calls}
        self._view.add(event.id, message)

    def _result(self, event: Event) -> None:
        self._hear(event, result_of(event, self._notes))
        if not self.asked or event.tool_call_id not in self._calls:
            return
        stamp = counts.stamp_ns(event.timestamp)
        began = self.asked[-1].answered
        self.asked[-1] = Asked(began, stamp)
        self.ended = stamp or self.ended
        # How long a person pondered is no tool's time.
        rejected = event.kind == "UserRejectObservation"
        self._steps.delay(None if rejected else counts.between_ns(began, stamp))

    def _condense(self, event: Event) -> None:
        forgotten = frozenset(event.forgotten_event_ids or ())
        lost = self._view.condense(f"{event.id}-summary", forgotten, event.summary, event.summary_offset)
        self._steps.rewrite(self._view.messages())
        if event.summary is None:
            return
        if not self.turns:
            self._notes[UNPLACED] += 1
            return
        self._notes[SUMMED_UP] += 1
        last = len(self.turns) - 1
        self._summaries.append(
            summary_branch(
                lost,
                Message(role="assistant", content=event.summary),
                self._usages.of(event.llm_response_id or ""),
                after=last,
                delay_ns=self.turns[last].tool_delay_ns,
            )
        )


def active_path(events: Sequence[Event]) -> tuple[list[Event], int]:
    """The events from the root to the last one, and how many answers stand on branches that were left."""
    place = {event.id: index for index, event in enumerate(events)}
    at = next((index for index in range(len(events) - 1, -1, -1) if not events[index].artifact), -1)
    on: set[int] = set()
    while at >= 0 and at not in on:
        on.add(at)
        parent = events[at].parent_id
        at = -1 if parent == ROOT else at - 1 if parent is None else place.get(parent, at - 1)
    kept = {event.llm_response_id for index, event in enumerate(events) if index in on and event.answers}
    left = {event.llm_response_id for index, event in enumerate(events) if index not in on and event.answers}
    return [event for index, event in enumerate(events) if index in on], len(left - kept)


def _parts_of(path: Sequence[Event]) -> dict[str, list[Event]]:
    parts: dict[str, list[Event]] = {}
    for event in path:
        if event.answers and event.llm_response_id:
            parts.setdefault(event.llm_response_id, []).append(event)
    return parts


def _learn(events: Sequence[Event], usages: Usages) -> None:
    """The counts that stand among the events: state updates, completion logs, token ids."""
    response = ""
    for event in events:
        if event.answers:
            response = event.llm_response_id or ""
        elif event.kind == "ConversationStateUpdateEvent" and event.key == "stats":
            usages.add_stats(event.value)
        elif event.kind == "LLMCompletionLogEvent" and event.log_data:
            _learn_log(event.log_data, usages)
        elif event.kind == "TokenEvent":
            usages.add(response, Counts(_length(event.prompt_token_ids), _length(event.response_token_ids), None))


def _learn_log(text: str, usages: Usages) -> None:
    try:
        log = _LOG.decode(text)
    except BAD:
        return
    if log.response is not None and (said := log.usage_summary) is not None:
        usages.add(
            log.response.id,
            Counts(
                counts.tokens(said.prompt_tokens),
                counts.tokens(said.completion_tokens),
                counts.tokens(said.cache_read_tokens),
            ),
        )


def _length(ids: Raw) -> int | None:
    """How many items an array of numbers has, without reading them."""
    text = bytes(ids)
    return text.count(b",") + 1 if text[:1] == b"[" and text.strip(b"[] \n") else None
