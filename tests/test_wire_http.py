"""HTTP framing over kept reads: status, headers, body, and which read brought each byte."""

from __future__ import annotations

import pytest

from openagentperf.wire.http import parse

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def fed(*reads: bytes):
    return parse(b"".join(reads), [len(r) for r in reads])


@pytest.mark.parametrize(
    ("reads", "body", "ends", "framing", "complete"),
    [
        # headers, 5 of 8 body bytes, the other 3
        ([HEAD + b"Content-Length: 8\r\n\r\n", b"hello", b"abc"], b"helloabc", [0, 5, 8], "length", True),
        # one byte is missing
        ([HEAD + b"Content-Length: 8\r\n\r\nhello", b"ab"], b"helloab", [5, 7], "length", False),
        # two chunks in one read, then only the last chunk: framing brings no body byte
        ([CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n", b"0\r\n\r\n"], b"abcde", [5, 5], "chunked", True),
        # a chunk over three reads, its size line cut too: 0 bytes, then 1, then all 16
        ([CHUNKED + b"1", b"0\r\na", b"b" * 15 + b"\r\n0\r\n\r\n"], b"a" + b"b" * 15, [0, 1, 16], "chunked", True),
        # trailers belong to the message
        ([CHUNKED + b"1\r\na\r\n0\r\nX-Cost: 3", b"\r\n\r\n"], b"a", [1, 1], "chunked", True),
        # no last chunk
        ([CHUNKED + b"3\r\nabc\r\n"], b"abc", [3], "chunked", False),
        # until close: the bytes alone never say that it ended
        ([HEAD + b"\r\nabc", b"de"], b"abcde", [3, 5], "close", False),
        ([b"HTTP/1.0 200 OK\r\n\r\n", b"abc"], b"abc", [0, 3], "close", False),
        # 204 has no body and ends with its headers
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b"", [0], "close", True),
    ],
)
def test_framing(reads, body, ends, framing, complete):
    response = fed(*reads)
    assert (response.body, response.ends, response.framing, response.complete, response.broken) == (
        body,
        ends,
        framing,
        complete,
        "",
    )


def test_informational_responses_are_skipped_and_leave_no_header_behind():
    response = fed(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno",
    )
    assert (response.status, response.body, response.ends, response.complete) == (503, b"no", [0, 2], True)
    assert response.headers == {"content-length": "2"}


def test_headers_cut_anywhere_are_whole_and_repeated_ones_are_joined():
    response = fed(
        b"HTTP/1.1 20", b"0 OK\r\nX-Em", b"pty:\r\nVary: a\r\nVA", b"RY: b\r\nContent-Length: 0\r\n\r", b"\n"
    )
    assert response.headers == {"x-empty": "", "vary": "a, b", "content-length": "0"}
    assert (response.status, response.complete, response.ends) == (200, True, [0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    "extra",
    [b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nxyz", b"garbage"],
    ids=["a second response", "garbage"],
)
@pytest.mark.parametrize("own_read", [False, True])
@pytest.mark.parametrize("keep", [b"close", b"keep-alive"])
def test_what_follows_the_message_is_no_part_of_it(extra, own_read, keep):
    message = HEAD + b"Connection: " + keep + b"\r\nContent-Length: 3\r\n\r\nabc"
    response = fed(message, extra) if own_read else fed(message + extra)
    assert (response.status, response.body, response.ends, response.complete, response.broken) == (
        200,
        b"abc",
        [3],
        True,
        "",
    )


@pytest.mark.parametrize(
    ("reads", "status"),
    [
        ([b"<html>502</html>"], 0),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na"], 0),
        ([CHUNKED + b"1\r\na\r\nzz\r\n"], 200),
    ],
    ids=["no status line", "two lengths", "a chunk size that is no number"],
)
def test_what_is_not_http_is_named(reads, status):
    response = fed(*reads)
    assert (response.status, response.complete) == (status, False)
    assert response.broken


def test_a_broken_body_keeps_what_came_before():
    assert fed(CHUNKED + b"3\r\nabc\r\n", b"zz\r\n").body == b"abc"


def test_cut_inside_the_headers_there_is_no_status_yet():
    response = fed(b"HTTP/1.1 200 OK\r\nContent-Le")
    assert (response.status, response.framing, response.complete, response.broken) == (0, "", False, "")


def test_a_switched_protocol_is_a_status_like_any_other():
    response = fed(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nabc")
    assert (response.status, response.body) == (101, b"")


@pytest.mark.parametrize(
    ("header", "encoded"),
    [
        (b"Content-Encoding: identity", ""),
        (b"Content-Encoding: GZIP", "gzip"),
        (b"Transfer-Encoding: gzip, chunked", "gzip"),
        (b"Transfer-Encoding: chunked", ""),
    ],
)
def test_a_coding_that_hides_the_text_is_named(header, encoded):
    assert fed(HEAD + header + b"\r\n\r\n").encoded == encoded
