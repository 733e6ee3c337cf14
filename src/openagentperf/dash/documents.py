"""Reports and comparisons as pages, made when they are asked for and kept until their run has moved on.

Made in a process of their own (`dash.drawing`): a million turns take a gigabyte, and a library that draws may end its process on text
that it does not expect; neither is the dashboard's end.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from openagentperf.errors import InfrastructureError, UsageError

LIMIT_S = 300.0
_KEPT = 16
_MARKS = ("result.json", "ledger.jsonl", "run.json", "meters.json")
Key: TypeAlias = tuple[object, ...]


class Documents:
    """One page is made at a time; those that are kept wait for none."""

    def __init__(self, make: Callable[[str, Sequence[Path]], Awaitable[bytes]] | None = None) -> None:
        self._make = make or _make
        self._pages: dict[Key, bytes] = {}
        self._lock = asyncio.Lock()

    async def report(self, run: Path) -> bytes:
        """As `openagentperf report` makes it. OpenAgentPerfError where it cannot be."""
        return await self._made("report", [run])

    async def comparison(self, runs: Sequence[Path]) -> bytes:
        """As `openagentperf compare --format html` makes it, the first as the baseline. OpenAgentPerfError where it cannot be."""
        return await self._made("compare", runs)

    async def _made(self, what: str, runs: Sequence[Path]) -> bytes:
        key = (what, *(_stamps(run) for run in runs))
        if key not in self._pages:
            async with self._lock:
                if key not in self._pages:  # another who waited may have had it made
                    page = await self._make(what, runs)
                    while len(self._pages) >= _KEPT:
                        del self._pages[next(iter(self._pages))]
                    self._pages[key] = page
        return self._pages[key]


async def _make(what: str, runs: Sequence[Path]) -> bytes:
    command = [sys.executable, "-m", "openagentperf.dash.drawing", what, *(str(run.absolute()) for run in runs)]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True
    )
    try:
        page, words = await asyncio.wait_for(child.communicate(), LIMIT_S)
    except TimeoutError as error:
        raise InfrastructureError(
            what, f"was not made within {LIMIT_S:.0f} s", "", f"run `openagentperf {what}` on the command line"
        ) from error
    finally:
        with suppress(ProcessLookupError):
            if child.returncode is None:
                child.kill()
    if child.returncode == UsageError.exit_code:
        raise UsageError(what, words.decode("utf-8", "replace").strip())
    if child.returncode:
        raise InfrastructureError(
            what, f"ended with status {child.returncode}", "", f"run `openagentperf {what}` on the command line"
        )
    return page


def _stamps(run: Path) -> Key:
    stamps: list[object] = [str(run)]
    for name in _MARKS:
        try:
            told = (run / name).stat()
            stamps.append((told.st_mtime_ns, told.st_size))
        except OSError:
            stamps.append(None)
    return tuple(stamps)
