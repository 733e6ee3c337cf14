"""A public set, or its first trajectories, as a native set with its licence and attribution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

import msgspec
import yaml
from msgspec import Struct

from openagentperf import rundir
from openagentperf.corpus.detect import IMPORTERS
from openagentperf.corpus.fit import fault
from openagentperf.corpusjobs.hub import Source
from openagentperf.corpusjobs.imports import Noted
from openagentperf.corpusjobs.publicsets import PublicSet, spdx
from openagentperf.corpusjobs.rows import SUFFIXES, rows
from openagentperf.corpusjobs.tally import Tally
from openagentperf.errors import CorpusError, UsageError
from openagentperf.records.card import Card
from openagentperf.records.trajectory import Skipped, Trajectory

NOTICE_NAME = "NOTICE"
CARD_FILE = "README.md"
_GIVEN_UP_ROWS = 200
"""Where so many rows gave nothing the set has another form than its importer: gigabytes more would tell no more."""


class Offer(Struct, frozen=True, kw_only=True):
    """What would be fetched, and on which terms: to be shown before anything is."""

    set: PublicSet
    revision: str
    licence: str
    """SPDX id by the card of the data set at this revision; "" where it names none."""
    files: dict[str, int | None]
    """Data files in the order in which they are read, with their bytes."""

    @property
    def as_known(self) -> bool:
        """The card names the licence that this release knows."""
        return self.licence == self.set.licence


class FetchReport(Struct, frozen=True, kw_only=True):
    """What one fetch read and wrote. JSON-able."""

    set: str
    repo: str
    revision: str
    licence: str
    files: tuple[str, ...]
    """Data files that were read, the last perhaps in part."""
    card: Card
    noted: tuple[Noted, ...]
    skipped: tuple[Skipped, ...]


def offer(known: PublicSet, source: Source, revision: str | None = None, files: str | None = None) -> Offer:
    """Look the set up: its revision, the licence of its card, its data files. No data is fetched.

    files   pattern of paths, instead of the set's own choice
    CorpusError where no data file matches. What `source` raises goes on.
    """
    listing = source.listing(known.repo, revision)
    data = [name for name in listing.files if name.endswith(SUFFIXES)]
    chosen = [name for name in data if fnmatch(name, files or known.prefer)]
    if files is None and not chosen:
        chosen = data
    if not chosen:
        raise CorpusError(
            known.repo,
            f"holds no such data file (of {len(listing.files)} files {len(data)} are data: {', '.join(data[:5]) or 'none'})",
            f"{files or 'Parquet or JSON lines'} is needed",
            "look at its files on the hub, and choose with --files",
        )
    licence = ""
    if CARD_FILE in listing.files:
        licence = card_licence(source.download(known.repo, CARD_FILE, listing.revision).read_bytes())
    return Offer(
        set=known, revision=listing.revision, licence=licence, files={name: listing.files[name] for name in chosen}
    )


def check_consent(offered: Offer, accepted: str | None) -> None:
    """What a person who is not asked has agreed to: the licence of the table, or the one named. UsageError where the card names another.

    accepted   the SPDX id that was agreed to by name, or None: the one that this release knows
    """
    agreed = offered.set.licence if accepted is None else accepted
    if agreed.lower() != offered.licence.lower():
        raise UsageError(
            f"licence of {offered.set.repo}",
            f"is {offered.licence or 'not named'} by its card",
            f"{agreed} was agreed to",
            f"read its page, then agree by --licence {offered.licence}"
            if offered.licence
            else "read its page, then run this at a terminal",
        )


def fetch(offered: Offer, source: Source, out: Path, limit: int | None) -> FetchReport:
    """Download the data files one after the other until there are `limit` trajectories, and write them to the folder `out`.

    limit   None: all. The first ones in the order of the files: the set's own order, no sample.

    One batch of rows in memory. CorpusError where no row is usable; nothing is written then.
    """
    if limit is not None and limit < 1:
        raise UsageError("limit", f"is {limit}", "at least 1 trajectory is needed", "raise it, or ask for --all")
    skipped: list[Skipped] = []
    used: list[str] = []
    stream = _trajectories(offered, source, limit, skipped, used)
    first = next(stream, None)
    if first is None:
        lost = f" (the first of {len(skipped)}: {skipped[0].where}: {skipped[0].why})" if skipped else ""
        raise CorpusError(
            offered.set.repo,
            f"holds no usable row{lost}",
            f"rows of {offered.set.format} are needed",
            "the set may have changed its form: try another --revision or --files",
        )

    def whole() -> Iterator[Trajectory]:
        yield first
        yield from stream

    tally = Tally()
    card = tally.write(out, whole())
    rundir.write(out / NOTICE_NAME, notice(offered, used, card).encode())
    return FetchReport(
        set=offered.set.name,
        repo=offered.set.repo,
        revision=offered.revision,
        licence=offered.licence,
        files=tuple(used),
        card=card,
        noted=tally.noted(),
        skipped=tuple(skipped),
    )


def card_licence(readme: bytes) -> str:
    """The licence in the metadata of a data set's card, as SPDX ids where known; several joined by " AND "; "" where there is none."""
    head, _, rest = readme.decode("utf-8", "replace").removeprefix("\ufeff").partition("---\n")
    if head.strip():
        return ""
    try:
        metadata = yaml.safe_load(rest.partition("\n---")[0])
    except yaml.YAMLError:
        return ""
    named = metadata.get("license") if isinstance(metadata, dict) else None
    names = named if isinstance(named, list) else [named]
    return " AND ".join(spdx(name) for name in names if isinstance(name, str))


