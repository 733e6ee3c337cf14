"""What stands deep in decoded objects of which nothing is certain."""

from __future__ import annotations


def at(value: object, *path: str) -> object:
    """What stands there in nested objects; None where nothing does."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def text_at(value: object, *path: str) -> str:
    """The text that stands there; "" where none does."""
    found = at(value, *path)
    return found if isinstance(found, str) else ""
