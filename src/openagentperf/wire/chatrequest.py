"""The request body of the chat dialect, in pieces that a worker joins without encoding anything again.

    fixed_head | max_tokens | open_messages | messages of the compiled corpus | CLOSE

What changes per request stands between what does not, and the messages come last: the encoded history of turn k is then a
byte prefix of turn k+1's body from `"messages":` on (docs/methodology.md#prefix), and a body is written with one writev.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from openagentperf.errors import PlanError
from openagentperf.records.trajectory import Message, ToolCall

CLOSE = b"}"
"""What follows the messages array."""

OURS = frozenset(
    {"model", "stream", "stream_options", "temperature", "ignore_eos", "max_tokens", "tools", "messages"}
    # The same wish under another name, or a second answer per request: both would change the work behind the plan's back.
    | {"max_completion_tokens", "n"}
)
"""Fields that `endpoint.extra_body` may not hold."""


def fixed_head(
    *, model: str, exact: bool, temperature: float, continuous_usage: bool, extra: Mapping[str, object]
) -> bytes:
    """The body from its opening brace up to and with `"max_tokens":`. The number follows.

    exact             ask for the recorded length: `ignore_eos`, with `max_tokens` set to it (docs/methodology.md#tracks)
    continuous_usage  ask for usage in every event
    extra             further fields, in the plan's order

    Raises PlanError where `extra` sets a field of OURS, or holds what JSON cannot.
    """
    if taken := sorted(OURS & extra.keys()):
        raise PlanError(
            f"endpoint.extra_body.{taken[0]}",
            "is set",
            "but every request's own value for it follows from the plan",
            "remove it (model, temperature, track and max_output_tokens have plan fields)",
        )
    options = {"include_usage": True, **({"continuous_usage_stats": True} if continuous_usage else {})}
    fields: dict[str, object] = {
        "model": model,
        "stream": True,
        "stream_options": options,
        "temperature": temperature,
        **extra,
        **({"ignore_eos": True} if exact else {}),
    }
    try:
        body = msgspec.json.encode(fields)
    except (TypeError, ValueError) as error:
        raise PlanError(
            "endpoint.extra_body", f"cannot be written as JSON ({error})", "", "use plain values"
        ) from error
    return body[:-1] + b',"max_tokens":'


def open_messages(tools: bytes | memoryview) -> bytes:
    """From behind the number up to and with `"messages":`. `tools` is a JSON array; empty, or `[]`, sends no such field
    (an empty list is refused by OpenAI's schema)."""
    if len(tools) == 0 or tools == b"[]":
        return b',"messages":'
    return b"".join((b',"tools":', tools, b',"messages":'))


def encode_message(message: Message) -> tuple[bytes, int]:
    """One entry of the messages array, and where a nonce may be spliced in: the offset just behind the opening quote of
    its content, or -1 where the content is null (an assistant that only called tools).

    Key order is fixed: role, content, tool_calls, tool_call_id. Reasoning is not sent back: engines drop it from history.
    The same message gives the same bytes, always; the prefix proof rests on it.
    """
    head = b'{"role":"%b","content":' % message.role.encode()
    if message.content or not message.tool_calls:
        body, content_at = head + _text(message.content), len(head) + 1
    else:
        body, content_at = head + b"null", -1
    if message.tool_calls:
        body += b',"tool_calls":[%b]' % b",".join(map(_call, message.tool_calls))
    if message.tool_call_id:
        body += b',"tool_call_id":' + _text(message.tool_call_id)
    return body + b"}", content_at


def _call(call: ToolCall) -> bytes:
    return b'{"id":%b,"type":"function","function":{"name":%b,"arguments":%b}}' % (
        _text(call.id),
        _text(call.name),
        _text(call.arguments),
    )


def _text(text: str) -> bytes:
    """A JSON string. Half a surrogate pair, as harnesses record that cut a string in UTF-16, becomes `?`: no UTF-8 holds it."""
    try:
        return msgspec.json.encode(text)
    except UnicodeEncodeError:
        return msgspec.json.encode(text.encode("utf-8", "replace").decode())
