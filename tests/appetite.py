"""How much memory and time files take that were made to take much: `python tests/appetite.py BYTES < jobs`.

Of each line of stdin ("format kind") a line of JSON goes to stdout. Each file is read in a process of its own, whose address space is
limited: what needs more dies, and says so.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from openagentperf.corpus.formats.skips import Skips
from openagentperf.corpusjobs.recordings import read_recordings
from openagentperf.errors import CorpusError

LIMIT_BYTES = 4 << 30
"""Of address space."""
SMALL = b'{"role": "user", "content": "0123456789abcd"}'
"""A message about as small as a file of them may hold."""
KINDS = {
    "one long string": lambda size: b'{"messages": "' + b"x" * size + b'"}',
    "objects": lambda size: b"[" + b"{}," * (size // 3) + b"{}]",
    "numbers": lambda size: b"[" + b"1," * (size // 2) + b"1]",
    "messages": lambda size: b'{"messages": [' + SMALL + (b"," + SMALL) * (size // len(SMALL)) + b"]}",
    "lines": lambda size: b"{}\n" * (size // 3),
    "words": lambda size: b"a b\n" * (size // 4),
    "many on a line": lambda size: b'{"a": 1}' * (size // 8),
    "deep lists": lambda size: b"[" * size,
    "deep objects": lambda size: b'{"a":' * (size // 5),
    "halves of pairs": lambda size: b'["' + b"\\ud800" * (size // 6) + b'"]',
}


def main(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "f")
        for line in sys.stdin:
            name, kind = line.rstrip("\n").split(" ", 1)
            file.write_bytes(KINDS[kind](size))
            print(json.dumps({"format": name, "kind": kind, **measured(file, name)}), flush=True)


def measured(file: Path, name: str) -> dict[str, object]:
    """Peak of memory beyond what was there before, CPU time, and how it ended, of one import in a child."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, json.dumps(read(file, name)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else {"ended": "died"}


def read(file: Path, name: str) -> dict[str, object]:
    before, began = _peak_bytes(), time.process_time()
    skips = Skips()
    try:
        ended = f"trajectories: {sum(1 for _ in read_recordings(file, skips, name))}"
    except CorpusError as error:
        ended = f"error: {str(error)[:200]}"
    except BaseException as error:  # noqa: BLE001  # whatever else it raises is what the law is about
        ended = f"raised {type(error).__name__}"
    return {"peak_bytes": _peak_bytes() - before, "cpu_s": time.process_time() - began, "ended": ended}


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(int(sys.argv[1]))
