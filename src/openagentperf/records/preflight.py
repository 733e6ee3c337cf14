"""What preflight found, check by check, and what the run learns from it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Check(Struct, frozen=True, kw_only=True):
    """One question asked of the endpoint before any load."""

    name: str
    status: Literal["ok", "warning", "failed"]
    found: str
    needed: str = ""
    fix: str = ""

    @property
    def ok(self) -> bool:
        """False stops the run; a warning does not."""
        return self.status != "failed"


class ServerFacts(Struct, frozen=True, kw_only=True):
    """What a run must know of the server, learnt before load."""

    model: str
    context_tokens: int = 0
    """Longest request + answer; 0 where the server does not say."""
    token_ratio: float = 1.0
    """The server's prompt tokens / the corpus's, on a first turn: another tokenizer and template."""
    reports_cached: bool = False
    """Whether usage tells how many prompt tokens came from the prefix cache."""
    prefix_cached: float | None = None
    """Share of a repeated prompt served from cache; None where not reported."""


class Report(Struct, frozen=True, kw_only=True):
    """All checks in the order asked. `server` is None where the endpoint could not be used at all."""

    checks: tuple[Check, ...]
    server: ServerFacts | None = None

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)
