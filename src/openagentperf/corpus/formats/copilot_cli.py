"""Copilot CLI sessions (`~/.copilot/session-state/*/events.jsonl`): JSONL, an event a line.

A message of the assistant is a request; those that share an API call's id are one. Output tokens are recorded, input tokens are not (only
streams of events that were captured live have them, as `assistant.usage`): they are the text, and what no event holds. How long that is,
tools above all, is told by the counts of the context that a compaction or the session's end wrote down; failing these, by the session's
total input, where it says for how many requests that is:

    (total - sum over all requests of their text) / requests

A sub-agent's events bear its id, or in older versions the call that started it: it becomes a branch.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats import counts, languages
from openagentperf.corpus.formats.copilot_events import (
    Answered,
    Context,
    Data,
    Done,
    Event,
    Said,
    Spent,
    Start,
    SubAgent,
    data_of,
)
from openagentperf.corpus.formats.copilot_line import Line, tokens_of, tool_call
from openagentperf.corpus.formats.head import Head, text_of
from openagentperf.corpus.formats.lines import BAD, decoded, why
from openagentperf.corpus.formats.mend import sentences
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Message, Skipped, ToolCall, Trajectory
from openagentperf.units import Ns

FORMAT = "copilot-cli"
UNREAD = "[the conversation so far, summed up in a text that was not recorded]"

_TYPES = frozenset(
    {"session.start", "assistant.message", "assistant.turn_start", "tool.execution_complete", "user.message"}
)
_EDITS = frozenset({"apply_patch", "create", "edit", "str_replace_editor"})
_EVENT = msgspec.json.Decoder(Event)


class Known(Struct):
    """One event, read."""

    event: Event
    data: Data
    at: Ns | None
    calls: list[ToolCall]


def recognises(head: Head) -> bool:
    """Whether a line of the first ones is such an event."""
    return any(
        {"type", "id", "parentId", "data"} <= keys.keys() and text_of(keys, "type") in _TYPES for keys in head.records
    )


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """The session of the file. Raises CorpusError where nothing was answered."""
    events: list[Known] = []
    notes: Counter[str] = Counter()
    for number, event in decoded(data, source, skipped, _EVENT):
        try:
            known = data_of(event)
            asked = known.tool_requests if isinstance(known, Answered) else None
            calls = [tool_call(request, notes) for request in asked or ()]
        except BAD as error:
            skipped.append(Skipped(f"{source}:{number}", why(error)))
        else:
            if known is not None:
                events.append(Known(event, known, counts.stamp_ns(event.timestamp), calls))
    trajectory = _trajectory(events, source, notes)
    if trajectory is None:
        raise CorpusError(
            source,
            "holds no answered request",
            "events of type `assistant.message` are needed",
            "check that it is a Copilot CLI session file",
        )
    yield trajectory


def _trajectory(events: Sequence[Known], source: str, notes: Counter[str]) -> Trajectory | None:
    counted = _unrecorded(events)
    session = _Session(events, counted, notes.copy())
    if not counted and (rest := session.unrecorded()):
        session = _Session(events, rest, notes.copy(), everywhere=True)
    return session.trajectory(source)


def _unrecorded(events: Sequence[Known]) -> int:
    """Tokens of the tools, and of the system prompt where no event holds that, by the first count of the context; 0 without one."""
    prompted = any(known.event.type == "system.message" and not known.event.agent_id for known in events)
    for known in events:
        if isinstance(known.data, Context) and (tools := counts.tokens(known.data.tool_definitions_tokens)):
            return tools + (0 if prompted else counts.tokens(known.data.system_tokens) or 0)
    return 0


class _Session:
    """The events of one file, given to the lines that they belong to.

    unrecorded    tokens of a request that no event holds; of the main line, or `everywhere`
    """

    def __init__(
        self, events: Sequence[Known], unrecorded: int, notes: Counter[str], *, everywhere: bool = False
    ) -> None:
        self._notes = notes
        self._unrecorded = unrecorded
        self._everywhere = everywhere
        self._start = next((known.data for known in events if isinstance(known.data, Start)), Start())
        self._spent = {
            known.data.api_call_id: known.data
            for known in events
            if isinstance(known.data, Spent) and known.data.api_call_id
        }
        self._end = next((known.data for known in reversed(events) if known.event.type == "session.shutdown"), None)
        self._lines: dict[str, Line] = {}
        self._callers: dict[str, Line] = {}
        """Who made each call."""
        self._calls: dict[str, ToolCall] = {}
        self._systems: dict[str, str] = {}
        """The system prompt of each line."""
        self._spawned: dict[str, str] = {}
        """The call that started each sub-agent."""
        self._starts: set[str] = set()
        """All calls that started one."""
        self._nameless: deque[str] = deque()
        """Calls that started sub-agents of whom nothing was heard yet."""
        self._came: dict[str, int] = {}
        """Number of the event in which each call's result came."""
        self._behind: set[str] = set()
        """Calls whose sub-agents run in the background."""
        self._model = ""
        self._edited: Counter[str] = Counter()
        self._named: Counter[str] = Counter()
        self._line("")
        for order, known in enumerate(events):
            self._take(order, known)

    def unrecorded(self) -> int:
        """Tokens of a request that no event holds, by the session's total; 0 where it does not say."""
        metrics = self._end.model_metrics if isinstance(self._end, Context) and self._end.model_metrics else {}
        asked = sum(counts.tokens(metric.requests.count) or 0 for metric in metrics.values())
        total = sum(tokens_of(metric.usage)[0] for metric in metrics.values())
        for line in self._lines.values():
            line.close()
        turns = [turn for line in self._lines.values() for turn in line.steps.turns]
        if not turns or asked != len(turns):
            return 0
        return max(0, (total - sum(turn.input_tokens for turn in turns)) // len(turns))

    def trajectory(self, source: str) -> Trajectory | None:
        """The session; None if its main line holds no answer."""
        for line in self._lines.values():
            line.close()
        if not self._lines[""].answers:
            return None
        branches, joined = self._branches()
        turns = self._lines[""].turns(joined)
        return Trajectory(
            id=self._start.session_id or source,
            turns=turns,
            branches=branches,
            format=FORMAT,
            source=source,
            language=languages.main_language(self._edited, self._named),
            harness=self._harness(),
            model=self._model or self._start.selected_model or "",
            notes=sentences(self._notes),
        )

    def _harness(self) -> str:
        return f"{FORMAT} {self._start.copilot_version or ''}".strip()

    def _line(self, name: str) -> Line:
        line = self._lines.get(name)
        if line is None:
            harness = f"{self._harness()} sub-agent" if name else self._harness()
            unrecorded = 0 if name and not self._everywhere else self._unrecorded
            line = self._lines[name] = Line(name, harness, unrecorded, self._spent, self._notes)
            if name:
                self._lines[""].close()
                line.born = max(0, self._lines[""].answers - 1)
                call = self._calls.get(self._spawning(name))
                line.opening = Message(role="user", content=call.arguments) if call else line.opening
        return line

    def _spawning(self, name: str) -> str:
        """The call that started a sub-agent: told, or the name itself, or the first that started one not heard of since."""
        if name not in self._spawned:
            known = name in self._callers or not self._nameless
            self._spawned[name] = name if known else self._nameless.popleft()
        return self._spawned[name]

    def _take(self, order: int, known: Known) -> None:
        data, event = known.data, known.event
        if isinstance(data, SubAgent):
            self._spawn(data, event)
            return
        name = event.agent_id or data.parent_tool_call_id or ""
        if isinstance(data, Start | Spent):
            return
        line = self._line(name)
        line.asked = line.asked if line.asked is not None else known.at
        line.last, line.order = known.at, order
        if isinstance(data, Said):
            self._say(line, data, event.type == "system.message")
        elif isinstance(data, Answered):
            line.answer(data, known.calls, known.at)
            self._model = self._model or ("" if name else data.model or "")
            for call in known.calls:
                self._callers.setdefault(call.id, line)
                self._calls.setdefault(call.id, call)
                languages.tally_text(call.arguments, self._edited if call.name in _EDITS else self._named)
        elif isinstance(data, Done):
            if data.tool_call_id and not data.is_user_requested:
                self._came.setdefault(data.tool_call_id, order)
                line.result(data.tool_call_id, _text(data), known.at)
        elif event.type == "session.compaction_start":
            line.compacting()
        elif isinstance(data, Context) and event.type == "session.context_cleared":
            line.forget(Message(role="user", content=data.initial_message) if data.initial_message else None)
        elif isinstance(data, Context) and event.type == "session.compaction_complete" and data.success:
            line.forget(Message(role="user", content=data.summary_content or UNREAD))

    def _say(self, line: Line, data: Said, system: bool) -> None:
        if not system:
            line.hear(Message(role="user", content=data.transformed_content or data.content))
        elif line.name not in self._systems:
            self._systems[line.name] = data.content
            line.hear(Message(role="system", content=data.content))
        elif data.content != self._systems[line.name]:
            # Written again at each of the user's messages; a changed one would make the whole prompt cold.
            self._notes["later system prompts that differ from the first: the first is used"] += 1

    def _spawn(self, data: SubAgent, event: Event) -> None:
        call = data.tool_call_id
        if event.type != "subagent.started" or not call or call in self._starts:
            return
        self._starts.add(call)
        if data.execution_mode == "background":
            self._behind.add(call)
        if event.agent_id and event.agent_id not in self._lines:
            self._spawned[event.agent_id] = call
        else:
            self._nameless.append(call)

    def _branches(self) -> tuple[tuple[Branch, ...], dict[str, Ns | None]]:
        """The sub-agents, and the calls that waited for one with the time when it had ended."""
        main, *agents = [line for line in self._lines.values() if line.answers or not line.name]
        joined: dict[str, Ns | None] = {}
        for line in agents:
            call = self._spawned[line.name]
            if call not in self._behind and self._came.get(call, 0) > line.order:
                joined[call] = line.last
        sizes = {"": main.answers}
        branches: list[Branch] = []
        for line in agents:
            call = self._spawned[line.name]
            parent = self._callers.get(call, main)
            if parent.name not in sizes or call not in parent.calls:
                parent = main
            after = parent.calls.get(call, line.born)
            join = parent.next_turn.get(call) if call in joined else None
            branches.append(
                Branch(
                    name=line.name,
                    parent=parent.name,
                    after=after,
                    join=join if join is not None and after < join < parent.answers else None,
                    delay_ns=counts.between_ns(parent.end_of(after), line.asked),
                    turns=line.turns(joined),
                )
            )
            sizes[line.name] = line.answers
        return tuple(branches), joined


def _text(done: Done) -> str:
    if done.result is not None and done.result.content is not None:
        return done.result.content
    return (done.error.message if done.error is not None else None) or ""
