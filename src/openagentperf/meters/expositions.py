"""The text format of Prometheus, as far as a meter needs it: samples with their labels. Lines that are none are left out.

    name{label="value",...} value [timestamp]

Escapes in label values: \\\\, \\" and \\n. OpenMetrics pages (`# EOF`, `_total`) read the same; exemplars behind the value are dropped.
A line is scanned once from left to right: one pattern for all of it would go back over a label of 1 MB for every brace in it, and take a
` # ` inside of a label for an exemplar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(,|(?=\}))')
_END = re.compile(r"[ \t]*\}")
_REST = re.compile(r"[ \t]*([^ \t#]+)(?:[ \t]+(-?[0-9][0-9.eE+-]*))?[ \t]*(?:#.*)?")
_ESCAPE = re.compile(r"\\(.)")
_TYPE = re.compile(r"#[ \t]+TYPE[ \t]+([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]+(\w+)[ \t]*")


class Sample(NamedTuple):
    """One line."""

    name: str
    labels: dict[str, str]
    value: float
    """NaN and infinities as they are written: what to do with them is the judge's affair."""
    stamp: str
    """The time as it is written (ms; in OpenMetrics s), "" where there is none: on the exporter's clock, so that only a change of it
    means anything here."""
    kind: str
    """`counter`, `gauge`, ... where the page declares it, else ""."""


def samples(page: str, names: frozenset[str] | None = None) -> Iterator[Sample]:
    """The samples of a page, only those called one of `names` where given."""
    kinds: dict[str, str] = {}
    for line in page.split("\n"):
        if line.startswith("#"):
            if found := _TYPE.fullmatch(line.rstrip("\r")):
                kinds[found[1]] = found[2]
            continue
        name = _NAME.match(line)
        if name is None or (names is not None and name[0] not in names):
            continue
        labels: dict[str, str] = {}
        at = _labelled(line, name.end(), labels)
        rest = _REST.fullmatch(line.rstrip("\r"), at) if at else None
        value = _number(rest[1]) if rest else None
        if rest is not None and value is not None:
            kind = kinds.get(name[0]) or kinds.get(name[0].removesuffix("_total"), "")
            yield Sample(name[0], labels, value, rest[2] or "", kind)


def _labelled(line: str, at: int, labels: dict[str, str]) -> int:
    """Put the labels of a line into `labels`; returns where the value begins, 0 where the line is broken."""
    name_end = at
    while line[at : at + 1] in (" ", "\t"):
        at += 1
    if line[at : at + 1] != "{":
        return at if at > name_end else 0
    at += 1
    while found := _LABEL.match(line, at):
        labels[found[1]] = _ESCAPE.sub(_unescaped, found[2])
        at = found.end()
    end = _END.match(line, at)
    return end.end() if end else 0


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]


def _number(text: str) -> float | None:
    if "_" in text:  # Python reads 1_000, nobody else does
        return None
    try:
        return float(text)
    except ValueError:
        return None
