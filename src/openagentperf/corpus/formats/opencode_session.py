"""One OpenCode session on its way to turns.

What the next request sends follows from the messages as in OpenCode's `filterCompacted`: behind a finished compaction the history is its
user message, the summary, and the messages from `tail_start_id` on. Pruning clears old tool results at the time that each of them carries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from openagentperf.corpus.formats import languages
from openagentperf.corpus.formats.opencode_parts import (
    CLEARED,
    Entry,
    Part,
    answer_of,
    counts_of,
    heard_of,
    results_of,
    session_of,
    stamp_ns,
)
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.formats.subagents import Asked, Interval, Node, union_ns
from openagentperf.corpus.formats.summaries import SUMMED_UP, UNPLACED, joined, summary_branch
from openagentperf.corpus.formats.usage import UNKNOWN, Counts
from openagentperf.records.trajectory import Branch, Message, Turn
from openagentperf.units import Ns


class Session:
    """See the module's docstring."""

    def __init__(self, entries: Sequence[Entry], version: str) -> None:
        self._notes: Counter[str] = Counter()
        self._version = version
        self.tally: Counter[str] = Counter()
        self.model = next((entry.info.model for entry in entries if entry.info.model), "")
        self.asked: list[Asked] = []
        """One a turn."""
        self.spawns: dict[str, int] = {}
        """The turn whose answer started a sub-agent, by the sub-agent's session."""
        self.began: Ns | None = None
        self.ended: Ns | None = None
        mode = next((entry.info.mode for entry in entries if entry.info.mode and not entry.sums_up), "")
        self._steps = Steps(self._notes, harness=f"opencode {version} {mode}".strip())
        self._said: list[tuple[str, list[Message]]] = []
        """What the next request sends, by message of the session."""
        self._summaries: list[Branch] = []
        self._asking: dict[str, Part | None] = {}
        """Each user message's compaction part."""
        self._pruned = 0
        self._prunings = sorted(
            (at, part.call)
            for entry in entries
            for part in entry.parts
            if part.call
            and part.state is not None
            and part.state.time is not None
            and (at := stamp_ns(part.state.time.compacted)) is not None
        )
        for entry in entries:
            if entry.info.role == "user":
                self._user(entry)
            elif entry.info.role == "assistant":
                self._assistant(entry)
        self._steps.note_share()

    @property
    def turns(self) -> tuple[Turn, ...]:
        return self._steps.turns

    def node(self, name: str) -> Node:
        """The session as a line of that name."""
        return Node(
            name=name,
            turns=self.turns,
            asked=self.asked,
            began=self.began,
            ended=self.ended,
            notes=self._notes,
            tally=self.tally,
            model=self.model,
            summaries=joined(self._summaries, len(self.turns)),
        )

    def _user(self, entry: Entry) -> None:
        self.began = self.began or _created(entry)
        self._asking[entry.info.id] = entry.compaction
        said = heard_of(entry, self._notes)
        if entry.info.system and not self._said:
            said.insert(0, Message(role="system", content=entry.info.system))
        self._say(entry.info.id, said)

    def _assistant(self, entry: Entry) -> None:
        if entry.sums_up:
            self._sum_up(entry)
            return
        if entry.failed:
            self._notes["requests that failed left out"] += 1
            return
        self._prune(_created(entry))
        for step in entry.steps:
            self._request(entry, step)

    def _request(self, entry: Entry, step: Sequence[Part]) -> None:
        message = answer_of(step, self._notes)
        for call in message.tool_calls:
            languages.tally_text(call.arguments, self.tally)
        counted = self._counts(entry, step)
        ran = _intervals(step)
        before = len(self.turns)
        self._steps.answer(
            message,
            input_tokens=counted.input,
            output_tokens=counted.output,
            cached_tokens=counted.cached,
            delay_ns=union_ns(ran) if ran else None,
        )
        completed = stamp_ns(entry.info.time.completed) if entry.info.time is not None else None
        self.ended = max((end for _, end in ran), default=completed) or self.ended
        if len(self.turns) > before:
            answered = min((start for start, _ in ran), default=completed)
            self.asked.append(Asked(answered, max((end for _, end in ran), default=None)))
            for part in step:
                if session := session_of(part):
                    self.spawns.setdefault(session, before)
        self._said.append((entry.info.id, [message]))
        self._say(entry.info.id, results_of(step))

    def _counts(self, entry: Entry, step: Sequence[Part]) -> Counts:
        """Those of the request's end; the message's own where no request of it has an end."""
        finish = next((part for part in step if part.type == "step-finish"), None)
        if finish is not None:
            return counts_of(finish.tokens, self._version)
        self._notes["answers whose end was not recorded"] += 1
        ended = any(part.type == "step-finish" for part in entry.parts)
        return UNKNOWN if ended else counts_of(entry.info.tokens, self._version)

    def _say(self, name: str, messages: list[Message]) -> None:
        self._steps.hear(*messages)
        self._said.append((name, messages))

    def _sum_up(self, entry: Entry) -> None:
        message = answer_of(entry.parts, self._notes)
        history = [said for _, messages in self._said for said in messages]
        if self.turns:
            self._notes[SUMMED_UP] += 1
            last = len(self.turns) - 1
            self._summaries.append(
                summary_branch(
                    history,
                    message,
                    self._counts(entry, entry.parts),
                    after=last,
                    delay_ns=self.turns[last].tool_delay_ns,
                )
            )
        else:
            self._notes[UNPLACED] += 1
        if entry.info.error is None and entry.info.finish:
            self._compact(entry, message)

    def _compact(self, entry: Entry, summary: Message) -> None:
        """Put the summary in the place of the history, the tail behind it."""
        asked = entry.info.parent or ""
        names = [name for name, _ in self._said]
        compaction = self._asking.get(asked)
        front = [said for said in self._said if said[0] == asked] if compaction is not None else []
        tail: list[tuple[str, list[Message]]] = []
        if compaction is not None and compaction.tail in names and asked in names:
            tail = self._said[names.index(compaction.tail) : names.index(asked)]
        self._said = [*front, (entry.info.id, [summary]), *tail]
        self._steps.rewrite(said for _, messages in self._said for said in messages)

    def _prune(self, now: Ns | None) -> None:
        """Clear the results that were pruned before `now`."""
        due: set[str] = set()
        while self._pruned < len(self._prunings) and now is not None and self._prunings[self._pruned][0] <= now:
            due.add(self._prunings[self._pruned][1])
            self._pruned += 1
        if not due:
            return
        self._said = [
            (name, [_cleared(said) if said.role == "tool" and said.tool_call_id in due else said for said in messages])
            for name, messages in self._said
        ]
        self._steps.rewrite((said for _, messages in self._said for said in messages), "microcompaction")


def _cleared(message: Message) -> Message:
    return msgspec.structs.replace(message, content=CLEARED)


def _created(entry: Entry) -> Ns | None:
    return stamp_ns(entry.info.time.created) if entry.info.time is not None else None


def _intervals(step: Sequence[Part]) -> list[Interval]:
    """When each tool of a request ran."""
    found: list[Interval] = []
    for part in step:
        if part.type == "tool" and part.state is not None and part.state.time is not None:
            start, end = stamp_ns(part.state.time.start), stamp_ns(part.state.time.end)
            if start is not None and end is not None and start <= end:
                found.append((start, end))
    return found
