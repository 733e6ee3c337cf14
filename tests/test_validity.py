"""Invalid: what spoils a measurement, so that no number may be read from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from openagentperf.records.turns import TurnRow
from openagentperf.score import cache
from openagentperf.score.cache import Sharing
from openagentperf.score.clienterror import LoopLag, clock_step_ns, merged_lag_s
from openagentperf.score.columns import Turns
from openagentperf.score.view import Reading
from phases import COLD, EASY, HARD, OPENS_S, failed, first, judged, ns, row, samples, spread


@pytest.mark.parametrize(
    ("late_s", "easy", "hard"),
    [
        (0.009, "pass", "pass"),
        (
            0.011,
            "pass",
            "invalid",
        ),  # over 1 % of 1 s, within 1 % of 10 s: valid for one tier and not for a stricter one
        (0.110, "invalid", "invalid"),
    ],
)
def test_a_late_client_is_invalid_for_the_tiers_that_it_blurs(late_s: float, easy: str, hard: str) -> None:
    found = judged(spread(200, late_s=late_s), tiers=(EASY, HARD))
    assert [v.verdict for v in found.verdicts] == [easy, hard]
    assert found.lateness_p99_s == pytest.approx(late_s)


def test_a_client_that_falls_behind_is_invalid_and_never_slow() -> None:
    """Every turn is sent 20 s late, so every TTFT is 20.5 s; the server took half a second."""
    found = first(judged(spread(200, late_s=20.0, ttft_s=20.5)))
    assert found.verdict == "invalid"
    assert found.reasons[0].startswith(
        "the client itself was 20 s late in sending and reading (P99), at most 0.1 s is allowed"
    )


def test_one_late_turn_in_two_hundred_spoils_nothing() -> None:
    assert first(judged([*spread(199), row(150.0, late_s=5.0, ttft_s=5.5)])).verdict == "pass"


@pytest.mark.parametrize(
    ("connection", "lag_s", "verdict"),
    [
        ("reused", 0.0, "invalid"),  # nothing but us between due and sent
        ("new", 0.0, "pass"),  # the loop was on time: the wait was the peer's handshake
        ("new", 0.02, "pass"),  # four steps of 20 ms: 80 ms of the 100 allowed
        ("new", 0.03, "invalid"),  # 120 ms
        ("redialled", 0.03, "invalid"),
    ],
)
def test_waiting_for_a_handshake_is_not_our_lateness(connection: str, lag_s: float, verdict: str) -> None:
    rows = spread(200, late_s=0.5, ttft_s=1.0, connection=connection)
    assert first(judged(rows, health=samples(lag_s=lag_s))).verdict == verdict


@pytest.mark.parametrize(("paced_s", "verdict"), [(0.09, "pass"), (0.11, "invalid")])
def test_what_our_own_pacing_held_is_our_lateness(paced_s: float, verdict: str) -> None:
    """Of 0.5 s from due to sent on a new connection; 1 % of the tier's 10 s is 0.1 s."""
    found = judged(spread(200, late_s=0.5, ttft_s=1.0, connection="new", paced_ns=ns(paced_s)))
    assert first(found).verdict == verdict
    assert found.lateness_p99_s == pytest.approx(paced_s)


def test_turns_never_sent_count_as_late_until_they_closed() -> None:
    rows = spread(197) + [failed(150.0, "aborted", 30.0, sent_ns=None, connection="")] * 3
    found = judged(rows, health=samples(lag_s=10.0))
    assert found.lateness_p99_s == pytest.approx(30.0)  # four steps of 10 s explain all of the 30
    assert first(found).verdict == "invalid"


@pytest.mark.parametrize(
    ("lag_s", "stamps", "verdict"),
    [
        (0.0, "user", "pass"),
        (0.002, "user", "pass"),  # the span of 1 s may be 2 ms off: 0.24 tokens/s of the 1.2 allowed
        (0.15, "user", "invalid"),  # 150 ms of a 10 s limit, and 13 % of a span of 1 s
        (0.15, "kernel", "pass"),  # the kernel stamped the bytes when they came
    ],
)
def test_our_own_stamps_are_only_as_good_as_our_loop(lag_s: float, stamps: str, verdict: str) -> None:
    found = judged(spread(200), health=samples(lag_s=lag_s), stamps=stamps)
    assert first(found).verdict == verdict
    assert found.read_lag_p99_s == (lag_s if stamps == "user" else 0.0)


