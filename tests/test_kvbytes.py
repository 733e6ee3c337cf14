"""What a sequence's KV weighs, by groups of layers: the sums in the comments."""

from __future__ import annotations

import pytest

from openagentperf.sim.kvbytes import KvBytes
from openagentperf.sim.spec import KvGroup

FULL = KvGroup(name="full", kind="full", bytes_per_token=8)
COMPRESSED = KvGroup(name="compressed", kind="compressed", bytes_per_token=2)
WIDE = KvGroup(name="wide", kind="window", bytes_per_token=4, window_tokens=100)
NARROW = KvGroup(name="narrow", kind="window", bytes_per_token=1, window_tokens=10)


@pytest.mark.parametrize(
    ("groups", "tokens", "weighs"),
    [
        ((FULL, COMPRESSED), 50, 500),  # 50 x 10
        ((FULL, WIDE, NARROW), 50, 610),  # 50 x 8 + 50 x 4 + 10
        ((FULL, WIDE, NARROW), 100, 1_210),  # 100 x 8 + 100 x 4 + 10: both full
        ((FULL, WIDE, NARROW), 1_000, 8_410),  # 1,000 x 8 + 410
        ((WIDE,), 1_000, 400),
        ((FULL, WIDE), 0, 0),
        ((), 1_000, 0),
    ],
)
def test_a_sequence_weighs_its_tokens_and_the_ends_of_its_windows(
    groups: tuple[KvGroup, ...], tokens: int, weighs: int
) -> None:
    assert KvBytes(groups).of(tokens) == weighs


def test_what_grows_and_what_does_not() -> None:
    weight = KvBytes((FULL, COMPRESSED, WIDE, NARROW))
    assert (weight.per_token, weight.windows) == (10, 410)
