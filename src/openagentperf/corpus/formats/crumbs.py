"""Files of too many and too small values, told before anything is decoded.

A decoded value takes memory however short its text is: 64 bytes where it is kept to be decoded later, 100 and more as an object with
fields, 190 with a key of its own. 100 MB of `[{},{},{},...` would take 2 to 9 GB. No recording is like that. Of 287 public ones the
finest has:

    a string, an object or a list every 27 bytes (above 1 MB; tiny examples: 8.5)
    a key every 52 bytes (18.6)
    a comma every 4.1 bytes: the short numbers of a trace's block hashes
"""

from __future__ import annotations

SMALL_BYTES = 1 << 22
"""A file of this size may be as fine as it likes."""
LEAST_BYTES = 8
"""A string, object or list, on average over the file. What is finer takes 10 to 90 times the size of the file."""
LEAST_KEY_BYTES = 12
LEAST_NUMBER_BYTES = 3
"""A number of a list with its comma. `[10,10,...` where messages should stand takes 20 times its size: the traces' numbers forbid less."""


def too_fine(data: bytes) -> str:
    """What is wrong, in words: "holds 33,333,334 objects, lists and strings in 100,000,000 bytes"; "" where the file may be decoded.

    What stands escaped inside of strings is left out where it can be told. Most files pass by their commas, lines and objects alone.
    """
    size = len(data)
    if size <= SMALL_BYTES:
        return ""
    commas, objects = data.count(b","), data.count(b"{")
    if (commas + objects + data.count(b"\n")) * LEAST_KEY_BYTES <= size:
        return ""
    opened = (data.count(b'"') - data.count(b'\\"')) // 2 + objects + data.count(b"[")
    keys = data.count(b'":') - data.count(b'\\":')
    for count, what, least in (
        (opened, "objects, lists and strings", LEAST_BYTES),
        (keys, "keys", LEAST_KEY_BYTES),
        (commas, "values", LEAST_NUMBER_BYTES),
    ):
        if count * least > size:
            return f"holds {count:,} {what} in {size:,} bytes"
    return ""
