"""The strand pool against two twins: a pool of single blocks written down as plainly as the rules read, and the replica's own KvPool."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from openagentperf.sim.kvcache import KvPool
from openagentperf.sim.kvcache import Lease as BlockLease
from openagentperf.sim.prefix import PrefixPool
from openagentperf.sim.spec import KvGroup
from openagentperf.sim.strand import Lease

SIZE = 4
FULL = (KvGroup(name="full", kind="full", bytes_per_token=1.0),)
WITH_MARKS = (*FULL, KvGroup(name="window", kind="window", bytes_per_token=1.0, window_tokens=5))
"""Blocks of 4 bytes; a mark of 5."""
ENDLESS = 1 << 60

PATHS = [
    # Two preambles, the longer through the shorter; sessions behind either; one that forks off a session's own tokens, and one off that.
    ((-1, 3), (-2, 5), (10, ENDLESS)),
    ((-1, 3), (-2, 5), (11, ENDLESS)),
    ((-1, 3), (12, ENDLESS)),
    ((-1, 3), (12, 7), (13, ENDLESS)),
    ((-1, 3), (12, 7), (13, 9), (14, ENDLESS)),
    ((15, ENDLESS),),
    ((15, 2), (16, ENDLESS)),
]


class Ask(NamedTuple):
    path: int
    prompt: int
    answer: int
    ends_first: int
    """Which of the running ones ends before it comes, counted round."""
    publishes: bool


ASKS = st.lists(
    st.builds(
        Ask, st.integers(0, len(PATHS) - 1), st.integers(1, 70), st.integers(1, 12), st.integers(0, 9), st.booleans()
    ),
    max_size=40,
)


class Blocks:
    """One block, one entry; every rule of sim.prefix for a single full group."""

    def __init__(self, capacity: int, host_capacity: int) -> None:
        self.capacity, self.host_capacity = capacity, host_capacity
        self.refs: dict[tuple[int, int], int] = {}
        self.let_go: dict[tuple[int, int], int] = {}
        self.host: dict[tuple[int, int], int] = {}
        self.own = self.tick = self.evicted = 0

    @staticmethod
    def names(path: tuple[tuple[int, int], ...], count: int) -> list[tuple[int, int]]:
        """(strand, position) of the prompt's first blocks."""
        return [(next(key for key, leaves in path if at < leaves), at) for at in range(count)]

    @property
    def pinned(self) -> int:
        return self.own + sum(1 for refs in self.refs.values() if refs)

    @property
    def idle(self) -> list[tuple[int, int]]:
        return [name for name, refs in self.refs.items() if not refs]

    def lease(self, ask: Ask) -> tuple[list[tuple[int, int]], int, int] | None:
        names = self.names(PATHS[ask.path], (ask.prompt - 1) // SIZE)
        here = next((i for i, name in enumerate(names) if name not in self.refs), len(names))
        found = next((i for i, n in enumerate(names) if n not in self.refs and n not in self.host), len(names))
        own = -(-(ask.prompt + ask.answer) // SIZE) - here
        revived = sum(1 for name in names[:here] if not self.refs[name])
        if self.pinned + revived + own > self.capacity:
            return None
        for name in names[:here]:
            self.refs[name] += 1
        self.own += own
        self._evict()
        return names[:here], own, found

    def _evict(self) -> None:
        while self.pinned + len(self.idle) > self.capacity:
            oldest = min(self.idle, key=lambda name: (self.let_go[name], -name[1]))
            del self.refs[oldest]
            self.evicted += 1
            if self.host_capacity:
                self.host[oldest] = self.let_go[oldest]
                while len(self.host) > self.host_capacity:
                    del self.host[min(self.host, key=lambda name: (self.host[name], -name[1]))]

    def publish(self, ask: Ask, held: list[tuple[int, int]], own: int) -> tuple[list[tuple[int, int]], int]:
        names = self.names(PATHS[ask.path], ask.prompt // SIZE)
        leaf = [name for name in names if name[0] == names[-1][0]]
        if all(name in self.refs for name in leaf):  # cached to the end: its copy is its own
            names = names[: max(len(held), len(names) - len(leaf))]
        for name in names[len(held) :]:
            self.refs[name] = self.refs.get(name, 0) + 1
            self.host.pop(name, None)
            self.own -= 1
            own -= 1
        return names, own

    def release(self, held: list[tuple[int, int]], own: int) -> None:
        self.tick += 1
        self.own -= own
        for name in held:
            self.refs[name] -= 1
            self.let_go[name] = self.tick


class Pair(NamedTuple):
    ask: Ask
    lease: Lease
    held: list[tuple[int, int]]
    own: int


def blocks_of(pool: PrefixPool) -> set[tuple[int, int]]:
    return {(key, at) for key, strand in pool._strands.items() for at in range(strand.start, strand.end)}


def host_blocks_of(pool: PrefixPool) -> set[tuple[int, int]]:
    return {(key, at) for key, strand in pool._strands.items() for at in range(strand.end, strand.host_end)}


def drive(asks: list[Ask], capacity: int, host: int) -> None:
    pool = PrefixPool(FULL, capacity * SIZE, SIZE, host * SIZE)
    twin = Blocks(capacity, host)
    running: list[Pair] = []

    def same() -> None:
        assert blocks_of(pool) == set(twin.refs)
        assert host_blocks_of(pool) == set(twin.host)
        assert pool.pinned == twin.pinned * SIZE
        assert pool.cached == len(twin.idle) * SIZE
        assert pool.host_used == len(twin.host) * SIZE
        assert pool.evicted_blocks == twin.evicted

    def end(pair: Pair) -> None:
        pool.release(pair.lease)
        twin.release(pair.held, pair.own)
        same()

    for ask in asks:
        while running and ask.ends_first % (len(running) + 1):
            end(running.pop(ask.ends_first % len(running)))
        lease, other = pool.lease(PATHS[ask.path], ask.prompt, ask.prompt + ask.answer), twin.lease(ask)
        if lease is None or other is None:
            assert lease is other
            same()
            continue
        held, own, found = other
        assert (lease.hits, lease.hits - lease.host_hits) == (found, len(held))
        same()
        if ask.publishes:
            pool.publish(lease, ask.prompt)
            held, own = twin.publish(ask, held, own)
            same()
        running.append(Pair(ask, lease, held, own))
    for pair in running:
        end(pair)
    assert pool.pinned == 0


@given(ASKS, st.integers(4, 40))
@settings(max_examples=300, deadline=None)
def test_strands_hold_what_single_blocks_would(asks: list[Ask], capacity: int) -> None:
    drive(asks, capacity, 0)


@given(ASKS, st.integers(4, 30), st.integers(1, 30))
@settings(max_examples=300, deadline=None)
def test_so_they_do_with_a_host_tier_behind(asks: list[Ask], capacity: int, host: int) -> None:
    drive(asks, capacity, host)


@given(ASKS, st.integers(4, 40))
@settings(max_examples=200, deadline=None)
def test_the_replicas_pool_finds_the_same(asks: list[Ask], capacity: int) -> None:
    """KvPool has no publishing by others' copies, so here every prompt is computed the moment that it is admitted."""
    pool, twin = PrefixPool(FULL, capacity * SIZE, SIZE), KvPool(capacity)
    running: list[tuple[Lease, BlockLease]] = []

    def end(at: int) -> None:
        lease, other = running.pop(at)
        pool.release(lease)
        twin.release(other)

    for ask in asks:
        while running and ask.ends_first % (len(running) + 1):
            end(ask.ends_first % len(running))
        names = Blocks.names(PATHS[ask.path], ask.prompt // SIZE)
        keys = [hash(name) for name in names]
        other = twin.lease(keys[: (ask.prompt - 1) // SIZE], -(-(ask.prompt + ask.answer) // SIZE))
        lease = pool.lease(PATHS[ask.path], ask.prompt, ask.prompt + ask.answer)
        if lease is None or other is None:
            assert lease is other
            continue
        assert lease.hits == other.hits
        pool.publish(lease, ask.prompt)
        for block, key in zip(other.blocks, keys, strict=False):
            twin.publish(block, key)
        running.append((lease, other))
        assert pool.pinned == twin.pinned * SIZE
    while running:
        end(0)
    assert twin.pinned == pool.pinned == 0


@given(ASKS, st.integers(8, 60), st.sampled_from((0, 60)))
@settings(max_examples=300, deadline=None)
def test_bytes_add_up_and_a_window_is_found_only_at_a_mark(asks: list[Ask], capacity: int, host: int) -> None:
    pool = PrefixPool(WITH_MARKS, capacity * SIZE, SIZE, host * SIZE)
    running: list[Lease] = []

    def sound() -> None:
        strands = pool._strands.values()
        shared = sum((s.end - s.start) * pool.block_bytes + s.mark * pool.mark_bytes for s in strands)
        assert shared + sum(lease.own for lease in running) == pool.pinned + pool.cached
        assert min(pool.pinned, pool.cached, pool.host_used) >= 0
        assert pool.pinned + pool.cached <= pool.capacity
        assert pool.host_used <= host * SIZE
        assert pool.host_used == sum(
            max(0, s.host_end - s.end) * pool.block_bytes + s.host_mark * pool.mark_bytes for s in strands
        )
        for s in strands:
            assert s.start <= s.pin_end <= s.end
            assert s.end > s.start or not s.mark

    for ask in asks:
        while running and ask.ends_first % (len(running) + 1):
            pool.release(running.pop(ask.ends_first % len(running)))
            sound()
        path = PATHS[ask.path]
        marks = {0}
        for key, leaves in path:
            strand = pool._strands.get(key)
            if strand is not None:
                marks |= {at for at, has in ((strand.end, strand.mark), (strand.host_end, strand.host_mark)) if has}
                marks -= {at for at in marks if at > leaves}
        lease = pool.lease(path, ask.prompt, ask.prompt + ask.answer)
        sound() if lease is None else None
        if lease is None:
            continue
        assert lease.hits in marks
        running.append(lease)
        sound()
        if ask.publishes:
            pool.publish(lease, ask.prompt)
            sound()
    while running:
        pool.release(running.pop())
        sound()
    assert pool.pinned == 0
