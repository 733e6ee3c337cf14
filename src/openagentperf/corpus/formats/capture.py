"""The log of `openagentperf record` (`capture.jsonl`), as trajectories with the tools' true times.

    tool delay = arrival of the next request - end of the answer, where that request brings tool results

both on the recorder's monotonic clock; less the wait for sub-agents that it joined. A pause before a person's next prompt is no tool delay.
Which requests make a session is told by `capture_threads`, which sessions are sub-agents of others by `capture_tree`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from openagentperf.corpus.formats import counts, languages
from openagentperf.corpus.formats.capture_requests import CONVERT, Request, Requests, tool_texts
from openagentperf.corpus.formats.capture_threads import Thread, Threads, ordered
from openagentperf.corpus.formats.capture_tree import Spawn, sessions, spawns
from openagentperf.corpus.formats.head import Head, text_of
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.snapshots import Snapshots
from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate, estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Skipped, Trajectory, Turn
from openagentperf.units import Ns

FORMAT = "openagentperf-record"


def recognises(head: Head) -> bool:
    """Whether the file is a recorder's log."""
    return any(
        text_of(record, "row") == "started" or (text_of(record, "row") == "exchange" and "arrived_ns" in record)
        for record in head.records
    )


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a session, in the order of their first requests. Raises CorpusError where no request was answered."""
    requests = Requests(data, source, skipped)
    threads = Threads()
    threads.add(ordered(requests))
    tree = _Tree(threads.found, source, skipped)
    # What was noted over the whole log stands with its first session: a message that two sessions share was read once.
    noted = requests.notes + threads.notes
    found = False
    for main in tree.mains:
        trajectory = tree.trajectory(main, noted)
        noted = Counter()
        if trajectory is not None:
            found = True
            yield trajectory
    if not found:
        raise CorpusError(
            source,
            "holds no request that was answered",
            "an agent's requests are needed",
            "check that the agent's base URL is the recorder's, and see the lines' `status` and `error`",
        )


class _Line:
    """One thread's turns."""

    def __init__(self, thread: Thread, joined_ns: Mapping[Request, Ns], notes: Counter[str]) -> None:
        """`joined_ns`: for a request that waited for sub-agents, when the last of them had ended."""
        self.tally: Counter[str] = Counter()
        first = next((request for request in thread.requests if request.tools), thread.first)
        self.tools = tool_texts(first.row.dialect, first.tools, notes)
        self._thread = thread
        self._joined_ns = joined_ns
        self._snapshots = Snapshots(CONVERT[first.row.dialect], self.tools)
        self._notes = notes
        self._at: dict[int, int] = {}
        if any(request.tools != first.tools for request in thread.requests):
            notes["sessions that offered other tools at some turns: one set is used"] += 1

    def read(self, skipped: list[Skipped]) -> tuple[Turn, ...]:
        for index, request in enumerate(self._thread.requests):
            try:
                self._turn(index, request)
            except BAD as error:
                skipped.append(Skipped(request.where, why(error)))
        self._notes.update(self._snapshots.notes)
        return self._snapshots.turns

    def turn_of(self, request: Request | None) -> int | None:
        """The number of a request's turn; None where it has none."""
        return None if request is None else self._at.get(id(request))

    def _turn(self, index: int, request: Request) -> None:
        row, answer = request.row, request.answer
        assert answer is not None
        appended = self._snapshots.add(
            [message for messages in request.said for message in messages],
            input_tokens=counts.tokens(row.input_tokens),
            output_tokens=counts.tokens(row.output_tokens),
            cached_tokens=counts.tokens(row.cached_tokens),
            visible_tokens=estimate_message(answer) - MESSAGE_TOKENS + estimate(answer.reasoning),
            tool_calls=len(answer.tool_calls),
            delay_ns=self._delay_ns(index, request),
            cut="compaction" if index in self._thread.begins_anew else "undeclared",
        )
        self._at[id(request)] = len(self._snapshots.turns) - 1
        if index in self._thread.begins_anew:
            self._notes["histories begun anew in the same session taken as compactions"] += 1
        if row.ending:
            self._notes["answers that were cut off kept as far as they came"] += 1
        for message in appended:
            for call in message.tool_calls:
                languages.tally_text(call.arguments, self.tally)

    def _delay_ns(self, index: int, request: Request) -> Ns | None:
        if index + 1 == len(self._thread.requests):
            return None
        follows = self._thread.requests[index + 1]
        if not follows.brings_results or follows.run != request.run:
            return None
        begin_ns = max(request.row.answered_ns, self._joined_ns.get(follows, 0))
        return counts.between_ns(begin_ns, max(begin_ns, self._thread.arrivals[index + 1]))


class _Tree:
    """Threads as trajectories with branches."""

    def __init__(self, threads: Sequence[Thread], source: str, skipped: list[Skipped]) -> None:
        self._threads = threads
        self._spawned = spawns(threads)
        self.mains = sessions(threads, self._spawned)
        self._source = source
        self._skipped = skipped
        self._joined_ns: dict[Request, Ns] = {}
        for thread, spawn in self._spawned.items():
            if spawn.join is not None:
                self._joined_ns[spawn.join] = max(self._joined_ns.get(spawn.join, 0), thread.ended_ns)

    def trajectory(self, main: Thread, notes: Counter[str]) -> Trajectory | None:
        """The session of `main`, and of all that it and its sub-agents spawned; None where none of its requests can be used."""
        line = _Line(main, self._joined_ns, notes)
        turns = line.read(self._skipped)
        if not turns:
            return None
        lines = {"": line}
        branches: list[Branch] = []
        for thread in self._threads:
            if (spawn := self._spawned.get(thread)) is None:
                continue
            parent = next((name for name, above in lines.items() if above.turn_of(spawn.after) is not None), None)
            if parent is None:
                continue
            name = f"agent-{len(branches) + 1}"
            lines[name] = _Line(thread, self._joined_ns, notes)
            if (branch := self._branch(name, parent, thread, spawn, lines)) is None:
                del lines[name]
            else:
                branches.append(branch)
        row = main.first.row
        return Trajectory(
            id=f"{row.session or 'session'}-{row.at}-{row.number}",
            turns=turns,
            branches=tuple(branches),
            tools=line.tools,
            format=FORMAT,
            # Of the path only the folder's and the file's names: sets are passed on, and what stands before is a person's home.
            source="/".join(self._source.split("/")[-2:]),
            language=languages.main_language(*(each.tally for each in lines.values())),
            harness=row.agent,
            model=row.model,
            notes=sentences(notes),
        )

    def _branch(self, name: str, parent: str, thread: Thread, spawn: Spawn, lines: dict[str, _Line]) -> Branch | None:
        turns = lines[name].read(self._skipped)
        after = lines[parent].turn_of(spawn.after)
        if not turns or after is None:
            return None
        return Branch(
            name=name,
            turns=turns,
            parent=parent,
            after=after,
            join=lines[parent].turn_of(spawn.join),
            delay_ns=counts.between_ns(spawn.after.row.answered_ns, thread.arrivals[0]),
            tools=lines[name].tools,
        )
