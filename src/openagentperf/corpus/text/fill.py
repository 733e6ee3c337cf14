"""Text of an exact number of tokens, by whatever counter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from openagentperf.corpus.tokens import Counter
from openagentperf.errors import CorpusError

Source: TypeAlias = Callable[[int], str]
"""Gives a text of about as many characters as asked for, a new one at each call."""

_CHARS_PER_TOKEN = 4
_ROUNDS = 8
_PADDING = (" a", " the", " of", ".", "a", "\n", " I")
"""Each adds one token to nearly any text in the common vocabularies, and one to three bytes for `estimate`."""


def fill(count: Counter, tokens: int, source: Source) -> str:
    """A text with count(text) == tokens, cut from `source`; "" for 0 or less.

    The cut is found by interpolation between two known counts (one or two tries on code), then by halving. Counts of growing prefixes
    need not rise by one a character: a cut may split a pair that merges, or a character of four bytes may be three tokens. What is
    missing then, a few tokens, is made up with short words.
    CorpusError where even words cannot meet the count (a counter that counts no text).
    """
    if tokens <= 0:
        return ""
    text = source(tokens * _CHARS_PER_TOKEN + 32)
    found = count(text)
    for _ in range(_ROUNDS):
        if found >= tokens:
            break
        text += "\n" + source((tokens - found) * _CHARS_PER_TOKEN + 32)
        found = count(text)
    return _padded(count, tokens, _cut(count, tokens, text, found))


def _cut(count: Counter, tokens: int, text: str, found: int) -> str:
    """The longest known prefix with at most `tokens` tokens, and exactly so many where the search meets it."""
    if found <= tokens:
        return text
    low, low_count, high, high_count = 0, 0, len(text), found
    tries = 0
    while high - low > 1:
        tries += 1
        guess = (
            low + (high - low) * (tokens - low_count) // (high_count - low_count) if tries < 4 else (low + high) // 2
        )
        guess = min(max(guess, low + 1), high - 1)
        found = count(text[:guess])
        if found == tokens:
            return text[:guess]
        if found < tokens:
            low, low_count = guess, found
        else:
            high, high_count = guess, found
    return text[:low]


def _padded(count: Counter, tokens: int, text: str) -> str:
    """`text` with short words at its end until the count is met. Where no word fits, a character is given up and it goes on."""
    found = count(text)
    bulk = text + _PADDING[0] * max(0, tokens - found - 1)  # a source that ran dry leaves thousands to make up
    if count(bulk) <= tokens:
        text = bulk
        found = count(text)
    while found != tokens:
        for word in _PADDING if found < tokens else ():
            longer = count(text + word)
            if found < longer <= tokens:
                text, found = text + word, longer
                break
        else:
            if not text:
                raise CorpusError(
                    "token counter", f"cannot count any text as {tokens} tokens", "it must count words", "check it"
                )
            text = text[:-1]
            found = count(text)
    return text
