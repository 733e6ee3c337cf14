"""Several workers: who gets a request, prefill split from decode, the host tier. Times are added up in the comments."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from openagentperf.records.phase import Quota
from openagentperf.sim.spec import KvGroup, Routing
from openagentperf.sim.virtual import run_phase
from openagentperf.sim.workload import PlainTurn, Workload
from openagentperf.units import NS_PER_MS, NS_PER_S
from simworlds import DECODE, ENDLESS, POWER, PREFILL, SPLIT, WORKER, Alone, Course, cluster_of, order_of


def test_a_split_request_is_seen_when_its_kv_has_arrived() -> None:
    course = Course(SPLIT)
    course.ask(0, talk=1)
    course.ask(0, talk=2)
    # The first comes alone and is computed alone, in 80 ms, the second in the next 80. Each is 80 bytes: 80 ms over the link, which is
    # free again at 160, and 5 ms to start. Then 10 steps of 10 ms; the second joins at the end of the first one's eighth.
    assert course.run() == [(165.0, 265.0), (245.0, 345.0)]


def test_a_group_is_whole_prompts_and_the_rest_of_their_last_chunk_is_the_next_ones() -> None:
    course = Course(SPLIT)
    jobs = [course.ask(0, talk=n, prompt=30 if n == 0 else 40) for n in range(4)]
    course.run()
    # The first is computed alone in 30 ms. The others have waited for it: three of 40 are more than a chunk of 100 holds, so two are whole
    # and the third has its first 20 in the same step, of 100 ms, and the other 20 after it. Then 40 ms over the link, one by one.
    arrived = [30 + 30, 130 + 40, 130 + 80, 130 + 120]
    assert [job.first_ns / NS_PER_MS for job in jobs] == [at + 5 for at in arrived]


def test_a_full_decode_worker_lets_prompts_wait_and_their_kv_stays_where_it_is() -> None:
    course = Course(replace(SPLIT, workers=(PREFILL, replace(DECODE, max_batch=1))))
    course.ask(0, talk=1)
    course.ask(0, talk=2)
    # The second's place is free when the first has ended at 265; then its KV takes 85 ms.
    assert course.run() == [(165.0, 265.0), (350.0, 450.0)]


def test_a_conversation_stays_at_home_and_leaves_a_home_that_is_full() -> None:
    course = Course(cluster_of(replace(WORKER, workers=2, max_batch=1)))
    first = course.ask(0, talk=1, output=101)
    course.ask(10, talk=2)
    again = course.ask(1_500, talk=1)
    blocking = course.ask(3_000, talk=1, output=101)
    moved = course.ask(3_010, talk=1)
    back = course.ask(6_000, talk=1)
    course.run()
    homes = [job.worker for job in course.jobs]
    assert homes[0] is homes[2] is homes[3]
    assert homes[1] is homes[4] is not homes[0]
    assert homes[5] is homes[4], "its new home, where its prefix is too"
    assert [job.cached_tokens for job in (first, again, blocking, moved, back)] == [0, 70, 70, 0, 70]


def test_a_full_home_is_left_for_a_worker_with_room_and_not_for_one_that_is_full_too() -> None:
    """Three workers of 4 places and 100 blocks. At 1.5 s the second has two requests, and is full: one holds 91 blocks, one waits for room.
    The third has three, and a place."""
    course = Course(cluster_of(replace(WORKER, workers=3, kv_pool_bytes=1_000.0)))
    course.ask(0, talk=1)
    course.ask(0, talk=2, prompt=100, output=801)
    course.ask(0, talk=3)
    for _ in range(4):
        course.ask(1_000, talk=1, output=151)
    course.ask(1_000, talk=2, prompt=200, output=101)
    for _ in range(3):
        course.ask(1_000, talk=3, output=101)
    moved = course.ask(1_500, talk=1)
    course.run()
    assert moved.worker is course.cluster.workers[2]


def test_who_gives_up_the_first_place_of_a_blocked_queue_lets_the_next_in() -> None:
    """15 blocks for prompts, one place to decode, taken until 1,165 ms. The second prompt's 8 blocks wait for it; the third one's 14 do not
    fit beside them, the fourth one's 5 do, once the third is gone."""
    spec = replace(
        SPLIT, workers=(replace(PREFILL, kv_pool_bytes=150.0), replace(DECODE, max_batch=1)), first_token="prefill"
    )
    course = Course(spec)
    course.ask(0, talk=1, output=101)
    course.ask(0, talk=2)
    third = course.ask(0, talk=3, prompt=140)
    fourth = course.ask(0, talk=4, prompt=50)
    course.give_up(500, third)
    course.run()
    assert third.first_ns < 0
    assert fourth.first_ns == 550 * NS_PER_MS


