"""Histories that no engine refuses, whatever was recorded. Mending happens here, at import, and never during a run.

A server answers 400 to a tool message whose call it has not seen, and chat templates fail on arguments that are no JSON
object: such a turn would count as the server's failure. So the importer mends, counts what it mended, and says so in the
trajectory's notes. Each decision depends only on earlier messages, hence a history that only grows stays one that only grows.

    recorded                                        becomes
    a tool result without its call                  a user message that opens with "[tool result]"
    a tool result without an id, calls open         the answer to the first open call
    a call without an id                            `call_<n>`, n counted over the session
    a call never answered                           answered by "(no result recorded)"
    arguments that are no JSON object               {"raw": "<as recorded>"}
    no arguments                                    {}
    an answer with neither text nor calls           one space (llama.cpp refuses none, and some templates refuse "")
    no user message before the first answer         the user message "Continue."
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from openagentperf.corpus.formats.lines import BAD
from openagentperf.records.trajectory import Message, ToolCall

NO_RESULT = "(no result recorded)"
_OPENING = Message(role="user", content="Continue.")
_OBJECT = msgspec.json.Decoder(dict[str, object])


class Mender:
    """Takes recorded messages in order, gives those to be sent. `notes` counts what was changed, by its description."""

    __slots__ = ("_calls", "_held", "_open", "_user_seen", "notes")

    def __init__(self, notes: Counter[str]) -> None:
        self.notes = notes
        self._open: list[str] = []
        self._held: list[Message] = []
        self._calls = 0
        self._user_seen = False

    def copy(self) -> Mender:
        """One that goes on from here by itself, its notes too."""
        other = Mender(self.notes.copy())
        other._open, other._held = self._open.copy(), self._held.copy()
        other._calls, other._user_seen = self._calls, self._user_seen
        return other

    def take(self, messages: Iterable[Message]) -> list[Message]:
        """The messages to be sent for these recorded ones."""
        out: list[Message] = []
        for message in messages:
            if message.role == "tool":
                self._result(message, out)
                continue
            self._close(out)
            if message.role == "assistant":
                self._need_user(out)
                out.append(self._answer(message))
            else:
                self._user_seen = self._user_seen or message.role == "user"
                out.append(message)
        return out

    def settle(self) -> list[Message]:
        """What must still be sent before a request can be: answers to open calls, a first user message."""
        out: list[Message] = []
        self._close(out)
        self._need_user(out)
        return out

    def _result(self, message: Message, out: list[Message]) -> None:
        call = message.tool_call_id
        if not call and self._open:
            call = self._open[0]
            message = Message(role="tool", content=message.content, tool_call_id=call)
            self.notes["tool results without an id given to the first open call"] += 1
        if call in self._open:
            self._open.remove(call)
            out.append(message)
            return
        self.notes["tool results without a call turned into user messages"] += 1
        # A user message between a call and its results is refused too: while calls are open it waits.
        orphan = Message(role="user", content=f"[tool result]\n{message.content}")
        if self._open:
            self._held.append(orphan)
        else:
            out.append(orphan)
        self._user_seen = True

    def _answer(self, message: Message) -> Message:
        if not message.tool_calls:
            if message.content:
                return message
            self.notes["empty answers replaced by one space"] += 1
            return msgspec.structs.replace(message, content=" ")
        calls: list[ToolCall] = []
        for call in message.tool_calls:
            self._calls += 1
            calls.append(call if call.id else msgspec.structs.replace(call, id=f"call_{self._calls}"))
        self._open = [call.id for call in calls]
        return msgspec.structs.replace(message, tool_calls=tuple(calls))

    def _close(self, out: list[Message]) -> None:
        for call in self._open:
            out.append(Message(role="tool", content=NO_RESULT, tool_call_id=call))
            self.notes["calls without a recorded result answered by a placeholder"] += 1
        out.extend(self._held)
        self._open = []
        self._held = []

    def _need_user(self, out: list[Message]) -> None:
        if not self._user_seen:
            self.notes['sessions without a first user message opened by "Continue."'] += 1
            out.append(_OPENING)
            self._user_seen = True


def results_first(messages: list[Message], notes: Counter[str]) -> list[Message]:
    """What stands between two answers, its tool results moved to the front: engines want them right after their calls."""
    ordered = sorted(messages, key=lambda message: message.role != "tool")
    if ordered != messages:
        notes["steps whose tool results were moved before their user messages"] += 1
    return ordered


def call_of(call_id: str, name: str, arguments: str, notes: Counter[str]) -> ToolCall:
    """A tool call whose arguments are a JSON object, byte for byte as recorded where they are one already."""
    if not arguments.strip():
        arguments = "{}"
        notes["empty tool arguments replaced by {}"] += 1
    try:
        _OBJECT.decode(arguments)
    except BAD:
        notes['tool arguments that are no JSON object wrapped as {"raw": ...}'] += 1
        arguments = msgspec.json.encode({"raw": arguments}).decode()
    return ToolCall(id=call_id, name=name or "unknown", arguments=arguments)


def sentences(notes: Counter[str]) -> tuple[str, ...]:
    """Notes as text, the counts in front, in the order in which each was first needed."""
    return tuple(f"{count} {what}" for what, count in notes.items())


def counted(sentence: str) -> tuple[int, str]:
    """The count and the words of one of the `sentences`."""
    count, _, what = sentence.partition(" ")
    return int(count), what
