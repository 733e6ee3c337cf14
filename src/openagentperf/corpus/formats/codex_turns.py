"""A Codex session's answers, what was heard between them and their token counts, put together as turns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from openagentperf.corpus.formats import counts, languages, responses
from openagentperf.corpus.formats.steps import Steps
from openagentperf.records.trajectory import Message
from openagentperf.units import Ns

COPIED_NS: Ns = 20_000_000
"""No model answers within 20 ms of its request. Lines that say so were copied when a session was forked and bear the time of the copy;
then all that is known of a tool's delay is the wall time that its output reports."""

_WALL = re.compile(r'Wall time:? (\d{1,7}(?:\.\d{1,9})?) seconds|"duration_seconds": ?(\d{1,7}(?:\.\d{1,9})?)')
_WALL_CHARS = 400
_PATCHED = re.compile(r"\*\*\* (?:Add|Update|Delete) File: ([^\\\n]{1,500})")


class Usage(Struct):
    """Of a request, or of all so far. Other counts beside these are not read."""

    input_tokens: object = None
    cached_input_tokens: object = None
    output_tokens: object = None


class _Group(Struct):
    """One answer, in the parts that it was written down in, and what was heard after it."""

    parts: list[Message]
    end: str | None
    heard: list[tuple[Message, str | None]]


def between(before: Usage | None, after: Usage) -> tuple[int, int, int] | None:
    """Input, cached and output tokens counted from one total to the next; None where they do not say."""
    if before is None:
        return None
    pairs = (
        (before.input_tokens, after.input_tokens),
        (before.cached_input_tokens, after.cached_input_tokens),
        (before.output_tokens, after.output_tokens),
    )
    grown = [(counts.tokens(new) or 0) - (counts.tokens(old) or 0) for old, new in pairs]
    return (grown[0], grown[1], grown[2]) if min(grown) >= 0 else None


class Turns:
    """See the module's docstring. `steps` holds what came out."""

    def __init__(self, notes: Counter[str], *, tools: tuple[str, ...], harness: str) -> None:
        self.steps = Steps(notes, tools=tools, harness=harness)
        self._notes = notes
        self._groups: list[_Group] = []
        """Answers that no count was seen for yet, in order."""
        self._began = False
        self._asked: Ns | None = None
        """When the last thing was heard: the request went out then."""
        self._answered: Ns | None = None
        self._wall_s: float | None = None
        """The longest wall time that an output of the last answer's calls reports."""
        self._counted = False
        self._edited: Counter[str] = Counter()
        self._named: Counter[str] = Counter()

    def hear(self, message: Message) -> None:
        """What the model is told. A system message behind the first becomes the user's."""
        if message.role == "system" and self._began:
            # Qwen's templates refuse it there, and DeepSeek's puts it in front, which breaks the prefix at that request.
            self._notes["developer messages behind the first one sent as user messages"] += 1
            message = Message(role="user", content=message.content)
        self._began = True
        self.steps.hear(message)

    def write(self, part: Message, stamp: str | None) -> None:
        """A part of an answer, in recorded order."""
        last = self._groups[-1] if self._groups else None
        if last is None or last.heard:
            self._groups.append(_Group([part], stamp, []))
        else:
            last.parts.append(part)
            last.end = stamp

    def tell(self, messages: Iterable[Message], stamp: str | None) -> None:
        """What the model was told, in recorded order."""
        for message in messages:
            if self._groups:
                self._groups[-1].heard.append((message, stamp))
            else:
                self._hear(message, stamp)

    def count(self, last: Usage, grown: tuple[int, int, int] | None) -> None:
        """A token count: of the last answer's request (`last`), and how much the session's total grew since the count before."""
        self._counted = True
        if not self._groups:
            self._notes["token counts that follow no answer left out"] += 1
            return
        *lost, counted = self._groups
        self._groups = []
        known = _tokens(last)
        # The count of an answer whose user interrupted its tools is never written, but the total has it.
        rest = tuple(whole - part for whole, part in zip(grown, known, strict=True)) if grown else (0, 0, 0)
        for group in lost:
            self._answer(group, rest if len(lost) == 1 and min(rest[0], rest[2]) > 0 else (0, 0, 0))
        self._answer(counted, known)

    def forget(self, left: Iterable[Message], name: str) -> None:
        """A compaction: `left` is all that there is now, behind the system message. A summary without text gets that of `name`, its own."""
        self._flush()
        self.steps.forget()
        for message in left:
            if message.role == "assistant":
                self.steps.recall(message)
            elif message.content == responses.COMPACTED:
                self.steps.hear_unread(message, name)
            else:
                self.hear(message)

    def end(self) -> None:
        """The end of the file. Where others were counted, an answer without a count may go on behind the end: it is left out."""
        if self._counted and self._groups:
            self._notes["answers at the end, not yet counted, left out"] += 1
            self._groups.pop()
        self._flush()

    def _flush(self) -> None:
        for group in self._groups:
            self._answer(group, (0, 0, 0))
        self._groups = []

    def _answer(self, group: _Group, known: tuple[int, ...]) -> None:
        message = responses.merged(group.parts)
        if not (message.content or message.tool_calls or known[0]):
            self._notes["answers interrupted before they said anything left out"] += 1
        else:
            for call in message.tool_calls:
                for path in _PATCHED.findall(call.arguments):
                    languages.tally_path(path, self._edited)
                languages.tally_text(call.arguments, self._named)
            input_tokens, cached, output = known
            self.steps.answer(
                message,
                input_tokens=input_tokens or None,
                output_tokens=output or None,
                cached_tokens=cached if input_tokens else None,
            )
            end = counts.stamp_ns(group.end)
            took = counts.between_ns(self._asked, end)
            self._answered = None if took is not None and took < COPIED_NS else end
            self._wall_s = None
        for heard, stamp in group.heard:
            self._hear(heard, stamp)

    def _hear(self, message: Message, stamp: str | None) -> None:
        at = counts.stamp_ns(stamp)
        self._asked = at if at is not None else self._asked
        self.hear(message)
        if message.role == "tool":
            wall_s = _wall_s(message.content)
            if wall_s is not None and wall_s >= (self._wall_s or 0):
                self._wall_s = wall_s
            by_stamps = counts.between_ns(self._answered, at)
            self.steps.delay(counts.seconds_ns(self._wall_s) if by_stamps is None else by_stamps)

    def language(self) -> str:
        """Main language of the files that patches name; failing these, of all that calls name."""
        return languages.main_language(self._edited, self._named)


def _tokens(usage: Usage) -> tuple[int, int, int]:
    return (
        counts.tokens(usage.input_tokens) or 0,
        counts.tokens(usage.cached_input_tokens) or 0,
        counts.tokens(usage.output_tokens) or 0,
    )


def _wall_s(output: str) -> float | None:
    found = _WALL.search(output[:_WALL_CHARS]) or _WALL.search(output[-_WALL_CHARS:])
    return float(found[1] or found[2]) if found else None
