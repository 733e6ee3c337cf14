"""Secrets out of recorded text, before any of it is kept: the same value always becomes the same placeholder, of the same length.

    sk-proj-4f0c...        sk-scrubbed1scrubbed1scru
    /home/alice/work       /home/u1u1u/work
    alice@corp.io          u2@example.com

Same value, same placeholder: a history scrubbed at turn 5 begins, byte for byte, with the one scrubbed at turn 4. Placeholders are
numbered in the order in which values are met, and the numbers live in this object alone: a hash of a name, however salted, is undone by
trying the names. Same length: token counts stay near the provider's.

A secret can hide behind escapes. A tool call's arguments are JSON inside a JSON string, where `sk-` may be written `\\u0073k-` and `/` be
written `\\/`. So every string is searched as it is, with its escapes undone once, and again, up to LEVELS times; what is found there is
replaced where it came from. Placeholders hold letters and digits only (addresses also `@` and `.`): they need no escape at any level.

What no rule describes is not found: a password in a sentence, a customer's name (docs/record.md#scrubbing).
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator

import msgspec

from openagentperf.corpus.scrubrules import Hit, Rules, Stem

LEVELS = 4
"""JSON in a string of JSON in a string ... of a request: agents that write tests for agents reach three."""
_SHORT = 4
"""Strings below this hold no secret of any rule."""
_ESCAPE = re.compile(r"""\\(?:u([0-9a-fA-F]{4})|(["'\\/bfnrt]))""")
_MEANS = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_STRING = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_PLACEHOLDER = re.compile(r"(scrubbed|u)([0-9]+)")
_AT_NOBODY = "@example.com"


class Scrubber:
    """Holds what has been met. `distinct` counts the different values of each rule, `replaced` all their occurrences."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules.all()
        self._known: dict[str, str] = {}
        self._numbers: Counter[Stem] = Counter()
        self._clean: set[str] = set()
        self.distinct: Counter[str] = Counter()
        self.replaced: Counter[str] = Counter()

    def text(self, text: str) -> str:
        """`text` with a placeholder for each secret; itself where there is none."""
        # The sort is stable: of two that find the same, the rule that stands first wins.
        found = sorted(self._hits(text), key=lambda item: (item[1].low, -item[1].high))
        if not found:
            return text
        pieces: list[str] = []
        done = at = 0
        while at < len(found):
            rule, hit = found[at]
            start, end, high = hit.start, hit.end, hit.high
            at += 1
            while at < len(found) and found[at][1].low < high:  # overlapping finds are one: nothing of either may stay
                other = found[at][1]
                if (other.low, other.high) != (hit.low, hit.high):
                    start, end, high = min(start, other.start), max(end, other.end), max(high, other.high)
                at += 1
            pieces += text[done:start], self._instead(rule, text[start:end], hit.stem)
            done = end
        return "".join(pieces) + text[done:]

    def json(self, data: bytes) -> bytes:
        """The same for every string of a JSON text, keys included; all else keeps its bytes.

        Bytes that are no UTF-8 become U+FFFD. The text must be JSON: its strings are told by their quotes.
        """
        text = data.decode("utf-8", "replace")
        pieces: list[str] = []
        done = 0
        for found in _STRING.finditer(text):
            inside = found[1]
            if len(inside) < _SHORT or inside in self._clean:
                continue
            plain = json.loads(found[0], strict=False) if "\\" in inside else inside
            scrubbed = self.text(plain)
            if scrubbed != plain:
                pieces += text[done : found.start()], _quoted(scrubbed)
                done = found.end()
            elif len(inside) <= 32:  # keys and roles: the same few in every message
                self._clean.add(inside)
        if not pieces:
            return data
        return ("".join(pieces) + text[done:]).encode()

    def _hits(self, text: str) -> Iterator[tuple[str, Hit]]:
        """Every secret, its places those in `text`, and the name of its rule."""
        view = text
        unescaped: list[_Unescaped] = []
        for _ in range(LEVELS):
            for rule in self._rules:
                for hit in rule.hits(view):
                    for level in reversed(unescaped):
                        hit = level.origin(hit)
                    yield rule.name, hit
            if "\\" not in view:
                return
            unescaped.append(_Unescaped(view))
            if unescaped[-1].text == view:
                return
            view = unescaped[-1].text

    def _instead(self, rule: str, value: str, stem: Stem) -> str:
        value = _plain(value)
        if _is_placeholder(value):
            return value
        known = self._known.get(value)
        if known is None:
            self._numbers[stem] += 1
            self.distinct[rule] += 1
            known = self._known[value] = _placeholder(f"{stem}{self._numbers[stem]}", value)
        self.replaced[rule] += 1
        return known


class _Unescaped:
    """A text with its JSON escapes undone once, and where each of its characters came from."""

    def __init__(self, text: str) -> None:
        pieces: list[str] = []
        self._here, self._there = [0], [0]
        done = length = 0
        for found in _ESCAPE.finditer(text):
            start, end = found.span()
            pieces += text[done:start], _MEANS[found[2]] if found[1] is None else chr(int(found[1], 16))
            length += start - done + 1
            done = end
            self._here.append(length)
            self._there.append(end)
        self.text = "".join(pieces) + text[done:]

    def origin(self, hit: Hit) -> Hit:
        return Hit(self._at(hit.low), self._at(hit.high), self._at(hit.start), self._at(hit.end), hit.stem)

    def _at(self, place: int) -> int:
        """The place in the escaped text: of an escape, where it begins."""
        last = bisect_right(self._here, place) - 1
        return self._there[last] + place - self._here[last]


def _plain(value: str) -> str:
    """The value behind its escapes, so that it has one placeholder however it was written."""
    for _ in range(LEVELS):
        if "\\" not in value:
            break
        value = _Unescaped(value).text
    return value


def _placeholder(name: str, value: str) -> str:
    """As long as the value, where that leaves room for the name."""
    tail = _AT_NOBODY if "@" in value and name.startswith("u") else ""
    return (name * (len(value) // len(name) + 1))[: max(len(name), len(value) - len(tail))] + tail


def _is_placeholder(value: str) -> bool:
    """Whether it is one already: scrubbing what has been scrubbed changes nothing."""
    found = _PLACEHOLDER.match(value)
    return found is not None and value == _placeholder(found[0], value)


def _quoted(text: str) -> str:
    try:
        return msgspec.json.encode(text).decode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can write
        return json.dumps(text)
