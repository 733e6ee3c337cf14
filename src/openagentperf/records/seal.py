"""What is published of a sealed set, and what opens it."""

from __future__ import annotations

from msgspec import Struct

from openagentperf.records.card import Card


class Commitment(Struct, frozen=True, kw_only=True):
    """`commitment.json`: pins a set without showing it (corpus.commitment says how). JSON-able, public."""

    schema: str = "openagentperf/commitment/1"
    name: str
    root: str
    """sha256 over all leaves, 64 hex characters: the name that a result on this set carries."""
    leaves: tuple[str, ...]
    """One salted sha256 a trajectory, in the set's order: any part of the set can be revealed and checked alone."""
    turns: int
    card: Card
    public: str = ""
    """sha256 of the public part's `trajectories.jsonl`; "" where there is none."""
    shared_messages: int = 0
    """Tool results and prompts of 200 bytes or more in the sealed part that stand word for word in the public part too."""
    messages: int = 0
    """Of so many."""


class Opening(Struct, frozen=True, kw_only=True):
    """`opening.json`: the salts of revealed trajectories. With them the set can be checked against its commitment.

    Secret until the set is revealed: whoever has the salts can test a guess of a trajectory against its leaf.
    """

    schema: str = "openagentperf/opening/1"
    root: str
    salts: dict[int, str]
    """Salt (64 hex characters) of each revealed trajectory, by its place among the leaves; lines stand in the same order."""
