"""Source text kept ready: rendered once per language, then only sliced.

Drawing every name of every line anew makes 9 MB/s where slicing makes 57 (one core, CPython 3.11). Sharing text between sessions costs
nothing: an engine's prefix cache works on exact prefixes, and the first user message already differs.
"""

from __future__ import annotations

from array import array
from functools import cache
from itertools import accumulate, product
from typing import NamedTuple

from openagentperf.corpus.text import words
from openagentperf.corpus.text.compiled import COMPILED
from openagentperf.corpus.text.grammar import Language, Writer
from openagentperf.corpus.text.prose import sentence
from openagentperf.corpus.text.scripting import SCRIPTING
from openagentperf.corpus.text.words import NOUNS, function_name, message, pick
from openagentperf.seeds import Stream

GRAMMARS: dict[str, Language] = {language.name: language for language in (*SCRIPTING, *COMPILED)}

_SEED = 1
"""The pools are part of the program, not of a set: the seed of a set picks places in them."""


_SMALL_BYTES = 600_000
"""Up to here a repository has 240 files and 400 names of each sort; a larger one has more in proportion, so that its text does not
become a shuffle of the same words."""


_MARKS = "\1\2\3\4\5\6\7\x08\x0e\x0f\x10\x11\x12\x13\x14"
PLACEHOLDERS: tuple[tuple[str, str, str], ...] = tuple(
    (mark, noun, case)
    for mark, (noun, case) in zip(_MARKS, product(words.DOMAIN, ("snake", "pascal", "upper")), strict=True)
)
"""A mark, and the noun and its case that it stands for: a session looks for 15 characters instead of words, in a quarter of the time."""


def _marked(text: str) -> str:
    """The text with a mark for each noun that a session renames."""
    for mark, noun, case in PLACEHOLDERS:
        text = text.replace(words.joined((noun,), case), mark)
    return text


class Pool(NamedTuple):
    """Lines in order: one text, in which a line is found by where it starts. A list of lines would take three times the memory."""

    text: str
    """With marks (PLACEHOLDERS)."""
    starts: array[int]
    """Of each line; the one after it starts one character (newline or space) behind its end."""
    mean_chars: float
    """Of a line before it was marked, newline included."""

    def lines(self, first: int, number: int) -> str:
        """So many lines from number `first` on, joined as in the text; fewer at its end."""
        end = first + number
        return self.text[self.starts[first] : self.starts[end] - 1 if end < len(self.starts) else None]


@cache
def source_pool(language: str, size: int) -> Pool:
    """About `size` bytes of source files, one after another."""
    stream = Stream(_SEED, "source", language)
    writer = Writer(GRAMMARS[language], stream, _more(400, size))
    parts: list[str] = []
    made = 0
    while made < size:
        parts.append(writer.head() if stream.below(12) == 0 else writer.block())
        made += len(parts[-1]) + 1
    return _pool("\n".join(parts).split("\n"), "\n")


@cache
def path_pool(language: str, size: int) -> list[str]:
    """Files of a repository of so many bytes, marked."""
    grammar = GRAMMARS[language]
    stream = Stream(_SEED, "paths", language)
    found: set[str] = set()
    while len(found) < _more(240, size):
        stem = pick(NOUNS, stream) if stream.below(2) else f"{pick(NOUNS, stream)}_{pick(NOUNS, stream)}"
        found.add(f"{pick(grammar.folders, stream)}/{stem}.{grammar.extension}")
    return _marked("\n".join(sorted(found))).split("\n")


@cache
def name_pool(case: str, size: int) -> list[str]:
    """Names of functions in a repository of so many bytes, marked."""
    stream = Stream(_SEED, "names", case)
    return _marked("\n".join(function_name(stream, case) for _ in range(_more(300, size)))).split("\n")


@cache
def message_pool(size: int) -> list[str]:
    """What errors say in a repository of so many bytes, marked."""
    stream = Stream(_SEED, "messages")
    return _marked("\n".join(message(stream) for _ in range(_more(300, size)))).split("\n")


@cache
def prose_pool(size: int) -> Pool:
    """About `size` bytes of sentences, one a line."""
    stream = Stream(_SEED, "prose")
    lines = []
    made = 0
    while made < size:
        lines.append(sentence(stream))
        made += len(lines[-1]) + 1
    return _pool(lines, " ")


def _pool(lines: list[str], glue: str) -> Pool:
    made = sum(map(len, lines)) + len(lines)
    short = _marked("\n".join(lines)).split("\n")
    starts = array("I", accumulate((len(line) + 1 for line in short), initial=0))
    starts.pop()  # where a further line would start
    return Pool(glue.join(short), starts, made / len(lines))


def _more(number: int, size: int) -> int:
    """`number`, or more for a repository larger than _SMALL_BYTES."""
    return number * max(size, _SMALL_BYTES) // _SMALL_BYTES
