"""Source text kept ready: rendered once per language, then only sliced.

Drawing every name of every line anew makes 9 MB/s where slicing makes 57 (one core, CPython 3.11). Sharing text between sessions costs
nothing: an engine's prefix cache works on exact prefixes, and the first user message already differs.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from openagentperf.corpus.text.compiled import COMPILED
from openagentperf.corpus.text.grammar import Language, Writer
from openagentperf.corpus.text.prose import sentence
from openagentperf.corpus.text.scripting import SCRIPTING
from openagentperf.corpus.text.words import NOUNS, function_name, message, pick
from openagentperf.seeds import Stream

GRAMMARS: dict[str, Language] = {language.name: language for language in (*SCRIPTING, *COMPILED)}

_SEED = 1
"""The pools are part of the program, not of a set: the seed of a set picks places in them."""


class Pool(NamedTuple):
    """Lines in order, and their mean length in characters, newline included."""

    lines: list[str]
    mean_chars: float


@cache
def source_pool(language: str, size: int) -> Pool:
    """About `size` bytes of source files, one after another."""
    stream = Stream(_SEED, "source", language)
    writer = Writer(GRAMMARS[language], stream)
    lines: list[str] = []
    made = 0
    while made < size:
        text = writer.head() if stream.below(12) == 0 else writer.block()
        lines.extend(text.split("\n"))
        made += len(text) + 1
    return Pool(lines, made / len(lines))


@cache
def path_pool(language: str) -> list[str]:
    """Files of a repository."""
    grammar = GRAMMARS[language]
    stream = Stream(_SEED, "paths", language)
    found: set[str] = set()
    while len(found) < 240:
        stem = pick(NOUNS, stream) if stream.below(2) else f"{pick(NOUNS, stream)}_{pick(NOUNS, stream)}"
        found.add(f"{pick(grammar.folders, stream)}/{stem}.{grammar.extension}")
    return sorted(found)


@cache
def name_pool(case: str) -> list[str]:
    """Names of functions."""
    stream = Stream(_SEED, "names", case)
    return [function_name(stream, case) for _ in range(300)]


@cache
def message_pool() -> list[str]:
    """What errors say."""
    stream = Stream(_SEED, "messages")
    return [message(stream) for _ in range(300)]


@cache
def prose_pool(size: int) -> Pool:
    """About `size` bytes of sentences, one a line."""
    stream = Stream(_SEED, "prose")
    lines = []
    made = 0
    while made < size:
        lines.append(sentence(stream))
        made += len(lines[-1]) + 1
    return Pool(lines, made / len(lines))
