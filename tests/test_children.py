"""Children that end when their standard input does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from openagentperf import children

ENDS = "import sys; sys.stdin.read(); sys.exit(7)"
STAYS = "import signal, sys; print('up', flush=True); sys.stdin.read(); signal.pause()"
DIES = "pass"


@pytest.mark.parametrize(
    ("program", "patience_s", "status"),
    [
        (ENDS, 60.0, 7),  # its input closed: it went by itself
        (STAYS, 0.1, -9),  # it did not
        (DIES, 60.0, 0),  # gone before: what it was still to be told is lost, and that is no error
    ],
)
def test_a_child_is_told_to_end_and_killed_where_it_does_not(program: str, patience_s: float, status: int):
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    if program == STAYS:
        child.stdout.readline()
    if program == DIES:
        child.stdout.read()
        child.stdin.write(b"x" * 100)
    children.end(child, patience_s)
    assert child.returncode == status
    assert child.stdin.closed
    assert child.stdout.closed
