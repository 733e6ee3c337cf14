"""Laws of the wire: reads are an accident of the network, and no byte a server can send is an exception."""

from __future__ import annotations

import json
from array import array
from itertools import accumulate, pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from openagentperf.records.trajectory import Message, ToolCall
from openagentperf.records.turns import RawTurn
from openagentperf.wire.chat import decode, encode_message
from openagentperf.wire.sse import events

# Cuts at these offsets are likely to fall inside headers, size lines, events and line ends of a stream of some 1,000 bytes.
CUTS = st.lists(st.integers(0, 1_500), max_size=40)
TEXT = st.text(max_size=12)
EOLS = st.sampled_from(["\n", "\r\n", "\r"])


def row_of(data: bytes, cuts=(), failure=""):
    """The row of `data` cut into reads at `cuts`; read r is stamped r."""
    edges = [0, *sorted(c for c in cuts if 0 < c < len(data)), len(data)]
    sizes = [b - a for a, b in pairwise(edges)]
    times = array("q", range(len(sizes))).tobytes()
    return decode(
        RawTurn(0, 0, 0, 0, 0, False, 0, 0, 0, times, array("q", sizes).tobytes(), b"", data, failure, "", "", 0)
    )


def read_holding(data: bytes, cuts, offset: int) -> int:
    """Index of the read that brought byte `offset`."""
    return sum(1 for c in sorted(cuts) if 0 < c <= offset and c < len(data))


@st.composite
def streams(draw) -> bytes:
    """A whole response: text events and others, any framing, any line ends, terminated or not."""
    eol = draw(EOLS)
    texts = draw(st.lists(TEXT, max_size=5))
    blocks = [{"choices": [{"delta": {"role": "assistant", "content": ""}}]}]
    blocks += [{"choices": [{"delta": {draw(st.sampled_from(["content", "reasoning"])): t}}]} for t in texts]
    blocks += [{"choices": [], "usage": {"completion_tokens": draw(st.integers(0, 9)), "prompt_tokens": 7}}]
    ascii_only = draw(st.booleans())
    lines = ["data: " + json.dumps(b, ensure_ascii=ascii_only) for b in blocks]
    lines += draw(st.sampled_from([["data: [DONE]"], [], [": ping", "data: [DONE]"], ['data: {"error": "x"}']]))
    parts = [(line + 2 * eol).encode() for line in lines]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    match draw(st.sampled_from(["chunked", "length", "close"])):
        case "chunked":
            body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts)
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"
        case "length":
            return head + b"Content-Length: %d\r\n\r\n" % sum(map(len, parts)) + b"".join(parts)
        case _:
            return head + b"\r\n" + b"".join(parts)


@given(streams(), CUTS)
def test_how_the_network_cuts_a_stream_changes_only_times_and_counts_of_reads(data, cuts):
    whole, cut = row_of(data), row_of(data, cuts)
    timed = (
        "first_byte_ns", "first_output_ns", "last_output_ns",
        "output_reads", "burst_share", "first_read_events", "last_read_events",
    )  # fmt: skip
    blank = dict.fromkeys(timed)
    assert msgspec.structs.asdict(cut) | blank == msgspec.structs.asdict(whole) | blank
    assert (cut.first_output_ns is None) == (whole.first_output_ns is None)
    assert min(1, whole.output_reads) <= cut.output_reads <= cut.output_events


@given(CUTS, EOLS, st.booleans())
def test_the_first_output_is_stamped_by_the_read_that_holds_the_end_of_its_event(cuts, eol, chunked):
    head = b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n")
    role, out = (
        b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + 2 * eol.encode()
        for text in ("", "visible")
    )
    frame = (lambda p: b"%x\r\n%b\r\n" % (len(p), p)) if chunked else (lambda p: p)
    before = head + frame(role)
    data = before + frame(out) + frame(out)
    # The event's end: the first byte of its empty line's line end.
    end = data.index(out, len(before)) + len(out) - len(eol)
    assert row_of(data, cuts, failure="aborted").first_output_ns == read_holding(data, cuts, end)


@given(
    st.one_of(st.binary(max_size=300), streams().flatmap(lambda s: st.integers(0, len(s)).map(lambda n: s[:n]))), CUTS
)
def test_no_bytes_raise(data, cuts):
    row = row_of(data, cuts)
    assert row.failure in ("", "reset", "http", "overflow", "malformed", "unterminated", "no_output", "no_usage")
    assert bool(row.failure) == bool(row.detail)
    msgspec.msgpack.encode(row)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "content", "usage", "error", "message", "tool_calls", "function", "type"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from([b"200 OK", b"400 Bad Request"]), st.booleans())
def test_no_json_raises(document, status, as_event):
    body = json.dumps(document).encode()
    body = b"data: " + body + b"\n\n" if as_event else body
    msgspec.msgpack.encode(row_of(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body))


LINE = st.sampled_from(["data: a", "data:b", "data", ": c", "event: e", "id: 1", "", "", ""])


@given(st.lists(st.tuples(LINE, EOLS), max_size=20), EOLS, st.booleans())
def test_any_mixture_of_line_ends_parses_equal(lines, uniform, ended):
    # a lone CR before an LF would be one line end, not two
    safe = [(line, "\r\n" if eol == "\r" else eol) for line, eol in lines] if "\n" in {e for _, e in lines} else lines
    mixed = "".join(line + eol for line, eol in safe).encode()
    plain = "".join(line + uniform for line, _ in safe).encode()
    mixed_events, plain_events = ([(e.data, e.name) for e in events(b, [len(b)], ended=ended)] for b in (mixed, plain))
    assert mixed_events == plain_events


@given(st.lists(st.tuples(LINE, EOLS), max_size=20), CUTS, st.booleans())
def test_reads_never_change_events(lines, cuts, ended):
    body = "".join(line + eol for line, eol in lines).encode()
    edges = [0, *sorted(c for c in cuts if 0 < c < len(body)), len(body)]
    ends = list(accumulate(b - a for a, b in pairwise(edges)))
    whole, cut = events(body, [len(body)], ended=ended), events(body, ends, ended=ended)
    assert [(e.data, e.name) for e in whole] == [(e.data, e.name) for e in cut]
    assert [e.read for e in cut] == sorted(e.read for e in cut)


@given(
    st.builds(
        Message,
        role=st.sampled_from(["system", "user", "assistant", "tool"]),
        content=st.text(),
        tool_calls=st.lists(st.builds(ToolCall, id=TEXT, name=TEXT, arguments=TEXT), max_size=2).map(tuple),
        tool_call_id=TEXT,
    )
)
def test_an_encoded_message_says_what_the_message_says(message):
    body, at = encode_message(message)
    read = json.loads(body)
    assert (read["content"] or "") == message.content
    assert (at == -1) == (read["content"] is None) == bool(message.tool_calls and not message.content)
    assert read.get("tool_call_id", "") == message.tool_call_id
    calls = [c["function"] | {"id": c["id"]} for c in read.get("tool_calls", [])]
    assert calls == [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in message.tool_calls]
    assert at == -1 or json.loads(body[:at] + b"zz" + body[at:])["content"] == "zz" + message.content
