"""What is a secret: rules that a TOML file spells out, each a search whose time is linear in the text by its construction.

A rule is no regular expression. A backtracking one that somebody adds in good faith takes minutes on a tool result that fits it almost
(`(a+)+b`), and the recorder would fall behind its agents. A rule names what a secret opens with and what it is made of; every search
here takes a literal, then a possessive run of one class of characters, and never looks at a character more than a fixed number of times.

    [[token]]       a literal, then a run of characters: API keys, and the name behind /home/
    [[assignment]]  NAME=value, "name": "value", by words that names end with
    [[between]]     from one marker to another: PEM keys
    [[email]]       addresses
    [[login]]       the password in scheme://user:password@host
    [[literal]]     words of your own: a company, a customer, a host
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Annotated, ClassVar, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Struct

Stem: TypeAlias = Literal["scrubbed", "u"]
"""What a placeholder is made of: a secret becomes `scrubbed1...`, a person's name `u1...`."""
Word: TypeAlias = Annotated[str, Meta(min_length=2)]
Alphabet: TypeAlias = Annotated[str, Meta(pattern=r"^\^?(?:[^\\\[\]^]|\\[\\\[\]^sdwtnr-])+$")]
"""The inside of a character class: `A-Za-z0-9_-`, or `^/\\s` for all but these."""


class Hit(NamedTuple):
    """A secret found: text[low:high] is the whole of it, text[start:end] what a placeholder takes the place of."""

    low: int
    high: int
    start: int
    end: int
    stem: Stem = "scrubbed"


class Rule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    """What the counts of a recording call it."""


class Token(Rule, frozen=True, kw_only=True):
    """A literal, then a run of at least `least` characters of `alphabet`. The literal stays."""

    prefixes: Annotated[tuple[Word, ...], Meta(min_length=1)]
    alphabet: Alphabet = "A-Za-z0-9_-"
    least: Annotated[int, Meta(ge=1, le=4096)] = 16
    apart: bool = False
    """The literal may not follow a letter or digit: `sk-` also ends `task-` and `disk-`."""
    mixed: bool = False
    """The run holds two of lower case, upper case and digits: no word of prose does."""
    dotted: bool = False
    """Runs joined by single dots are one: the parts of a JWT."""
    closed_by: str = ""
    """What must follow the run: a Windows name may hold blanks, and is only then known to end where the path goes on."""
    companion: Annotated[int, Meta(ge=0, le=4096)] = 0
    """A run of exactly so many letters, digits, `/`, `+`, `=` within COMPANION_NEAR characters behind is a secret too: AWS's second."""
    placeholder: Stem = "scrubbed"

    def hits(self, text: str) -> Iterator[Hit]:
        for prefix in self.prefixes:
            if prefix in text:
                yield from self._of(prefix, text)

    def _of(self, prefix: str, text: str) -> Iterator[Hit]:
        run = _run(self.alphabet, self.dotted)
        at = text.find(prefix)
        while at >= 0:
            start = at + len(prefix)
            found = None if self.apart and _follows_a_word(text, at) else run.match(text, start)
            if found is None or found.end() - start < self.least:
                at = text.find(prefix, start)
                continue
            end = found.end()
            if text.startswith(self.closed_by, end) and (not self.mixed or _mixed(text[start:end])):
                yield Hit(at, end, start, end, self.placeholder)
                if self.companion and (second := _companion(text, end, self.companion)):
                    yield second
            at = text.find(prefix, end)  # what is not mixed as a whole is not so in part


