"""GitHub-flavoured Markdown of texts that anybody may have written: nothing in them mentions anybody, links anywhere, opens a tag or breaks
a table. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Sequence

from openagentperf.report.page import clean

LONGEST = 1000
"""Characters of a sentence or a name."""
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]#!|~$])")
_BREAK = "\u200b"
"""Between what would become a link, a mention or a reference and what makes it one: GitHub looks for them after all escapes are undone."""
_LINKS = re.compile(r"@(?=\w)|(?<=:)(?=//)|(?<=\bwww)(?=\.)|#(?=\d)|(?<=\bGH)(?=-\d)", re.IGNORECASE)


def one_line(text: str, longest: int = LONGEST) -> str:
    """What a text shows, on one line."""
    return clean(text, longest).replace("\n", " ")


def escape(text: str, longest: int = LONGEST) -> str:
    """A sentence in a cell or a list."""
    told = _LINKS.sub(lambda found: found[0] + _BREAK, one_line(text, longest))
    return _PUNCTUATION.sub(r"\\\1", html.escape(told, quote=False))


def code(name: str) -> str:
    """A name as a code span, in which nothing but its end and a table's pipe has a meaning."""
    told = one_line(name) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", told)), default=0))
    told = re.sub(r"(\\*)\|", lambda found: found[1] * 2 + r"\|", told)
    pad = " " if told.startswith("`") or told.endswith("`") else ""
    return f"{fence}{pad}{told}{pad}{fence}"


def block(text: str, longest: int) -> list[str]:
    """A file or commands as they are, between fences that nothing in them closes."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return [fence, clean(text, longest), fence]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> list[str]:
    """Lines; `numbers`: columns that stand right-aligned. The cells are Markdown already."""
    rule = ["---:" if n in numbers else "---" for n in range(len(head))]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]
