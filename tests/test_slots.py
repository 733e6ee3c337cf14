"""Slots that each keep one conversation, as a worker's cache: which one a request takes, what it finds, what a phase makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openagentperf.sim.prefix import PrefixPool
from openagentperf.sim.slots import SlotLease, SlotPool, pool_of
from test_calibrate import measured, spec

SYSTEM = -1
"""Strand of the system prompt, 300 tokens, that all share."""


def path(conversation: int, tokens: int, shared: int = 300) -> tuple[tuple[int, int], ...]:
    return ((SYSTEM, shared), (conversation, tokens)) if shared else ((conversation, tokens),)


def turn(pool: SlotPool, conversation: int, tokens: int, shared: int = 300) -> int:
    """One request from beginning to end; the tokens found."""
    lease = take(pool, conversation, tokens, shared)
    pool.publish(lease, tokens)
    pool.release(lease)
    return lease.hits


def take(pool: SlotPool, conversation: int, tokens: int, shared: int = 300) -> SlotLease:
    lease = pool.lease(path(conversation, tokens, shared), tokens, tokens + 20)
    assert lease is not None
    return lease


def test_a_conversation_finds_its_last_prompt():
    pool = SlotPool(2)
    assert [turn(pool, 1, tokens) for tokens in (1000, 1100, 1250)] == [0, 1000, 1100]


def test_a_prompt_that_is_all_there_leaves_one_token_to_compute():
    pool = SlotPool(1)
    assert [turn(pool, 1, 1000), turn(pool, 1, 1000)] == [0, 999]


def test_a_new_conversation_takes_a_slot_by_the_system_prompt_though_another_is_empty():
    """300 of 1,000 tokens are above a tenth; below it an empty slot is taken."""
    pool = SlotPool(2)
    assert [turn(pool, 1, 1000), turn(pool, 2, 1000), turn(pool, 1, 1100)] == [0, 300, 300]
    pool = SlotPool(2)
    assert [turn(pool, 1, 1000, 90), turn(pool, 2, 1000, 90), turn(pool, 1, 1100, 90)] == [0, 0, 1000]


def test_without_anything_in_common_the_slot_let_go_longest_ago_is_taken():
    pool = SlotPool(2)
    for conversation in (1, 2, 1, 3):  # 3 takes the slot of 2
        turn(pool, conversation, 1000, 0)
    assert turn(pool, 1, 1200, 0) == 1000
    assert turn(pool, 2, 1200, 0) == 0


def test_a_slot_in_use_is_nobodys_and_without_an_idle_one_there_is_no_lease():
    pool = SlotPool(1)
    lease = take(pool, 1, 1000)
    assert pool.lease(path(1, 1100), 1100, 1200) is None
    assert (pool.pinned, pool.cached, pool.capacity) == (1, 0, 1)
    pool.publish(lease, 1000)
    pool.release(lease)
    assert (pool.pinned, pool.cached) == (0, 1)


def test_what_was_given_up_before_its_prompt_was_computed_keeps_only_what_it_had_found():
    pool = SlotPool(1)
    turn(pool, 1, 1000)
    lease = take(pool, 2, 2000)
    pool.release(lease)
    assert pool.evicted_blocks == 700, "all but the system prompt of conversation 1"
    assert turn(pool, 2, 2000) == 300


def test_a_compaction_finds_what_was_kept():
    """The new segment leaves the old one after 400 tokens."""
    pool = SlotPool(1)
    turn(pool, 1, 1000)
    cut = ((SYSTEM, 300), (1, 400), (2, 700))
    lease = pool.lease(cut, 700, 720)
    assert lease is not None
    assert lease.hits == 400


def test_which_cache_a_worker_has_is_its_specs_to_say():
    (slotted,), (paged,) = spec(slots=3).workers, spec().workers
    assert isinstance(pool_of(slotted), SlotPool)
    assert isinstance(pool_of(paged), PrefixPool)


@given(
    slots=st.integers(1, 4),
    asked=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 400), st.booleans()), max_size=40),
)
@settings(deadline=None)
def test_a_lease_never_finds_more_than_its_conversation_has_computed(slots: int, asked: list[tuple[int, int, bool]]):
    """Whoever comes in whatever order, some of them still running while others come and go."""
    pool, open_, computed, length = SlotPool(slots), [], {}, {}
    for conversation, grows, stays in asked:
        tokens = length[conversation] = length.get(conversation, 500) + grows
        lease = pool.lease(path(conversation, tokens), tokens, tokens + 10)
        if lease is None:
            assert pool.pinned == slots
            pool.release(open_.pop(0))
            continue
        assert lease.hits <= max(computed.get(conversation, 0), 300)
        assert lease.hits < tokens
        pool.publish(lease, tokens)
        computed[conversation] = tokens
        if stays:
            open_.append(lease)
        else:
            pool.release(lease)
        assert pool.pinned == len(open_)
        assert pool.pinned + pool.cached <= slots


def test_in_a_whole_phase_the_hit_rate_falls_off_where_agents_outnumber_slots():
    def hit(agents: int) -> float:
        level = measured(spec(max_batch=4, slots=4), agents, turns=250)
        return float(level.cached.sum() / level.prompt.sum())

    assert hit(3) > 0.85
    assert hit(7) < 0.35


def test_the_front_delays_a_request_and_nobody_else():
    """30 ms in `spec`: of one agent alone, first outputs come so much later than its prefill takes."""
    level = measured(spec(), 1, turns=60)
    new, before = level.new, level.cached
    prefill = 4e-3 + new * (6e-5 + 2e-9 * (before + new / 2))
    assert (level.first_s - level.sent_s) == pytest.approx(prefill + 0.03, abs=2e-3)
