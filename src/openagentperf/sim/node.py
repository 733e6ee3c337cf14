"""The simulated node on the wall clock: requests go into the replica, its tokens come out as server-sent events.

The replica's schedule is virtual. A timer wakes this up at the end of the step in flight, on time or up to 1 ms late (the event loop's
resolution); whatever is due by then is written, an event for each step and sequence, and the next step still ends where it would have.
"""

from __future__ import annotations

import asyncio
import time

from openagentperf.sim import chatapi
from openagentperf.sim.chatapi import WORDS, Job, Refusal
from openagentperf.sim.cost import NodeSizes
from openagentperf.sim.http import LAST_CHUNK, Exchange, chunk
from openagentperf.sim.power import PowerMeter, PowerModel, page
from openagentperf.sim.replica import Emitted, Replica, Request
from openagentperf.units import NS_PER_MS


class Node:
    """The HTTP API of one replica."""

    def __init__(self, config: NodeSizes, model: str, power: PowerModel | None = None) -> None:
        self.power = PowerMeter(power or PowerModel(), time.monotonic_ns())
        self.replica = Replica(config, self.power.step)
        self.model = model
        self._loop = asyncio.get_running_loop()
        self._answers: dict[int, Answer] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_ns = 0
        self._requests = 0
        self._started_s = int(time.time())

    def handle(self, exchange: Exchange) -> None:
        """Answer one request, or begin to."""
        match exchange.method, exchange.path:
            case "POST", "/v1/chat/completions":
                self._chat(exchange)
            case "GET", "/v1/models":
                exchange.answer(200, chatapi.models(self.model, self.replica.config.max_model_len, self._started_s))
            case "GET", "/health":
                exchange.answer(200, b"")
            case "GET", "/metrics":
                now = time.monotonic_ns()
                self._deliver(self.replica.advance(now))
                self.power.advance(now)
                shown = metrics(self.replica, self.model) + page(self.power)
                exchange.answer(200, shown, "text/plain; version=0.0.4; charset=utf-8")
            case _:
                exchange.answer(404, b'{"detail":"Not Found"}')

    def _chat(self, exchange: Exchange) -> None:
        try:
            request = chatapi.read_request(exchange.body, self.model)
            job = chatapi.accept(request, self.replica.config)
        except Refusal as refusal:
            exchange.answer(refusal.status, refusal.body)
            return
        self._requests += 1
        number = self._requests
        answer: Answer
        if request.stream:
            answer = StreamedAnswer(exchange, job, number, self.model, request.options)
        else:
            answer = WholeAnswer(exchange, job, number, self.model)
        self._answers[number] = answer
        exchange.on_gone = lambda: self._cancel(number)
        order = Request(
            id=number, prompt_tokens=job.prompt.tokens, output_tokens=job.output_tokens, prefix=job.prompt.prefix
        )
        self._deliver(self.replica.submit(order, time.monotonic_ns()))
        self._arm()

    def _cancel(self, number: int) -> None:
        self._answers.pop(number, None)
        self._deliver(self.replica.cancel(number, time.monotonic_ns()))
        self._arm()

    def _wake(self) -> None:
        self._timer = None
        self._deliver(self.replica.advance(time.monotonic_ns()))
        self._arm()

    def _deliver(self, due: list[Emitted]) -> None:
        answers = self._answers
        for event in due:
            number = event.sequence.request.id
            answer = answers.get(number)
            if answer is None:
                continue  # cancelled: this is what was due before
            answer.tokens(event.tokens, event.sequence.cached_tokens)
            if event.done:
                del answers[number]
                answer.end(event.sequence.cached_tokens)

    def _arm(self) -> None:
        at_ns = self.replica.next_event_ns()
        if at_ns is None or (self._timer is not None and self._timer_at_ns <= at_ns):
            return
        if self._timer is not None:
            self._timer.cancel()
        # Whole milliseconds, rounded up: uvloop rounds to the nearest, and a timer of 0 would spin until the step ends.
        wait_ms = -(-max(0, at_ns - time.monotonic_ns()) // NS_PER_MS)
        self._timer_at_ns = at_ns
        self._timer = self._loop.call_later(wait_ms / 1000, self._wake)


class Answer:
    """An answer in the making: `tokens` for each step that makes some, then `end`."""

    __slots__ = ("_created_s", "_exchange", "_identity", "_job", "_made", "_model")

    def __init__(self, exchange: Exchange, job: Job, number: int, model: str) -> None:
        self._exchange = exchange
        self._job = job
        self._identity = b"chatcmpl-%b-%d" % (job.prompt.key.hex().encode(), number)
        self._model = model
        self._created_s = int(time.time())
        self._made = 0

    def tokens(self, count: int, cached_tokens: int) -> None:
        raise NotImplementedError

    def end(self, cached_tokens: int) -> None:
        raise NotImplementedError

    def _usage(self, cached_tokens: int) -> bytes:
        return chatapi.usage(self._job.prompt.tokens, self._made, cached_tokens)


class WholeAnswer(Answer):
    """One JSON object at the end."""

    __slots__ = ()

    def tokens(self, count: int, cached_tokens: int) -> None:  # noqa: ARG002 - the streamed form needs it
        self._made += count

    def end(self, cached_tokens: int) -> None:
        text = b"".join(WORDS[k % len(WORDS)] for k in range(self._made))
        usage = self._usage(cached_tokens)
        body = chatapi.completion(self._identity, self._model, self._created_s, text, self._job.finish, usage)
        self._exchange.answer(200, body)


class StreamedAnswer(Answer):
    """Server-sent events: role, one for each step that made tokens, finish, usage if asked for, [DONE]."""

    __slots__ = ("_close", "_continuous", "_delta_open", "_head", "_include_usage", "_tail")

    def __init__(self, exchange: Exchange, job: Job, number: int, model: str, options: chatapi.StreamOptions) -> None:
        super().__init__(exchange, job, number, model)
        self._include_usage = options.include_usage
        self._continuous = options.include_usage and options.continuous_usage_stats
        self._head, self._tail = chatapi.event_frame(self._identity, model, self._created_s)
        self._delta_open = self._head + b'{"index":0,"delta":{"content":"'
        self._close = b'"},"logprobs":null,"finish_reason":null}]' + self._tail
        # Not yet written: a server that sends its head before it has a token would hide that it is queueing, and status 200 would lie.

    def tokens(self, count: int, cached_tokens: int) -> None:
        before = self._made
        word = WORDS[before % len(WORDS)]
        if count > 1:
            word = b"".join(WORDS[k % len(WORDS)] for k in range(before, before + count))
        self._made = before + count
        if self._continuous:
            usage = self._usage(cached_tokens)
            event = b'%b%b"},"logprobs":null,"finish_reason":null}],"usage":%b%b' % (
                self._delta_open, word, usage, self._tail
            )  # fmt: skip
            data = chunk(event)
        else:
            size = len(self._delta_open) + len(word) + len(self._close)
            data = b"%x\r\n%b%b%b\r\n" % (size, self._delta_open, word, self._close)
        if not before:
            role = b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
            data = self._exchange.start_stream() + chunk(self._head + role + self._tail) + data
        self._exchange.write(data)

    def end(self, cached_tokens: int) -> None:
        finish = b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"%b"}]' % self._job.finish.encode()
        events = chunk(self._head + finish + self._tail)
        if self._include_usage:
            events += chunk(b'%b],"usage":%b%b' % (self._head, self._usage(cached_tokens), self._tail))
        self._exchange.write(events + chunk(b"data: [DONE]\n\n") + LAST_CHUNK)
        self._exchange.finish()


def metrics(replica: Replica, model: str) -> bytes:
    """Prometheus text with the vLLM names that a reader of a real engine looks for."""
    counters, pool = replica.counters, replica.pool
    rows = [
        ("vllm:num_requests_running", "gauge", len(replica.running)),
        ("vllm:num_requests_waiting", "gauge", len(replica.waiting)),
        ("vllm:kv_cache_usage_perc", "gauge", pool.pinned / pool.size),
        ("vllm:prefix_cache_queries_total", "counter", counters.prefix_queries),
        ("vllm:prefix_cache_hits_total", "counter", counters.prefix_hits),
        ("vllm:num_preemptions_total", "counter", counters.preemptions),
        ("vllm:prompt_tokens_total", "counter", counters.prompt_tokens),
        ("vllm:generation_tokens_total", "counter", counters.generated_tokens),
    ]
    lines = [f'# TYPE {name} {kind}\n{name}{{model_name="{model}"}} {value}\n' for name, kind, value in rows]
    return "".join(lines).encode()
