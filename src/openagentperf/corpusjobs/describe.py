"""The card of whatever a path holds: a compiled corpus, a native set, or recordings."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from openagentperf.corpus.card import CardMaker
from openagentperf.corpus.formats.skips import Skips
from openagentperf.corpusfile import is_compiled, open_corpus
from openagentperf.corpusjobs.build import CARD_NAME, ESTIMATE
from openagentperf.corpusjobs.prepare import About
from openagentperf.corpusjobs.recordings import read_recordings
from openagentperf.corpusjobs.store import is_native, read_set
from openagentperf.errors import CorpusError
from openagentperf.records.card import Card
from openagentperf.records.trajectory import Skipped


class Described(Struct, frozen=True, kw_only=True):
    """A card, and what was left out of it."""

    card: Card
    notes: tuple[str, ...] = ()
    """Of a compiled corpus: what was cut, left out or drawn when it was prepared."""
    skipped: tuple[Skipped, ...] = ()


def describe(path: Path) -> Described:
    """Count what lies at `path`, one trajectory in memory at a time; a compiled corpus carries its card.

    A native set is always counted anew: a `card.json` beside it may be older than the set, and only names the token counter.
    CorpusError where nothing is there or nothing is usable.
    """
    if is_compiled(path):
        about = _about(path)
        return Described(card=about.card, notes=about.notes)
    skipped = Skips()
    native = is_native(path)
    maker = CardMaker(_counter(path) if native else ESTIMATE)
    for trajectory in read_set(path, skipped) if native else read_recordings(path, skipped):
        maker.add(trajectory)
    return Described(card=maker.card(), skipped=tuple(skipped))


def _about(path: Path) -> About:
    try:
        return msgspec.json.decode(open_corpus(path).about, type=About)
    except msgspec.DecodeError as error:
        raise CorpusError(
            str(path), f"has no readable card ({error})", "every compiled corpus carries one", "compile it again"
        ) from error


def _counter(path: Path) -> str:
    """The token counter that the set's card names; importers estimate."""
    card = (path if path.is_dir() else path.parent) / CARD_NAME
    try:
        return msgspec.json.decode(card.read_bytes(), type=Card).counter
    except (OSError, msgspec.DecodeError):
        return ESTIMATE
