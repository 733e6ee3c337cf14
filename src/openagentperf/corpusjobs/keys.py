"""A key pair on disk."""

from __future__ import annotations

from pathlib import Path

from openagentperf import rundir, sealing
from openagentperf.errors import UsageError


def write_key(path: Path) -> str:
    """Write a fresh secret key to `path`, readable by its owner alone; returns the recipient.

    UsageError where the file is there: the sets sealed to its key could never be opened again.
    """
    if path.exists():
        raise UsageError(str(path), "is there already", "a new file is needed", "choose another name, or keep that key")
    text, recipient = sealing.new_key()
    rundir.write_private(path, text.encode())
    return recipient