@pytest.mark.parametrize(
    ("lag_s", "invalid"),
    [
        (0.009, False),
        (0.011, True),
    ],  # 120 tokens in 1 s: 120 / 0.989 is 1.335 more; allowed is 1 % of the measured 120, 1.2
)
def test_speed_error_of_our_own_stamps(lag_s: float, invalid: bool) -> None:
    found = first(judged(spread(200), health=samples(lag_s=lag_s), stamps="user"))
    assert ("late reads may have moved P25 output speed by 1.335" in " ".join(found.reasons)) == invalid


@pytest.mark.parametrize(
    ("ttft_s", "late_s", "verdict"),
    [
        (10.04, 0.05, "invalid"),  # less our 50 ms it is 9.99 s: the verdict would turn
        (10.06, 0.05, "fail"),  # 10.01 s either way
        (9.99, 0.05, "pass"),
        (10.0, 0.05, "pass"),  # the limit itself holds, and so does less
    ],
)
def test_a_verdict_that_hangs_on_our_own_lag_is_none(ttft_s: float, late_s: float, verdict: str) -> None:
    found = first(judged(spread(200, ttft_s=ttft_s, late_s=late_s)))
    assert found.verdict == verdict
    assert ("less than the client's own lag" in " ".join(found.reasons)) == (verdict == "invalid")


def test_timeouts_while_we_stood_still_are_not_the_servers() -> None:
    """A worker frozen for 20 s wakes up, and its timers fire before it reads what had come."""
    rows = spread(197) + [failed(150.0, "timeout", 30.0)] * 3
    frozen = samples()
    frozen[169] = samples(lag_s=20.0, seconds=170)[169]  # seen in the second that ends at 170 s
    assert first(judged(rows)).verdict == "fail"
    found = first(judged(rows, health=frozen))
    assert found.verdict == "invalid"
    assert found.reasons[0].startswith("3 turns timed out while the client itself stood still")


def test_a_client_frozen_all_through_is_no_evidence_against_the_server() -> None:
    """No turn measured: four sent before the window, and broken off when the worker woke after it."""
    rows = [failed(90.0 + i, "aborted", 120.0, agent=i) for i in range(4)]
    frozen = [*samples(seconds=95), *samples(lag_s=115.0, seconds=220)[209:]]  # no sample between 95 s and 210 s
    assert first(judged(rows, hit_limit=True)).verdict == "fail"
    assert first(judged(rows, hit_limit=True, health=frozen)).verdict == "invalid"


@pytest.mark.parametrize(
    ("ttft_s", "speed", "meets"), [(10.0, 30.0, True), (10.001, 30.0, False), (10.0, 29.999, False)]
)
def test_both_limits_are_inclusive(ttft_s: float, speed: float, meets: bool) -> None:
    assert Reading(ttft_s, speed).meets(EASY) == meets


def test_what_we_sent_late_is_no_evidence_in_a_short_phase() -> None:
    """Four agents, each with one turn that waits all through the window: the server's doing, unless we sent it late."""
    on_time = [failed(50.0 + i, "aborted", 200.0, agent=i) for i in range(4)]
    late = [failed(50.0 + i, "aborted", 200.0, agent=i, sent_ns=ns(199.0)) for i in range(4)]
    assert first(judged(on_time, hit_limit=True)).verdict == "fail"
    assert first(judged(late, hit_limit=True)).verdict == "invalid"


def test_failures_are_a_fail_even_where_our_lag_could_turn_the_percentile() -> None:
    rows = spread(195, ttft_s=10.04, late_s=0.05) + [failed(150.0, "http")] * 5
    assert first(judged(rows)).verdict == "fail"


@pytest.mark.parametrize(
    ("of_facts", "health", "extra", "says"),
    [
        ({"faults": ("worker 1 died",)}, samples(), [], "worker 1 died: the phase cannot be read"),
        ({"min_active_share": 0.98}, samples(), [], "all 4 agents were active for 98.0% of the window, 99% is needed"),
        ({}, samples(step_ms=2.0), [], "the wall clock stepped by 2 ms, at most 1 ms"),
        ({}, [], [], "no client health samples"),
        ({}, samples(), [failed(150.0, "client")], "1 requests failed on this host's own limits"),
        ({}, samples(), [failed(50.0, "client")], "1 requests failed on this host's own limits"),  # in the ramp
    ],
)
def test_what_spoils_a_phase_for_every_tier(
    of_facts: dict[str, Any], health: list[Any], extra: list[TurnRow], says: str
) -> None:
    found = judged(spread(200, ttft_s=60.0) + extra, tiers=(EASY, HARD), health=health, **of_facts)
    assert [v.verdict for v in found.verdicts] == ["invalid", "invalid"]  # whatever else: TTFT is over both limits
    assert all(says in v.reasons[0] for v in found.verdicts)


