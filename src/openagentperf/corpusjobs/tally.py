"""What a set came to be, counted while it is written: its card, and what its trajectories' notes say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from openagentperf import rundir
from openagentperf.corpus.card import CardMaker
from openagentperf.corpus.formats.mend import counted
from openagentperf.corpusjobs.build import CARD_NAME, ESTIMATE
from openagentperf.corpusjobs.imports import Noted
from openagentperf.corpusjobs.store import write_set
from openagentperf.records.card import Card
from openagentperf.records.trajectory import Trajectory


class Tally:
    """`write` the set, then ask."""

    def __init__(self) -> None:
        self._maker = CardMaker(ESTIMATE)
        self._noted: dict[str, list[int]] = {}

    def write(self, out: Path, trajectories: Iterable[Trajectory]) -> Card:
        """The native set and its card into the folder `out`, one trajectory in memory at a time.

        An old card is removed first: a broken-off job leaves none that lies. StorageError where the disk refuses.
        """
        with rundir.storage_errors(out / CARD_NAME):
            (out / CARD_NAME).unlink(missing_ok=True)
        write_set(out, self._passing(trajectories))
        card = self._maker.card()
        rundir.write(out / CARD_NAME, msgspec.json.format(msgspec.json.encode(card)) + b"\n")
        return card

    def noted(self) -> tuple[Noted, ...]:
        """By kind, as an import reports them."""
        return tuple(Noted(what, len(n), min(n), max(n)) for what, n in sorted(self._noted.items()))

    def _passing(self, trajectories: Iterable[Trajectory]) -> Iterator[Trajectory]:
        for trajectory in trajectories:
            self._maker.add(trajectory)
            for note in trajectory.notes:
                number, what = counted(note)
                self._noted.setdefault(what, []).append(number)
            yield trajectory