class Assignment(Rule, frozen=True, kw_only=True):
    """The value given to a name that ends with one of `words`; `-` in a word stands for `-`, `_` or nothing.

    spaced = false   WORD=value as in a shell or an .env file, the word's case as written; any value of at least `least` characters
    spaced = true    also `word: value`, `"word": "value"`, `word = 'value'`, in any case; a quoted value holds no blanks, another one
                     letters and digits

    References ($NAME, ${{ secrets.X }}, <your key>, get_key()) are no values.
    """

    words: Annotated[tuple[Word, ...], Meta(min_length=1)]
    spaced: bool = False
    least: Annotated[int, Meta(ge=1, le=4096)] = 6

    def hits(self, text: str) -> Iterator[Hit]:
        seen = _lower(text) if self.spaced else text
        for word in self.words:
            search = _assigned(word, self.spaced).search
            found = search(seen)
            while found is not None:
                start, end, looked = self._value(text, found.end())
                if end - start >= self.least and not text.startswith(_REFERENCE, start):
                    yield Hit(start, end, start, end)
                found = search(
                    seen, looked
                )  # never again over the same value: KEY=KEY=KEY= would take the square of its length

    def _value(self, text: str, at: int) -> tuple[int, int, int]:
        """Where the value lies, an empty span where there is none; and up to where that was looked for."""
        quote = text[at : at + 1]
        if quote in _QUOTED:
            inside = (_UNBROKEN if self.spaced else _QUOTED)[quote].match(text, at + 1)
            if inside is not None and text.startswith(quote, inside.end()):
                return *inside.span(), inside.end()
            return at, at, at + 1
        bare = _BARE.match(text, at)
        if bare is None:
            return at, at, at
        value = bare[0].rstrip(",.:")
        calls = text.startswith(("(", "["), bare.end())
        secret = not calls and (not self.spaced or (_mixed(value) and _CLASSES[-1].search(value) is not None))
        return at, at + len(value) if secret else at, bare.end()


class Between(Rule, frozen=True, kw_only=True):
    """What stands between a marker (`opens`, in it `holds`, then `ends`) and the next `closes`, a quote, or the end of the text."""

    opens: Word
    holds: str
    ends: Word
    closes: Word

    def hits(self, text: str) -> Iterator[Hit]:
        at = text.find(self.opens)
        while at >= 0:
            mark = text.find(self.ends, at + len(self.opens), at + len(self.opens) + _MARKER_CHARS)
            if mark < 0 or self.holds not in text[at:mark]:
                at = text.find(self.opens, at + len(self.opens))
                continue
            start = mark + len(self.ends)
            close = text.find(self.closes, start)
            end = _NO_QUOTE.match(text, start, len(text) if close < 0 else close).end()  # type: ignore[union-attr]
            if end > start:
                yield Hit(start, end, start, end)
            at = text.find(self.opens, end)


class Email(Rule, frozen=True, kw_only=True):
    """Addresses, but for those under names that belong to nobody (RFC 2606) and `kept` ones."""

    kept: tuple[str, ...] = ("git@",)
    """Beginnings that stay: `git@github.com` is no person."""
    RESERVED: ClassVar[tuple[str, ...]] = (
        "example.com",
        "example.org",
        "example.net",
        ".example",
        ".test",
        ".invalid",
        ".localhost",
    )

    def hits(self, text: str) -> Iterator[Hit]:
        at = text.find("@")
        while at >= 0:
            before = _LOCAL.match(text[max(0, at - 64) : at][::-1])
            domain = _DOMAIN.match(text, at + 1)
            if before is not None and domain is not None:
                start, end = at - before.end(), domain.end()
                top = domain[0].rpartition(".")[2]
                reserved = domain[0].lower().endswith(self.RESERVED)
                if len(top) > 1 and top.isalpha() and not reserved and not text.startswith(self.kept, start):
                    yield Hit(start, end, start, end, "u")
            at = text.find("@", at + 1)


class Login(Rule, frozen=True, kw_only=True):
    """The password of scheme://user:password@host."""

    def hits(self, text: str) -> Iterator[Hit]:
        at = text.find("://")
        while at >= 0:
            found = _USERINFO.match(text, at + 3)
            if found is not None and not found[1].startswith(_REFERENCE):
                yield Hit(*found.span(1), *found.span(1))
            at = text.find("://", at + 3)


class Literally(Rule, frozen=True, kw_only=True):
    """These words themselves, where no letter or digit stands beside them."""

    values: Annotated[tuple[Word, ...], Meta(min_length=1)]
    any_case: bool = False
    placeholder: Stem = "scrubbed"

    def hits(self, text: str) -> Iterator[Hit]:
        for found in _words(self.values, self.any_case).finditer(text):
            start, end = found.span()
            if not _follows_a_word(text, start) and not text[end : end + 1].isalnum():
                yield Hit(start, end, start, end, self.placeholder)