def test_a_clock_that_slews_or_keeps_our_own_time_is_fine() -> None:
    assert first(judged(spread(200), health=samples(step_ms=0.5))).verdict == "pass"
    assert clock_step_ns(samples(step_ms=2.0)) == 2_000_000
    user = first(judged(spread(200), health=samples(step_ms=2.0), stamps="user"))
    assert user.verdict == "pass"  # user stamps are monotonic: no wall clock in them


def test_a_reader_so_late_that_it_may_have_held_the_server_up() -> None:
    """200,000 bytes over 1 s, read 0.5 s late: 100,000 waited, and 65,536 are sure to fit."""
    assert first(judged(spread(200, response_bytes=200_000, read_lag_ns=ns(0.5)))).verdict == "invalid"
    assert first(judged(spread(200, response_bytes=200_000, read_lag_ns=ns(0.3)))).verdict == "pass"


@pytest.mark.parametrize(
    ("events", "lag_s", "want_s"),
    [
        (1, 0.5, 0.0),  # one event in the first read: the stamp is its own
        (2, 0.5, 0.1),  # the second's stamp; 30 later events over 3 s: one interval of 0.1 s
        (3, 0.5, 0.2),
        (3, 0.15, 0.15),  # the loop was late by 0.15 s at most, so no event waited longer
        (3, 0.0, 0.01),  # no sample saw it, but the read itself came 10 ms after the stamp
        (31, 0.5, 0.5),  # nothing came later: no interval is known
    ],
)
def test_a_merged_first_read_is_stamped_late(events: int, lag_s: float, want_s: float) -> None:
    later = 0 if events == 31 else 30
    turn = row(
        150.0, ttft_s=1.0, speed=10.0, tokens=31, first_read_events=events, output_events=events + later,
        first_lag_ns=ns(0.01),
    )  # fmt: skip
    assert merged_lag_s(Turns.from_rows([turn]), LoopLag(samples(lag_s=lag_s))).tolist() == [pytest.approx(want_s)]


def test_merged_reads_of_a_late_loop_spoil_the_speed() -> None:
    """120 tokens/s, the first four events merged: the span may be 3 / 120 s longer, 120 / 1.025 = 117.1; 1 % of 30 is 0.3."""
    rows = spread(200, first_read_events=4, output_events=124)
    assert first(judged(rows)).verdict == "pass"  # the loop was on time: the server sent four at once
    found = first(judged(rows, health=samples(lag_s=0.03)))
    assert found.verdict == "invalid"
    assert "moved P25 output speed by 2.927 tokens/s" in found.reasons[0]


def test_loop_lag_is_the_worst_of_the_samples_a_span_touches() -> None:
    health = samples(lag_s=0.001, seconds=10)
    health[4] = samples(lag_s=0.4, seconds=5)[4]  # the second that ends at 5 s
    lag = LoopLag(health)
    spans = [(0.5, 3.5), (3.5, 4.5), (4.5, 4.6), (0.0, 9.0), (5.0001, 9.0), (50.0, 60.0)]
    worker = np.zeros(len(spans), dtype=np.int64)
    start, end = (np.array([ns(s[i]) for s in spans], dtype=np.int64) for i in (0, 1))
    assert lag.worst_ns(worker, start, end).tolist() == [ns(x) for x in (0.001, 0.4, 0.4, 0.4, 0.001, 0.001)]
    assert lag.worst_ns(worker + 7, start, end).tolist() == [-1] * len(spans)


# --- the cache ---------------------------------------------------------------------------------------------------------------


def opening(due_s: float, cached: int | None, **more: Any) -> TurnRow:
    return row(due_s, turn=0, cached_tokens=cached, **more)


