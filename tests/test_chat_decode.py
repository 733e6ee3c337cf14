"""Streams as real servers send them, decoded to rows. Read r arrives at 100 + 10 r ms; the turn was due at 0."""

from __future__ import annotations

import json
from array import array

import pytest

from openagentperf.errors import OpenAgentPerfError
from openagentperf.records.turns import Failure, RawTurn, TurnRow
from openagentperf.wire.chat import decode

MS = 1_000_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def raw_turn(reads, times_ms=None, lags_ms=(), failure: Failure = "", detail="", exact_tokens=0) -> RawTurn:
    times = [100 + 10 * i for i in range(len(reads))] if times_ms is None else times_ms
    return RawTurn(
        worker=1,
        agent=2,
        replay=3,
        trajectory=4,
        turn=5,
        last=True,
        due_ns=0,
        sent_ns=1 * MS,
        closed_ns=9_000 * MS,
        times_ns=array("q", [t * MS for t in times]).tobytes(),
        sizes=array("q", map(len, reads)).tobytes(),
        lags_ns=array("q", [lag * MS for lag in lags_ms]).tobytes(),
        data=b"".join(reads),
        failure=failure,
        detail=detail,
        connection="reused",
        request_bytes=77,
        exact_tokens=exact_tokens,
    )


def event(document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def delta(finish=None, usage: object = ..., **fields) -> bytes:
    """One chunk with one choice, in the shape that vLLM and OpenAI share."""
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "system_fingerprint": None}
    chunk["choices"] = [{"index": 0, "delta": fields, "logprobs": None, "finish_reason": finish}]
    return event(chunk if usage is ... else chunk | {"usage": usage})


