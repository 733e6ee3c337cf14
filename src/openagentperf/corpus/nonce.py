"""The two nonces that keep caches honest (docs/methodology.md#nonces).

- The *phase nonce* stands at the start of the first message's content: no phase profits from an earlier one's cache.
- The *replay nonce* opens the first user message, new for each replay of a trajectory: what lies before it (system prompt, tools) stays
  shared between the agents of a phase, everything after it is cold.

Both look like a line that a harness might write ("Ticket: 5f0c...", "build #91ae..."). A fixed marker could be recognised, stripped and
the cache kept, so label, separator and digits all come from the draw. The length is fixed: Content-Length stays arithmetic
(corpus.layout), and every replay of a turn costs the same number of bytes.
"""

from __future__ import annotations

import hashlib

from openagentperf.seeds import Stream

NONCE_BYTES = 34
"""Bytes of a nonce on the wire, its escaped line end (two bytes, backslash and n) included."""

_LABELS = (
    "session", "Session", "ticket", "Ticket", "build", "Build", "task", "Task",
    "request", "Request", "workspace", "Workspace", "job", "Job", "trace", "Trace",
)  # fmt: skip
_SEPARATORS = (" ", ": ", " #", "=", " id ", " no. ", "-", ":")
_LINE_END = "\\n"


def phase_nonce(stream: Stream) -> str:
    """The nonce of one phase, as it stands inside a JSON string: ASCII, NONCE_BYTES long, at least 72 unpredictable bits."""
    return _line(b"".join(stream.u64().to_bytes(8, "little") for _ in range(3)))


def replay_nonce(key: bytes, agent: int, replay: int) -> bytes:
    """The nonce of replay number `replay` of `agent`, as it stands inside a JSON string: ASCII, NONCE_BYTES long.

    key     1 to 64 secret bytes of the phase (records.phase.PhaseOrder.nonce_key)
    agent, replay   >= 0; each pair has its own nonce, which any process computes without asking
    """
    pair = agent.to_bytes(8, "little") + replay.to_bytes(8, "little")
    return _line(hashlib.blake2b(pair, key=key, digest_size=24).digest()).encode("ascii")


def _line(drawn: bytes) -> str:
    head = _LABELS[drawn[0] % len(_LABELS)] + _SEPARATORS[drawn[1] % len(_SEPARATORS)]
    # The longest head, "workspace no. ", is 14 bytes and leaves 18 hex digits = 72 bits.
    return head + drawn[2:].hex()[: NONCE_BYTES - len(head) - len(_LINE_END)] + _LINE_END
