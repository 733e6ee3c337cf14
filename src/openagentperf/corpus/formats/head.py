"""What a format is told from: the beginning of a file, looked at once and offered to every importer's `recognises`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TypeAlias

import msgspec
from msgspec import Raw

from openagentperf.corpus.formats.lines import BAD

Keys: TypeAlias = Mapping[str, Raw]
"""One JSON object, its values not decoded."""

LINES = 64
"""Claude Code files may open with dozens of titles and file snapshots before the first line of the tree."""
_TEXT_BYTES = 65_536
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_ARRAY = msgspec.json.Decoder(list[Raw])


class Head:
    """The beginning of a file, as text and as JSON. Nothing here raises."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @cached_property
    def text(self) -> str:
        """The first 64 KB; foreign bytes become U+FFFD."""
        return self._data[:_TEXT_BYTES].decode("utf-8", "replace").removeprefix("\ufeff")

    @cached_property
    def whole(self) -> Keys | None:
        """The file where it is one JSON object."""
        return object_of(self._data.removeprefix(b"\xef\xbb\xbf"))

    @cached_property
    def array(self) -> list[Raw] | None:
        """The items of the file where it is one JSON array."""
        if self._data[:512].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"[":
            return None
        try:
            return _ARRAY.decode(self._data.removeprefix(b"\xef\xbb\xbf"))
        except BAD:
            return None

    @cached_property
    def records(self) -> tuple[Keys, ...]:
        """The objects to be told apart: the file, the first items of its array, or those of its first 64 lines that are objects."""
        if self.whole is not None:
            return (self.whole,)
        if self.array is not None:
            return tuple(keys for item in self.array[:LINES] if (keys := object_of(item)) is not None)
        found: list[Keys] = []
        start = 0
        for _ in range(LINES):
            end = self._data.find(b"\n", start)
            line = self._data[start : end if end >= 0 else len(self._data)]
            if (keys := object_of(line.removeprefix(b"\xef\xbb\xbf"))) is not None:
                found.append(keys)
            if end < 0:
                break
            start = end + 1
        return tuple(found)


def object_of(text: bytes | Raw) -> Keys | None:
    """The keys of a JSON object; None where it is none."""
    try:
        return _OBJECT.decode(text)
    except BAD:
        return None


def first_of(keys: Keys, name: str) -> Keys | None:
    """The first item of an array value; None where it is no object, or there is no array of that name."""
    try:
        items = _ARRAY.decode(keys[name])
    except (KeyError, *BAD):
        return None
    return object_of(items[0]) if items else None


def text_of(keys: Keys, name: str) -> str:
    """A string value; "" where there is none of that name, or it is no string."""
    try:
        return msgspec.json.decode(keys[name], type=str)
    except (KeyError, *BAD):
        return ""
