"""JSONL as it is found: cut lines, two objects on one line, foreign bytes. A bad line is counted and named, never fatal."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TypeVar

import msgspec
from msgspec import Raw

from openagentperf.records.trajectory import Skipped

BAD = (ValueError, RecursionError)
"""All that decoding can raise: msgspec's errors and UnicodeDecodeError are ValueErrors; deep nesting is a RecursionError."""

_LONE = re.compile(rb"""\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)""")
"""An escaped backslash, a surrogate pair, or (group 1) half of one."""
_WHY_CHARS = 200
_VALUE = msgspec.json.Decoder(Raw)
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")
"""How msgspec tells where a second value begins: the number of bytes up to and with its first. Nothing is built on the way, where the
standard library's decoder makes 20 times the line of objects."""
_T = TypeVar("_T")


def decoded(
    data: bytes, source: str, skipped: list[Skipped], decoder: msgspec.json.Decoder[_T]
) -> Iterator[tuple[int, _T]]:
    """Each record of `data` with its line number (from 1). A line that does not decode becomes a row of `skipped`.

    A line with several objects yields each of them: Claude Code writes such lines when two of its processes share a file.
    """
    for number, line in enumerate(io.BytesIO(data), 1):  # lazily: a list of all lines takes up to 20 times their bytes
        text = line.strip()
        if number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if not text:
            continue
        try:
            record = decoder.decode(text)
        except BAD as error:
            for part in _parts(paired(text), f"{source}:{number}", str(error), skipped):
                try:
                    record = decoder.decode(part)
                except BAD as second:
                    skipped.append(Skipped(f"{source}:{number}", why(second)))
                else:
                    yield number, record
        else:
            yield number, record


def paired(text: bytes) -> bytes:
    """JSON without escaped halves of surrogate pairs: U+FFFD stands for each.

    JavaScript writes such a half where it cut a text in the middle of an emoji: no UTF-8 can hold it, and no decoder here takes it.
    """
    mended, at = bytearray(), 0
    for found in _LONE.finditer(text):
        if found[1]:
            mended += text[at : found.start()] + rb"\ufffd"
            at = found.end()
    return bytes(mended + text[at:]) if at else text


def why(error: BaseException | str) -> str:
    """The reason, short enough for a table: an error may quote a megabyte of the line."""
    return str(error)[:_WHY_CHARS]


def _parts(line: bytes, where: str, reason: str, skipped: list[Skipped]) -> Iterator[bytes]:
    """The JSON values of a line that is not one record; what follows the last whole one is skipped, with why."""
    rest = memoryview(line)
    while rest:
        try:
            _VALUE.decode(rest)
            end = len(rest)
        except BAD as error:
            trailing = _TRAILING.search(str(error))
            if trailing is None:
                at = len(line) - len(rest)
                skipped.append(Skipped(where, why(f"after {at} bytes: {error}" if at else reason)))
                return
            end = int(trailing[1]) - 1
        yield bytes(rest[:end])
        rest = rest[end:]