def notice(offered: Offer, files: Sequence[str], card: Card) -> str:
    """The attribution that most licences ask for, to be kept beside the set."""
    known = offered.set
    return (
        f"{known.repo}\n"
        f"by {known.author}\n"
        f"https://huggingface.co/datasets/{known.repo}, revision {offered.revision or 'not recorded'}\n"
        f"licence: {offered.licence or 'not named by its card'}\n\n"
        f"Changes: {card.trajectories:,} trajectories of its first data files were converted to the native form of openagentperf: turns as "
        "deltas, token counts estimated, histories mended where an engine would refuse them (each trajectory's notes say what).\n\n"
        f"Data files: {', '.join(files)}\n"
    )


def _trajectories(
    offered: Offer, source: Source, limit: int | None, skipped: list[Skipped], used: list[str]
) -> Iterator[Trajectory]:
    importer = IMPORTERS[offered.set.format]
    ids: set[str] = set()
    for name in offered.files:
        path = source.download(offered.set.repo, name, offered.revision)
        used.append(name)
        for number, row in enumerate(rows(path, name), 1):
            # One row at a time, so that what is skipped is named by its row and a limit stops at it.
            place = f"{offered.set.repo}@{offered.revision[:12]} {name}[{number}]"
            try:
                found = list(importer.read(row, place, skipped))
            except CorpusError as error:
                if not ids and len(skipped) >= _GIVEN_UP_ROWS:
                    return
                if not skipped or not skipped[-1].where.startswith(place):
                    skipped.append(Skipped(place, error.found))
                continue
            for trajectory in found:
                if why := fault(trajectory):
                    skipped.append(Skipped(place, why))
                    continue
                yield msgspec.structs.replace(
                    trajectory,
                    id=_unique(trajectory.id, ids),
                    source=f"{offered.set.repo}@{offered.revision} {name}[{number}]",
                    licence=offered.licence,
                )
                if limit is not None and len(ids) >= limit:
                    return


def _unique(wish: str, ids: set[str]) -> str:
    name, number = wish, 1
    while name in ids:
        number += 1
        name = f"{wish}~{number}"
    ids.add(name)
    return name
