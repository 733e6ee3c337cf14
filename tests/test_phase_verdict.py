"""Fail, and pass: what the system under test did. What spoils a measurement is in test_validity.py."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from openagentperf.plan import Rigor
from openagentperf.records.turns import TurnRow
from openagentperf.score import drift
from openagentperf.score.failing import tail
from phases import CLOSES_S, EASY, HARD, OPENS_S, failed, first, judged, ns, row, samples, spread


def test_a_quiet_phase_passes_and_its_figures_add_up() -> None:
    found = judged(spread(200, corpus_tokens=4500))  # 121 tokens each: TTFT 0.5 s, 120 tokens in 1 s
    assert first(found).verdict == "pass"
    assert first(found).reasons == ()
    assert (found.measured_turns, found.failed_turns) == (200, 0)
    assert (found.ttft_p50_s, found.ttft_p95_s, found.speed_p25) == (0.5, 0.5, 120.0)
    assert found.e2e_speed_p25 == pytest.approx(121 / 1.5)
    assert found.cached_fraction == 0.8  # 4,000 of 5,000
    assert found.output_tokens_per_s == 242.0  # 200 x 121 tokens in 100 s
    assert (found.input_tokens_mean, found.output_tokens_mean, found.output_tokens_sd) == (4500.0, 121.0, 0.0)
    assert found.output_tokens_quartiles == (121.0, 121.0, 121.0)


def test_a_turn_is_measured_when_it_is_due_in_the_window() -> None:
    edges = [row(OPENS_S - 1e-9), row(OPENS_S), row(CLOSES_S - 1e-9), row(CLOSES_S)]
    assert judged(edges).measured_turns == 2  # the window is half open: [100 s, 200 s)


@pytest.mark.parametrize(
    ("rows", "verdict", "says"),
    [
        (spread(200, ttft_s=10.0), "pass", ""),  # the limit itself holds
        (spread(200, ttft_s=10.001), "fail", "TTFT P95 is 10 s, at most 10 s"),
        (spread(200, speed=30.0), "pass", ""),
        (spread(200, speed=29.9), "fail", "output speed P25 is 29.9 tokens/s, at least 30"),
        # 12 of 240 slow (5 %): rank 239 x 0.95 = 227.05, and the slow ones start at rank 228: weight 0.05 on 20 s
        (spread(228) + spread(12, ttft_s=20.0), "pass", ""),  # 0.5 + 0.05 x 19.5 = 1.475 s
        (spread(226) + spread(14, ttft_s=20.0), "fail", "TTFT P95 is 20 s"),
        # 24 % slow: rank 199 x 0.25 = 49.75 is beyond the 48 slow ones; with 52 it is among them
        (spread(152) + spread(48, speed=20.0), "pass", ""),
        (spread(148) + spread(52, speed=20.0), "fail", "output speed P25 is 20"),
    ],
)
def test_limits(rows: list[TurnRow], verdict: str, says: str) -> None:
    found = first(judged(rows))
    assert found.verdict == verdict
    assert says in " ".join(found.reasons)


def test_every_tier_is_read_from_the_same_turns() -> None:
    found = judged(spread(200, ttft_s=2.0, speed=60.0), tiers=(EASY, HARD))
    assert [v.verdict for v in found.verdicts] == ["pass", "fail"]
    assert len(found.verdicts[1].reasons) == 2


@pytest.mark.parametrize(
    ("bad", "verdict"),
    [(2, "pass"), (3, "fail")],  # 2 of 200 are 1 %, which is allowed; 3 are not
)
def test_failures_of_the_server(bad: int, verdict: str) -> None:
    rows = spread(200 - bad) + [failed(110.0 + i, "http") for i in range(bad)]
    found = judged(rows)
    assert first(found).verdict == verdict
    assert found.failed_turns == bad
    assert f"failed turns: {bad} http" in found.notes
    assert ("of 200 measured turns failed (3 http)" in " ".join(first(found).reasons)) == (verdict == "fail")


@pytest.mark.parametrize(
    ("kinds", "advice"),
    [
        (["overflow", "overflow", "http"], "cut the corpus to less than the server's context (--max-context)"),
        (["overflow", "http", "http"], "look at the server's log, or offer fewer agents"),
    ],
)
def test_prompts_too_long_for_the_context_are_not_cured_by_fewer_agents(kinds: list[str], advice: str):
    rows = spread(197) + [failed(110.0 + i, kind) for i, kind in enumerate(kinds)]
    assert advice in " ".join(first(judged(rows)).reasons)


def test_infinite_percentiles_are_none_in_the_record_and_words_in_the_reason() -> None:
    found = judged(spread(180) + [failed(110.0, "timeout")] * 20)  # 10 % failed: P95 of TTFT is infinite
    assert found.ttft_p95_s is None
    assert found.ttft_p50_s == 0.5
    assert "TTFT P95 is infinite (too many turns failed)" in " ".join(first(found).reasons)


def test_a_growing_queue_fails_even_inside_the_limits() -> None:
    rows = [row(OPENS_S + (i + 0.5) / 3, ttft_s=2.0 + i / 100) for i in range(300)]  # 2 s to 5 s, P95 4.85 s of 10 s
    (reason,) = first(judged(rows)).reasons
    # thirds: turns 0..99 and 200..299, medians 2 + 0.495 and 2 + 2.495
    assert "rose from 2.495 s in the first third of the window to 4.495 s" in reason


def test_a_rise_below_what_the_limit_resolves_is_no_queue() -> None:
    """From 20 to 50 ms is +150 %, and 0.3 % of a 10 s limit; against 1 s it is 3 %."""
    rows = [row(OPENS_S + i / 3, ttft_s=0.020 + i / 10_000) for i in range(300)]
    found = judged(rows, tiers=(EASY, HARD))
    assert [v.verdict for v in found.verdicts] == ["pass", "fail"]


def test_noise_is_no_queue() -> None:
    """Log-normal TTFTs (sigma 1) without any trend, 2,000 windows of 100 turns a third: fewer than 2 % raise the alarm."""
    rng = np.random.default_rng(7)
    due = np.arange(300, dtype=np.int64)
    alarms = sum(drift.rise(due, np.exp(rng.normal(size=300)), 0, 300) is not None for _ in range(2000))
    assert alarms < 40


@pytest.mark.parametrize(
    ("count", "level", "want"),
    [(89, 9.0, False), (90, 9.0, True), (90, math.inf, True)],  # 29 or 30 turns a third
)
def test_thirds_need_thirty_turns(count: int, level: float, want: bool) -> None:
    due = np.arange(count, dtype=np.int64)
    ttft = np.where(due * 3 >= count * 2, level, 1.0)
    assert (drift.rise(due, ttft, 0, count) is not None) == want


@pytest.mark.parametrize(
    ("k", "n", "p", "want"),
    [
        (1, 1, 0.05, 0.05),
        (2, 3, 0.25, 0.15625),  # 3 x 1/16 x 3/4 + 1/64
        (0, 5, 0.05, 1.0),
        (1, 5, 0.0, 0.0),
        (3, 3, 1.0, 1.0),
    ],
)
def test_binomial_tail(k: int, n: int, p: float, want: float) -> None:
    assert tail(k, n, p) == pytest.approx(want)


def broken_off(due_s: float, seen_s: float | None = None, tokens: int = 0, until_s: float = 300.0) -> TurnRow:
    """Still open when the phase ended: nothing seen, or `tokens` events of output since `seen_s`."""
    seen: dict[str, Any] = {}
    if seen_s is not None:
        seen = {
            "first_byte_ns": ns(seen_s), "first_output_ns": ns(seen_s), "last_output_ns": ns(until_s),
            "output_events": tokens, "output_chars": tokens, "output_reads": tokens,
        }  # fmt: skip
    return failed(due_s, "aborted", until_s - due_s, **seen)


@pytest.mark.parametrize(
    ("rows", "verdict", "says"),
    [
        # an overloaded server: too few turns, and it is the server's doing
        ([broken_off(OPENS_S + i) for i in range(64)], "fail", "64 of 64 had a TTFT over 10 s"),
        ([broken_off(50.0 + i) for i in range(4)], "fail", "4 of 4 had a TTFT over 10 s"),  # all through the window
        (
            [broken_off(50.0 + i, until_s=199.9) for i in range(4)],
            "fail",
            "4 of 4",
        ),  # the worker stopped before the clerk
        ([broken_off(OPENS_S)], "fail", "1 of 1 had a TTFT over 10 s"),  # P(1 of 1 | 5 %) = 5 %
        ([broken_off(110.0 + i, seen_s=112.0 + i, tokens=99) for i in range(8)], "fail", "8 of 8 ran below 30"),
        (spread(20, ttft_s=15.0), "fail", "20 of 20 had a TTFT over 10 s"),
        (spread(20, speed=5.0), "fail", "20 of 20 ran below 30 tokens/s"),
        (spread(90) + [failed(150.0, "reset")] * 5, "fail", "5 of 95 failed"),  # P(>= 5 of 95 | 1 %) = 0.2 %
        # too little data, and nothing wrong with it: the limit is too short for this corpus
        (spread(20), "invalid", "20 measured turns, 100 are needed: raise rigor.limit_s"),
        ([*spread(8), broken_off(299.0)], "invalid", "needed"),  # broken off a second after it was due
        ([*spread(8), broken_off(290.0, seen_s=290.5, tokens=1000)], "invalid", "needed"),  # and it was fast
        (spread(19) + spread(1, ttft_s=12.0), "invalid", "needed"),  # 1 of 20 over: P = 64 %, chance explains it
        ([], "invalid", "0 measured turns"),
    ],
)
def test_too_few_turns(rows: list[TurnRow], verdict: str, says: str) -> None:
    """A server so slow that few turns complete has failed; a phase that is merely short is invalid."""
    found = first(judged(rows, hit_limit=True))
    assert found.verdict == verdict
    assert says in " ".join(found.reasons)


@pytest.mark.parametrize(
    ("rows", "more", "short"),
    [
        (spread(20), {}, True),
        ([row(150.0)], {}, True),
        ([], {}, False),  # nothing at hand meets nothing
        (spread(20, tokens=1), {}, False),  # no speed is known
        (spread(19) + spread(1, ttft_s=12.0), {}, True),  # rank 19 x 0.95 = 18.05: 0.5 + 0.05 x 11.5 = 1.1 s
        (spread(18) + spread(2, ttft_s=12.0), {}, False),  # rank 18.05 lies on the slow ones: 12 s
        ([*spread(70), failed(150.0, "reset")], {}, False),  # 1.4 % failed, which chance explains; it would be no pass
        (spread(20), {"min_active_share": 0.5}, False),  # spoiled besides
        (spread(20), {"kind": "certify"}, True),
        (spread(178) + spread(22, tokens=1), {}, True),  # 89 % with a speed
        (spread(200), {}, False),  # a pass is not short
        (spread(20, ttft_s=15.0), {}, False),  # nor is a fail
    ],
)
def test_short_is_invalid_for_nothing_but_too_little_data(
    rows: list[TurnRow], more: dict[str, Any], short: bool
) -> None:
    found = first(judged(rows, **more))
    assert found.short == short
    assert not short or found.verdict == "invalid"


def test_a_short_phase_that_our_own_lag_could_turn_round_is_not_short_alone() -> None:
    """120 tokens at 30.02/s take 3.997 s; were the first stamp 5 ms late, they took 4.002 s: 29.98/s, and 30 are needed."""
    late = {"health": samples(lag_s=0.005), "stamps": "user"}
    assert not first(judged(spread(20, speed=30.02), **late)).short
    assert first(judged(spread(20, speed=30.1), **late)).short


def test_the_end_that_a_server_holds_back_is_told() -> None:
    rows = [msgspec.structs.replace(r, closed_ns=r.closed_ns + ns(0.4)) for r in spread(200)]
    found = judged(rows)
    assert found.tail_p95_s == pytest.approx(0.4)
    assert not any("last output" in note for note in found.notes)
    # 12 of 200 at 3 s: rank 199 x 0.95 = 189.05, the slow ones start at rank 188. Failed turns have no end to hold back.
    rows[:12] = [msgspec.structs.replace(r, closed_ns=r.closed_ns + ns(2.6)) for r in rows[:12]]
    found = judged([*rows, failed(150.0, "timeout", 60.0)])
    assert found.tail_p95_s == pytest.approx(3.0)
    assert any(
        note.startswith("answers stayed open for up to 3 s after their last output (P95)") for note in found.notes
    )
    assert judged([failed(150.0, "timeout", 60.0)]).tail_p95_s is None


def test_in_flight_is_summed_over_workers_within_the_window() -> None:
    health = samples()  # worker 0: 4 in flight, once a second
    assert judged(spread(200), health=health).in_flight_mean == 4.0
    outside = [msgspec.structs.replace(s, in_flight=9) if s.t_ns < ns(OPENS_S) else s for s in health]
    other = [msgspec.structs.replace(s, worker=1, in_flight=i % 2) for i, s in enumerate(health[::2])]  # half as many
    assert judged(spread(200), health=outside + other, workers=2).in_flight_mean == 4.5
    assert judged(spread(200), health=outside, workers=2).in_flight_mean is None  # worker 1 has none
    assert judged(spread(200), health=[]).in_flight_mean is None


def test_the_most_in_flight_is_counted_over_the_open_turns_of_the_window() -> None:
    def sent(start_s: float, end_s: float, **more: Any) -> TurnRow:
        return row(start_s, sent_ns=ns(start_s), closed_ns=ns(end_s), **more)

    before = [
        sent(90.0, 150.0),
        sent(91.0, 99.0),
        sent(92.0, 99.0),
    ]  # three at once before the window, one of them within
    within = [
        sent(110.0, 120.0, line=1),
        sent(111.0, 125.0, line=2),
        sent(120.0, 130.0),
    ]  # the first has ended when the third is sent
    after = [sent(198.0, 210.0), sent(199.0, 210.0), sent(201.0, 210.0), sent(202.0, 210.0), sent(203.0, 210.0)]
    never = failed(115.0, "connect", sent_ns=None, connection="")
    found = judged([*before, *within, never])
    assert found.in_flight_max == 3  # at 111 s and at 120 s
    assert found.subagent_share == 0.5  # of the four that were due in the window
    assert judged([*after, never]).in_flight_max == 2
    assert judged([never]).in_flight_max is None
    assert judged([never]).subagent_share == 0.0
    assert judged(before[1:]).subagent_share is None


def test_a_refusing_server_fails_though_its_turns_were_never_sent() -> None:
    """A full accept queue: each connection attempt waits 5 s, which is no lateness of ours while the loop is on time."""
    rows = [failed(OPENS_S + i / 2, "connect", 5.0, sent_ns=None, connection="") for i in range(200)]
    assert first(judged(rows)).verdict == "fail"
    assert first(judged(rows, health=samples(lag_s=2.0))).verdict == "invalid"


def test_certifying_needs_its_share_of_turns_and_trajectories() -> None:
    rigor = Rigor(certify_turns=500, certify_phases=3, trajectories=30, trajectories_per_agent=3)
    ends = [row(OPENS_S + i, agent=i % 4, last=True) for i in range(10)]
    partial = [row(OPENS_S + i, agent=i % 4, last=True, replay=0, cached_tokens=900) for i in range(10)]
    enough, short = spread(157), spread(156)  # 500 / 3 = 166.7: 167 turns with the ten

    # 4 agents: max(30, 12) / 3 = 10 trajectories
    assert first(judged(enough + ends, rigor=rigor, kind="certify")).verdict == "pass"
    assert "166 measured turns, 167" in first(judged(short + ends, rigor=rigor, kind="certify")).reasons[0]
    found = judged(enough + partial, rigor=rigor, kind="certify")
    assert "0 completed trajectories, 10 are needed" in first(found).reasons[0]
    # 20 agents: max(30, 60) / 3 = 20 trajectories
    found = judged(enough + ends, rigor=rigor, kind="certify", agents=20)
    assert "10 completed trajectories, 20 are needed" in first(found).reasons[0]
    assert "fewest completed trajectories of one agent: 0" in found.notes
    # a slow server is not excused by a missing trajectory
    assert first(judged(spread(200, ttft_s=11.0), rigor=rigor, kind="certify")).verdict == "fail"


def test_too_few_speeds() -> None:
    """89 % with a speed: invalid; but a missed TTFT still fails."""
    assert first(judged(spread(180) + spread(20, tokens=1))).verdict == "pass"
    found = judged(spread(178) + spread(22, tokens=1))
    assert "178 of 200 measured turns have an output speed, 90% are needed" in first(found).reasons[0]
    assert first(found).verdict == "invalid"
    assert first(judged(spread(178, ttft_s=11) + spread(22, tokens=1))).verdict == "fail"
