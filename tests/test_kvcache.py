"""The block pool in examples: what is reused, what is evicted, and in which order."""

from __future__ import annotations

from openagentperf.sim.kvcache import KvPool, Lease


def filled(pool: KvPool, *keys: int) -> Lease:
    """A lease of one block a key, computed and findable."""
    lease = pool.lease(keys, len(keys))
    assert lease is not None
    for block, key in zip(lease.blocks, keys, strict=True):
        pool.publish(block, key)
    return lease


def test_a_released_prefix_is_found_again() -> None:
    pool = KvPool(4)
    blocks = list(filled(pool, 1, 2).blocks)
    pool.release(Lease(blocks.copy(), 0))
    again = pool.lease((1, 2, 3), 3)
    assert again is not None
    assert again.hits == 2
    assert again.blocks[:2] == blocks


def test_a_hole_ends_the_match() -> None:
    pool = KvPool(4)
    filled(pool, 1, 3)
    assert pool.match((1, 2, 3)) == 1


def test_two_sequences_share_pinned_blocks() -> None:
    pool = KvPool(4)
    first = filled(pool, 1, 2)
    second = pool.lease((1, 2), 3)
    assert second is not None
    assert pool.pinned == 3  # two shared, one of the second alone
    pool.release(first)
    assert pool.pinned == 3
    pool.release(second)
    assert pool.pinned == 0


def test_the_oldest_is_evicted_first_and_of_one_prefix_the_end() -> None:
    pool = KvPool(4)
    pool.release(filled(pool, 1, 2))
    pool.release(filled(pool, 3, 4))
    assert pool.lease((), 1) is not None
    assert (pool.match((1, 2)), pool.match((3, 4))) == (1, 2)
    assert pool.lease((), 1) is not None
    assert (pool.match((1, 2)), pool.match((3, 4))) == (0, 2)
    assert pool.evictions == 2


def test_using_a_prefix_makes_it_young() -> None:
    pool = KvPool(4)
    pool.release(filled(pool, 1, 2))
    pool.release(filled(pool, 3, 4))
    used = pool.lease((1, 2), 2)
    assert used is not None
    pool.release(used)
    assert pool.lease((), 2) is not None
    assert (pool.match((1, 2)), pool.match((3, 4))) == (2, 0)


def test_blocks_that_nobody_can_find_are_taken_before_cached_ones() -> None:
    pool = KvPool(4)
    pool.release(filled(pool, 1, 2))
    blank = pool.lease((), 2)
    assert blank is not None
    pool.release(blank)
    assert pool.lease((), 2) is not None
    assert pool.match((1, 2)) == 2


def test_too_few_blocks_change_nothing() -> None:
    pool = KvPool(4)
    pool.release(filled(pool, 1, 2))
    held = pool.lease((), 1)
    assert held is not None
    # Three are idle, two of them hold the prefix: a request of four would need two fresh ones, and one is left.
    assert pool.lease((1, 2), 4) is None
    assert pool.match((1, 2)) == 2
    assert pool.pinned == 1


def test_a_request_does_not_evict_its_own_prefix() -> None:
    pool = KvPool(3)
    pool.release(filled(pool, 1))
    lease = pool.lease((1,), 3)
    assert lease is not None
    assert lease.hits == 1
    assert len(set(lease.blocks)) == 3


def test_growth_stops_at_the_last_block() -> None:
    pool = KvPool(2)
    lease = pool.lease((), 1)
    assert lease is not None
    assert pool.grow(lease)
    assert not pool.grow(lease)
    assert len(lease.blocks) == 2


def test_of_two_that_computed_the_same_one_is_kept() -> None:
    pool = KvPool(4)
    first, second = pool.lease((1,), 1), pool.lease((1,), 1)
    assert first is not None
    assert second is not None
    assert (first.hits, second.hits) == (0, 0)  # nothing was computed yet
    pool.publish(first.blocks[0], 1)
    pool.publish(second.blocks[0], 1)
    assert pool.cached == 1
    pool.release(first)
    pool.release(second)
    assert pool.match((1,)) == 1