def test_who_gives_up_while_it_waits_for_a_place_to_decode_frees_its_kv_and_lets_the_next_in() -> None:
    """30 blocks to decode in, 19 of them taken until 1,165 ms: the second one's 19 do not fit, the third one's 7 do. 50 bytes of it are 50
    ms over the link, and 5 to start."""
    course = Course(replace(SPLIT, workers=(PREFILL, replace(DECODE, kv_pool_bytes=300.0))))
    course.ask(0, talk=1, output=101)
    second = course.ask(0, talk=2, output=101)
    third = course.ask(0, talk=3, prompt=50)
    course.give_up(600, second)
    held = []
    course.timers.at(601 * NS_PER_MS, lambda pool, _: held.append(pool.pinned), course.cluster.workers[0].pool)
    course.run()
    assert third.first_ns == 655 * NS_PER_MS
    assert held == [50]
    assert all(worker.load == 0 and worker.pool.pinned == 0 for worker in course.cluster.workers)


def hit_rate(routing: Routing) -> float:
    turns = [PlainTurn(100 + 50 * k, 5, NS_PER_S // 10) for k in range(20)]
    work = Workload.plain([turns] * 5)
    phase = run_phase(cluster_of(replace(WORKER, workers=4), routing=routing), work, order_of(6), Quota(100, 0))
    assert phase.usage.hit_rate is not None
    return phase.usage.hit_rate


def test_routing_decides_what_is_found() -> None:
    """Prompts grow by 50 of 575 tokens on average: at home 9 in 10 are found; sent round, those of four turns before."""
    home, least, round_robin = hit_rate("affinity"), hit_rate("least_loaded"), hit_rate("round_robin")
    assert home > 0.85
    assert round_robin < home - 0.1
    assert least < home


def test_the_least_loaded_takes_the_next() -> None:
    course = Course(cluster_of(replace(WORKER, workers=3), routing="least_loaded"))
    for number in range(6):
        course.ask(number, talk=number)
    course.run()
    order = [course.cluster.workers.index(job.worker) for job in course.jobs if job.worker is not None]
    assert order == [0, 1, 2, 0, 1, 2]


def test_a_prefix_comes_back_from_the_host_at_the_links_speed() -> None:
    # 20 blocks: a prompt of 100 and its answer take 11, so the second conversation pushes out one block of the first's ten or more.
    spec = replace(WORKER, kv_pool_bytes=200.0, host_cache_bytes=1_000.0, host_bytes_per_s=1_000.0)
    world = Alone(spec)
    world.submit(0, 100, 2, ((1, ENDLESS),))
    world.submit(1_000 * NS_PER_MS, 180, 2, ((2, ENDLESS),))
    third = world.submit(2_000 * NS_PER_MS, 120, 2, ((1, ENDLESS),))
    world.timers.run()
    # The second needs 19 of the 20 blocks: 9 of the first's 10 went to the host, one is left in the pool.
    # They are 90 bytes: 90 ms at 1 kB/s; then the 20 new tokens take 10 + 20 ms, the other token 10.
    assert third.cached_tokens == 100
    assert world.worker.host_hit_tokens == 90
    assert world.seen[2] == ((2_000 + 90 + 30) * NS_PER_MS, (2_000 + 90 + 40) * NS_PER_MS)


def test_without_a_host_tier_it_is_computed_again() -> None:
    world = Alone(replace(WORKER, kv_pool_bytes=200.0))
    world.submit(0, 100, 2, ((1, ENDLESS),))
    world.submit(1_000 * NS_PER_MS, 180, 2, ((2, ENDLESS),))
    third = world.submit(2_000 * NS_PER_MS, 120, 2, ((1, ENDLESS),))
    world.timers.run()
    assert third.cached_tokens == 10
    assert world.seen[2][0] == (2_000 + 20 + 110) * NS_PER_MS  # two chunks, 110 tokens


def test_a_window_is_found_only_where_its_tail_was_kept() -> None:
    window = KvGroup(name="window", kind="window", bytes_per_token=1.0, window_tokens=30)
    world = Alone(replace(WORKER, kv=(*WORKER.kv, window), kv_pool_bytes=300.0))
    grown = world.submit(0, 100, 2, ((1, ENDLESS),)), world.submit(NS_PER_S, 120, 2, ((1, ENDLESS),))
    shorter = world.submit(2 * NS_PER_S, 90, 2, ((1, ENDLESS),))
    world.timers.run()
    # The second goes on from the end of the first; a prompt that leaves it earlier has the tokens but not the window before them.
    assert [job.cached_tokens for job in (*grown, shorter)] == [0, 100, 0]


def test_a_place_is_taken_by_the_first_that_fits_in_order() -> None:
    world = Alone(replace(WORKER, kv_pool_bytes=150.0))
    world.submit(0, 100, 11)  # 12 of 15 blocks, until 10 + 100 + 100 ms
    world.submit(10 * NS_PER_MS, 60, 2)
    world.submit(20 * NS_PER_MS, 10, 2)  # would fit, and does not overtake
    world.timers.run()
    assert world.seen[0] == (110 * NS_PER_MS, 210 * NS_PER_MS)
    # Both fit one chunk then: 10 + 70 ms.
    assert world.seen[1] == world.seen[2] == (290 * NS_PER_MS, 300 * NS_PER_MS)


def test_speculation_gives_several_tokens_a_step() -> None:
    costs = replace(WORKER.costs, tokens_per_step=2.5)
    world = Alone(replace(WORKER, costs=costs))
    world.submit(0, 80, 12)
    world.timers.run()
    # 11 tokens after the first, 2.5 a step: 5 steps.
    assert world.seen[0] == (90 * NS_PER_MS, 140 * NS_PER_MS)


def test_kv_that_is_read_slows_the_steps_as_it_grows() -> None:
    costs = replace(WORKER.costs, per_kv_token_s=1e-6)
    world = Alone(replace(WORKER, costs=costs))
    world.submit(0, 1_000, 101)
    world.timers.run()
    first, last = world.seen[0]
    # 100 steps of 10 ms that read 1,001, 1,002 ... 1,100 tokens at 1 us: 105.05 ms more.
    assert last - first == 1_000 * NS_PER_MS + 105_050_000


def test_a_pool_as_large_as_its_runs_draws_what_each_kind_of_work_draws() -> None:
    course = Course(SPLIT)
    course.ask(0, talk=1)
    course.run()
    course.cluster.settle(NS_PER_S)
    prefill, decode = course.cluster.workers
    # 80 ms of prefill, 100 ms of decode, idle otherwise.
    assert prefill.energy == pytest.approx((0.08 * POWER.prefill_w + 0.92 * POWER.idle_w) * NS_PER_S)
    assert decode.energy == pytest.approx((0.1 * POWER.decode_w + 0.9 * POWER.idle_w) * NS_PER_S)
    assert prefill.sent_ns == 80 * NS_PER_MS


def test_a_decode_worker_that_dies_takes_its_requests_and_those_on_their_way_to_it() -> None:
    spec = replace(SPLIT, workers=(PREFILL, replace(DECODE, workers=2)), fail_worker_at_s=((1, 0.2),))
    course = Course(spec)
    for talk in range(3):
        course.ask(0, talk=talk)
    times = course.run()
    # The first decodes on worker 1 from 165 (its group was formed alone) and dies at 200; the second went to worker 2; the third's prompt
    # was computed by then or not, and goes to whoever is left.
    assert course.lost == {0: 200 * NS_PER_MS}
    assert [last > 0 for _, last in times] == [False, True, True]
    assert all(worker.pool.pinned == 0 for worker in course.cluster.workers)
