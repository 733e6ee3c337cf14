"""Laws of the scheduler: whatever is asked of it, and however it is driven."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from openagentperf.sim.cost import NodeConfig
from openagentperf.sim.replica import Emitted, Replica, Request
from openagentperf.units import Ns

SMALL = NodeConfig(
    block_tokens=4,
    blocks=16,
    max_batch=3,
    max_model_len=64,
    chunk_tokens=8,
    base_ns=50,
    per_sequence_ns=7,
    per_kv_token_ns=0.3,
    per_prefill_token_ns=2.0,
)
"""16 blocks for up to 3 sequences of up to 16 blocks: waiting, eviction and preemption all happen."""


class Order(NamedTuple):
    at_ns: Ns
    request: Request
    cancel_at_ns: Ns | None


@st.composite
def orders(draw: st.DrawFn) -> list[Order]:
    made, now = [], 0
    for number in range(draw(st.integers(1, 12))):
        now += draw(st.integers(0, 1500))
        prompt = draw(st.integers(1, 40))
        family = draw(st.integers(0, 2))  # few families of prompts, so that prefixes are shared
        request = Request(
            id=number,
            prompt_tokens=prompt,
            output_tokens=draw(st.integers(1, 64 - prompt)),
            prefix=tuple(family * 100 + block for block in range(prompt // 4)),
        )
        made.append(Order(now, request, draw(st.none() | st.integers(now, now + 4000))))
    return made


def drive(placed: list[Order], wakes: list[Ns]) -> tuple[Replica, list[Emitted]]:
    """Submit and cancel at their times, look in between at `wakes`, then run to the end."""
    replica, events = Replica(SMALL), []
    moments = [(order.at_ns, 0, order) for order in placed]
    moments += [(order.cancel_at_ns, 1, order) for order in placed if order.cancel_at_ns is not None]
    moments += [(wake, 2, placed[0]) for wake in wakes]
    for now, what, order in sorted(moments, key=lambda moment: (moment[0], moment[1], moment[2].request.id)):
        if what == 0:
            events += replica.submit(order.request, now)
        elif what == 1:
            events += replica.cancel(order.request.id, now)
        else:
            events += replica.advance(now)
        assert 0 <= replica.pool.pinned <= replica.pool.size
        assert len(replica.running) <= SMALL.max_batch
    while (at := replica.next_event_ns()) is not None:
        events += replica.advance(at)
    return replica, events


@given(orders())
@settings(max_examples=150)
def test_everybody_gets_exactly_his_tokens_in_time_order_and_all_blocks_come_back(placed: list[Order]) -> None:
    replica, events = drive(placed, [])
    assert [event.at_ns for event in events] == sorted(event.at_ns for event in events)
    got = Counter(event.sequence.request.id for event in events)
    ended = [event.sequence.request.id for event in events if event.done]
    assert len(ended) == len(set(ended))
    for order in placed:
        asked = order.request.output_tokens
        if order.cancel_at_ns is None or order.request.id in ended:
            assert got[order.request.id] == asked
        else:
            assert got[order.request.id] < asked
    assert replica.pool.pinned == 0
    assert not replica.running
    assert not replica.waiting


@given(orders(), st.lists(st.integers(0, 30_000), max_size=30))
@settings(max_examples=150)
def test_token_times_do_not_depend_on_when_one_looks(placed: list[Order], wakes: list[Ns]) -> None:
    def seen(events: list[Emitted]) -> list[tuple[int, Ns, bool]]:
        return [(event.sequence.request.id, event.at_ns, event.done) for event in events]

    assert seen(drive(placed, [])[1]) == seen(drive(placed, sorted(wakes))[1])


@given(orders())
@settings(max_examples=100)
def test_no_sequence_gets_two_tokens_in_one_step(placed: list[Order]) -> None:
    _, events = drive(placed, [])
    stamps = Counter((event.sequence.request.id, event.at_ns) for event in events)
    assert max(stamps.values(), default=1) == 1
    assert all(event.tokens == 1 for event in events)


@given(orders())
@settings(max_examples=100)
def test_the_cache_saves_work_and_never_claims_the_whole_prompt(placed: list[Order]) -> None:
    replica, events = drive(placed, [])
    for event in events:
        assert 0 <= event.sequence.cached_tokens < event.sequence.request.prompt_tokens
        assert event.sequence.cached_tokens % SMALL.block_tokens == 0
    assert replica.counters.prefix_hits <= replica.counters.prefix_queries