class Rules(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file of rules."""

    default_rules: bool = True
    """Together with the shipped ones. false: these alone."""
    token: tuple[Token, ...] = ()
    assignment: tuple[Assignment, ...] = ()
    between: tuple[Between, ...] = ()
    email: tuple[Email, ...] = ()
    login: tuple[Login, ...] = ()
    literal: tuple[Literally, ...] = ()

    def all(self) -> tuple[Token | Assignment | Between | Email | Login | Literally, ...]:
        """In the order in which they win where two find the same."""
        return (*self.literal, *self.between, *self.token, *self.login, *self.email, *self.assignment)

    def __add__(self, other: Rules) -> Rules:
        both = {
            name: getattr(self, name) + getattr(other, name)
            for name in self.__struct_fields__
            if name != "default_rules"
        }
        return msgspec.structs.replace(self, **both)


COMPANION_NEAR = 80
_MARKER_CHARS = 80
_QUOTES = ("'", '"')
_QUOTED = {quote: re.compile(rf"[^{quote}\n]*+") for quote in _QUOTES}
_UNBROKEN = {quote: re.compile(rf"[^{quote}\s]*+") for quote in _QUOTES}
_BARE = re.compile(r"""[^\s"'`$<>|&;(){}\[\]\\]++""")
_NO_QUOTE = re.compile(r"""[^"'`]*+""")
_LOCAL = re.compile(r"[A-Za-z0-9._%+-]++")
_DOMAIN = re.compile(r"[A-Za-z0-9-]{1,63}+(?:\.[A-Za-z0-9-]{1,63}+){1,8}+")
_USERINFO = re.compile(r"""[^\s/:@"'<>\\]{0,128}+:([^\s/@"'<>\\]{1,256}+)@""")
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,16}m\Z")
_CLASSES = (re.compile("[a-z]"), re.compile("[A-Z]"), re.compile("[0-9]"))
_RUN = re.compile(r"[A-Za-z0-9/+=]++")
_ASCII_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_REFERENCE = ("$", "<", "{", "%(")


@cache
def _run(alphabet: str, dotted: bool) -> re.Pattern[str]:
    return re.compile(rf"[{alphabet}]++(?:\.[{alphabet}]++)*+" if dotted else f"[{alphabet}]++")


@cache
def _assigned(word: str, spaced: bool) -> re.Pattern[str]:
    """From a word up to where its value begins; every repeat is bounded. A pattern a word: each opens with a literal, which the search
    skips to at 1 GB/s. All words in one pattern ran at 5 MB/s."""
    if not spaced:
        return re.compile(re.escape(word) + "=")
    return re.compile(
        "[_-]?".join(map(re.escape, word.lower().split("-"))) + r"""["']?[ \t]{0,3}(?:=>|[:=])[ \t]{0,3}"""
    )


@cache
def _words(values: tuple[str, ...], any_case: bool) -> re.Pattern[str]:
    either = "|".join(map(re.escape, sorted(values, key=len, reverse=True)))
    return re.compile(either, re.IGNORECASE if any_case else 0)


def _lower(text: str) -> str:
    """Lower case without moving a character: `İ` alone would become two."""
    low = text.lower()
    return low if len(low) == len(text) else text.translate(_ASCII_LOWER)


def _follows_a_word(text: str, at: int) -> bool:
    """Whether a letter or digit stands before, and is not the end of a terminal's colour code."""
    return at > 0 and text[at - 1].isalnum() and _COLOUR.search(text[max(0, at - 20) : at]) is None


def _mixed(run: str) -> bool:
    return sum(kind.search(run) is not None for kind in _CLASSES) >= 2


def _companion(text: str, at: int, length: int) -> Hit | None:
    for found in _RUN.finditer(text, at, at + COMPANION_NEAR + length + 1):
        if len(found[0]) == length and found.start() <= at + COMPANION_NEAR:
            return Hit(*found.span(), *found.span())
    return None
