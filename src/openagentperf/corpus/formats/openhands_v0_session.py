"""The events of one OpenHands V0 session on their way to turns: its main line, and a branch for each agent that it delegated to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from openagentperf.corpus.formats import counts, languages
from openagentperf.corpus.formats.openhands_usage import Usages
from openagentperf.corpus.formats.openhands_v0_events import (
    Answer,
    Event,
    answer_of,
    args_of,
    call_id_of,
    forgotten_of,
    observed,
    response_of,
    text_of,
)
from openagentperf.corpus.formats.openhands_view import View
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.formats.summaries import SUMMED_UP, UNPLACED, joined, summary_branch
from openagentperf.corpus.formats.usage import UNKNOWN, Counts
from openagentperf.records.trajectory import Branch, Message, Turn
from openagentperf.units import Ns

_NO_ANSWERS = frozenset(
    {"system", "recall", "condensation", "condensation_request", "change_agent_state", "null", "loop_recovery"}
)
"""Actions that are the program's own, whatever their source says."""


class _Line:
    """One agent's requests. `calls`: the call of each action, by the action's id."""

    def __init__(self, steps: Steps, name: str = "", parent: str = "", after: int = 0) -> None:
        self.steps = steps
        self.name, self.parent, self.after = name, parent, after
        self.view = View()
        self.summaries: list[Branch] = []
        self.calls: dict[str, str] = {}
        self.actions: set[str] = set()
        """Those of the last answer."""
        self.began: Ns | None = None
        """When the first of them came."""
        self.asked: Ns | None = None
        """When the last answer delegated."""
        self.waited: Ns = 0
        """How long the last answer's actions waited for delegates whose requests are recorded."""


