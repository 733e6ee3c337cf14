"""What a history of judged phases establishes about one tier. Made by search, read by score.capacity and by faces."""

from __future__ import annotations

from msgspec import Struct

from openagentperf.records.result import Standing as StandingName


class Standing(Struct, frozen=True, kw_only=True):
    """Where the search stands for one tier."""

    tier: str
    standing: StandingName
    """`unfinished` while the search still has a phase to ask for."""
    agents: int | None
    """Largest certified level; 0 where unmet; the limit where at_least; None where nothing is established."""
    passing: int
    """Largest level believed to pass so far (search phases count); 0 where none."""
    failing: int | None
    """Smallest level that failed and stands; None where none has."""
    certifying: tuple[int, ...] = ()
    """`Judged.index` of the certifying phases that established `agents`."""
    non_monotone: tuple[int, ...] = ()
    """Levels that passed above a repeated fail: reported, not believed."""
    phases_left: int = 0
    """At most this many more phases for this tier, if every remaining certification passes."""
    why: str = ""
    """In words, for `invalid`, `unmet` and `at_least`."""
