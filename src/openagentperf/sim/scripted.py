"""`python -m openagentperf.sim.scripted --step 'ls -la' --step 'sleep 0.2'`: a model that follows a script, for tests of real agents.

    --step COMMAND    repeated: the shell commands that it asks for, one an answer; after them it says --final
    --final TEXT
    --ttft-ms, --interval-ms

It speaks the OpenAI chat, OpenAI Responses and Anthropic Messages APIs, streamed or not. The step is told from the conversation itself, by
the tool results in it: any number of agents may talk to it at once. The command goes into the first tool that takes one.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from openagentperf.sim.http import LAST_CHUNK, Exchange, chunk
from openagentperf.sim.serve import arguments, listen, run

SAYS = "I will run a command."
_TAKES = ("command", "cmd", "script", "input")
"""Names under which tools take a shell command."""


class _Request(Struct):
    model: str = ""
    stream: bool = False
    messages: list[dict[str, Any]] = []
    input: list[dict[str, Any]] | str = ""
    tools: list[dict[str, Any]] = []
    stream_options: dict[str, Any] = {}


class Step(Struct, frozen=True):
    """What one answer is made of."""

    id: str
    model: str
    text: str
    call: tuple[str, str] | None
    """Name and arguments."""
    input_tokens: int
    usage: bool
    """Whether a chat stream tells the counts: only where they were asked for."""

    @property
    def output_tokens(self) -> int:
        return -(-2 * (len(self.text) + sum(map(len, self.call or ()))) // 7)


class ScriptedModel:
    """The API."""

    def __init__(self, model: str, steps: Sequence[str], final: str, ttft_ms: float, interval_ms: float) -> None:
        self._model = model
        self._steps = steps
        self._final = final
        self._ttft_s, self._interval_s = ttft_ms / 1000, interval_ms / 1000
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, exchange: Exchange) -> None:
        path = exchange.path.rstrip("/")
        dialect = next((ending for ending in _DIALECTS if path.endswith(ending)), None)
        if exchange.method == "GET" and path.endswith("/models"):
            exchange.answer(
                200, msgspec.json.encode({"object": "list", "data": [{"id": self._model, "object": "model"}]})
            )
        elif exchange.method != "POST" or dialect is None:
            exchange.answer(404, b'{"error":{"message":"no such path","type":"not_found"}}')
        else:
            task = asyncio.get_running_loop().create_task(self._answer(exchange, dialect))
            exchange.on_gone = task.cancel
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, exchange: Exchange, dialect: str) -> None:
        try:
            request = msgspec.json.decode(exchange.body, type=_Request)
        except msgspec.MsgspecError as error:
            exchange.answer(
                400, msgspec.json.encode({"error": {"message": str(error), "type": "invalid_request_error"}})
            )
            return
        events, whole = _DIALECTS[dialect](self._step(request, exchange.body))
        await asyncio.sleep(self._ttft_s)
        if not request.stream:
            exchange.answer(200, msgspec.json.encode(whole))
            return
        exchange.write(exchange.start_stream())
        for event in events:
            name = b"event: %b\n" % event["type"].encode() if "type" in event else b""
            exchange.write(chunk(name + b"data: " + msgspec.json.encode(event) + b"\n\n"))
            await asyncio.sleep(self._interval_s)
        if dialect == "/chat/completions":
            exchange.write(chunk(b"data: [DONE]\n\n"))
        exchange.write(LAST_CHUNK)
        exchange.finish()

    def _step(self, request: _Request, body: bytes) -> Step:
        done = _results(request)
        call = None
        if done < len(self._steps):
            call = _call(request.tools, self._steps[done])
        return Step(
            id=f"scripted-{next(self._numbers)}",
            model=request.model or self._model,
            text=SAYS if call is not None else self._final,
            call=call,
            input_tokens=-(-2 * len(body) // 7),
            usage=bool(request.stream_options.get("include_usage")),
        )


def _results(request: _Request) -> int:
    """Tool results in the conversation, of any dialect."""
    items = request.input if isinstance(request.input, list) else []
    blocks = [
        block
        for message in request.messages
        if isinstance(message.get("content"), list)
        for block in message["content"]
    ]
    in_chat = [message for message in request.messages if message.get("role") == "tool"]
    in_messages = [block for block in blocks if block.get("type") == "tool_result"]
    return len(in_chat) + len(in_messages) + len([i for i in items if str(i.get("type", "")).endswith("_call_output")])


def _call(tools: Sequence[dict[str, Any]], command: str) -> tuple[str, str] | None:
    """The first tool that takes a command, and its arguments; None where none does."""
    for tool in tools:
        function = tool.get("function", tool)
        schema = function.get("parameters") or function.get("input_schema") or {}
        properties = schema.get("properties") or {}
        key = next((name for name in _TAKES if name in properties), None)
        if key is not None:
            as_list = properties[key].get("type") == "array"
            given: dict[str, object] = {key: ["bash", "-lc", command] if as_list else command}
            given |= {name: "run it" for name in schema.get("required") or () if name not in given}
            return function["name"], msgspec.json.encode(given).decode()
    return None


def _words(text: str) -> list[str]:
    return [word + " " for word in text.split()]


def _chat(step: Step) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Events and the whole answer, as OpenAI's chat completions have them."""
    usage = {
        "prompt_tokens": step.input_tokens, "completion_tokens": step.output_tokens,
        "total_tokens": step.input_tokens + step.output_tokens,
    }  # fmt: skip
    base = {"id": step.id, "created": 0, "model": step.model}
    finish, calls = "stop", []
    if step.call is not None:
        name, given = step.call
        finish, calls = (
            "tool_calls",
            [{"id": f"call_{step.id}", "type": "function", "function": {"name": name, "arguments": given}}],
        )

    def event(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {**base, "object": "chat.completion.chunk", "choices": [choice]}

    events = [event({"role": "assistant", "content": ""}), *(event({"content": word}) for word in _words(step.text))]
    events += [event({"tool_calls": [{"index": index, **call}]}) for index, call in enumerate(calls)]
    events.append(event({}, finish))
    if step.usage:
        events.append({**base, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    message = {"role": "assistant", "content": step.text} | ({"tool_calls": calls} if calls else {})
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return events, {**base, "object": "chat.completion", "choices": [choice], "usage": usage}


def _messages(step: Step) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The same, as Anthropic's Messages have them."""
    usage = {"input_tokens": step.input_tokens, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    finish = "end_turn" if step.call is None else "tool_use"
    message = {"id": step.id, "type": "message", "role": "assistant", "model": step.model, "stop_sequence": None}
    text = {"type": "text", "text": step.text}
    blocks: list[dict[str, Any]] = [text]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in _words(step.text)),
        {"type": "content_block_stop", "index": 0},
    ]  # fmt: skip
    if step.call is not None:
        name, given = step.call
        tool = {"type": "tool_use", "id": f"toolu_{step.id}", "name": name}
        blocks.append({**tool, "input": Raw(given.encode())})
        events += [
            {"type": "content_block_start", "index": 1, "content_block": {**tool, "input": {}}},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": given}},
            {"type": "content_block_stop", "index": 1},
        ]
    end = {"stop_reason": finish, "stop_sequence": None}
    events += [
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": step.output_tokens}},
        {"type": "message_stop"},
    ]
    return events, {**message, "content": blocks, **end, "usage": {**usage, "output_tokens": step.output_tokens}}


def _responses(step: Step) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The same, as OpenAI's Responses have them."""
    part = {"type": "output_text", "text": step.text, "annotations": []}
    item = {"id": f"msg_{step.id}", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    output: list[dict[str, Any]] = [item]
    response = {"id": f"resp_{step.id}", "object": "response", "created_at": 0, "model": step.model}
    open_response = {**response, "status": "in_progress", "output": []}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": open_response},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": word} for word in _words(step.text)),
        {"type": "response.output_text.done", **place, "text": step.text},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
    ]
    if step.call is not None:
        name, given = step.call
        call = {
            "id": f"fc_{step.id}",
            "type": "function_call",
            "call_id": f"call_{step.id}",
            "name": name,
            "arguments": given,
            "status": "completed",
        }
        output.append(call)
        place = {"item_id": call["id"], "output_index": 1}
        events += [
            {
                "type": "response.output_item.added",
                "output_index": 1,
                "item": {**call, "arguments": "", "status": "in_progress"},
            },
            {"type": "response.function_call_arguments.delta", **place, "delta": given},
            {"type": "response.function_call_arguments.done", **place, "arguments": given},
            {"type": "response.output_item.done", "output_index": 1, "item": call},
        ]
    usage = {
        "input_tokens": step.input_tokens, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": step.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": step.input_tokens + step.output_tokens,
    }  # fmt: skip
    whole = {**response, "status": "completed", "output": output, "usage": usage}
    events.append({"type": "response.completed", "response": whole})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)], whole


_DIALECTS = {"/chat/completions": _chat, "/responses": _responses, "/messages": _messages}


async def serve(model: ScriptedModel, port: int, child: bool) -> None:
    await listen(model.handle, port, child)


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments("A model that follows a script, on loopback.")
    parser.add_argument("--step", action="append", default=[], metavar="COMMAND")
    parser.add_argument("--final", default="Done.")
    parser.add_argument("--ttft-ms", type=float, default=10.0)
    parser.add_argument("--interval-ms", type=float, default=2.0)
    given = parser.parse_args(argv)
    model = ScriptedModel(given.model, given.step, given.final, given.ttft_ms, given.interval_ms)
    run(serve(model, given.port, given.until_stdin_closes))


if __name__ == "__main__":
    main()
