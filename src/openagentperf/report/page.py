"""The page around whatever is reported: one HTML file that a printer, a phone and a screen reader can use."""

from __future__ import annotations

import base64
import hashlib
import importlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any, Literal

import msgspec
from msgspec import Struct

from openagentperf.errors import UsageError


class Cell(Struct, frozen=True, kw_only=True):
    """A figure of a record: as text, with the exact value and its place in the record (`results[0].agents`) as attributes."""

    text: str
    path: str = ""
    value: int | float | None = None


class Table(Struct, frozen=True, kw_only=True):
    """Rows as text; the first column names the row, the others are numbers and stand right-aligned."""

    head: tuple[str, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    words: tuple[int, ...] = ()
    """Columns that hold sentences: left-aligned, and broken where they are long."""


class Headline(Struct, frozen=True, kw_only=True):
    """One answer, large."""

    title: str
    value: Cell
    unit: str
    text: str
    """How it was established, and what was asked."""
    state: Literal["good", "bad", "open"]
    """Shown by `text` too: never by colour alone."""
    lines: tuple[tuple[str, tuple[str | Cell, ...]], ...] = ()
    """(name, figures and the words between them)."""


class Section(Struct, frozen=True, kw_only=True):
    """A heading, a sentence, a picture, and the picture's numbers as a table."""

    title: str
    text: str = ""
    svg: str | Callable[[], str] = ""
    """From `charts`, put in as it is: nothing else may be given here. As a function it is drawn only where it is shown."""
    svg_label: str = ""
    """What the picture shows, for those who cannot see it."""
    table: Table | None = None
    folded: bool = False
    """The table (and `code`) opens on demand; on paper it is always open."""
    group: str = ""
    """Heading above this section and those that follow with the same; it stands in the page's list of contents."""
    headlines: tuple[Headline, ...] = ()
    notes: tuple[str, ...] = ()
    """A list of sentences."""
    code: str = ""
    """Text of a file or commands, as it is."""


def html(title: str, lead: str, sections: Sequence[Section], foot: Sequence[str] = ()) -> bytes:
    """The page. Every text is escaped; control characters and bidirectional marks are replaced, so that none can disguise another.

    UsageError where the `report` extra is missing.
    """
    text: str = _template().render(title=title, lead=lead, groups=_grouped(sections), foot=foot)
    return text.encode()


@cache
def _template() -> Any:
    made = environment(__package__)
    made.globals |= {"style": style(), "policy": policy(style())}
    return made.get_template("page.html.j2")


def environment(package: str) -> Any:
    """Templates that lie in `package` and escape whatever is put into them; `whole` keeps more of a text than a cell may hold.

    UsageError where the `report` extra is missing.
    """
    try:
        jinja2 = importlib.import_module("jinja2")
    except ImportError as error:
        raise UsageError(
            "page",
            f"jinja2 cannot be imported ({error})",
            "it fills the page in",
            "pip install 'openagentperf[report]'",
        ) from error
    files = resources.files(package)
    made: Any = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (files / name).read_text()), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: clean(value) if isinstance(value, str) and not hasattr(value, "__html__") else value,
    )  # fmt: skip
    made.globals["whole"] = lambda text: jinja2.utils.markupsafe.escape(clean(text, _LONGEST_CODE))
    return made


def style() -> str:
    """The style sheet that every page begins with."""
    return (resources.files(__package__) / "page.css").read_text()


def policy(style: str, script: str = "") -> str:
    """A page's Content-Security-Policy: nothing is fetched; the one style, and the one script if there is one, are known by their hashes,
    so that nothing else applies or runs."""
    scripts = f"script-src '{_digest(script)}'; " if script else ""
    return f"default-src 'none'; style-src '{_digest(style)}'; {scripts}base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _grouped(sections: Sequence[Section]) -> list[tuple[str, str, list[Section]]]:
    """(group, its anchor, its sections), neighbours of one group together; pictures drawn."""
    groups: list[tuple[str, str, list[Section]]] = []
    for section in sections:
        if not groups or groups[-1][0] != section.group:
            groups.append((section.group, f"part-{len(groups) + 1}", []))
        drawn = section.svg if isinstance(section.svg, str) else section.svg()
        groups[-1][2].append(msgspec.structs.replace(section, svg=drawn))
    return groups


_HIDDEN = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}
"""Marks that turn the direction of what follows."""
_LONGEST = 2_000
_LONGEST_CODE = 20_000


def clean(text: str, longest: int = _LONGEST) -> str:
    """Text that shows as what it is: nothing that is no character in XML, no marks that turn the direction of writing, no more than
    `longest` characters."""
    if len(text) > longest:
        text = f"{text[:longest]} ... ({len(text):,} characters)"
    return "".join(c if _shows(ord(c)) else "\ufffd" for c in text)


def _shows(code: int) -> bool:
    if code < 0xA0:
        return 0x20 <= code < 0x7F or code == 0x0A
    return code not in _HIDDEN and not 0xD800 <= code < 0xE000 and code & 0xFFFE != 0xFFFE
