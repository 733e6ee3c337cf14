"""What an importer gives of the sessions that it read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory


def usable(
    read: Iterable[tuple[str, Trajectory | None]], skipped: list[Skipped], without: str, none: CorpusError
) -> Iterator[Trajectory]:
    """The trajectories, each read with where it stands. In place of one that is None a row of `skipped` says `without`, as in "a row
    without an answer". Raises `none` where there is none at all."""
    found = False
    for where, trajectory in read:
        if trajectory is None:
            skipped.append(Skipped(where, without))
        else:
            found = True
            yield trajectory
    if not found:
        raise none
