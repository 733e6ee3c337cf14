"""The log of `openagentperf record` (`capture.jsonl`), as trajectories with the tools' true times.

    tool delay = arrival of the next request - end of the answer, where that request brings tool results

both on the recorder's monotonic clock; less the wait for sub-agents that it joined. A pause before a person's next prompt is no tool delay.
Which requests make a thread is told by `threads`, which threads make a session by `families`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

from openagentperf.corpus.formats.capture_requests import Requests
from openagentperf.corpus.formats.families import Family
from openagentperf.corpus.formats.head import Head, text_of
from openagentperf.corpus.formats.subagents import grown
from openagentperf.corpus.formats.threads import Threads
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

FORMAT = "openagentperf-record"
_UNANSWERED = "requests that got no answer left out (their tools' time ends at the first attempt)"


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
    notes: Counter[str] = Counter()
    for _, run in itertools.groupby(requests, key=lambda each: each[0].scope):
        # A log is in the order in which exchanges ended.
        for request, answered in sorted(run, key=lambda each: each[0].began or 0):
            if answered:
                threads.add(request)
            else:
                notes[_UNANSWERED] += 1
                threads.fail(request)
    families = threads.idle(None)
    if not families:
        raise CorpusError(
            source,
            "holds no request that was answered",
            "an agent's requests are needed",
            "check that the agent's base URL is the recorder's, and see the lines' `status` and `error`",
        )
    # What was noted over the whole log stands with its first session: a message that two sessions share was read once.
    notes += requests.notes
    for family in families:
        yield _trajectory(family, source, notes)
        notes = Counter()


def _trajectory(family: Family, source: str, notes: Counter[str]) -> Trajectory:
    first = family.mains[0].first
    root, *others = family.nodes()
    root.notes = notes + root.notes
    for number, node in enumerate(others, 1):
        node.name = f"agent-{number}"
    about = Trajectory(
        id=first.name,
        turns=(),
        format=FORMAT,
        # Of the path only the folder's and the file's names: sets are passed on, and what stands before is a person's home.
        source="/".join(source.split("/")[-2:]),
        harness=first.agent,
        model=first.model,
    )
    return grown(root, about, from_answer=True)