def usage(prompt=50, completion=3, **more) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 0} | more
    return event({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": counts})


def chunked(*reads: bytes, end=True) -> list[bytes]:
    """Headers in read 0, then one read per part, each a chunk; the last chunk comes with the last part."""
    framed = [b"%x\r\n%b\r\n" % (len(r), r) for r in reads]
    return [HEAD, *framed[:-1], framed[-1] + (END if end else b"")]


def row(*events: bytes, **given) -> TurnRow:
    return decode(raw_turn(chunked(*events), **given))


def answer(status: bytes, body: bytes, kind=b"application/json") -> TurnRow:
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (status, kind, len(body))
    return decode(raw_turn([head, body] if body else [head]))


def test_vllm():
    # role and empty content first (sent with admission), an empty delta where a token was half a character, finish in its
    # own chunk, usage with choices [] and details, [DONE]
    got = row(
        delta(role="assistant", content=""),
        delta(content="Hel"),
        delta(content=""),
        delta(content="lo \u00fc"),
        delta(content="", finish="stop"),
        usage(3600, 4, prompt_tokens_details={"cached_tokens": 3584, "created_cache_tokens": 16}),
        DONE,
    )
    assert (got.failure, got.detail, got.status, got.finish) == ("", "", 200, "stop")
    assert (got.first_byte_ns, got.first_output_ns, got.last_output_ns) == (100 * MS, 120 * MS, 140 * MS)
    assert (got.prompt_tokens, got.cached_tokens, got.output_tokens, got.reasoning_tokens) == (3600, 3584, 4, None)
    assert (got.output_events, got.output_reads, got.output_chars, got.first_tokens) == (2, 2, 7, 1)
    assert (got.worker, got.agent, got.replay, got.trajectory, got.turn, got.last) == (1, 2, 3, 4, 5, True)
    assert (got.due_ns, got.sent_ns, got.closed_ns, got.connection, got.request_bytes) == (
        0,
        MS,
        9_000 * MS,
        "reused",
        77,
    )
    assert got.response_bytes > 500
    assert (got.read_lag_ns, got.first_lag_ns, got.last_lag_ns) == (None, None, None)


def test_vllm_continuous_usage_tells_the_tokens_of_the_first_event():
    # speculative decoding: 4 tokens in each event; 100 ms apart they are 40 tok/s, not the 50 that 5/0.1 would read
    counts = [{"prompt_tokens": 9, "completion_tokens": n} for n in (0, 4, 8, 8)]
    got = row(
        delta(role="assistant", content="", usage=counts[0]),
        delta(content="abcd", usage=counts[1]),
        delta(content="efgh", usage=counts[2]),
        delta(finish="length", usage=counts[3]),
        usage(9, 8),
        DONE,
    )
    assert (got.failure, got.first_tokens, got.output_tokens) == ("", 4, 8)


def test_several_tokens_an_event_without_continuous_usage_pay_for_the_first_events_share():
    got = row(delta(content="a b c d"), delta(content="e f g h"), usage(9, 8), DONE)
    assert (got.failure, got.first_tokens, got.output_tokens, got.output_events) == (
        "",
        4,
        8,
        2,
    )  # 7 of 14 characters: half of 8 tokens


def test_reasoning_that_is_counted_and_never_shown_is_paid_for_by_ttft():
    """600 hidden tokens, then 4 visible ones: the decode span made 3 tokens, not 603."""
    said = [delta(content=word) for word in ("one", "two", "three", "four")]
    hidden = row(*said, usage(9, 604, completion_tokens_details={"reasoning_tokens": 600}), DONE)
    assert hidden.output_tokens is not None
    assert hidden.output_tokens - hidden.first_tokens == 3
    shown = row(delta(reasoning="hm"), *said, usage(9, 5, completion_tokens_details={"reasoning_tokens": 1}), DONE)
    assert shown.first_tokens == 1


@pytest.mark.parametrize(("asked", "failure"), [(0, ""), (2, ""), (3, "wrong_length")])
def test_the_exact_track_is_exact(asked: int, failure: str):
    got = row(delta(content="a"), delta(content="b"), usage(9, 2), DONE, exact_tokens=asked)
    assert (got.failure, got.exact_tokens) == (failure, asked)
    if failure:
        assert got.detail == "2 tokens where exactly 3 were asked for"


def test_sglang():
    # reasoning_content null in deltas, matched_stop beside finish_reason, usage null until the end, no cache report,
    # reasoning tokens outside the details
    empty = {"content": "", "reasoning_content": None, "tool_calls": None}
    got = row(
        delta(**{"role": "assistant"} | empty, usage=None),
        delta(**empty | {"reasoning_content": "hm"}, usage=None),
        delta(**empty | {"content": "yes"}, usage=None),
        event({"choices": [{"index": 0, "delta": empty, "finish_reason": "stop", "matched_stop": 2}], "usage": None}),
        usage(20, 2, prompt_tokens_details=None, reasoning_tokens=1),
        DONE,
    )
    assert (got.failure, got.output_tokens, got.cached_tokens, got.reasoning_tokens) == ("", 2, None, 1)
    assert (got.first_output_ns, got.output_chars) == (120 * MS, 5)


def test_llama_cpp_falls_back_to_its_timings():
    got = row(
        delta(role="assistant", content=None),
        delta(content="a"),
        delta(finish="stop"),
        event(
            {
                "choices": [],
                "usage": {"prompt_tokens": 8, "completion_tokens": 2},
                "timings": {"cache_n": 7, "prompt_n": 1},
            }
        ),
        DONE,
    )
    assert (got.failure, got.cached_tokens, got.first_output_ns) == ("", 7, 120 * MS)


def test_deepseek():
    # keep-alive comments before the first token, both content and reasoning in each delta, usage in the finish chunk
    got = row(
        b": keep-alive\n\n",
        delta(role="assistant", content="", reasoning_content=None, usage=None),
        delta(content=None, reasoning_content="so", usage=None),
        delta(content="4", reasoning_content=None, usage=None),
        delta(
            content="",
            finish="stop",
            usage={
                "prompt_tokens": 10,
                "completion_tokens": 3,
                "prompt_cache_hit_tokens": 8,
                "prompt_cache_miss_tokens": 2,
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
        ),
        DONE,
    )
    assert (got.failure, got.output_tokens, got.cached_tokens, got.reasoning_tokens) == ("", 3, 8, 1)
    assert (got.first_byte_ns, got.first_output_ns, got.last_output_ns) == (100 * MS, 130 * MS, 140 * MS)


def test_transformers_sends_no_terminal_event():
    got = row(
        delta(role="assistant"),
        delta(content="a"),
        delta(finish="stop", usage={"prompt_tokens": 1, "completion_tokens": 2}),
    )
    assert (got.failure, got.detail) == ("unterminated", "no `data: [DONE]` after finish_reason stop")
    assert (got.output_tokens, got.output_chars, got.finish) == (2, 1, "stop")


def test_dynamo_refuses_inside_the_stream():
    got = row(event({"error": {"message": "too long", "type": "invalid_request", "code": 400}}), DONE)
    assert (got.failure, got.detail) == ("malformed", "error in the stream: too long (invalid_request)")


def test_openai_tool_call_only():
    # first visible: the name (4 characters), then arguments in pieces; ids and types are not output
    got = row(
        delta(role="assistant", content=None, tool_calls=[{"index": 0, "id": "c", "type": "function"}]),
        delta(tool_calls=[{"index": 0, "function": {"name": "bash", "arguments": ""}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": "1}"}}]),
        delta(finish="tool_calls"),
        usage(5, 9, completion_tokens_details={"reasoning_tokens": 0}),
        DONE,
    )
    assert (got.failure, got.finish, got.output_chars, got.output_events) == ("", "tool_calls", 11, 3)
    assert (got.first_output_ns, got.last_output_ns) == (120 * MS, 140 * MS)
    assert got.reasoning_tokens == 0


@pytest.mark.parametrize(
    ("fields", "chars"),
    [
        ({"content": "abc"}, 3),
        ({"content": [{"type": "text", "text": "ab"}, {"type": "text", "text": "c"}]}, 3),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}]}, 3),
        ({"reasoning": "hmm"}, 3),
        ({"reasoning_content": "hmm"}, 3),
        ({"reasoning": "hmm", "reasoning_content": "hmm"}, 3),  # one reasoning under two names
        ({"reasoning": "", "reasoning_content": "hmm", "content": "a"}, 4),
        ({"thinking": "hmm"}, 3),
        ({"refusal": "no"}, 2),
        ({"function_call": {"name": "f", "arguments": "{}"}}, 3),
        ({"tool_calls": [{"function": {"name": "f"}}, {"function": {"name": "g"}}]}, 2),
        ({"content": "\U0001f600"}, 1),  # characters, not bytes or UTF-16 units
        ({"role": "assistant"}, 0),
        ({"content": ""}, 0),
        ({"content": None, "tool_calls": []}, 0),
        ({"content": []}, 0),
        ({"tool_calls": [{"id": "c", "function": {"name": None, "arguments": ""}}]}, 0),
        ({"tool_calls": [{"id": "c", "function": None}]}, 0),
    ],
)
def test_what_counts_as_output(fields, chars):
    got = row(delta(**fields), usage(), DONE)
    assert got.output_chars == chars
    assert got.failure == ("" if chars else "no_output")
    assert got.first_output_ns == (110 * MS if chars else None)


@pytest.mark.parametrize(
    ("counts", "want"),
    [
        ({"prompt_tokens": 9.0, "completion_tokens": 4.0}, (9, 4, None, "")),  # floats
        ({"prompt_tokens": None, "completion_tokens": 4}, (None, 4, None, "")),
        ({"completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": None}}, (None, 4, None, "")),
        ({"completion_tokens": 4, "prompt_tokens_details": {}, "extra": [1]}, (None, 4, None, "")),
        # 0 cached is a report, not a missing one, and outranks the other names for it
        (
            {"completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 0}, "prompt_cache_hit_tokens": 3},
            (None, 4, 0, ""),
        ),
        ({"prompt_tokens": 9}, (9, None, None, "no_usage")),
        ({"prompt_tokens": 9, "completion_tokens": 0}, (9, None, None, "no_usage")),  # 0 tokens for a visible text
        ({"completion_tokens": -1}, (None, None, None, "no_usage")),
        ({"completion_tokens": 10**30}, (None, None, None, "no_usage")),  # fits no column
        ({}, (None, None, None, "no_usage")),
        (None, (None, None, None, "no_usage")),
    ],
)
def test_usage(counts, want):
    got = row(delta(content="hi"), event({"choices": [], "usage": counts}), DONE)
    assert (got.prompt_tokens, got.output_tokens, got.cached_tokens, got.failure) == want


def test_events_that_share_a_read_share_its_time_and_count_as_one_read():
    got = row(delta(content="a") + delta(content="b"), delta(content="c") + usage(5, 3) + DONE)
    assert (got.first_output_ns, got.last_output_ns) == (110 * MS, 120 * MS)
    assert (got.output_events, got.output_reads, got.output_chars) == (3, 2, 3)


def test_an_event_cut_over_reads_arrives_with_its_last_byte():
    first = delta(content="abc")
    got = row(first[:20], first[20:-1], first[-1:] + delta(content="d"), usage() + DONE)
    assert (got.first_output_ns, got.output_reads, got.output_chars) == (130 * MS, 1, 4)


@pytest.mark.parametrize(
    ("texts", "times_ms", "share"),
    [
        # TTFT 100 ms. "bb" comes 50 ms later: no silence longer than TTFT
        (["a", "bb"], [0, 100, 150, 150], 0.0),
        # 101 ms later: 2 of 3 characters
        (["a", "bb"], [0, 100, 201, 201], 2 / 3),
        # exactly TTFT is not longer
        (["a", "bb"], [0, 100, 200, 200], 0.0),
        # the largest of two bursts: 5 of 10
        (["aa", "bbb", "ccccc"], [0, 100, 300, 500, 500], 0.5),
        # the largest read came without a silence: only the 1 of 10 after one counts
        (["a", "bbbbbbbb", "c"], [0, 100, 110, 300, 300], 0.1),
        # the first output's own wait is TTFT
        (["aaaa"], [0, 900, 900], 0.0),
    ],
)
def test_burst_share(texts, times_ms, share):
    got = row(*(delta(content=t) for t in texts), usage() + DONE, times_ms=times_ms)
    assert got.burst_share == pytest.approx(share)


def test_the_silence_before_a_burst_is_between_outputs_whatever_else_was_sent():
    # role-only chunks and comments every 60 ms do not break a silence of 180 ms
    got = row(
        delta(content="a"), b": ping\n\n", delta(content=""), delta(content="bbb"), usage() + DONE,
        times_ms=[0, 100, 160, 220, 280, 280],
    )  # fmt: skip
    assert got.burst_share == 0.75


def test_lags_of_the_first_and_last_output_reads():
    got = row(delta(content="a"), delta(content="b"), usage() + DONE, lags_ms=[9, 1, 2, 3])
    assert (got.read_lag_ns, got.first_lag_ns, got.last_lag_ns) == (9 * MS, 1 * MS, 2 * MS)


@pytest.mark.parametrize(
    ("status", "body", "failure", "detail"),
    [
        # vLLM
        (
            b"400 Bad Request",
            b'{"error":{"message":"You passed 9000 input tokens","type":"BadRequestError","param":"input_tokens","code":400}}',
            "overflow",
            "HTTP 400: You passed 9000 input tokens (BadRequestError)",
        ),
        (
            b"400 Bad Request",
            b'{"object":"error","message":"This model\'s maximum context length is 8192 tokens.","code":400}',
            "overflow",
            "HTTP 400: This model's maximum context length is 8192 tokens.",
        ),
        # SGLang
        (
            b"400 Bad Request",
            (b'{"object":"error","message":"The input (9 tokens) is longer than the model\'s context length (8 tokens).",'
            b'"type":"BadRequestError","param":null,"code":400}'),
            "overflow",
            "HTTP 400: The input (9 tokens) is longer than the model's context length (8 tokens). (BadRequestError)",
        ),
        # llama.cpp
        (
            b"400 Bad Request",
            b'{"error":{"code":400,"message":"too big","type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":8}}',
            "overflow",
            "HTTP 400: too big (exceed_context_size_error)",
        ),
        # OpenAI
        (
            b"400 Bad Request",
            b'{"error":{"message":"Too long.","type":null,"code":"context_length_exceeded"}}',
            "overflow",
            "HTTP 400: Too long. (context_length_exceeded)",
        ),
        # FastAPI, as transformers serve refuses an unknown field
        (
            b"422 Unprocessable Entity",
            b'{"detail":[{"loc":["body","x"],"msg":"Extra inputs"},{"msg":"no"}]}',
            "http",
            "HTTP 422: Extra inputs; no",
        ),
        (b"404 Not Found", b'{"error":"model not found"}', "http", "HTTP 404: model not found"),
        # a rate limit counts tokens too, and is no overflow
        (
            b"429 Too Many Requests",
            b'{"error":{"message":"tokens per context window exceeded"}}',
            "http",
            "HTTP 429: tokens per context window exceeded",
        ),
        (b"413 Payload Too Large", b"body too big", "http", "HTTP 413: body too big"),
        (b"502 Bad Gateway", b"<html><title>502 Bad\n Gateway</title></html>", "http", "HTTP 502: HTML page: 502 Bad Gateway"),
        (b"503 Busy", b"", "http", "HTTP 503"),
        (b"500 Oops", b'{"error":{}}', "http", 'HTTP 500: {"error":{}}'),
        (b"302 Found", b"", "http", "HTTP 302"),
    ],
)  # fmt: skip
def test_a_refusal_keeps_the_servers_words(status, body, failure, detail):
    got = answer(status, body)
    assert (got.failure, got.detail, got.status) == (failure, detail, int(status[:3]))
    assert got.first_output_ns is None


def test_a_long_refusal_is_cut_to_300_characters_and_one_line():
    got = answer(b"500 Oops", b"Traceback\n" * 1_000)
    assert "\n" not in got.detail
    assert len(got.detail) == len("HTTP 500: ") + 300


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"choices":[{"message":{"content":"hi"}}],"usage":{}}', "a whole JSON answer instead of an event stream"),
        (b'{"error":{"message":"no slot"}}', "JSON instead of an event stream: no slot"),
        (b"<!doctype html><title>Log in</title>", "HTML instead of an event stream (HTML page: Log in)"),
        (b'{"choi', "JSON instead of an event stream"),
    ],
)
def test_what_came_instead_of_a_stream_is_named(body, detail):
    got = answer(b"200 OK", body)
    assert got.failure == "malformed"
    assert got.detail.startswith(detail)


