"""The records of a file that is one JSON object, an array of objects, or JSONL: export tools write all three of the same thing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec
from msgspec import Raw

from openagentperf.corpus.formats.lines import BAD, decoded, paired, why
from openagentperf.corpus.formats.skips import Skips
from openagentperf.records.trajectory import Skipped

_BOM = b"\xef\xbb\xbf"
_ARRAY = msgspec.json.Decoder(list[Raw])
_VALUE = msgspec.json.Decoder(Raw)
_T = TypeVar("_T")


def documents(
    data: bytes, source: str, skipped: list[Skipped], decoder: msgspec.json.Decoder[_T]
) -> Iterator[tuple[str, _T]]:
    """Each record with where it stands: `file`, `file[3]` (of an array) or `file:3` (line). What does not decode goes to `skipped`."""
    body = data.removeprefix(_BOM).strip()
    if not body:
        return
    items = _items(body)
    if items is not None:
        for number, item in enumerate(items, 1):
            where = f"{source}[{number}]"
            try:
                record = mended(decoder, item)
            except BAD as error:
                skipped.append(Skipped(where, why(error)))
            else:
                yield where, record
        return
    try:
        whole = decoder.decode(body)
    except BAD:
        pass
    else:
        yield source, whole
        return
    reason: Exception | None = None
    if not _is_value(body.partition(b"\n")[0]):
        # One object over many lines, then, or JSONL with a bad first line.
        try:
            whole = decoder.decode(paired(body))
        except BAD as error:
            reason = error
        else:
            yield source, whole
            return
    yield from _lines(data, source, skipped, decoder, reason)


def mended(decoder: msgspec.json.Decoder[_T], text: bytes | Raw) -> _T:
    """As `decoder.decode`, after `lines.paired` where that fails. Raises one of `lines.BAD`."""
    try:
        return decoder.decode(text)
    except BAD:
        return decoder.decode(paired(bytes(text)))


def _lines(
    data: bytes,
    source: str,
    skipped: list[Skipped],
    decoder: msgspec.json.Decoder[_T],
    reason: Exception | None,
) -> Iterator[tuple[str, _T]]:
    """`reason` tells why the file is not one object. Where no line is a record either, it says all that is wrong, not each line again."""
    found = reason is None
    lost = Skips()
    for number, record in decoded(data, source, lost, decoder):
        found = True
        skipped += lost
        lost.clear()
        yield f"{source}:{number}", record
    skipped += lost if found else [Skipped(source, why(reason or ""))]


def _items(body: bytes) -> list[Raw] | None:
    """The items of the file where it is one array."""
    if body[:1] != b"[":
        return None
    try:
        return mended(_ARRAY, body)
    except BAD:
        return None


def _is_value(line: bytes) -> bool:
    try:
        mended(_VALUE, line)
    except BAD:
        return False
    return True
