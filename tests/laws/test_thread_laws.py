"""Laws of requests that hold their whole message lists: sessions come apart in whatever order they ran, and turns hold what was sent."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from openagentperf.corpus.formats.mend import Mender
from openagentperf.corpus.formats.snapshots import Snapshots
from openagentperf.corpus.formats.thread import Request, Thread
from openagentperf.corpus.formats.threads import Threads
from openagentperf.records.trajectory import Message, ToolCall, Trajectory, histories

MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=st.sampled_from(["", "a", "b"]),
    tool_calls=st.just(()),
    tool_call_id=st.sampled_from(["", "c1", "c2"]),
) | st.builds(
    Message,
    role=st.just("assistant"),
    tool_calls=st.lists(st.sampled_from(["", "c1", "c2"]), min_size=1, max_size=2).map(
        lambda ids: tuple(ToolCall(id, "f", "{}") for id in ids)
    ),
)


@given(st.lists(st.integers(0, 4), max_size=30), st.booleans())
def test_sessions_of_one_task_come_apart_in_whatever_order_they_ran(order: list[int], equal_ids: bool) -> None:
    """Each answer differs from those to the same messages; no two requests are open at once."""
    opening = (Message("system", "S"), Message("user", "Fix it."))
    sent = dict.fromkeys(range(5), opening)
    threads = Threads()
    owner: dict[Thread, int] = {}
    for step, session in enumerate(order):
        made = ToolCall("call_0" if equal_ids else f"c{step}", "bash", f'{{"command": "{session} {step}"}}')
        answer = Message("assistant", tool_calls=(made,))
        thread = threads.add(
            Request(messages=sent[session], answer=answer, calls=True, began=2 * step, ended=2 * step + 1)
        )
        assert owner.setdefault(thread, session) == session
        sent[session] = (*sent[session], answer, Message("tool", "ok", tool_call_id=made.id))
    assert sorted(owner.values()) == sorted(set(order))
    assert sorted(len(thread.turns) for thread in owner) == sorted(Counter(order).values())


@given(st.lists(st.tuples(st.integers(0, 6), st.lists(MESSAGES, max_size=4)), max_size=6))
def test_turns_hold_each_request_as_it_is_mended_by_itself(steps: list[tuple[int, list[Message]]]) -> None:
    """A request is mended from where the one before it ended: as if it were alone."""
    snapshots = Snapshots(lambda _text, _notes: [])
    messages: list[Message] = []
    want: list[list[Message]] = []
    for keep, more in steps:
        messages = [*messages[:keep], *more] or [Message("user", "a")]
        snapshots.add(messages)
        mender = Mender(Counter())
        want.append([*mender.take(messages), *mender.settle()])
    line = Trajectory(id="x", turns=snapshots.turns)
    assert [list(held) for held in histories(line)] == want
