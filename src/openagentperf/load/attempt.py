"""One attempt of a phase in the run's ledger, measured or simulated: begun, and then judged or broken off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec.structs import replace

from openagentperf.errors import OpenAgentPerfError, StorageError
from openagentperf.records.phase import Judged
from openagentperf.rundir import LedgerLine, append_line


@contextmanager
def attempt(run: Path, begun: LedgerLine) -> Iterator[Callable[[Judged], None]]:
    """The `begun` line now; at the end a `judged` one with what the function was called with, or a `broken` one where an error of ours or
    an interrupt came before."""
    ledger, ended = run / "ledger.jsonl", replace(begun, why="", start_ns=None)
    append_line(ledger, begun)
    judged: list[Judged] = []
    try:
        yield judged.append
    except (OpenAgentPerfError, KeyboardInterrupt) as error:
        with suppress(StorageError):  # the disk may be what is broken; the rows written so far stay
            append_line(ledger, replace(ended, event="broken", why=str(error) or type(error).__name__))
        raise
    append_line(ledger, replace(ended, event="judged", judged=judged[-1]))
