"""`python -m openagentperf.sim.faulty --mode stall`: an OpenAI-like server with one scripted fault, for tests.

    --mode NAME       a key of faults.FAULTS
    --after K         the first K chat requests are answered without fault, so that a preflight passes (storm500 and dies: 10, else 0)
                      (GET /chats says how many there have been)
    --tokens          length of an answer that may stop by itself (with ignore_eos: exactly max_tokens)
    --ttft-ms, --interval-ms
    --service-ms      mode `slow`: one request at a time, each taking this long; more agents only wait longer

Prefixes are remembered for ever and reported as cached tokens. Nothing here is a model of anything: sim.serve is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from openagentperf.sim import chatapi
from openagentperf.sim.chatapi import Refusal
from openagentperf.sim.cost import PRESETS, NodeConfig
from openagentperf.sim.faults import FAULTS, HTML
from openagentperf.sim.http import Exchange
from openagentperf.sim.script import Script, Timing
from openagentperf.sim.serve import arguments, listen, run

SMALL_CONTEXT_TOKENS = 512
DEFAULT_AFTER = {"storm500": 10, "dies": 10}


class FaultyServer:
    """The HTTP API with its fault."""

    def __init__(self, mode: str, model: str, after: int, timing: Timing, service_ms: float) -> None:
        self._mode = mode
        self._model = model
        self._after = after
        self._timing = timing
        self._service_ms = service_ms
        self._config: NodeConfig = PRESETS["fast"]
        if mode == "small-context":
            self._config = replace(self._config, max_model_len=SMALL_CONTEXT_TOKENS)
        self._chats = 0
        self._known: set[int] = set()
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, exchange: Exchange) -> None:
        striking = self._chats >= self._after
        if self._mode == "html" and striking:
            exchange.answer(200, HTML, "text/html")
            return
        match exchange.method, exchange.path:
            case "POST", "/v1/chat/completions":
                self._chats += 1
                self._chat(exchange, striking)
            case "GET", "/v1/models":
                listed = "other" if self._mode == "wrong-model" else self._model
                exchange.answer(200, chatapi.models(listed, self._config.max_model_len, 0))
            case "GET", "/health":
                exchange.answer(200, b"")
            case "GET", "/chats":
                exchange.answer(200, b"%d" % self._chats)
            case _:
                exchange.answer(404, b'{"detail":"Not Found"}')

    def _chat(self, exchange: Exchange, striking: bool) -> None:
        try:
            # The model's name is the fault's own business in mode wrong-model.
            request = chatapi.read_request(exchange.body, None if self._mode == "wrong-model" else self._model)
            prompt = chatapi.accept(request, self._config).prompt
        except Refusal as refusal:
            exchange.answer(refusal.status, refusal.body)
            return
        cached = 0
        while cached < len(prompt.prefix) and prompt.prefix[cached] in self._known:
            cached += 1
        self._known.update(prompt.prefix)
        cached_tokens = min(cached * self._config.block_tokens, prompt.tokens - 1)
        script = Script(exchange, request, prompt, cached_tokens, self._timing)
        task = asyncio.get_running_loop().create_task(self._play(script, striking))
        exchange.on_gone = task.cancel
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, script: Script, striking: bool) -> None:
        if not striking:
            await script.honest()
        elif self._mode == "slow":
            async with self._one_at_a_time:
                each_ms = self._service_ms / script.tokens
                script.timing = Timing(tokens=script.tokens, ttft_ms=each_ms, interval_ms=each_ms)
                await script.honest()
        else:
            await FAULTS[self._mode](script)


async def serve(
    server_mode: str, model: str, after: int | None, timing: Timing, service_ms: float, port: int, child: bool
) -> None:
    after = DEFAULT_AFTER.get(server_mode, 0) if after is None else after
    server = FaultyServer(server_mode, model, after, timing, service_ms)
    await listen(server.handle, port, child)


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments("An OpenAI-like server with one scripted fault, on loopback.")
    parser.add_argument("--mode", choices=sorted(FAULTS), default="ok")
    parser.add_argument("--after", type=int, default=None, metavar="K")
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--ttft-ms", type=float, default=10.0)
    parser.add_argument("--interval-ms", type=float, default=5.0)
    parser.add_argument("--service-ms", type=float, default=200.0)
    given = parser.parse_args(argv)
    timing = Timing(tokens=given.tokens, ttft_ms=given.ttft_ms, interval_ms=given.interval_ms)
    run(serve(given.mode, given.model, given.after, timing, given.service_ms, given.port, given.until_stdin_closes))


if __name__ == "__main__":
    main()
