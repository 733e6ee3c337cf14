"""Queues with known answers: the closed forms hold for their own recursions, and simpy's twin and the recursions for the simulator.

A mean of waits over 100,000 arrivals still errs by 3 % (M/M/4 at load 0.7), so no test that ends in seconds could compare it with
Erlang C to 2 %. Hence two links: the simulator has the *same* waits as the recursion, request by request, and the recursion, which
runs through millions of arrivals in a second, the mean of the closed form.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

import replicas
from openagentperf.records.phase import PhaseOrder, Quota
from openagentperf.seeds import Stream
from openagentperf.sim.replica import Replica, Request
from openagentperf.sim.spec import ClusterSpec, StepCosts
from openagentperf.sim.virtual import run_phase
from openagentperf.sim.workernode import WorkerNode
from openagentperf.sim.workload import PlainTurn, Workload
from openagentperf.units import NS_PER_S
from queueing import (
    Ask,
    Served,
    SplitTwin,
    StepTwin,
    closed_response_s,
    erlang_c,
    exponential,
    fifo_waits,
    mg1_wait_s,
    mmc_wait_s,
    repair_response_s,
    run_twin,
    shared_ends,
)
from workers import alone, serve, spec_of

# -- the yardsticks themselves ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("servers", "offered", "waits"),
    [
        (1, 0.5, 0.5),  # M/M/1: P(wait) = rho
        (2, 1.0, 1 / 3),  # a = 1, c = 2: B = (1/2) / (1 + 1 + 1/2) = 1/5, C = B / (1 - rho (1 - B)) = 0.2 / 0.6
        (4, 2.0, 4 / 23),  # B = (16/24) / (1 + 2 + 2 + 8/6 + 16/24) = 2/21, C = (2/21) / (1 - 19/42) = 4/23
    ],
)
def test_erlang_c(servers: int, offered: float, waits: float) -> None:
    assert erlang_c(servers, offered) == pytest.approx(waits)


def test_forms_agree_where_they_meet() -> None:
    assert mmc_wait_s(0.5, 1.0, 1) == pytest.approx(1.0)  # rho / (mu - lambda)
    assert mg1_wait_s(0.5, 1.0, 2.0) == pytest.approx(1.0)  # E[S^2] of an exponential is 2
    assert closed_response_s(1, 2.0, 7.0) == 2.0  # alone
    assert closed_response_s(50, 1.0, 0.0) == pytest.approx(50.0)  # never away: everybody shares with everybody
    # One server is as good shared as in turn, on average and with exponential work.
    assert repair_response_s(20, 1.0, 30.0, 1) == pytest.approx(closed_response_s(20, 1.0, 30.0))
    assert repair_response_s(3, 2.0, 30.0, 3) == pytest.approx(2.0)  # nobody waits where everybody has a server


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (4, 0.7), (8, 0.8)])
def test_the_recursion_of_fifo_waits_is_erlang_c(servers: int, load: float) -> None:
    """2,000 queues of 2,500 arrivals each side by side, the first 500 of each left out: 4 million waits, within 1.5 %."""
    draws = np.random.default_rng(Stream(1, "erlang").u64())
    free = np.zeros((2_000, servers))
    at = np.zeros(2_000)
    waits = []
    for _ in range(2_500):
        at += draws.exponential(1 / (load * servers), 2_000)
        free.sort(axis=1)
        waits.append(np.maximum(free[:, 0] - at, 0))
        free[:, 0] = np.maximum(free[:, 0], at) + draws.exponential(1.0, 2_000)
    assert np.mean(waits[500:]) == pytest.approx(mmc_wait_s(load * servers, 1.0, servers), rel=0.015)


def poisson(stream: Stream, rate: float, count: int) -> list[float]:
    at, times = 0.0, []
    for _ in range(count):
        at += exponential(stream, 1 / rate)
        times.append(at)
    return times


# -- the replica beside its simpy twin -----------------------------------------------------------------------------------------------

COSTS = StepCosts(
    step_s=(0.0, *(0.008 + 0.0003 * batch for batch in range(1, 9))),
    per_kv_token_s=2e-8,
    prefill_token_s=4e-5,
    prefill_context_s=2e-9,
    prefill_start_s=0.003,
)


def asks(seed: int, count: int, rate: float) -> list[Ask]:
    stream = Stream(seed, "asks")
    return [
        Ask(at, 1 + round(exponential(stream, 900)), 1 + round(exponential(stream, 60)))
        for at in poisson(Stream(seed, "at"), rate, count)
    ]


def by_replica(listed: list[Ask], costs: StepCosts, max_batch: int, chunk_tokens: int) -> list[Served]:
    node = WorkerNode(
        blocks=100_000, max_batch=max_batch, max_model_len=131_072, chunk_tokens=chunk_tokens,
        tokens_per_step=costs.tokens_per_step, costs=costs,
    )  # fmt: skip
    replica = Replica(node)
    asked = [
        (
            round(ask.at_s * NS_PER_S),
            Request(id=number, prompt_tokens=ask.new_tokens, output_tokens=ask.output_tokens),
        )
        for number, ask in enumerate(listed)
    ]
    served = replicas.serve(replica, asked)
    return [
        Served(served[number].first_ns / NS_PER_S, served[number].last_ns / NS_PER_S) for number in range(len(listed))
    ]


@pytest.mark.parametrize(("max_batch", "chunk_tokens"), [(8, 512), (2, 100), (8, 100_000)])
@pytest.mark.parametrize("tokens_per_step", [1.0, 2.49])
def test_the_replica_steps_as_its_simpy_twin_does(max_batch: int, chunk_tokens: int, tokens_per_step: float) -> None:
    """Times within 1 us: the replica counts whole nanoseconds, over some 1,000 steps."""
    per_kv = COSTS.per_kv_token_s if tokens_per_step == 1 else 0.0  # the twin's contexts hold parts of tokens
    costs = StepCosts(
        **{
            **{f: getattr(COSTS, f) for f in COSTS.__struct_fields__},
            "tokens_per_step": tokens_per_step,
            "per_kv_token_s": per_kv,
            "chunk_start_s": 0.002,
        }
    )
    listed = asks(7, 60, 3.0)
    twin = run_twin(lambda env: StepTwin(env, costs, max_batch, chunk_tokens), listed)
    for ours, theirs in zip(by_replica(listed, costs, max_batch, chunk_tokens), twin, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)


# -- a worker in virtual time beside both ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens_per_step", [1.0, 2.49])
@pytest.mark.parametrize(("max_batch", "chunk_tokens"), [(8, 100_000), (8, 512), (8, 64), (2, 100)])
def test_an_aggregated_worker_is_its_simpy_twin(max_batch: int, chunk_tokens: int, tokens_per_step: float) -> None:
    """Where prompts are not cut into chunks, each first token and each end to 1 us, over 300 requests. Where they are, the worker spreads a
    group of prompts evenly over its steps, and lets who comes meanwhile wait for the next group: means within 1 %, none off by more than
    two steps and the part of a chunk that a group left to the next."""
    whole = chunk_tokens == 100_000
    # A group's last chunk has no room for who comes meanwhile, so where chunks are small it pays more starts than the twin does.
    costs = replace(COSTS, tokens_per_step=tokens_per_step, chunk_start_s=0.002 if whole else 0.0)
    listed = asks(7, 300, 3.0)
    twin = run_twin(lambda env: StepTwin(env, costs, max_batch, chunk_tokens), listed)
    ours = serve(alone(spec_of(costs, max_batch=max_batch, chunk_tokens=chunk_tokens)), listed)
    errors = np.array(ours) - np.array(twin)
    assert np.abs(errors).max() < (1e-6 if whole else 0.045)
    at = np.array([ask.at_s for ask in listed])
    for column in (0, 1):
        mean = np.mean(np.array(twin)[:, column] - at)
        assert errors[:, column].mean() == pytest.approx(0, abs=0.01 * mean)


def service(kind: str, draws: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Of mean 1: constant, exponential, or one in five eight times as long as the others (squared variation 3.9)."""
    if kind == "constant":
        return np.ones(count)
    if kind == "exponential":
        return draws.exponential(1.0, count)
    return draws.exponential(np.where(draws.uniform(size=count) < 0.8, 0.4, 3.4))


