"""A commitment to a set of trajectories: hides them, and lets nobody swap one afterwards.

    salt_i = HMAC-SHA256(master, i)        master: 32 random bytes, one set
    leaf_i = SHA-256("openagentperf leaf" 0x00 salt_i line_i)
    root   = SHA-256("openagentperf root" 0x00 leaf_0 leaf_1 ...)

`line_i` is the trajectory's line of `trajectories.jsonl`, without its newline. The salts keep a guessed line from being tested: without
them, whoever suspects that a public session is in the set could hash it and look. A salt reveals nothing of another one (HMAC), so that a
few trajectories can be shown and the rest stay sealed. Finding another line for a leaf means finding a collision of SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

SALT_BYTES = 32
_LEAF, _ROOT = b"openagentperf leaf\0", b"openagentperf root\0"


def salt(master: bytes, index: int) -> bytes:
    """The salt of trajectory `index`."""
    return hmac.digest(master, b"%d" % index, "sha256")


def leaf(salt: bytes, line: bytes) -> str:
    """The leaf of one line, 64 hex characters."""
    return hashlib.sha256(_LEAF + salt + line).hexdigest()


def root(leaves: Iterable[str]) -> str:
    """The name of the whole set, 64 hex characters. ValueError where a leaf is no hex."""
    total = hashlib.sha256(_ROOT)
    for one in leaves:
        total.update(bytes.fromhex(one))
    return total.hexdigest()


def mismatch(leaves: tuple[str, ...], salts: Mapping[int, str], lines: Iterable[bytes]) -> str:
    """Why `lines` are not the trajectories that `salts` open, in words; "" where they are. Lines stand in the order of their places."""
    places = sorted(salts)
    checked = 0
    for line in lines:
        if checked == len(places):
            return f"there are more trajectories than the {len(places)} that are opened"
        place = places[checked]
        if not 0 <= place < len(leaves):
            return f"place {place} is opened, and the commitment has {len(leaves)}"
        try:
            key = bytes.fromhex(salts[place])
        except ValueError:
            return f"the salt of trajectory {place} is no hexadecimal number"
        if leaf(key, line) != leaves[place]:
            return f"trajectory {place} is not the one that was committed to"
        checked += 1
    if checked < len(places):
        return f"of {len(places)} opened trajectories only {checked} are there"
    return ""