@pytest.mark.parametrize(
    ("cached", "more", "verdict"),
    [
        (1000, {}, "pass"),
        (1406, {}, "pass"),  # 5,000 x 3,500 / 17,500 x 1.15 + 256
        (1407, {}, "invalid"),
        (1407, {"prompt_tokens": 6000}, "pass"),  # the server sees 20 % more tokens in the same bytes
        (1407, {"request_bytes": 14_000}, "pass"),  # 5,000 x 3,500 / 14,000 x 1.15 + 256 = 1,694
        # What a recording counted is another thing: with what its request held besides, in reasoning and images, it may be far more.
        (1406, {"corpus_tokens": 9000}, "pass"),
        (1407, {"corpus_tokens": 3000}, "invalid"),
    ],
)
def test_a_warm_cache(cached: int, more: dict[str, int], verdict: str) -> None:
    found = first(judged([*spread(200), opening(150.0, cached, **more)]))
    assert found.verdict == verdict
    assert ("1 of 1 first turns found more" in " ".join(found.reasons)) == (verdict == "invalid")


def test_first_turns_are_turn_zero_and_the_earliest_of_a_partial_trajectory() -> None:
    rows = [
        row(10.0, agent=1, replay=0, turn=7),
        row(5.0, agent=1, replay=0, turn=6),  # the earliest of agent 1's partial one
        row(6.0, agent=2, replay=0, turn=0),
        row(50.0, agent=1, replay=1, turn=0),
        row(60.0, agent=1, replay=1, turn=1),
        row(70.0, agent=2, replay=1, turn=0, connection="redialled"),  # may find its own first sending
    ]
    assert sorted(cache.first_turns(Turns.from_rows(rows), COLD).due_ns.tolist()) == [ns(5), ns(6), ns(50)]


def test_of_a_tree_every_line_has_a_first_turn_but_of_a_partial_one_only_the_earliest_counts() -> None:
    # Trajectory 0: turns 0..3 and a sub-agent with turns 4, 5. Trajectory 1: its main line ends before the sub-agent's turn 2.
    trees = Sharing.of(lines=[2, 2], first_turns=[0, 4, 0, 2], shared_bytes=[350, 1050, 350, 7000])
    rows = [
        row(
            10.0, agent=1, replay=0, turn=5, line=1
        ),  # begins inside of the sub-agent: the earliest, beside its parent's
        row(10.0, agent=1, replay=0, turn=2),
        row(20.0, agent=1, replay=1, turn=0),
        row(30.0, agent=1, replay=1, turn=4, line=1),
        row(31.0, agent=1, replay=1, turn=5, line=1),
        row(32.0, agent=1, replay=1, turn=2),  # what would be a first turn in trajectory 1
        row(40.0, agent=1, replay=2, trajectory=1, turn=2, line=1),
    ]
    turns = Turns.from_rows(rows)
    first = cache.first_turns(turns, trees)
    assert list(zip((first.due_ns // ns(1)).tolist(), first.line.tolist(), strict=True)) == [
        (10, 1),
        (20, 0),
        (30, 1),
        (40, 1),
    ]
    # Each against its own line's sharing: shared / 3.5 bytes a token x 1.15 + 256.
    assert trees.allowed_tokens(first).tolist() == [601, 371, 601, 2556]
    warm = [row(10.0, turn=0, cached_tokens=372), row(11.0, turn=4, line=1, cached_tokens=601)]
    assert cache.warm(Turns.from_rows(warm), trees) == (1, 2)


def test_an_unreported_cache_is_unverified_and_never_zero() -> None:
    found = judged(spread(200, cached_tokens=None))
    assert found.cached_fraction is None
    assert found.notes == (
        "cache unverified: the server does not report cached tokens, so a warm cache cannot be ruled out",
    )
    # where most answers carry it, a missing one is zero: engines leave the field out then
    found = judged(spread(100) + spread(60, cached_tokens=None))
    assert found.cached_fraction == pytest.approx(100 * 4000 / (160 * 5000))
    assert found.notes == ()


def test_notes_count_what_was_excused() -> None:
    rows = [*spread(197), row(OPENS_S, connection="redialled"), row(OPENS_S, output_reads=1), row(OPENS_S, tokens=1)]
    assert judged(rows).notes == (
        "1 turns were dialled again after a reused connection died before any response byte",
        "1 of 200 answers came buffered; their speed is the end-to-end speed",
        "1 answers of one token have no speed",
    )
