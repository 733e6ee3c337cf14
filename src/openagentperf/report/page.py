"""The page around whatever is reported: one HTML file that a printer, a phone and a screen reader can use."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from msgspec import Struct

from openagentperf.errors import UsageError


class Table(Struct, frozen=True, kw_only=True):
    """Rows as text; the first column names the row, the others are numbers and stand right-aligned."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Section(Struct, frozen=True, kw_only=True):
    """A heading, a sentence, a picture, and the picture's numbers as a table."""

    title: str
    text: str = ""
    svg: str = ""
    """From `charts`, put in as it is: nothing else may be given here."""
    svg_label: str = ""
    """What the picture shows, for those who cannot see it."""
    table: Table | None = None
    folded: bool = False
    """The table opens on demand; on paper it is always open."""


def html(title: str, lead: str, sections: Sequence[Section], foot: Sequence[str] = ()) -> bytes:
    """The page. Every text is escaped; control characters and bidirectional marks are replaced, so that none can disguise another.

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
    environment: Any = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.finalize = lambda value: (
        value if hasattr(value, "__html__") else clean(value) if isinstance(value, str) else value
    )
    template = environment.from_string((resources.files(__package__) / "page.html.j2").read_text())
    text: str = template.render(title=title, lead=lead, sections=sections, foot=foot)
    return text.encode()


_HIDDEN = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}
"""Marks that turn the direction of what follows."""
_LONGEST = 2_000


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