@pytest.mark.parametrize(
    ("bad", "detail"),
    [
        (b"data: {oops\n\n", "event 1 is no chat chunk: JSON is malformed"),
        (event({"choices": 5}), "event 1 is no chat chunk: Expected `array | null`, got `int` - at `$.choices`"),
        (delta(content=5), "event 1 is no chat chunk: Expected `str | array | null`, got `int`"),
        (b"data: null\n\n", "event 1 is no chat chunk"),
        (event({"error": {"message": "CUDA out of memory"}}), "error in the stream: CUDA out of memory"),
        (event({"error": "boom"}), "error in the stream: boom"),
        (event({"object": "error", "message": "boom", "code": 500}), "error in the stream: boom"),
        (event({"error": {"message": "boom"}, "choices": [{"delta": {}, "finish_reason": "error"}]}), "error in the stream: boom"),
        (b'event: error\ndata: {"message":"boom"}\n\n', "error event in the stream: boom"),
        (delta(finish="abort"), "the server gave the answer up (finish_reason abort)"),
    ],
)  # fmt: skip
def test_a_stream_that_breaks_its_dialect_keeps_what_came_before(bad, detail):
    got = row(delta(content="abc"), bad, usage(), DONE)
    assert got.failure == "malformed"
    assert got.detail.startswith(detail)
    assert (got.first_output_ns, got.output_chars) == (110 * MS, 3)


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":[{"delta":{"content":"a\xff"}}]}',  # UTF-8 is decoded with replacement in an event stream
        b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}',  # half a surrogate pair: legal JSON
    ],
)
def test_odd_text_is_still_text(data):
    got = row(b"data: " + data + b"\n\n", usage(), DONE)
    assert (got.failure, got.output_chars) == ("", 2)


