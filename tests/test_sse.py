"""Server-sent events: line ends, fields, and the read that completed each event."""

from __future__ import annotations

from itertools import accumulate

import pytest

from openagentperf.wire.sse import events


def read(*reads: bytes, ended: bool = True):
    """(data, read, name) of each event in a body that came in these reads."""
    found = events(b"".join(reads), list(accumulate(map(len, reads))), ended=ended)
    return [(e.data, e.read, e.name) for e in found]


@pytest.mark.parametrize(
    ("body", "want"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\n\r\ndata: b\r\n\r", [b"a", b"b"]),  # LF CRLF, then CRLF CR
        (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),  # one space is dropped, not two
        (b"data: a\ndata: b\n\n", [b"a\nb"]),  # two data lines are one event
        (b"data: a\r\ndata: b\r\n\r\n", [b"a\nb"]),
        (b": ping\n\ndata: a\n\n: ping\ndata: b\n\n", [b"a", b"b"]),  # comments, alone or inside a block
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),  # byte order mark
        (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [b"a", b"b"]),  # empty lines beyond the one that dispatches
        (b"id: 7\nretry: 10\ndata: a\nfoo: bar\n\n", [b"a"]),  # fields without meaning here
        (b"id: 7\n\n", []),  # no data field, no event
        (b"data\n\n", [b""]),  # a field without a colon has an empty value
        (b'data: {"a": "x: y\\n\\n"}\n\n', [b'{"a": "x: y\\n\\n"}']),  # escapes in JSON are no line ends
    ],
)
def test_data(body, want):
    assert [data for data, _, _ in read(body)] == want


def test_the_event_field_names_its_own_event_only():
    assert read(b"event: error\ndata: a\n\ndata: b\n\nevent: ping\n\ndata: c\n\n") == [
        (b"a", 0, "error"),
        (b"b", 0, ""),
        (b"c", 0, ""),
    ]


@pytest.mark.parametrize(
    ("reads", "want"),
    [
        ([b"data: a\n\n", b"data: b\n\n"], [(b"a", 0), (b"b", 1)]),
        ([b"data: a\n\ndata: b\n\n", b"data: c\n\n"], [(b"a", 0), (b"b", 0), (b"c", 1)]),  # coalesced
        ([b"da", b"ta: a", b"\n", b"\ndata: b\n\n"], [(b"a", 3), (b"b", 3)]),  # the empty line completes it
        ([b"data: a\n\nda", b"ta: b\n\n"], [(b"a", 0), (b"b", 1)]),
        ([b"data: a\r\n\r", b"\ndata: b\r\n\r\n"], [(b"a", 0), (b"b", 1)]),  # CR is a line end already
        ([b"data: a\r\n", b"\r\n"], [(b"a", 1)]),
        ([b"data: a\r", b"\n\r", b"\n"], [(b"a", 1)]),  # CR|LF is one line end, not two
        ([b"data: a\r", b"\rdata: b\n\n"], [(b"a", 1), (b"b", 1)]),
        ([b"data: a\n\n", b": ping\n\n", b"data: b\n\n"], [(b"a", 0), (b"b", 2)]),
        ([b"\xef\xbb", b"\xbfdata: a\n\n"], [(b"a", 1)]),
        ([b"data: a\n\n", b"", b"", b"data: b\n\n"], [(b"a", 0), (b"b", 3)]),  # reads of framing alone bring nothing
    ],
)
def test_the_read_that_completed_each_event(reads, want):
    assert [(data, index) for data, index, _ in read(*reads)] == want


@pytest.mark.parametrize("tail", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r\n", b"data: [DONE]\r"])
def test_a_last_event_without_its_empty_line_counts_only_where_the_message_ended_properly(tail):
    assert read(b"data: a\n\n", tail, b"") == [(b"a", 0, ""), (b"[DONE]", 1, "")]
    assert read(b"data: a\n\n", tail, b"", ended=False) == [(b"a", 0, "")]


def test_nothing_is_read_out_of_nothing():
    assert events(b"", [], ended=True) == []
    assert read(b"", b"") == []
