"""Child processes that end when their standard input does: a parent that is killed leaves none behind, and one that lives ends them so."""

from __future__ import annotations

import subprocess
from contextlib import suppress


def end(child: subprocess.Popen[bytes], patience_s: float) -> None:
    """Close the pipes to a child, which tells it to end; kill it where it is still there after `patience_s`."""
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):  # what was still to be written to one that has died
                pipe.close()
    try:
        child.wait(patience_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
