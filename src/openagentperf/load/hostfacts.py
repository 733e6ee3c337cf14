"""What this host is: for the record of a run, and for whoever asks whether several hosts are alike."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import time
from pathlib import Path

import openagentperf
from openagentperf import __version__
from openagentperf.client.connection import TRANSPORT_POLICY
from openagentperf.load import ceiling
from openagentperf.load.budget import limits
from openagentperf.records.hosts import HostFacts

_MAKE_LOAD = ("client", "corpus", "load", "records", "wire")


def host_facts(name: str, workers: int) -> HostFacts:
    """Of this host under that name, with its ceiling for so many workers."""
    has, known = limits(), ceiling.known(workers)
    return HostFacts(
        name=name,
        cores=tuple(sorted(os.sched_getaffinity(0))),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        files=has.files,
        ports=has.ports,
        python=platform.python_version(),
        version=__version__,
        code=_code(),
        transport=TRANSPORT_POLICY,
        platform=platform.platform(),
        machine=platform.machine(),
        ceiling_tokens_per_s=known.tokens_per_s if known else None,
    )


def environment() -> dict[str, object]:
    """`environment.json`: this host, now."""
    return {
        "openagentperf": __version__,
        "transport": TRANSPORT_POLICY,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "started_unix_s": time.time(),
    }


@functools.cache
def _code() -> str:
    """16 hex characters over the names and bytes of the modules that make load: a few milliseconds, once a process."""
    digest = hashlib.sha256()
    root = Path(openagentperf.__file__).parent
    for path in sorted(path for part in _MAKE_LOAD for path in (root / part).rglob("*.py")):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(root)}:{len(data)}:".encode() + data)
    return digest.hexdigest()[:16]
