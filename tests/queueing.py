"""What queues do by theory, and by simpy: the twins that the event simulation is held against. Nothing here knows how it computes.

Closed forms (rates per second, times in seconds):

    Erlang C      P(wait) of M/M/c; mean wait = P(wait) / (c mu - lambda)
    Pollaczek     mean wait of M/G/1 first come first served = lambda E[S^2] / (2 (1 - rho))
    sharing       M/G/1-PS: a job of x seconds stays x / (1 - rho) on average, whatever the distribution of the others
    MVA           a closed loop of N agents over one shared station and a delay: response by recursion over the population

Twins (simpy processes): `StepTwin`, an aggregated worker that takes every step by itself, and `SplitTwin`, prefill servers, links, and a
decode worker that takes every step by itself.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import simpy

from openagentperf.seeds import Stream
from openagentperf.sim.spec import StepCosts


def erlang_c(servers: int, offered: float) -> float:
    """Share of arrivals that wait in M/M/c; `offered` = lambda x E[S], below `servers`."""
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)  # Erlang B by its recursion
    return blocked / (1 - offered / servers * (1 - blocked))


def mmc_wait_s(rate: float, service_s: float, servers: int) -> float:
    return erlang_c(servers, rate * service_s) * service_s / (servers - rate * service_s)


def mg1_wait_s(rate: float, mean_s: float, mean_square_s2: float) -> float:
    return rate * mean_square_s2 / (2 * (1 - rate * mean_s))


def closed_response_s(agents: int, demand_s: float, delay_s: float) -> float:
    """Mean response of one processor-sharing station visited by a closed loop of agents that are away for `delay_s` in between.

    Exact mean value analysis: R(n) = demand x (1 + Q(n - 1)), Q(n) = n R / (R + delay). Holds for every distribution of both.
    """
    queue = response = 0.0
    for n in range(1, agents + 1):
        response = demand_s * (1 + queue)
        queue = n * response / (response + delay_s)
    return response


def repair_response_s(agents: int, service_s: float, delay_s: float, servers: int) -> float:
    """The same loop over `servers` that take one job each, first come first served, all times exponential (M/M/c//N).

    State n (jobs at the station) has the weight prod over k = 1..n of (N - k + 1) / min(k, c) x service / delay; the response follows by
    Little's law from the throughput.
    """
    weights = [1.0]
    for k in range(1, agents + 1):
        weights.append(weights[-1] * (agents - k + 1) / min(k, servers) * service_s / delay_s)
    total = sum(weights)
    throughput = sum(w * min(n, servers) for n, w in enumerate(weights)) / total / service_s
    return agents / throughput - delay_s


class Ask(NamedTuple):
    """One request of a list: when it comes, and what it asks for."""

    at_s: float
    new_tokens: int
    """To prefill."""
    output_tokens: int
    cached_tokens: int = 0
    """In front of the new ones, in the pool already."""


class Served(NamedTuple):
    first_s: float
    """The first token."""
    end_s: float


def exponential(stream: Stream, mean: float) -> float:
    return -mean * math.log1p(-stream.uniform())


def fifo_waits(asks: Sequence[tuple[float, float]], servers: int) -> list[float]:
    """Waits of (arrival, service) in order of arrival at `servers` alike: the recursion of Kiefer and Wolfowitz."""
    free = [0.0] * servers
    waits = []
    for at, service in asks:
        begins = max(at, heapq.heappop(free))
        heapq.heappush(free, begins + service)
        waits.append(begins - at)
    return waits


def shared_ends(asks: Sequence[tuple[float, float]]) -> list[float]:
    """Ends of (arrival, work) that share one server evenly, exactly: who has been given most of what each has been given leaves first."""
    given, now = 0.0, 0.0
    inside: list[tuple[float, int]] = []
    ends = [0.0] * len(asks)
    for number, (at, work) in enumerate([*asks, (math.inf, 0.0)]):
        while inside and now + (inside[0][0] - given) * len(inside) <= at:
            leaves, who = inside[0]
            now += (leaves - given) * len(inside)
            given = leaves
            heapq.heappop(inside)
            ends[who] = now
        if inside:
            given += (at - now) / len(inside)
        now = at
        heapq.heappush(inside, (given + work, number))
    return ends


def prefill_s(costs: StepCosts, before: int, new: int) -> float:
    """Of `new` tokens behind `before`, without the start: attention looks at what stands before each, half of its own chunk on average."""
    return new * (costs.prefill_token_s + costs.prefill_context_s * (before + new / 2))


class _Sequence:
    def __init__(self, ask: Ask, done: simpy.Event) -> None:
        self.ask = ask
        self.done = done
        self.prefilled = 0
        self.made = 0.0
        self.first_s = 0.0

    @property
    def context(self) -> float:
        return self.ask.cached_tokens + self.prefilled + self.made


class StepTwin:
    """An aggregated worker, step by step: everybody who decodes gets `tokens_per_step`, and the oldest prompts get the chunk.

    A prompt takes a place of the batch from its first chunk on. The step that computes its last token makes its first output token.
    """

    def __init__(self, env: simpy.Environment, costs: StepCosts, max_batch: int, chunk_tokens: int) -> None:
        self.env = env
        self.costs = costs
        self.max_batch = max_batch
        self.chunk_tokens = chunk_tokens
        self.waiting: deque[_Sequence] = deque()
        self.ready: deque[_Sequence] = deque()
        """Prefilled elsewhere, not yet in the batch."""
        self.decoding: list[_Sequence] = []
        self.busy_s = 0.0
        self._arrived = env.event()
        env.process(self._steps())

    def submit(self, sequence: _Sequence) -> None:
        self.waiting.append(sequence)
        self._wake()

    def join(self, sequence: _Sequence) -> None:
        """One whose prefill was done elsewhere: it decodes from the next step on."""
        self.ready.append(sequence)
        self._wake()

    def _wake(self) -> None:
        if not self._arrived.triggered:
            self._arrived.succeed()

    def _steps(self) -> Generator[simpy.Event, Any, None]:
        costs = self.costs
        while True:
            if not self.waiting and not self.ready and not self.decoding:
                self._arrived = self.env.event()
                yield self._arrived
            while self.ready and len(self.decoding) < self.max_batch:
                sequence = self.ready.popleft()
                if sequence.made >= sequence.ask.output_tokens:
                    sequence.done.succeed(Served(sequence.first_s, self.env.now))
                else:
                    self.decoding.append(sequence)
            if not self.waiting and not self.decoding:
                continue
            reads = sum(s.context for s in self.decoding)
            step_s = costs.step_s[len(self.decoding)] + costs.per_kv_token_s * reads
            budget = self.chunk_tokens
            chunks = []
            for sequence in self.waiting:
                if not budget or len(self.decoding) + len(chunks) >= self.max_batch:
                    break
                tokens = min(budget, sequence.ask.new_tokens - sequence.prefilled)
                if not sequence.prefilled:
                    step_s += costs.prefill_start_s
                step_s += prefill_s(costs, sequence.ask.cached_tokens + sequence.prefilled, tokens)
                chunks.append((sequence, tokens))
                budget -= tokens
            if chunks:
                step_s += costs.chunk_start_s
            yield self.env.timeout(step_s)
            self.busy_s += step_s
            for sequence in self.decoding:
                sequence.made += costs.tokens_per_step
            for sequence, tokens in chunks:
                sequence.prefilled += tokens
                if sequence.prefilled == sequence.ask.new_tokens:
                    self.waiting.popleft()
                    sequence.made, sequence.first_s = 1.0, self.env.now
                    self.decoding.append(sequence)
            for sequence in [s for s in self.decoding if s.made >= s.ask.output_tokens]:
                self.decoding.remove(sequence)
                sequence.done.succeed(Served(sequence.first_s, self.env.now))


class SplitTwin:
    """Prefill servers that take prompts in turn and one at a time, and a decode worker that takes every step by itself.

    A computed prompt waits for one of the decode worker's `places`, then for its server's link (one prompt at a time), then for
    `start_s`; its first token is seen there and then.
    """

    def __init__(
        self,
        env: simpy.Environment,
        prefill: StepCosts,
        servers: int,
        decode: StepCosts,
        places: int,
        transfer: tuple[float, float],
    ) -> None:
        self.env = env
        self.prefill = prefill
        self.servers = [simpy.Resource(env) for _ in range(servers)]
        self.links = [simpy.Resource(env) for _ in range(servers)]
        self.places = simpy.Resource(env, places)
        self.decode = StepTwin(env, decode, places, 1)
        self.start_s, self.token_s = transfer
        self._taken = 0

    def submit(self, sequence: _Sequence) -> None:
        which = self._taken % len(self.servers)
        self._taken += 1
        self.env.process(self._life(sequence, self.servers[which], self.links[which]))

    def _life(
        self, sequence: _Sequence, server: simpy.Resource, link: simpy.Resource
    ) -> Generator[simpy.Event, Any, None]:
        ask = sequence.ask
        with server.request() as turn:
            yield turn
            yield self.env.timeout(
                self.prefill.prefill_start_s + prefill_s(self.prefill, ask.cached_tokens, ask.new_tokens)
            )
        with self.places.request() as place:
            yield place
            with link.request() as free:
                yield free
                yield self.env.timeout(self.token_s * (ask.cached_tokens + ask.new_tokens))
            yield self.env.timeout(self.start_s)
            sequence.prefilled = ask.new_tokens
            sequence.made, sequence.first_s = 1.0, self.env.now
            self.decode.join(sequence)
            yield sequence.done


def run_twin(make: Any, asks: Sequence[Ask]) -> list[Served]:
    """Serve a list by the twin that `make(env)` makes."""
    env = simpy.Environment()
    twin = make(env)
    ends = []

    def arrive(ask: Ask, done: simpy.Event) -> Generator[simpy.Event, Any, None]:
        yield env.timeout(ask.at_s)
        twin.submit(_Sequence(ask, done))

    for ask in asks:
        ends.append(env.event())
        env.process(arrive(ask, ends[-1]))
    env.run(env.all_of(ends))
    return [end.value for end in ends]
