"""Answers put together from streams and documents of the chat, Messages and Responses dialects."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answers import (
    CALL_ITEM,
    CHAT,
    CHAT_MESSAGE,
    MESSAGES,
    MESSAGES_MESSAGE,
    RESPONSES_USAGE,
    TEXT_ITEM,
    delta,
    events_of,
    named,
    plain,
    responses,
)
from openagentperf.wire import chatmessage, messagesanswer, responsesanswer
from openagentperf.wire.answered import Answered
from openagentperf.wire.sse import Event

Streamed = Callable[[Sequence[Event]], Answered]
Whole = Callable[[bytes], Answered]

DIALECTS: dict[str, tuple[Streamed, bytes, object, str]] = {
    "chat": (chatmessage.streamed, plain(CHAT), CHAT_MESSAGE, "tool_calls"),
    "messages": (messagesanswer.streamed, named(MESSAGES), MESSAGES_MESSAGE, "tool_use"),
    "responses": (responsesanswer.streamed, named(responses()), [TEXT_ITEM, CALL_ITEM], "completed"),
}
EACH = pytest.mark.parametrize("dialect", DIALECTS)


@EACH
def test_a_stream_adds_up_to_what_an_agent_sends_back(dialect: str) -> None:
    streamed, body, want, finish = DIALECTS[dialect]
    answer = streamed(events_of(body))
    assert json.loads(answer.body) == want
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == (50, 9, 30)
    assert (answer.finish, answer.complete, answer.error) == (finish, True, "")
    assert answer.last_event == len(events_of(body)) - 1


@EACH
@given(cuts=st.lists(st.integers(0, 3_000), max_size=30), data=st.data())
def test_reads_are_an_accident_of_the_network(dialect: str, cuts: list[int], data: st.DataObject) -> None:
    streamed, body, _, _ = DIALECTS[dialect]
    whole = streamed(events_of(body))
    assert streamed(events_of(body, cuts)) == whole
    # Cut off anywhere: what came is there, nothing raises, and nobody takes it for the whole. The chat dialect's finish_reason is its
    # end for the recorder, because some servers send no [DONE].
    some = streamed(events_of(body[: data.draw(st.integers(0, len(body)))]))
    if some.body != whole.body or some.finish != whole.finish:
        assert not some.complete
    if some.body:
        json.loads(some.body)


ODD = [
    b"data: {}",
    b"data: 1",
    b'data: {"type":1}',
    b"event: error",
    b'data: {"choices":[{"delta":{"tool_calls":[{}]}}]}',
    b'data: {"type":"content_block_delta","index":-1,"delta":{}}',
    b'data: {"type":"response.output_item.done","output_index":0}',
    b'data: "\\ud800"',
    b"data: " + b"[" * 3000,
    b"",
]


@EACH
@given(body=st.binary(max_size=200), lines=st.lists(st.sampled_from(ODD), max_size=8))
def test_no_byte_that_a_server_can_send_is_an_exception(dialect: str, body: bytes, lines: list[bytes]) -> None:
    streamed = DIALECTS[dialect][0]
    for data in (body, b"\n\n".join(lines) + b"\n\n"):
        streamed(events_of(data))
        for whole in (chatmessage.whole, messagesanswer.whole, responsesanswer.whole):
            assert not whole(data).complete or whole(data).body


def test_whole_documents_read_as_their_streams_do() -> None:
    usage = {"prompt_tokens": 50, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 30}}
    choice = {"index": 0, "message": CHAT_MESSAGE, "finish_reason": "tool_calls"}
    chat = chatmessage.whole(json.dumps({"id": "c1", "model": "m", "choices": [choice], "usage": usage}).encode())
    assert json.loads(chat.body) == CHAT_MESSAGE
    assert (chat.complete, chat.finish, chat.input_tokens, chat.cached_tokens) == (True, "tool_calls", 50, 30)

    counts = {"input_tokens": 5, "cache_creation_input_tokens": 15, "cache_read_input_tokens": 30, "output_tokens": 9}
    document = {
        "id": "m1",
        "model": "claude",
        "type": "message",
        **MESSAGES_MESSAGE,
        "stop_reason": "tool_use",
        "usage": counts,
    }
    messages = messagesanswer.whole(json.dumps(document).encode())
    assert json.loads(messages.body) == MESSAGES_MESSAGE
    assert (messages.input_tokens, messages.output_tokens, messages.cached_tokens) == (50, 9, 30)

    response = {"id": "r1", "status": "completed", "output": [TEXT_ITEM, CALL_ITEM], "usage": RESPONSES_USAGE}
    assert json.loads(responsesanswer.whole(json.dumps(response).encode()).body) == [TEXT_ITEM, CALL_ITEM]


@pytest.mark.parametrize(
    ("chunks", "calls"),
    [
        # Gemini's compatible API sends whole calls without an index: a new id is a new call.
        ([{"id": "a", "function": {"name": "f", "arguments": "{}"}}, {"id": "b", "function": {"name": "g", "arguments": "{}"}}],
         [("a", "f", "{}"), ("b", "g", "{}")]),
        # Without an index and an id: more of the call before.
        ([{"id": "a", "function": {"name": "f", "arguments": "{"}}, {"function": {"arguments": "}"}}], [("a", "f", "{}")]),
        # Indexes need not begin at 0.
        ([{"index": 3, "id": "a", "function": {"name": "f", "arguments": "{}"}}], [("a", "f", "{}")]),
    ],
)  # fmt: skip
def test_tool_calls_however_gateways_number_them(chunks: list[object], calls: list[tuple[str, str, str]]) -> None:
    answer = chatmessage.streamed(events_of(plain([delta(tool_calls=[chunk]) for chunk in chunks])))
    found = json.loads(answer.body)["tool_calls"]
    assert [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in found] == calls


def test_a_chat_stream_without_done_has_ended_where_it_says_why() -> None:
    assert chatmessage.streamed(events_of(plain(CHAT, done=False))).complete
    assert not chatmessage.streamed(events_of(plain(CHAT[:5], done=False))).complete


def test_mistral_s_thinking_parts_are_reasoning() -> None:
    content = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Yes."}]
    message = json.loads(chatmessage.streamed(events_of(plain([delta(content=content)]))).body)
    assert (message["content"], message["reasoning_content"]) == ("Yes.", "Hm.")


def test_counts_of_the_last_event_win_where_it_has_them() -> None:
    later = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"input_tokens": 7, "output_tokens": 3},
    }
    answer = messagesanswer.streamed(events_of(named([MESSAGES[0], later, {"type": "message_stop"}])))
    assert (answer.input_tokens, answer.output_tokens) == (7 + 15 + 30, 3)


def test_arguments_that_broke_off_are_kept_as_text() -> None:
    answer = messagesanswer.streamed(events_of(named(MESSAGES[:12])))
    assert json.loads(answer.body)["content"][2]["input"] == '{"comm'
    assert not answer.complete


def test_items_stand_in_for_an_empty_output_and_for_a_cut_stream() -> None:
    # Codex's own backend sends `output: []` in the last event.
    assert json.loads(responsesanswer.streamed(events_of(named(responses(output=())))).body) == [TEXT_ITEM, CALL_ITEM]
    cut = responsesanswer.streamed(events_of(named(responses()[:3])))
    assert json.loads(cut.body)[0]["content"] == [{"type": "output_text", "text": "I will "}]
    assert not cut.complete


@pytest.mark.parametrize(
    ("streamed", "body", "says"),
    [
        (chatmessage.streamed, plain([delta(content="x"), {"error": {"message": "overloaded"}}]), "overloaded"),
        (messagesanswer.streamed, named([MESSAGES[0], {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}]),
         "Overloaded (overloaded_error)"),
        (responsesanswer.streamed, named([{"type": "error", "message": "no capacity"}]), "no capacity"),
        (responsesanswer.streamed,
         named([{"type": "response.failed", "response": {"id": "r", "error": {"message": "boom", "code": "server_error"}}}]),
         "boom (server_error)"),
    ],
)  # fmt: skip
def test_an_error_inside_a_stream_is_told(streamed: Streamed, body: bytes, says: str) -> None:
    answer = streamed(events_of(body))
    assert answer.error == says
    assert not answer.complete
