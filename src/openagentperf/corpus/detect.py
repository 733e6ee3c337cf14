"""Which format a recording has, told from its content: names of files say nothing (`full.jsonl` may be anything)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from openagentperf.corpus.formats import agentperf_local, claude_code, openai_chat
from openagentperf.corpus.formats.head import Head
from openagentperf.records.trajectory import Skipped, Trajectory


class Importer(Protocol):
    """What a module of corpus.formats offers."""

    FORMAT: str

    def recognises(self, head: Head, /) -> bool:
        """Whether the file is of this format, by its beginning. Never raises."""

    def read(self, data: bytes, source: str, skipped: list[Skipped], /) -> Iterator[Trajectory]:
        """Lazily, one trajectory after the other; what cannot be used goes to `skipped`. Raises only CorpusError."""


_ORDER: tuple[Importer, ...] = (
    # The first that recognises a file reads it: a format whose marks another one's files may carry too stands behind that one.
    agentperf_local,
    claude_code,
    openai_chat,
)
IMPORTERS: dict[str, Importer] = {module.FORMAT: module for module in _ORDER}


def detect(data: bytes) -> str | None:
    """The name of the importer that reads `data`; None where none does."""
    head = Head(data)
    return next((module.FORMAT for module in _ORDER if module.recognises(head)), None)
