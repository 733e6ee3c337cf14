"""Templates of one programming language, and how names are put into them."""

from __future__ import annotations

import re

from msgspec import Struct

from openagentperf.corpus.text import words
from openagentperf.seeds import Stream

_SLOT = re.compile(r"@([a-z])@")
_NUMBERS = (0, 1, 2, 3, 4, 5, 8, 10, 12, 16, 20, 24, 30, 32, 50, 60, 64, 100, 128, 200, 250, 256, 404, 500, 512, 1000)


class Language(Struct, frozen=True, kw_only=True):
    """A language as data. In a template `@f@` `@g@` are function names, `@t@` `@u@` types, `@a@` .. `@d@` variables (the same ones in a
    whole block), `@k@` a constant, `@p@` a module, `@s@` a message, `@w@` a remark, `@n@` a number; `@body@` a line of statements."""

    name: str
    extension: str
    case: str
    """Of functions and variables: snake, camel or pascal."""
    folders: tuple[str, ...]
    runner: str
    """Command that runs the tests."""
    heads: tuple[str, ...]
    """How a file starts."""
    blocks: tuple[str, ...]
    statements: tuple[str, ...]


class Writer:
    """Writes blocks of one language, from `names` ready names of each sort: a draw is then one index."""

    def __init__(self, language: Language, stream: Stream, names: int = 400) -> None:
        self._stream = stream
        case = language.case
        functions = [words.function_name(stream, case) for _ in range(names)]
        types = [words.type_name(stream) for _ in range(names)]
        local_case = "camel" if case == "pascal" else case
        variables = [words.variable_name(stream, local_case) for _ in range(names)]
        self._names = {
            **dict.fromkeys("fg", functions),
            **dict.fromkeys("tu", types),
            **dict.fromkeys("abcd", variables),
            "k": [words.joined((words.pick(words.ADJECTIVES, stream), words.pick(words.NOUNS, stream)), "upper") for _ in range(names)],
            "p": list(words.NOUNS),
            "s": [words.message(stream) for _ in range(names)],
            "w": [words.remark(stream) for _ in range(names)],
            "n": [str(n) for n in _NUMBERS],
        }  # fmt: skip
        self._heads = [_parsed(text) for text in language.heads]
        self._blocks = [_parsed(text) for text in language.blocks]
        self._statements = [_parsed(text) for text in language.statements]

    def head(self) -> str:
        return self._rendered(self._heads[self._stream.below(len(self._heads))], {})

    def block(self) -> str:
        """One function, type, test or table, with its body."""
        kept: dict[str, str] = {}
        text = self._rendered(self._blocks[self._stream.below(len(self._blocks))], kept)
        lines = []
        for line in text.split("\n"):
            if line.endswith("@body@"):
                lines.extend(self._body(line[:-6], kept))
            else:
                lines.append(line)
        return "\n".join(lines)

    def _body(self, indent: str, kept: dict[str, str]) -> list[str]:
        lines: list[str] = []
        for _ in range(2 + self._stream.below(6)):
            shared = {slot: name for slot, name in kept.items() if slot in "abcdt"}
            text = self._rendered(self._statements[self._stream.below(len(self._statements))], shared)
            kept.update((slot, shared[slot]) for slot in "abcd" if slot in shared)
            lines.extend(indent + line if line else line for line in text.split("\n"))
        return lines

    def _rendered(self, parts: list[str], kept: dict[str, str]) -> str:
        """`parts` alternate literal and slot; a slot that `kept` has not seen is drawn and kept."""
        out = []
        for index, part in enumerate(parts):
            if index % 2 == 0:
                out.append(part)
                continue
            name = kept.get(part)
            if name is None or part in "nsw":  # numbers and sentences are never the same twice
                choices = self._names[part]
                name = kept[part] = choices[self._stream.below(len(choices))]
            out.append(name)
        return "".join(out)


def _parsed(template: str) -> list[str]:
    return _SLOT.split(template.removesuffix("\n"))
