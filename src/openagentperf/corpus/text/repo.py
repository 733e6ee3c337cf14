"""The repository that one session works on: places in the pools, and names of its own."""

from __future__ import annotations

from openagentperf.corpus.text.pool import (
    GRAMMARS,
    PLACEHOLDERS,
    Pool,
    message_pool,
    name_pool,
    path_pool,
    prose_pool,
    source_pool,
)
from openagentperf.corpus.text.words import DOMAIN, DOMAINS, joined, pick
from openagentperf.seeds import Stream

_PROSE_BYTES = 128_000
_PROSE_SHARE = 8
"""Of a large session, about one byte in so many is prose."""
_WHEN = ("after", "before", "during", "in", "when calling", "without")


class Repo:
    """Gives source text, sentences and paths. Consecutive reads continue where the last one stopped, so nothing repeats before a
    whole pool has been read."""

    __slots__ = (
        "_prose",
        "_prose_at",
        "_renames",
        "_source",
        "_source_at",
        "grammar",
        "messages",
        "names",
        "paths",
        "stream",
    )

    def __init__(self, language: str, pool_bytes: int, stream: Stream) -> None:
        self.stream = stream
        self.grammar = GRAMMARS[language]
        self._source = source_pool(language, pool_bytes)
        self._prose = prose_pool(min(pool_bytes, max(_PROSE_BYTES, pool_bytes // _PROSE_SHARE)))
        self._source_at = stream.below(len(self._source.starts))
        self._prose_at = stream.below(len(self._prose.starts))
        own = {noun: pick(DOMAINS, stream) for noun in DOMAIN}
        self._renames = [(mark, joined((own[noun],), case)) for mark, noun, case in PLACEHOLDERS]
        self.paths = self._renamed_all(path_pool(language, pool_bytes))
        self.names = self._renamed_all(name_pool(self.grammar.case, pool_bytes))
        self.messages = self._renamed_all(message_pool(pool_bytes))

    def source(self, chars: int) -> str:
        """At least `chars` characters of source lines."""
        text, self._source_at = self._walk(self._source, self._source_at, chars, "\n")
        return text

    def prose(self, chars: int) -> str:
        """At least `chars` characters of sentences."""
        text, self._prose_at = self._walk(self._prose, self._prose_at, chars, " ")
        return text

    def path(self) -> str:
        return pick(self.paths, self.stream)

    def name(self) -> str:
        """A function's."""
        return pick(self.names, self.stream)

    def message(self) -> str:
        return pick(self.messages, self.stream)

    def title(self) -> str:
        """First line of a bug report or a commit."""
        draw = self.stream.u64()  # one draw, several choices: lists of thousands of lines are made of them
        what = self.messages[(draw >> 32) % len(self.messages)].capitalize()
        return f"{what} {_WHEN[draw % len(_WHEN)]} {self.names[(draw >> 16) % len(self.names)]}"

    def folder(self) -> str:
        return pick(self.grammar.folders, self.stream)

    def _walk(self, pool: Pool, at: int, chars: int, glue: str) -> tuple[str, int]:
        parts: list[str] = []
        have = 0
        while have < chars:
            if at >= len(pool.starts):
                at = 0
            wanted = int((chars - have) / pool.mean_chars * 1.1) + 2
            part = self._renamed(pool.lines(at, wanted))
            at += wanted
            parts.append(part)
            have += len(part) + 1
        return glue.join(parts), at

    def _renamed_all(self, lines: list[str]) -> list[str]:
        return self._renamed("\n".join(lines)).split("\n")

    def _renamed(self, text: str) -> str:
        for mark, own in self._renames:
            text = text.replace(mark, own)
        return text