KINDS = ("constant", "exponential", "two kinds")


def arrivals(kind: str, load: float, count: int, mean_tokens: int, token_s: float) -> list[tuple[float, int]]:
    """Poisson arrivals and whole tokens of work, so that the server is busy `load` of the time."""
    draws = np.random.default_rng(Stream(3, kind).u64())
    tokens = np.maximum(1, np.rint(service(kind, draws, count) * mean_tokens)).astype(int)
    at = np.cumsum(draws.exponential(tokens.mean() * token_s / load, count))
    return [(float(t), int(n)) for t, n in zip(at, tokens, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_at_a_constant_total_rate_is_processor_sharing(kind: str) -> None:
    """Steps of batch x 0.1 ms: 10,000 tokens/s whoever is there. Mean stay = x / (1 - rho), the same for all three distributions of x.

    10,000 requests of the worker stay as long as the exact sharing recursion says, to 0.3 % (a step counts whole); the recursion, over
    200,000, as long as the closed form says, to 1.5 %.
    """
    token_s, mean, load = 1e-4, 500, 0.5
    listed = arrivals(kind, load, 200_000, mean, token_s)
    work = np.array([n * token_s for _, n in listed])
    stays = np.array(shared_ends([(at, n * token_s) for at, n in listed])) - np.array([at for at, _ in listed])
    assert stays.mean() == pytest.approx(work.mean() / (1 - load), rel=0.015)
    few = listed[:10_000]
    exact = np.array(shared_ends([(at, n * token_s) for at, n in few])) - np.array([at for at, _ in few])
    costs = StepCosts(step_s=tuple(batch * token_s for batch in range(301)))
    ours = serve(alone(spec_of(costs, max_batch=300)), [Ask(at, 1, 1 + n) for at, n in few])
    sojourns = np.array([served.end_s - at for served, (at, _) in zip(ours, few, strict=True)])
    assert sojourns.mean() == pytest.approx(exact.mean(), rel=0.003)
    assert np.abs(sojourns - exact).max() < 0.012  # a step of some 60 sequences at either end


@pytest.mark.parametrize("kind", KINDS)
def test_prefill_is_a_server_first_come_first_served(kind: str) -> None:
    """0.1 ms a token, one prompt at a time (chunks of one token leave no room beside it): M/G/1.

    10,000 waits of the worker are those of the recursion to 1 us; 2 million of the recursion have the mean of Pollaczek and Khinchine.
    """
    token_s, mean, load = 1e-4, 500, 0.6
    draws = np.random.default_rng(Stream(4, kind).u64())
    work = service(kind, draws, 2_000_000)
    gaps = draws.exponential(work.mean() / load, work.size)
    steps = np.cumsum(work - gaps)
    waits = steps - np.minimum.accumulate(np.minimum(steps, 0.0))  # of Lindley: W(n + 1) = max(0, W(n) + S(n) - A(n))
    assert waits.mean() == pytest.approx(mg1_wait_s(load / work.mean(), work.mean(), np.square(work).mean()), rel=0.015)
    few = arrivals(kind, load, 10_000, mean, token_s)
    costs = StepCosts(step_s=(0.0,) * 1_001, prefill_token_s=token_s)
    ours = serve(alone(spec_of(costs, max_batch=1_000, chunk_tokens=1)), [Ask(at, n, 1) for at, n in few])
    theirs = fifo_waits([(at, n * token_s) for at, n in few], 1)
    for served, (at, n), wait in zip(ours, few, theirs, strict=True):
        assert served.end_s == pytest.approx(at + wait + n * token_s, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_places_of_a_batch_are_servers(kind: str) -> None:
    """Steps of 1 ms whatever the batch: everybody who has one of the four places gets 1,000 tokens/s, so that M/G/4 waits for them.

    A place is held for the step that computes the prompt too, and given at the end of a step: 0.5 ms later, on average.
    """
    step_s, mean, load, places = 1e-3, 500, 0.7, 4
    few = arrivals(kind, load * places, 10_000, mean, step_s)
    costs = StepCosts(step_s=tuple(step_s for _ in range(places + 1)))
    ours = serve(alone(spec_of(costs, max_batch=places)), [Ask(at, 1, n) for at, n in few])
    theirs = np.array(fifo_waits([(at, n * step_s) for at, n in few], places))
    waits = np.array([served.end_s - n * step_s - at for served, (at, n) in zip(ours, few, strict=True)])
    assert (waits - theirs).mean() == pytest.approx(0.5 * step_s, abs=0.5 * step_s)
    assert waits.mean() == pytest.approx(theirs.mean(), rel=0.01)


@pytest.mark.parametrize("tokens_per_step", [1.0, 2.49])
@pytest.mark.parametrize(("rate", "places"), [(3.0, 8), (8.0, 8), (4.0, 2)])
def test_prefill_and_decode_apart_are_their_simpy_twin(rate: float, places: int, tokens_per_step: float) -> None:
    """Two prefill workers in turn, a link of 0.2 ms a token each, one decode worker: every first token and every end to 2 us."""
    costs = replace(COSTS, tokens_per_step=tokens_per_step)
    start_s, token_s = 0.004, 2e-4
    listed = asks(11, 300, rate)
    twin = run_twin(lambda env: SplitTwin(env, costs, 2, costs, places, (start_s, token_s)), listed)
    spec = ClusterSpec(
        name="split", max_model_len=1 << 30, routing="round_robin", transfer_bytes_per_s=1 / token_s, transfer_start_s=start_s,
        workers=(spec_of(costs, "prefill", workers=2, chunk_tokens=1), spec_of(costs, "decode", max_batch=places)),
    )  # fmt: skip
    ours = serve(spec, listed)
    assert np.abs(np.array(ours) - np.array(twin)).max() < 2e-6


# -- a whole phase of agents beside the closed forms of a closed loop ------------------------------------------------------------------


class Loop(NamedTuple):
    """What a phase of agents that do one request after another did: means over its measured turns."""

    response_s: float
    tokens: float
    delay_s: float


def closed_loop(kind: str, agents: int, spec: ClusterSpec, tokens: int, turns: int) -> Loop:
    """`agents` agents over 5,000 trajectories of one turn each, quantiles of their distributions; delays exponential, 1 s on average."""
    draws = np.random.default_rng(Stream(5, kind, agents).u64())
    sizes = np.maximum(1, np.rint(service(kind, draws, 5_000) * tokens)).astype(int)
    delays = draws.permutation(-np.log1p(-(np.arange(5_000) + 0.5) / 5_000))
    work = Workload.plain([[PlainTurn(1, 1 + int(n), int(d * NS_PER_S))] for n, d in zip(sizes, delays, strict=True)])
    order = PhaseOrder(
        index=0, agents=agents, kind="search", seed=1, phase_nonce="", nonce_key=bytes(16), start_ns=0, spawn_per_s=1_000,
        settle_s=20, measure_s=60, limit_s=1e5, turn_timeout_s=1e5,
    )  # fmt: skip
    phase = run_phase(spec, work, order, Quota(turns, 0))
    rows, facts = phase.columns, phase.facts
    inside = (rows["due_ns"] >= facts.window_start_ns) & (rows["due_ns"] < facts.window_end_ns)
    done = rows["trajectory"][inside]
    assert not rows["failure"][inside].astype(bool).any()
    assert len(done) >= turns
    response_s = (rows["closed_ns"] - rows["due_ns"])[inside].mean() / NS_PER_S
    return Loop(float(response_s), float(sizes[done].mean()), float(delays[done].mean()))


@pytest.mark.parametrize(
    ("kind", "agents"),
    [("exponential", 10), ("constant", 40), ("two kinds", 40)],
)
def test_agents_that_share_a_worker_wait_as_mean_value_analysis_says(kind: str, agents: int) -> None:
    """50 ms of work and 1 s of delay: 10 agents keep the worker half busy, 40 queue for it. Within 2 %, for the means that were drawn."""
    token_s = 1e-4
    costs = StepCosts(step_s=tuple(batch * token_s for batch in range(agents + 1)))
    spec = alone(spec_of(costs, max_batch=agents))
    loop = closed_loop(kind, agents, spec, 500, 12_000)
    assert loop.response_s == pytest.approx(closed_response_s(agents, loop.tokens * token_s, loop.delay_s), rel=0.02)


@pytest.mark.parametrize(("places", "agents"), [(1, 12), (4, 60)])
def test_agents_that_wait_for_places_wait_as_machine_repair_says(places: int, agents: int) -> None:
    """M/M/c//N, 100 ms of work and 1 s of delay, within 2 %."""
    step_s = 2e-4
    costs = StepCosts(step_s=tuple(step_s for _ in range(places + 1)))
    spec = alone(spec_of(costs, max_batch=places))
    loop = closed_loop("exponential", agents, spec, 500, 12_000)
    tokens = loop.tokens + 1  # its place is held for the step that makes the first one, too
    assert loop.response_s == pytest.approx(repair_response_s(agents, tokens * step_s, loop.delay_s, places), rel=0.02)
