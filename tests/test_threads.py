"""Which requests go on with which, told by their messages alone: rows of requests, and the threads that they make."""

from __future__ import annotations

import json

import pytest

from openagentperf.corpus.formats.thread import Request
from openagentperf.corpus.formats.threads import IDLE_NS, Threads
from openagentperf.records.trajectory import Message, ToolCall
from openagentperf.units import NS_PER_S

SYSTEM = Message("system", "You fix bugs.")
TASK = Message("user", "Fix it.")
OPENING = (SYSTEM, TASK)


def call(id: str, command: str = "ls") -> Message:
    return Message("assistant", tool_calls=(ToolCall(id, "bash", json.dumps({"command": command})),))


def result(id: str, text: str = "ok") -> Message:
    return Message("tool", text, tool_call_id=id)


def asked(at_s: float, messages: tuple[Message, ...], answer: Message | None, **more: str) -> Request:
    """One request that was answered after a second."""
    began, ended = round(at_s * NS_PER_S), round((at_s + 1) * NS_PER_S)
    calls = answer is not None and bool(answer.tool_calls)
    return Request(messages=messages, answer=answer, began=began, ended=ended, calls=calls, **more)


def said(text: str) -> Message:
    return Message("assistant", text)


def threads_of(*requests: Request) -> list[int]:
    """For each request the number of its thread, by when they began."""
    threads = Threads()
    found = [threads.add(request) for request in requests]
    order = list(dict.fromkeys(found))
    return [order.index(thread) for thread in found]


ONE = (*OPENING, call("c1"), result("c1"))
TWO = (*OPENING, call("c2"), result("c2"))


@pytest.mark.parametrize(
    ("requests", "want"),
    [
        # Two runs of one task: the answer that is sent back tells which goes on.
        ([asked(0, OPENING, call("c1")), asked(0, OPENING, call("c2")), asked(2, TWO, None), asked(2, ONE, None)], [0, 1, 1, 0]),
        # Their calls have one id, as servers that count from 0 give it: the arguments tell.
        (
            [
                asked(0, OPENING, call("0", "ls a")),
                asked(0, OPENING, call("0", "ls b")),
                asked(2, (*OPENING, call("0", "ls a"), result("0")), None),
                asked(2, (*OPENING, call("0", "ls b"), result("0")), None),
            ],
            [0, 1, 0, 1],
        ),
        # Nothing was answered, as where only requests were recorded: the last that may go on does.
        ([asked(0, OPENING, None), asked(0, OPENING, None), asked(2, ONE, None)], [0, 1, 1]),
        # The same once more: another run at the first turn, unless both are of one session, and a retry behind it.
        ([asked(0, OPENING, None), asked(2, OPENING, None)], [0, 1]),
        ([asked(0, OPENING, None, session="s"), asked(2, OPENING, None, session="s")], [0, 0]),
        ([asked(0, OPENING, call("c1")), asked(2, ONE, call("c3")), asked(4, ONE, call("c4"))], [0, 0, 0]),
        # The answer to the first has not come when the second is sent.
        ([asked(0, OPENING, call("c1")), asked(0.5, ONE, None)], [0, 1]),
        # Sessions of two names, and of two scopes, are two.
        ([asked(0, OPENING, call("c1"), session="a"), asked(2, ONE, None, session="b")], [0, 1]),
        ([asked(0, OPENING, call("c1"), scope="a"), asked(2, ONE, None, scope="b")], [0, 1]),
        ([asked(0, OPENING, call("c1")), asked(2, ONE, None, session="b")], [0, 0]),
        # What stands before the last answer was rewritten: all of it, or the end of it.
        ([asked(0, OPENING, call("c1")), asked(2, (TASK, call("c1"), result("c1")), None)], [0, 0]),
        ([asked(0, ONE, said("I see.")), asked(2, (*ONE[:3], result("c1", "[cleared]"), TASK), None)], [0, 0]),
        # A prompt that is kept is no history that is kept: another run, with another reminder behind the task.
        ([asked(0, (*OPENING, Message("user", "1 pm")), said("x")), asked(2, (*OPENING, Message("user", "2 pm")), None)], [0, 1]),
        # An id that two answers have tells nothing: neither goes on.
        (
            [
                asked(0, OPENING, call("0", "ls a")),
                asked(0, OPENING, call("0", "ls b")),
                asked(2, (TASK, call("0", "ls c"), result("0")), None),
            ],
            [0, 1, 2],
        ),
        # All of it was sent before: somebody went back in the session, or began it anew.
        ([asked(0, OPENING, call("c1")), asked(2, (*ONE, call("c2"), result("c2")), said("x")), asked(4, ONE, None)], [0, 0, 1]),
    ],
)  # fmt: skip
def test_which_request_goes_on_with_which(requests: list[Request], want: list[int]) -> None:
    assert threads_of(*requests) == want


SUMMARY = "The parser is fixed, the tests are not run yet."


@pytest.mark.parametrize(
    ("summary_at", "summary", "want"),
    [
        (3, SUMMARY, ["", "", "compaction"]),
        (3, "Done.", ["", ""]),  # stands anywhere
        (1.5, SUMMARY, ["", ""]),  # began before the second answer had come: it sums up something else
    ],
)
def test_the_answer_of_another_thread_that_comes_back_is_a_summary(
    summary_at: float, summary: str, want: list[str]
) -> None:
    threads = Threads()
    for request in (
        asked(0, OPENING, call("c1")),
        asked(1.2, ONE, call("c2")),
        asked(summary_at, (Message("user", "Sum it up."),), said(summary)),
        asked(6, (SYSTEM, Message("user", f"So far: {summary}")), said("Done.")),
    ):
        threads.add(request)
    node, *others = threads.idle(None)[0].nodes()
    assert [turn.cut for turn in node.turns] == want
    assert [other.name for other in others] == ["summary"] * (len(want) - 2)


def test_what_is_held_is_a_day_and_whole_sessions() -> None:
    prompt = "Find each use of the function and list it."
    delegating = Message("assistant", tool_calls=(ToolCall("t", "Task", json.dumps({"prompt": prompt})),))
    threads = Threads()
    threads.add(asked(0, OPENING, delegating))
    threads.add(asked(0, (Message("user", "Another."),), said("x")))
    child = threads.add(asked(5, (SYSTEM, Message("user", prompt)), call("h")))
    late = 2 * NS_PER_S + IDLE_NS
    # The parent has been silent for a day, its sub-agent has not.
    assert [len(family.threads) for family in threads.idle(late)] == [1]
    assert threads.add(asked(8, (*child.last.messages, call("h"), result("h")), said("None."))) is child
    (family,) = threads.idle(None)
    assert [node.name for node in family.nodes("main")] == ["main", "subagent"]
    assert threads.idle(None) == []
