"""LMCache agent traces: a request a line, `{timestamp: us, input, output, session_id}`, input and output as text.

The messages of a request are joined to one text, in one of two ways:

    with roles       "user: ...\\n\\nassistant: ..."        split again where a role opens a paragraph
    without (mini-swe-agent)                              the answers were left out, though the agent sent them: where a text begins with
                                                         the one before it, the recorded answer is put between the two

so that in the second form a request is longer than its recorded text, by the answers. Timestamps are arrivals only: between two of them lie
the answer and the tool together, hence no tool delay is known. Requests of other team members lie between those of the session
(`beside`). A request whose text is empty (a screenshot was all it held) cannot be sent, and is skipped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats import languages
from openagentperf.corpus.formats.beside import sessions
from openagentperf.corpus.formats.head import Head
from openagentperf.corpus.formats.lines import decoded
from openagentperf.corpus.formats.thread import Request
from openagentperf.corpus.tokens import estimate
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Role, Skipped, Trajectory
from openagentperf.units import NS_PER_US, Ns

FORMAT = "lmcache"


class Line(Struct, gc=False):
    input: str
    output: str = ""
    timestamp: object = None
    session_id: object = None


_LINE = msgspec.json.Decoder(Line)
_ROLE = re.compile(r"(?:\A|\n\n)(system|user|assistant|tool): ")
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "user"}
"""A tool's result without the id of its call is sent as the user's: the text tells no ids."""
ANSWERS = "tokens of answers that the recording leaves out of the requests behind them put back"


def recognises(head: Head) -> bool:
    """Whether its lines hold a request and its answer as text."""
    return any({"timestamp", "input", "output", "session_id"} <= record.keys() for record in head.records)


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a session id, and one for each line of requests that ran before it. Raises CorpusError where none can be used."""
    recorded: dict[str, list[tuple[Ns, Line]]] = {}
    for number, line in decoded(data, source, skipped, _LINE):
        name = line.session_id if isinstance(line.session_id, str) else ""
        if not line.input.strip():
            skipped.append(Skipped(f"{source}:{number}", "a request without text"))
            continue
        stamp = line.timestamp if isinstance(line.timestamp, int) and not isinstance(line.timestamp, bool) else 0
        recorded.setdefault(name, []).append((stamp * NS_PER_US, line))
    if not recorded:
        raise CorpusError(
            source,
            "holds no usable request",
            "lines with `input` and `output` texts are needed",
            "check that it is an LMCache agent trace",
        )
    for name, lines in recorded.items():
        lines.sort(key=lambda row: row[0])  # a trace may be written in the order in which answers ended
        yield from _trajectories(name or source, lines, source)


def _trajectories(name: str, lines: list[tuple[Ns, Line]], source: str) -> Iterator[Trajectory]:
    notes: Counter[str] = Counter()
    tally: Counter[str] = Counter()
    made = _Messages(notes)
    requests: list[Request] = []
    for stamp, line in lines:
        languages.tally_text(line.output, tally)
        requests.append(
            Request(
                messages=made.of(line),
                answer=Message(role="assistant", content=line.output),
                began=stamp,
                session=name,
            )
        )
    about = Trajectory(id=name, turns=(), format=FORMAT, source=source)
    for trajectory in sessions(requests, about, notes):
        yield msgspec.structs.replace(trajectory, language=languages.main_language(tally))


class _Messages:
    """Gives the messages of each request."""

    def __init__(self, notes: Counter[str]) -> None:
        self._notes = notes
        self._text = ""
        self._output = ""
        self._before: tuple[Message, ...] = ()

    def of(self, line: Line) -> tuple[Message, ...]:
        if _ROLE.match(line.input):
            return _split(line.input)
        if self._before and line.input.startswith(self._text):
            rest = line.input[len(self._text) :].lstrip("\n")
            messages = self._before
            if rest:
                self._notes[ANSWERS] += estimate(self._output)
                messages = (*messages, Message("assistant", self._output), Message("user", rest))
        else:
            messages = (Message("user", line.input),)
        self._text, self._output, self._before = line.input, line.output, messages
        return messages


def _split(text: str) -> tuple[Message, ...]:
    marks = list(_ROLE.finditer(text))
    ends = [mark.start() for mark in marks[1:]]
    return tuple(
        Message(_ROLES[mark[1]], text[mark.end() : end]) for mark, end in zip(marks, [*ends, len(text)], strict=True)
    )
