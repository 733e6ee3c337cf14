"""Where a session searches: as much of the tree around its change as can be read for every search."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from openagentperf.corpus.derived.workspace import Workspace, parent_folder

SEARCHED_FILES = 400


class Scope(NamedTuple):
    """`ending` "": all below `folder`. `ending` ".c": the files right in `folder` that end so. `file`: that one alone."""

    folder: str
    ending: str = ""
    file: str = ""

    def paths(self, workspace: Workspace) -> Sequence[str]:
        if self.file:
            return [self.file]
        paths = workspace.below(self.folder)
        if not self.ending:
            return paths
        return [path for path in paths if path.endswith(self.ending) and parent_folder(path) == self.folder]

    @property
    def pattern(self) -> str:
        """For a shell; "" where a folder names it."""
        if self.file:
            return shlex.quote(self.file)
        place = shlex.quote(f"{self.folder}/") if self.folder else ""
        return f"{place}*{shlex.quote(self.ending)}" if self.ending else ""


def around(workspace: Workspace, path: str) -> Scope:
    """The largest folder around a file that holds at most SEARCHED_FILES files.

    Where its own folder holds more: the files in it that end as this one does; where these are too many, the file alone.
    """
    folder = parent_folder(path)
    if len(workspace.below(folder)) <= SEARCHED_FILES:
        while folder and len(workspace.below(parent_folder(folder))) <= SEARCHED_FILES:
            folder = parent_folder(folder)
        return Scope(folder)
    _, dot, extension = path.rpartition("/")[2].rpartition(".")
    like = Scope(folder, f".{extension}") if dot else Scope(folder, file=path)
    return like if len(like.paths(workspace)) <= SEARCHED_FILES else Scope(folder, file=path)
