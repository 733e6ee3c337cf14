"""Start a server of this package as a child process, and be sure that it ends."""

from __future__ import annotations

import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from openagentperf.errors import InfrastructureError

START_S = 20.0
STOP_S = 5.0
GREETING = "listening on "


@contextmanager
def spawned(module: str, *args: str) -> Iterator[str]:
    """Run `python -m module args --until-stdin-closes`; yields its base URL, up to and with `/v1`.

    InfrastructureError with the end of its standard error where it does not come up in START_S. The child has a session of its own:
    Ctrl-C reaches this process alone, which then still can drain and record, and ends the child by closing its standard input.
    """
    command = [sys.executable, "-m", module, *args, "--until-stdin-closes"]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0, start_new_session=True
        ) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            line = _first_line(child.stdout, time.monotonic() + START_S)
            if not line.startswith(GREETING):
                raise _failure(module, child, errors, line)
            yield line.removeprefix(GREETING).strip()
        finally:
            _stop(child)


def _first_line(stdout: IO[bytes], deadline: float) -> str:
    """The first line, or as much of it as there was when the deadline passed or the child closed it."""
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                break
            byte = stdout.read(1)  # unbuffered: what select does not see would be waited for in vain
            if not byte:
                break
            line += byte
    return line.decode("utf-8", "replace")


def _failure(module: str, child: subprocess.Popen[bytes], errors: IO[bytes], line: str) -> InfrastructureError:
    _stop(child)
    errors.seek(0)
    tail = errors.read().decode("utf-8", "replace").strip()[-2000:]
    return InfrastructureError(
        f"python -m {module}",
        f"ended with status {child.returncode} before it listened" if not line else f"said {line.strip()!r}",
        f"`{GREETING}URL` was needed within {START_S:g} s",
        tail or "it wrote nothing to standard error",
    )


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ask by closing its input, then by SIGTERM, then end it."""
    assert child.stdin is not None
    child.stdin.close()
    for insist in (child.terminate, child.kill):
        try:
            child.wait(STOP_S)
            return
        except subprocess.TimeoutExpired:
            insist()
    child.wait()
