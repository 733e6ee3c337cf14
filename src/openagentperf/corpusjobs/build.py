"""Generate a set of trajectories into a folder, with its card beside it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from openagentperf import rundir
from openagentperf.corpus.card import CardMaker
from openagentperf.corpus.shape import generate, profile_named
from openagentperf.corpus.tokens import Counter, estimate
from openagentperf.corpusjobs.store import write_set
from openagentperf.errors import UsageError
from openagentperf.records.card import Card
from openagentperf.records.trajectory import Trajectory

CARD_NAME = "card.json"
ESTIMATE = "estimate"
VOCABULARIES = {"o200k": "o200k_base", "cl100k": "cl100k_base", "qwen3": "qwen3", "llama3": "llama3"}
"""Our name of a vocabulary, and quicktok's."""


def build(profile: str, count: int, seed: int, out: Path, tokenizer: str = ESTIMATE) -> Card:
    """Write `count` sessions of `profile` to the native set in `out`, and their card to `card.json`; one session in memory at a time.

    The same arguments give the same bytes, on any host. An old card is removed first: a broken-off build leaves none that lies.
    PlanError: an unknown profile. UsageError: a count below 1, an unknown tokenizer, or one that is not installed. StorageError.
    """
    chosen = profile_named(profile)
    if count < 1:
        raise UsageError("count", f"is {count}", "at least 1 trajectory is needed", "raise it")
    count_tokens = counter(tokenizer)
    card_path = out / CARD_NAME
    with rundir.storage_errors(card_path):
        card_path.unlink(missing_ok=True)
    maker = CardMaker(tokenizer)

    def noted() -> Iterator[Trajectory]:
        for trajectory in generate(chosen, count, seed, count_tokens, tokenizer):
            maker.add(trajectory)
            yield trajectory

    write_set(out, noted())
    card = maker.card()
    rundir.write(card_path, msgspec.json.format(msgspec.json.encode(card)) + b"\n")
    return card


def counter(tokenizer: str) -> Counter:
    """The counter of that name: `estimate`, or a vocabulary of quicktok (the `tokenizers` extra)."""
    if tokenizer == ESTIMATE:
        return estimate
    if tokenizer not in VOCABULARIES:
        known = ", ".join((ESTIMATE, *VOCABULARIES))
        raise UsageError("tokenizer", f"{tokenizer!r} is not known", f"one of {known}", "choose one of these")
    try:
        # Imported here: an extra, and 4 MB of vocabularies that a run without it never needs.
        quicktok = importlib.import_module("quicktok")
    except ImportError as error:
        raise UsageError(
            f"tokenizer {tokenizer}",
            f"quicktok cannot be imported ({error})",
            "it holds the vocabularies",
            "pip install 'openagentperf[tokenizers]', or use --tokenizer estimate",
        ) from error
    count: Counter = quicktok.get_encoding(VOCABULARIES[tokenizer]).count
    return count