def test_half_a_surrogate_pair_never_reaches_a_row():
    got = row(b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"\\ud83d"}]}\n\n', usage(), DONE)
    assert got.finish.encode() == b"?"
    assert row(b'data: {"error":"\\ud83d"}\n\n').detail.encode() == b"error in the stream: ?"


@pytest.mark.parametrize(
    "harmless", [b": ping\n\n", b"data:\n\n", event({"choices": []}), event({}), event({"choices": [{"delta": None}]})]
)
def test_events_without_content_change_nothing(harmless):
    got = row(harmless, delta(content="a"), harmless, usage(), DONE)
    assert (got.failure, got.output_events, got.output_tokens) == ("", 1, 3)


@pytest.mark.parametrize("eol", [b"\r\n", b"\r"])
def test_other_line_ends(eol):
    stream = (delta(content="a") + delta(content="b") + usage() + DONE).replace(b"\n", eol)
    got = row(stream)
    assert (got.failure, got.output_chars, got.output_tokens) == ("", 2, 3)


@pytest.mark.parametrize(
    ("reads", "failure", "detail"),
    [
        # chunked, cut after an event; the worker saw a clean close all the same
        (chunked(delta(content="a"), end=False), "reset", "without its last chunk"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", delta(content="a")], "reset", "of 999 bytes"),
        ([b"HTTP/1.1 200 OK\r\nContent-"], "reset", "before the response headers did"),
        ([], "reset", "before the response headers did"),
        # an answer that named its end is whole, whatever the framing lacks: clients stop reading there
        (chunked(delta(content="a"), usage(), DONE, end=False), "", ""),
        # until close
        ([b"HTTP/1.1 200 OK\r\n\r\n", delta(content="a"), usage() + DONE], "", ""),
        ([b"HTTP/1.1 200 OK\r\n\r\n", delta(content="a"), usage() + DONE.rstrip()], "", ""),
        ([b"HTTP/1.1 200 OK\r\n\r\n", delta(content="a")], "unterminated", "neither a finish_reason nor"),
        (chunked(b"\n"), "unterminated", "no output at all"),
        ([HEAD + b"zz\r\n"], "malformed", "the HTTP body breaks off"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "malformed", "not HTTP/1.1"),
        ([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n", b"\x1f\x8b"], "malformed", "compressed (gzip)"),
    ],
)  # fmt: skip
def test_how_it_ended(reads, failure, detail):
    got = decode(raw_turn(reads))
    assert got.failure == failure
    assert detail in got.detail


@pytest.mark.parametrize("failure", ["connect", "reset", "timeout", "client", "aborted"])
def test_what_the_worker_saw_is_kept_and_what_came_is_decoded(failure):
    reads = chunked(delta(content="abc"), delta(content="def")[:-1], end=False)
    got = decode(raw_turn(reads, failure=failure, detail="why"))
    assert (got.failure, got.detail, got.status) == (failure, "why", 200)
    assert (got.output_chars, got.first_output_ns) == (3, 110 * MS)  # the second event never ended


def test_a_last_event_without_its_empty_line_counts_only_where_the_worker_saw_a_clean_close():
    # framing until close: only the worker knows how the connection ended
    reads = [b"HTTP/1.1 200 OK\r\n\r\n", delta(content="abc"), delta(content="d").rstrip()]
    assert decode(raw_turn(reads)).output_chars == 4
    assert decode(raw_turn(reads, failure="reset")).output_chars == 3


def test_a_finish_reason_outlives_the_null_after_it():
    got = row(delta(content="a", finish="length"), delta(content=""), usage(), DONE)
    assert (got.failure, got.finish) == ("", "length")


def test_no_connection_no_bytes():
    got = decode(raw_turn([], failure="connect", detail="refused"))
    assert (got.failure, got.status, got.first_byte_ns, got.burst_share) == ("connect", 0, None, 0.0)


def test_arrays_that_disagree_are_our_bug_not_the_servers():
    with pytest.raises(OpenAgentPerfError, match="this is a bug"):
        decode(raw_turn([HEAD], times_ms=[1, 2]))
