"""What every imported trajectory must be, whatever the recording was."""

from __future__ import annotations

import json

import msgspec

from openagentperf.corpus.fit import fault
from openagentperf.records.trajectory import Branch, Message, Trajectory


def assert_sendable(session: Trajectory) -> None:
    """What a server needs of every request, and what the native set needs of every trajectory."""
    assert fault(session) == ""
    assert session.id
    assert msgspec.json.decode(msgspec.json.encode(session), type=Trajectory) == session
    for line in (session, *session.branches):
        _assert_line(line)


def _assert_line(line: Trajectory | Branch) -> None:
    """Each message is looked at once, and once more behind a cut: every history is one that was answered so far, and what was appended."""
    history: list[Message] = []
    waiting: list[str] = []
    for turn in line.turns:
        assert turn.input_tokens >= 1
        assert turn.output_tokens >= 1
        assert (turn.keep is None) == (turn.cut == "")
        if turn.keep is not None:
            del history[turn.keep :]
            waiting = _waiting([], history)
        waiting = _waiting(waiting, turn.appended)
        assert waiting == []
        history += turn.appended
        assert any(message.role == "user" for message in history)
        for message in turn.appended:
            assert message.role != "assistant" or message.content or message.tool_calls
            for call in message.tool_calls:
                assert isinstance(json.loads(call.arguments), dict)


def _waiting(waiting: list[str], messages: tuple[Message, ...] | list[Message]) -> list[str]:
    """Calls without a result so far: every call is answered right after it, and nothing else is."""
    for message in messages:
        if message.role == "tool":
            waiting.remove(message.tool_call_id)
            continue
        assert waiting == []
        waiting = [call.id for call in message.tool_calls]
    return waiting
