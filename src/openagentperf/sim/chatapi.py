"""The OpenAI chat API as the simulated node speaks it: requests read, prompts rendered and hashed, answers and errors written.

Pure: bytes in, bytes out. Shapes follow vLLM 0.32 (error bodies, `max_model_len`, usage in its own last event).
"""

from __future__ import annotations

import hashlib
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from openagentperf.seeds import Stream
from openagentperf.sim.cost import NodeSizes
from openagentperf.sim.kvcache import BlockHash

Positive = Annotated[int, Meta(ge=1)]


class Part(Struct, frozen=True):
    type: str = "text"
    text: str = ""


class Function(Struct, frozen=True):
    name: str = ""
    arguments: str = ""


class Call(Struct, frozen=True):
    function: Function = Function()


class ChatMessage(Struct, frozen=True):
    role: str
    content: str | list[Part] | None = None
    tool_calls: list[Call] | None = None


class StreamOptions(Struct, frozen=True):
    include_usage: bool = False
    continuous_usage_stats: bool = False


class ChatRequest(Struct, frozen=True):
    """The fields that are used; others are taken and ignored, as vLLM does."""

    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    tools: msgspec.Raw = msgspec.Raw()
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    ignore_eos: bool | None = None

    @property
    def limit(self) -> int | None:
        """Most tokens of the answer; None where the request does not say."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def options(self) -> StreamOptions:
        return self.stream_options or StreamOptions()


class Refusal(Exception):
    """A request that is answered with an error: status and OpenAI error body."""

    def __init__(self, status: int, message: str, kind: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": status}})


class Prompt(NamedTuple):
    """A rendered prompt, counted and hashed."""

    tokens: int
    """ceil(bytes / 3.5), the estimate that the corpus uses too."""
    prefix: tuple[BlockHash, ...]
    key: bytes
    """Hash of the whole: the seed of what is random about its answer."""


class Job(NamedTuple):
    """An accepted request."""

    prompt: Prompt
    output_tokens: int
    finish: str


_decoder = msgspec.json.Decoder(ChatRequest)


def read_request(body: bytes, model: str | None) -> ChatRequest:
    """Refusal 400 for what is not a chat request, 404 for another model (None: any will do)."""
    try:
        request = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Refusal(400, str(error), "BadRequestError") from None
    if model is not None and request.model != model:
        raise Refusal(404, f"The model `{request.model}` does not exist.", "NotFoundError", "model")
    return request


def render(request: ChatRequest) -> bytes:
    """The prompt as one byte string: tools first, then every message. Only appended to from turn to turn, as a chat template should."""
    pieces = [bytes(request.tools)]
    for message in request.messages:
        pieces.append(f"<|{message.role}|>".encode())
        if isinstance(message.content, str):
            pieces.append(message.content.encode("utf-8", "surrogatepass"))
        elif message.content:
            pieces.extend(part.text.encode("utf-8", "surrogatepass") for part in message.content)
        calls = (call.function for call in message.tool_calls or ())
        pieces.extend(f"{call.name}({call.arguments})".encode("utf-8", "surrogatepass") for call in calls)
    return b"".join(pieces)


def prompt_of(text: bytes, block_tokens: int) -> Prompt:
    """Count and hash: block i's hash covers everything up to its end, 3.5 bytes a token."""
    block_bytes = block_tokens * 7 // 2
    prefix = []
    chain = b""
    for end in range(block_bytes, len(text) + 1, block_bytes):
        chain = hashlib.blake2b(chain + text[end - block_bytes : end], digest_size=8).digest()
        prefix.append(int.from_bytes(chain, "little"))
    rest = text[len(prefix) * block_bytes :]
    return Prompt(
        max(1, (2 * len(text) + 6) // 7), tuple(prefix), hashlib.blake2b(chain + rest, digest_size=8).digest()
    )


def accept(request: ChatRequest, config: NodeSizes) -> Job:
    """Refusal 400 where prompt and answer do not fit into the context."""
    prompt = prompt_of(render(request), config.block_tokens)
    room = config.max_model_len - prompt.tokens
    limit = request.limit if request.limit is not None else room
    if room < max(1, limit):
        raise Refusal(
            400,
            f"This model's maximum context length is {config.max_model_len} tokens. However, you requested {limit} output tokens "
            f"and your prompt contains {prompt.tokens} input tokens, for a total of {prompt.tokens + limit} tokens. "
            "Please reduce the length of the input prompt or the number of requested output tokens.",
            "BadRequestError",
            "input_tokens",
        )
    if request.ignore_eos:
        return Job(prompt, limit, "length")
    stream = Stream(int.from_bytes(prompt.key, "little"), "length")
    natural = max(1, round(stream.lognormal(config.natural_median_tokens, config.natural_sigma)))
    return Job(prompt, min(natural, limit), "stop" if natural < limit else "length")


def usage(prompt_tokens: int, output_tokens: int, cached_tokens: int) -> bytes:
    """The usage object."""
    return (
        b'{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d}}'
        % (prompt_tokens, prompt_tokens + output_tokens, output_tokens, cached_tokens)
    )


def event_frame(identity: bytes, model: str, created_s: int) -> tuple[bytes, bytes]:
    """What stands before and after the `choices` array of every event of one answer; usage may go between `]` and the end."""
    name = msgspec.json.encode(model)
    head = b'data: {"id":"%b","object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
    return head % (identity, created_s, name), b"}\n\n"


def completion(identity: bytes, model: str, created_s: int, text: bytes, finish: str, usage_object: bytes) -> bytes:
    """A whole answer that is not streamed; `text` is already escaped for JSON."""
    return (
        b'{"id":"%b","object":"chat.completion","created":%d,"model":%b,"choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":"%b"},"logprobs":null,"finish_reason":"%b"}],"usage":%b}'
    ) % (identity, created_s, msgspec.json.encode(model), text, finish.encode(), usage_object)


def models(model: str, max_model_len: int, created_s: int) -> bytes:
    """The answer to GET /v1/models."""
    entry = {"id": model, "object": "model", "created": created_s, "owned_by": "openagentperf", "root": model,
             "parent": None, "max_model_len": max_model_len}  # fmt: skip
    return msgspec.json.encode({"object": "list", "data": [entry]})


WORDS: tuple[bytes, ...] = (
    b"def", b" run", b"(", b"self", b",", b" path", b":", b" str", b")", b" ->", b" None", b":\\n   ", b" for", b" item", b" in",
    b" self", b".", b"items", b":\\n       ", b" if", b" item", b".", b"name", b" ==", b" path", b":\\n           ", b" return",
    b" item", b"\\n\\n", b"@", b"cache", b"\\n", b"class", b" Store", b":\\n   ", b" items", b" =", b" [", b"]", b"\\n   ", b" assert",
    b" total", b" >=", b" 0", b"\\n", b"import", b" json", b"\\n",
)  # fmt: skip
"""Answer tokens, each the inside of a JSON string: token k of an answer is word k modulo their number, so it reads as code."""
