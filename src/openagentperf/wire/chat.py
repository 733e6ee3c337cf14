"""The chat dialect (OpenAI chat completions, streamed): from what a worker kept of a request to a row of `turns.parquet`.

    reads -> HTTP body (wire.http) -> events (wire.sse) -> chunks (wire.chatchunk) -> TurnRow

An event's time is that of the read that completed it. Where one read brought several events they share its time, and no
finer truth exists on this host. The terminal event of the dialect is `data: [DONE]`.
"""

from __future__ import annotations

import msgspec

from openagentperf.errors import OpenAgentPerfError
from openagentperf.records.turns import Failure, RawTurn, TurnRow
from openagentperf.wire import http, servererror, sse
from openagentperf.wire.chatanswer import Answer, read_events
from openagentperf.wire.chatchunk import count
from openagentperf.wire.chatrequest import CLOSE, encode_message, fixed_head, open_messages

__all__ = ["CLOSE", "decode", "encode_message", "fixed_head", "open_messages"]

_GIVEN_UP = frozenset({"abort", "error"})
"""finish_reason of engines that dropped the request (vLLM and SGLang `abort`, OpenRouter `error`): not an answer."""


def decode(raw: RawTurn) -> TurnRow:
    """One request as a row. Whatever the server sent, this returns: what it did wrong stands in `failure` and `detail`.

    A failure that the worker saw (connect, reset, timeout, client, aborted) is kept, and what came before it decoded.
    Else the first of these that applies:

        reset         the HTTP message was cut, and the dialect's terminal event was not in what came
        http          status other than 200; the server's message is the detail
        overflow      the same, where that message says that the context is too long
        malformed     not HTTP, compressed, HTML, a whole JSON answer, a broken chunk, an error event, an answer given up
        unterminated  no `data: [DONE]`, even after a finish_reason (transformers serve sends none)
        no_output     nothing visible in a terminated answer
        no_usage      no count of output tokens in it
        wrong_length  exact track: not the length asked for

    Raises OpenAgentPerfError where the worker's own arrays disagree with each other. Source: docs/methodology.md#failures.
    """
    times, sizes, lags = (memoryview(a).cast("q").tolist() for a in (raw.times_ns, raw.sizes, raw.lags_ns))
    if len(times) != len(sizes) or sum(sizes) != len(raw.data) or (lags and len(lags) != len(sizes)):
        raise OpenAgentPerfError(
            f"worker {raw.worker}, agent {raw.agent}, turn {raw.turn}",
            f"{len(times)} times, {len(lags)} lags and {len(sizes)} sizes of {sum(sizes)} bytes for {len(raw.data)} bytes",
            "one of each per read was needed",
            "this is a bug, please report it",
        )
    answer = Answer()
    response = http.parse(raw.data, sizes)
    failure, detail = _judge(response, answer, closed_well=not raw.failure)
    if raw.failure:
        failure, detail = raw.failure, raw.detail
    elif not failure and raw.exact_tokens and answer.output_tokens() != raw.exact_tokens:
        failure = "wrong_length"
        detail = f"{answer.output_tokens()} tokens where exactly {raw.exact_tokens} were asked for"
    reads = answer.reads
    first_ns = times[reads[0]] if reads else None
    usage = answer.usage
    return TurnRow(
        worker=raw.worker,
        agent=raw.agent,
        replay=raw.replay,
        trajectory=raw.trajectory,
        turn=raw.turn,
        line=raw.line,
        last=raw.last,
        due_ns=raw.due_ns,
        sent_ns=raw.sent_ns,
        first_byte_ns=times[0] if times else None,
        first_output_ns=first_ns,
        last_output_ns=times[reads[-1]] if reads else None,
        closed_ns=raw.closed_ns,
        status=response.status,
        failure=failure,
        detail=detail,
        finish=servererror.plain(answer.finish),
        prompt_tokens=count(usage.prompt_tokens),
        cached_tokens=answer.cached_tokens(),
        output_tokens=answer.output_tokens(),
        reasoning_tokens=answer.reasoning_tokens(),
        first_tokens=answer.paid_by_ttft(),
        output_events=answer.output_events,
        output_reads=len(reads),
        output_chars=sum(answer.chars),
        burst_share=0.0 if first_ns is None else answer.burst_share(times, first_ns - raw.due_ns),
        exact_tokens=raw.exact_tokens,
        corpus_tokens=raw.corpus_tokens,
        request_bytes=raw.request_bytes,
        response_bytes=len(raw.data),
        connection=raw.connection,
        read_lag_ns=max(lags) if lags else None,
        first_lag_ns=lags[reads[0]] if lags and reads else None,
        last_lag_ns=lags[reads[-1]] if lags and reads else None,
        first_read_events=answer.events[0] if reads else 0,
        last_read_events=answer.events[-1] if reads else 0,
        paced_ns=raw.paced_ns,
    )


