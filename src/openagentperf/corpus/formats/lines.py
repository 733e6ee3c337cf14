"""JSONL as it is found: cut lines, two objects on one line, foreign bytes. A bad line is counted and named, never fatal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from openagentperf.records.trajectory import Skipped

BAD = (ValueError, RecursionError)
"""All that decoding can raise: msgspec's errors and UnicodeDecodeError are ValueErrors; deep nesting is a RecursionError."""

_LONE = re.compile(rb"""\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)""")
"""An escaped backslash, a surrogate pair, or (group 1) half of one."""
_WHY_CHARS = 200
_ONE = json.JSONDecoder()
_T = TypeVar("_T")


def decoded(
    data: bytes, source: str, skipped: list[Skipped], decoder: msgspec.json.Decoder[_T]
) -> Iterator[tuple[int, _T]]:
    """Each record of `data` with its line number (from 1). A line that does not decode becomes a row of `skipped`.

    A line with several objects yields each of them: Claude Code writes such lines when two of its processes share a file.
    """
    for number, line in enumerate(data.split(b"\n"), 1):
        text = line.strip()
        if number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if not text:
            continue
        try:
            record = decoder.decode(text)
        except BAD as error:
            # JavaScript writes half a surrogate pair where it cut a text in the middle of an emoji: no UTF-8 can hold it.
            text = _LONE.sub(lambda found: rb"\ufffd" if found[1] else found[0], text)
            for part in _parts(text, f"{source}:{number}", str(error), skipped):
                try:
                    record = decoder.decode(part)
                except BAD as second:
                    skipped.append(Skipped(f"{source}:{number}", why(second)))
                else:
                    yield number, record
        else:
            yield number, record


def why(error: BaseException | str) -> str:
    """The reason, short enough for a table: an error may quote a megabyte of the line."""
    return str(error)[:_WHY_CHARS]


def _parts(line: bytes, where: str, reason: str, skipped: list[Skipped]) -> Iterator[bytes]:
    """The JSON objects of a line that is not one object; what follows the last whole one is skipped, with why."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        skipped.append(Skipped(where, why(error)))
        return
    at = 0
    while at < len(text):
        try:
            _, end = _ONE.raw_decode(text, at)
        except BAD as error:
            skipped.append(Skipped(where, why(f"after {at} characters: {error}" if at else reason)))
            return
        yield text[at:end].encode()
        at = end
        while at < len(text) and text[at].isspace():
            at += 1
