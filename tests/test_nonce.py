"""Nonces: fixed in length, otherwise without anything to hold on to."""

from __future__ import annotations

from openagentperf.corpus.nonce import NONCE_BYTES, phase_nonce, replay_nonce
from openagentperf.seeds import Stream


def test_every_agent_and_replay_has_its_own() -> None:
    nonces = {replay_nonce(b"key", agent, replay) for agent in range(100) for replay in range(20)}
    assert len(nonces) == 2_000
    assert nonces.isdisjoint(replay_nonce(b"other key", agent, replay) for agent in range(100) for replay in range(20))


def test_the_same_pair_has_the_same_nonce_in_every_process() -> None:
    assert replay_nonce(b"key", 7, 3) == replay_nonce(b"key", 7, 3)


def test_a_stream_gives_a_fresh_phase_nonce_each_time() -> None:
    stream = Stream(1, "phase-nonce")
    assert len({phase_nonce(stream) for _ in range(100)}) == 100


def test_no_position_of_the_line_is_a_fixed_marker() -> None:
    """A server could strip what it recognises. Over 2,000 nonces every byte but the line end takes at least 6 values."""
    nonces = [replay_nonce(b"key", 0, replay) for replay in range(2_000)]
    assert all(len({nonce[at] for nonce in nonces}) >= 6 for at in range(NONCE_BYTES - 2))
    assert {nonce[-2:] for nonce in nonces} == {b"\\n"}


def test_nonces_differ_in_the_first_bytes() -> None:
    """Prefix caches work in blocks: what differs late in a long line would leave the first block warm. 34 bytes are one block."""
    starts = {replay_nonce(b"key", 0, replay)[:20] for replay in range(2_000)}
    assert len(starts) > 1_990