def _judge(response: http.Response, answer: Answer, *, closed_well: bool) -> tuple[Failure, str]:
    """Fill `answer` from the response and say what was wrong with it; ("", "") where nothing was."""
    if response.broken and response.status == 0:
        return "malformed", f"not HTTP/1.1: {response.broken}"
    if response.status == 0:
        return "reset", "the connection ended before the response headers did"
    if response.status != 200:
        return _refused(response)
    if response.encoded:
        return "malformed", f"the body is compressed ({response.encoded}), though identity was asked for"
    ended = response.complete or (response.framing == "close" and closed_well and not response.broken)
    if problem := _not_a_stream(response) or read_events(sse.events(response.body, response.ends, ended=ended), answer):
        return "malformed", problem
    if answer.finish in _GIVEN_UP:
        return "malformed", f"the server gave the answer up (finish_reason {answer.finish})"
    if not answer.done:
        if response.broken:
            return "malformed", f"the HTTP body breaks off: {response.broken}"
        if not ended:
            return "reset", _cut(response)
        return "unterminated", _unterminated(answer)
    if not answer.output_events:
        return "no_output", f"{count(answer.usage.completion_tokens) or 0} tokens counted by the server, none visible"
    if answer.output_tokens() is None:
        return "no_usage", _uncounted(answer)
    return "", ""


def _refused(response: http.Response) -> tuple[Failure, str]:
    if response.encoded:
        return "http", f"HTTP {response.status} ({response.encoded} body)"
    said = servererror.message_of(response.body)
    failure: Failure = "overflow" if servererror.is_overflow(response.status, response.body) else "http"
    return failure, f"HTTP {response.status}: {said}" if said else f"HTTP {response.status}"


def _not_a_stream(response: http.Response) -> str:
    """What the body is instead of an event stream, "" where it may be one: no field's line opens with `<` or `{`."""
    head = response.body[:64].lstrip()[:1]
    if head == b"<":
        return f"HTML instead of an event stream ({servererror.message_of(response.body)})"
    if head not in (b"{", b"["):
        return ""
    try:
        document: object = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "JSON instead of an event stream"
    if isinstance(document, dict) and document.get("choices"):
        return "a whole JSON answer instead of an event stream: the server ignored `stream`"
    said = servererror.message_of(response.body)
    return f"JSON instead of an event stream: {said}"


def _unterminated(answer: Answer) -> str:
    if answer.finish:
        return f"no `data: [DONE]` after finish_reason {answer.finish}"
    return "neither a finish_reason nor `data: [DONE]`" if answer.output_events else "the stream held no output at all"


def _uncounted(answer: Answer) -> str:
    if answer.usage.completion_tokens is None:
        return "no count of output tokens in the stream, though stream_options.include_usage was set"
    return f"{answer.usage.completion_tokens} output tokens counted by the server, {sum(answer.chars)} characters seen"


def _cut(response: http.Response) -> str:
    if response.framing == "length":
        return f"the body ended after {len(response.body)} of {response.headers['content-length']} bytes"
    if response.framing == "chunked":
        return f"the body ended after {len(response.body)} bytes without its last chunk"
    return f"the connection died after {len(response.body)} bytes of the body"