class Session:
    """Feed it all events at once, then take `turns` and `branches`."""

    def __init__(
        self, notes: Counter[str], tally: Counter[str], *, tools: tuple[str, ...], harness: str, usages: Usages
    ) -> None:
        self._notes, self._tally = notes, tally
        self._harness = harness
        self._usages = usages
        self._stack = [_Line(Steps(notes, tools=tools, harness=harness))]
        self._ended: list[_Line] = [self._stack[0]]
        """All lines, parents first."""
        self._counted: Iterator[Counts] = iter(())
        self._responses: set[str] = set()
        self.limit = 0
        """Characters of an observation that the agent was shown; 0 where not recorded."""
        self.model = ""

    @property
    def turns(self) -> tuple[Turn, ...]:
        return self._ended[0].steps.turns

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Delegates and requests for summaries."""
        turns = {line.name: len(line.steps.turns) for line in self._ended}
        found: list[Branch] = []
        for line in self._ended:
            if line.name and line.steps.turns:
                branch = Branch(name=line.name, turns=line.steps.turns, parent=line.parent, after=line.after)
                found += joined([branch], turns[line.parent])
            for number, summary in enumerate(joined(line.summaries, turns[line.name]), 1):
                name = f"{line.name or 'main'}-{summary.name}-{number}"
                found.append(msgspec.structs.replace(summary, name=name, parent=line.name))
        return tuple(found)

    def read(self, events: Sequence[Event]) -> None:
        responses: dict[str, None] = {}
        for event in events:
            if _answers(event):
                responses[response_of(event) or f" {len(responses)}"] = None
        self._counted = iter(self._usages.aligned([name if name[0] != " " else "" for name in responses]))
        for event in events:
            if event.unseen:
                continue
            if event.observation is not None:
                self._observe(event)
            elif _answers(event):
                self._answer(event)
            else:
                self._hear(event)
        self._ended[0].steps.note_share()

    def _answer(self, event: Event) -> None:
        line = self._stack[-1]
        stamp = counts.stamp_ns(event.timestamp)
        response = response_of(event)
        if response in self._responses:
            # A further call of the answer before: its message holds them all.
            line.actions.add(event.name)
            line.calls[event.name] = call_id_of(event)
            line.view.add(event.name)
        else:
            answer = answer_of(event, self._notes)
            self.model = self.model or answer.model
            self._request(line, answer, next(self._counted, UNKNOWN))
            if response:
                self._responses.add(response)
            line.actions, line.began, line.waited = {event.name}, stamp, 0
            calls = answer.message.tool_calls
            line.calls[event.name] = call_id_of(event) or (calls[0].id if calls else "")
            line.view.add(event.name, answer.message)
        if event.action == "delegate":
            line.asked = stamp
            self._delegate(line, text_of(args_of(event).agent))

    def _request(self, line: _Line, answer: Answer, counted: Counts) -> None:
        if not counted.input:
            counted = answer.counted
        for call in answer.message.tool_calls:
            languages.tally_text(call.arguments, self._tally)
        line.steps.answer(
            answer.message, input_tokens=counted.input, output_tokens=counted.output, cached_tokens=counted.cached
        )

    def _observe(self, event: Event) -> None:
        stamp = counts.stamp_ns(event.timestamp)
        if event.observation == "delegate" and len(self._stack) > 1:
            child = self._stack.pop()
            if child.steps.turns:
                self._stack[-1].waited += counts.between_ns(self._stack[-1].asked, stamp) or 0
        line = self._stack[-1]
        cause = str(event.cause) if event.cause is not None else ""
        call = line.calls.get(cause) or call_id_of(event)
        text = observed(event, self.limit)
        if call:
            self._say(line, event, Message(role="tool", content=text, tool_call_id=call))
            if cause in line.actions:
                # How long a person pondered is no tool's time; how long a delegate took is up to the system that answers it.
                spent = None if event.observation == "user_rejected" else counts.between_ns(line.began, stamp)
                line.steps.delay(None if spent is None else max(0, spent - line.waited))
        elif text:
            if event.observation == "run":
                text = f"\nObserved result of command executed by user:\n{text}"
            self._say(line, event, Message(role="user", content=text))
        else:
            line.view.add(event.name)

    def _hear(self, event: Event) -> None:
        line = self._stack[-1]
        args = args_of(event)
        if event.action == "condensation":
            self._condense(line, event)
        elif event.action == "system":
            self._say(line, event, Message(role="system", content=text_of(args.content)))
        elif event.action == "message":
            self._say(line, event, Message(role="user", content=text_of(args.content)))
        elif event.action == "run":
            said = f"User executed the command:\n{text_of(args.command)}"
            self._say(line, event, Message(role="user", content=said))
        else:
            line.view.add(event.name)

    def _condense(self, line: _Line, event: Event) -> None:
        args = args_of(event)
        summary = text_of(args.summary)
        offset = args.summary_offset if isinstance(args.summary_offset, int) else None
        lost = line.view.condense(event.name, forgotten_of(args), summary or None, offset)
        line.steps.rewrite(line.view.messages())
        if not summary:
            return
        if not line.steps.turns:
            self._notes[UNPLACED] += 1
            return
        self._notes[SUMMED_UP] += 1
        last = len(line.steps.turns) - 1
        answer = Message(role="assistant", content=summary)
        line.summaries.append(
            summary_branch(lost, answer, UNKNOWN, after=last, delay_ns=line.steps.turns[last].tool_delay_ns)
        )

    def _delegate(self, line: _Line, agent: str) -> None:
        if not line.steps.turns:
            return
        child = _Line(
            Steps(self._notes, harness=f"{self._harness} {agent or 'delegate'}"),
            name=f"{agent or 'delegate'}-{len(self._ended)}",
            parent=line.name,
            after=len(line.steps.turns) - 1,
        )
        self._stack.append(child)
        self._ended.append(child)

    def _say(self, line: _Line, event: Event, message: Message) -> None:
        line.steps.hear(message)
        line.view.add(event.name, message)


def _answers(event: Event) -> bool:
    return event.action is not None and event.source == "agent" and event.action not in _NO_ANSWERS
