"""A folder of submissions into a static site. The same folders give the same bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from openagentperf import rundir
from openagentperf.errors import UsageError
from openagentperf.leaderboard import pages, sshsig
from openagentperf.leaderboard.boards import boards
from openagentperf.leaderboard.entries import Collected, collect
from openagentperf.leaderboard.examine import Examined, Failed, apart

_PAGE = re.compile(r"[0-9a-f]{16}\.html")


def build(
    folder: Path, out: Path, keys: Path | None, memory_bytes: int, limit_s: float, told: Callable[[str], None]
) -> Collected:
    """Write the site; what was found. `told` hears of each submission before it is examined.

    Pages of results that are gone are removed: only files that are named as this writes them. UsageError where `out` lies inside `folder`,
    so that a site is never taken for a submission.
    """
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            str(out), "lies inside the folder of submissions", "a folder of its own was needed", "name another"
        )

    def examine(path: Path) -> Examined | Failed:
        told(str(path))
        return apart(path, memory_bytes, limit_s)

    found = collect(folder, sshsig.listed(keys) if keys else {}, examine)
    made = boards(found.entries)
    wanted = {pages.file_name(entry): entry for entry in found.entries}
    for name, entry in wanted.items():
        rundir.write(out / name, pages.result(entry, found.entries))
    rundir.write(out / "index.html", pages.index(made, found))
    results = out / "results"
    for path in results.iterdir() if results.is_dir() else ():
        if _PAGE.fullmatch(path.name) and f"results/{path.name}" not in wanted:
            path.unlink()
    return found
