"""Which cache explains what a server reported: replays with known outcomes, and sizes found again from what a cache of that size gave."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from openagentperf.records.phase import PhaseFacts, PhaseOrder
from openagentperf.score.columns import Floats, Turns
from openagentperf.simulation.calibrate_cache import _turns, fit_cache, replay_pool, replay_slots
from openagentperf.simulation.calibrate_rows import Level

ORDER = PhaseOrder(
    index=0, agents=1, kind="search", seed=1, phase_nonce="", nonce_key=b"", start_ns=0, spawn_per_s=1, settle_s=0,
    measure_s=1, limit_s=1000, turn_timeout_s=1000,
)  # fmt: skip


def conversations(
    agents: int, turns: int, *, first: int = 1000, grows: int = 50, shared: int = 0, busy_s: float = 0.1
) -> Level:
    """Agents that take turns one after the other: agent a's k-th request is sent at (k x agents + a) seconds and over `busy_s` later."""
    rows = [(k * agents + a, a, first + grows * k) for k in range(turns) for a in range(agents)]
    sent, line, prompt = (np.array(column) for column in zip(*rows, strict=True))
    facts = PhaseFacts(
        order=msgspec.structs.replace(ORDER, agents=agents), window_start_ns=0, window_end_ns=10**15, ended_ns=10**15, hit_limit=False,
        workers=1, stamps="user", min_active_share=1.0,
    )  # fmt: skip
    sent = sent.astype(np.float64)
    return Level(
        facts=facts, turns=Turns.from_rows([]), sent_s=sent, first_s=sent + busy_s / 2, last_s=sent + busy_s,
        tokens=np.full(len(rows), 10), prompt=prompt.astype(np.float64), cached=np.zeros(len(rows)),
        shared=np.full(len(rows), float(shared)), line=line, seen_until_s=1e6, reports_cached=True,
    )  # fmt: skip


def found(cached: Floats, agents: int) -> list[list[int]]:
    """Cached tokens, a row a round."""
    return cached.reshape(-1, agents).astype(int).tolist()


@pytest.mark.parametrize(
    ("agents", "slots", "want"),
    [
        # As many places as agents: each finds its last prompt of 1,000 and 1,050.
        (2, 2, [[0, 0], [1000, 1000], [1050, 1050]]),
        # One agent more than places: the one that is needed next was overwritten just before.
        (3, 2, [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
        (1, 1, [[0], [1000], [1050]]),
    ],
)
def test_slots_keep_the_last_conversation_that_ran_in_them(agents: int, slots: int, want: list[list[int]]):
    level = conversations(agents, 3)
    assert found(replay_slots(_turns(level), slots), agents) == want


def test_a_session_takes_another_ones_slot_by_the_system_prompt_they_share_though_one_is_free():
    """300 of 1,000 tokens are above a tenth: agent 1 takes agent 0's slot, which takes it back, and the second slot is never used."""
    level = conversations(2, 3, shared=300)
    assert found(replay_slots(_turns(level), 2), 2) == [[0, 300], [300, 300], [300, 300]]


def test_a_shared_beginning_below_a_tenth_moves_nobody():
    level = conversations(2, 3, shared=90)
    assert found(replay_slots(_turns(level), 2), 2) == [[0, 0], [1000, 1000], [1050, 1050]]


@pytest.mark.parametrize(
    ("size", "want"),
    [
        # 1,000 + 1,050 tokens of two idle conversations, one of them running with its answer of 10: 2,160 hold all.
        (2160, [[0, 0], [1000, 1000], [1050, 1050]]),
        # A running one of 1,010 leaves 100 of the other, one of 1,060 then 50, one of 1,110 nothing.
        (1110, [[0, 0], [100, 50], [50, 0]]),
        # Agent 1 (1,010) leaves 490 of agent 0's 1,000; agent 0 (1,060) then 440 of agent 1's, and so on: the ends go first.
        (1500, [[0, 0], [490, 440], [440, 390]]),
    ],
)
def test_a_pool_forgets_from_the_end_of_what_was_used_longest_ago(size: int, want: list[list[int]]):
    level = conversations(2, 3)
    assert found(replay_pool(_turns(level), size), 2) == want


@pytest.mark.parametrize(("slots", "levels"), [(4, (2, 6)), (4, (1, 8)), (3, (3, 4))])
def test_the_number_of_slots_comes_back_from_one_level_within_and_one_beyond(slots: int, levels: tuple[int, int]):
    """Overlapping requests of 3.5 s: places are in use while others wait for them, which is what tells 4 from 3."""
    told = [conversations(n, 6, shared=150, busy_s=3.5 if n > 1 else 0.5) for n in levels]
    cache = fit_cache([replace(level, cached=replay_slots(_turns(level), slots)) for level in told])
    assert cache is not None
    assert (cache.kind, cache.size, cache.misfit) == ("slots", slots, 0)


def test_what_two_levels_cannot_tell_is_a_range_and_the_answers_at_once_may_decide():
    """Seven slots, four agents that all fit and nine that all overwrite each other: four to nine slots would have given about
    the same: with nine, the shared system prompt still has sessions take each other's."""
    told = [conversations(n, 6, shared=150, busy_s=3.5) for n in (4, 9)]
    cache = fit_cache([replace(level, cached=replay_slots(_turns(level), 7)) for level in told])
    assert cache is not None
    assert (cache.kind, cache.size, cache.low, cache.high) == ("slots", 4, 4, 9)
    assert cache.beside(7, True).size == 7
    assert cache.beside(7, False).size == 7, "seven answers that ran at once need seven slots"
    assert cache.beside(3, True) == cache, "four ran through their prompts, if three at once through their answers"


def test_the_size_of_a_pool_comes_back():
    """Five conversations of 1,010 fit into 5,200, and from their third round on no longer."""
    level = conversations(5, 8, busy_s=0.5)
    cache = fit_cache([replace(level, cached=replay_pool(_turns(level), 5200.0))])
    assert cache is not None
    assert cache.kind == "pool"
    assert cache.size == pytest.approx(5200, rel=0.03)
    assert cache.low <= 5200 * 1.03
    assert cache.high >= 5200 * 0.97


def test_where_a_pool_and_slots_explain_the_same_it_is_a_pool_until_the_answers_at_once_say_otherwise():
    """Two conversations fit and eight do not: so they do in 5,200 tokens, and in two to seven slots."""
    told = [conversations(n, 8, busy_s=0.5) for n in (2, 8)]
    cache = fit_cache([replace(level, cached=replay_pool(_turns(level), 5200.0)) for level in told])
    assert cache is not None
    assert cache.kind == "pool"
    assert cache.beside(4, False).kind == "pool", "four were seen, and it was no limit"
    assert (cache.beside(4, True).kind, cache.beside(4, True).size) == ("slots", 4)
    assert cache.beside(9, True).kind == "pool", "nine slots would have lost nothing"


def test_where_nothing_was_forgotten_no_size_is_named():
    level = conversations(3, 5)
    cache = fit_cache([replace(level, cached=replay_pool(_turns(level), np.inf))])
    assert cache is not None
    assert cache.kind == "unlimited"
    assert cache.size == 3 * (1200 + 10), "three conversations at their longest, answers included"
    assert cache.high == np.inf


def test_a_server_that_does_not_report_tells_nothing():
    level = conversations(3, 5)
    assert fit_cache([replace(level, reports_cached=False)]) is None
