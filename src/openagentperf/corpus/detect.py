"""Which format a recording has, told from its content: names of files say nothing (`full.jsonl` may be anything)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from openagentperf.corpus.formats import (
    agentperf_local,
    aider,
    asb,
    atif,
    azure_llm,
    capture,
    claude_code,
    codex_exec,
    codex_rollout,
    copilot_cli,
    gemini_cli,
    iswe,
    lmcache,
    mini_swe_agent,
    mooncake,
    nebius,
    openai_chat,
    opencode,
    openhands_completions,
    openhands_v0,
    openhands_v1,
    otel,
    qwen_bailian,
    swe_agent,
    swe_rows,
    weka,
)
from openagentperf.corpus.formats.files import File
from openagentperf.corpus.formats.head import Head
from openagentperf.records.trajectory import Skipped, Trajectory


class Importer(Protocol):
    """What a module of corpus.formats offers."""

    FORMAT: str

    def recognises(self, head: Head, /) -> bool:
        """Whether the file is of this format, by its beginning. Never raises."""

    def read(self, data: bytes, source: str, skipped: list[Skipped], /) -> Iterator[Trajectory]:
        """Lazily, one trajectory after the other; what cannot be used goes to `skipped`. Raises only CorpusError."""


class GroupImporter(Importer, Protocol):
    """Of a format of which one session lies in several files."""

    def read_group(self, files: Sequence[File], skipped: list[Skipped], /) -> Iterator[Trajectory]:
        """All of a folder's files of the format, in the order of their names; each is read when it is needed, and may be read again.

        As `Importer.read`, but a file of which nothing can be used is a row of `skipped`: nothing is raised.
        """


_ORDER: tuple[Importer, ...] = (
    # The first that recognises a file reads it: a format whose marks another one's files may carry too stands behind that one.
    capture,
    agentperf_local,
    claude_code,
    codex_rollout,
    codex_exec,
    copilot_cli,
    gemini_cli,
    opencode,
    openhands_v0,
    openhands_v1,
    openhands_completions,
    otel,
    swe_agent,
    mini_swe_agent,
    nebius,
    atif,
    iswe,
    aider,
    swe_rows,
    weka,
    mooncake,
    qwen_bailian,
    azure_llm,
    asb,
    lmcache,
    openai_chat,
)
IMPORTERS: dict[str, Importer] = {module.FORMAT: module for module in _ORDER}
_GROUPED: tuple[GroupImporter, ...] = (opencode, openhands_v0, openhands_v1, openhands_completions)
GROUPED: dict[str, GroupImporter] = {module.FORMAT: module for module in _GROUPED}


def detect(data: bytes) -> str | None:
    """The name of the importer that reads `data`; None where none does."""
    head = Head(data)
    return next((module.FORMAT for module in _ORDER if module.recognises(head)), None)
