"""What is known of this host: the ceilings that `openagentperf selfcheck` found for its load processes."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec

from openagentperf import __version__, rundir
from openagentperf.client.connection import TRANSPORT_POLICY
from openagentperf.records.ceiling import Ceiling


def host() -> str:
    """What a ceiling holds for: another host, or this one with other cores or another Python, is not known by it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.node()}, {cores} cores, {platform.machine()}, Python {platform.python_version()}, {TRANSPORT_POLICY}"


def remembered_at() -> Path:
    """Where they lie: in the user's state folder, beside no run."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "openagentperf" / "selfcheck.json"


def remember(found: Ceiling, *, searched: bool) -> Ceiling:
    """Keep it beside those of other hosts, numbers of workers and versions; the one that holds from now on.

    searched   it is the end of a search, and takes the place of an earlier one; a single level says nothing of those above it, and only
               raises what is known
    """
    ceilings = {_what_for(each): each for each in _remembered()}
    before = ceilings.get(_what_for(found))
    if not searched and before is not None and before.tokens_per_s >= found.tokens_per_s:
        return before
    ceilings[_what_for(found)] = found
    rundir.write(remembered_at(), msgspec.json.format(msgspec.json.encode(list(ceilings.values())), indent=1) + b"\n")
    return found


def known(workers: int) -> Ceiling | None:
    """The ceiling of this host with so many workers; None where none was measured, by this version, or the file cannot be read."""
    asked = (host(), workers, __version__)
    return next((each for each in _remembered() if _what_for(each) == asked and each.agents), None)


def _what_for(ceiling: Ceiling) -> tuple[str, int, str]:
    return ceiling.host, ceiling.workers, ceiling.version


def _remembered() -> list[Ceiling]:
    try:
        return msgspec.json.decode(remembered_at().read_bytes(), type=list[Ceiling])
    except (OSError, msgspec.DecodeError):
        return []
