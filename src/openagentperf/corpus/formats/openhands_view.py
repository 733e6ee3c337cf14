"""What an OpenHands agent sees of its events. A condensation forgets events and puts a summary in their place: in V0 and V1 alike."""

from __future__ import annotations

from collections.abc import Collection

from openagentperf.records.trajectory import Message


class View:
    """The events of the next request with what each says, in order. An event may say nothing and counts all the same."""

    def __init__(self) -> None:
        self._events: list[tuple[str, tuple[Message, ...]]] = []

    def add(self, event: str, *messages: Message) -> None:
        self._events.append((event, messages))

    def condense(
        self, event: str, forgotten: Collection[str], summary: str | None, offset: int | None
    ) -> tuple[Message, ...]:
        """Forget events; `summary` becomes the event at `offset` of what is left. Returns what the forgotten events said."""
        lost = tuple(message for name, messages in self._events if name in forgotten for message in messages)
        self._events = [entry for entry in self._events if entry[0] not in forgotten]
        if summary is not None and offset is not None:
            self._events.insert(max(0, offset), (event, (Message(role="user", content=summary),)))
        return lost

    def messages(self) -> list[Message]:
        """All that the events say. A tool result whose call was forgotten says nothing."""
        said: list[Message] = []
        waiting: set[str] = set()
        for _, messages in self._events:
            for message in messages:
                if message.role == "assistant":
                    waiting = {call.id for call in message.tool_calls}
                elif message.role == "tool" and message.tool_call_id not in waiting:
                    continue
                said.append(message)
        return said
