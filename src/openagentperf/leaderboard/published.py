"""Figures that others published of other benchmarks: data, shown in a table of their own (published.toml)."""

from __future__ import annotations

from importlib import resources

import msgspec
from msgspec import Struct


class Row(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    system: str
    model: str
    tier: str
    agents_per_mw: float
    boundary: str
    """What the watts cover, as published."""
    agents_per_accelerator: float
    accelerators: int
    config: str


class Published(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    source: str
    row: tuple[Row, ...]


def published() -> Published:
    return msgspec.toml.decode((resources.files(__package__) / "published.toml").read_bytes(), type=Published)
