"""Request bodies of the chat dialect, byte by byte."""

from __future__ import annotations

import json

import pytest

from openagentperf.errors import PlanError
from openagentperf.records.trajectory import Message, ToolCall
from openagentperf.wire.chat import CLOSE, encode_message, fixed_head, open_messages

CALL = ToolCall("c1", "bash", '{"cmd": "ls \\"a\\""}')
CALL_JSON = (
    b'{"id":"c1","type":"function","function":{"name":"bash","arguments":"{\\"cmd\\": \\"ls \\\\\\"a\\\\\\"\\"}"}}'
)


@pytest.mark.parametrize(
    ("message", "want", "content_at"),
    [
        (Message("system", "Be brief."), b'{"role":"system","content":"Be brief."}', 28),
        (Message("user", ""), b'{"role":"user","content":""}', 26),
        (Message("user", 'a"\n\u00fc'), '{"role":"user","content":"a\\"\\n\u00fc"}'.encode(), 26),
        # reasoning is not sent back
        (Message("assistant", "Yes.", reasoning="hm"), b'{"role":"assistant","content":"Yes."}', 31),
        # nothing said beside the calls: null, and nowhere to splice
        (
            Message("assistant", tool_calls=(CALL,)),
            b'{"role":"assistant","content":null,"tool_calls":[' + CALL_JSON + b"]}",
            -1,
        ),
        (
            Message("assistant", "Look.", tool_calls=(CALL, CALL)),
            b'{"role":"assistant","content":"Look.","tool_calls":[' + CALL_JSON + b"," + CALL_JSON + b"]}",
            31,
        ),
        (Message("tool", "a b", tool_call_id="c1"), b'{"role":"tool","content":"a b","tool_call_id":"c1"}', 26),
    ],
)
def test_message(message, want, content_at):
    body, at = encode_message(message)
    assert (body, at) == (want, content_at)
    assert at == -1 or body[:at].endswith(b'"content":"')
    if at >= 0:
        spliced = json.loads(body[:at] + b"nonce " + body[at:])
        assert spliced["content"] == "nonce " + message.content


def test_half_a_surrogate_pair_is_replaced_not_refused():
    assert encode_message(Message("user", "a\ud83d"))[0] == b'{"role":"user","content":"a?"}'


def head(**given):
    return fixed_head(
        **({"model": "m", "exact": False, "temperature": 0.0, "continuous_usage": False, "extra": {}} | given)
    )


@pytest.mark.parametrize(
    ("given", "want"),
    [
        (
            {},
            b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"temperature":0.0,"max_tokens":',
        ),
        (
            {
                "exact": True,
                "continuous_usage": True,
                "temperature": 0.7,
                "model": 'a"b',
                "extra": {"top_k": 1, "z": None},
            },
            (
                b'{"model":"a\\"b","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},'
                b'"temperature":0.7,"top_k":1,"z":null,"ignore_eos":true,"max_tokens":'
            ),
        ),
    ],
)
def test_head(given, want):
    assert head(**given) == want


@pytest.mark.parametrize("key", ["model", "stream_options", "ignore_eos", "messages", "n", "max_completion_tokens"])
def test_a_field_that_the_plan_decides_is_refused_by_name(key):
    with pytest.raises(PlanError, match=rf"endpoint\.extra_body\.{key}: is set, .*: remove it"):
        head(extra={"top_k": 1, key: 1})


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(PlanError, match=r"endpoint\.extra_body: cannot be written as JSON"):
        head(extra={"x": object()})


@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_a_whole_body_puts_the_messages_last(kind):
    tools = b'[{"type":"function","function":{"name":"bash"}}]'
    message, _ = encode_message(Message("user", "hi"))
    body = head(exact=True) + b"150" + open_messages(kind(tools)) + b"[" + message + b"]" + CLOSE
    parsed = json.loads(body)
    assert parsed["max_tokens"] == 150
    assert parsed["ignore_eos"] is True
    assert parsed["tools"] == json.loads(tools)
    assert list(parsed)[-2:] == ["tools", "messages"]


@pytest.mark.parametrize("tools", [b"", b"[]", memoryview(b"")])
def test_no_tools_no_field(tools):
    assert open_messages(tools) == b',"messages":'
