"""Open a compiled corpus: the one place that maps a file into memory."""

from __future__ import annotations

import mmap
from pathlib import Path

from openagentperf.corpus.layout import KIND, Compiled
from openagentperf.errors import CorpusError


def open_corpus(path: Path, *, verify: bool = True) -> Compiled:
    """Map `path` read-only and check its ends and sizes; with `verify` its sha256 too (reads the whole file, about 1 GB/s).

    A load worker passes verify=False: the file was verified by the process that started it. The map lives as long as the result does.

    CorpusError where the file is missing, empty, cut short, changed, or not a compiled corpus.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        why = error.strerror if isinstance(error, OSError) and error.strerror else "empty file"
        raise CorpusError(
            str(path), f"cannot be read ({why})", "a compiled corpus is needed", "check the path, or compile it again"
        ) from error
    compiled = Compiled(memoryview(data), str(path))
    if verify:
        compiled.verify()
    return compiled


def is_compiled(path: Path) -> bool:
    """Whether `path` is a file that starts like a compiled corpus, whole or not, of this version or of another."""
    try:
        with path.open("rb") as file:
            return file.read(len(KIND)) == KIND
    except OSError:
        return False
