"""A commit's changes as calls of editing tools, in groups that one answer each makes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from openagentperf.corpus.derived.change import Commit, FileChange
from openagentperf.corpus.derived.step import Step, bash, step, whole_lines
from openagentperf.corpus.derived.workspace import Workspace, parent_folder
from openagentperf.corpus.tokens import estimate
from openagentperf.seeds import Stream

_AROUND_LINES = 30
"""Shown of a file around an edit, at most, on either side."""
_CONTEXT_LINES = 3
_CALL_TOKENS = 40
"""Of an editing call, beside the lines."""

What: TypeAlias = Literal["hunk", "write", "remove", "move"]


class Edit(NamedTuple):
    what: What
    change: FileChange
    hunk: int
    """Number of the document's hunk."""
    tokens: int
    """About so much of an answer."""


def edits(commit: Commit, workspace: Workspace) -> list[Edit]:
    """All edits of a commit, moves and removals first, then a file after the other; tests and texts after the code."""
    planned = []
    for change in sorted(commit.changes, key=_order):
        if change.kind == "added":
            planned.append(Edit("write", change, 0, _CALL_TOKENS + estimate("".join(change.hunks[0].new))))
        elif change.kind == "deleted":
            planned.append(Edit("remove", change, 0, _CALL_TOKENS))
        elif change.path in workspace.documents:
            if change.path != change.before:
                planned.append(Edit("move", change, 0, _CALL_TOKENS))
            for index, hunk in enumerate(workspace.documents[change.path].hunks):
                size = estimate("".join(hunk.old)) + estimate("".join(hunk.new))
                planned.append(Edit("hunk", change, index, _CALL_TOKENS + size))
    return sorted(planned, key=lambda edit: edit.what not in ("move", "remove"))


def grouped(planned: Sequence[Edit], groups: int) -> list[list[Edit]]:
    """The edits in their order as at most `groups` groups of about equal tokens, none of them empty."""
    made: list[list[Edit]] = []
    total, done = sum(edit.tokens for edit in planned), 0
    for left, edit in zip(range(len(planned), 0, -1), planned, strict=True):
        # A new group where the tokens so far fill those before it, or where only so all groups get an edit.
        if not made or (len(made) < groups and (done * groups >= total * len(made) or left <= groups - len(made))):
            made.append([])
        made[-1].append(edit)
        done += edit.tokens
    return made


class Editor:
    """Carries edits out in the workspace. `writes`: the harness offers a tool for new files; else a shell writes them."""

    def __init__(self, workspace: Workspace, writes: bool, stream: Stream) -> None:
        self._workspace = workspace
        self._writes = writes
        self._stream = stream

    def make(self, edit: Edit, tokens: int) -> Step:
        """The call, and a result of about `tokens` at most: the lines around the change."""
        change = edit.change
        if edit.what == "remove":
            self._workspace.remove(change.path)
            return bash("remove", f"git rm -q {shlex.quote(change.path)}", "", change.path)
        if edit.what == "move":
            command = f"{self._folder_of(change.path)}git mv {shlex.quote(change.before)} {shlex.quote(change.path)}"
            self._workspace.move(change.before, change.path)
            return bash("move", command, "", change.path)
        if edit.what == "write":
            return self._write(change.path, change.hunks[0].new)
        document = self._workspace.documents[change.path]
        old, new = document.edit(edit.hunk, self._stream.below(_CONTEXT_LINES + 1))
        at, count = document.at(edit.hunk), len(document.hunks[edit.hunk].new)
        self._workspace.make(change.path, edit.hunk)
        if not old:  # the file was empty
            return self._written(change.path, document.lines)
        shown = (
            f"Edited {change.path}. The lines around the change:\n{self._around(change.path, at, count, tokens - 20)}"
        )
        return step("edit", "edit_file", shown, change.path, path=change.path, old_string=old, new_string=new)

    def _write(self, path: str, lines: Sequence[str]) -> Step:
        folder = self._folder_of(path)
        self._workspace.write(path, lines)
        return self._written(path, lines, folder)

    def _written(self, path: str, lines: Sequence[str], folder: str = "") -> Step:
        """The call that puts a whole file there."""
        text = "".join(lines)
        if self._writes:
            return step("write", "write_file", f"Wrote {path} ({len(lines)} lines).", path, path=path, content=text)
        end = "EOF"
        while f"{end}\n" in lines or end in lines:
            end += "_"
        whole = not text or text.endswith("\n")
        writer = "cat" if whole else "head -c -1"  # a here-document ends its last line, whether the file does or not
        gap = "" if whole else "\n"
        return bash("write", f"{folder}{writer} > {shlex.quote(path)} <<'{end}'\n{text}{gap}{end}", "", path)

    def _folder_of(self, path: str) -> str:
        """What makes the folder of a new file, where it is not there."""
        folder = parent_folder(path)
        return f"mkdir -p {shlex.quote(folder)} && " if folder and not self._workspace.below(folder) else ""

    def _around(self, path: str, at: int, count: int, tokens: int) -> str:
        lines = self._workspace.lines(path) or ()
        margin = min(_AROUND_LINES, max(2, (tokens // 12 - count) // 2))
        start, end = max(0, at - margin), min(len(lines), at + count + margin)
        shown = [f"{n:>6}\t{line}" for n, line in enumerate(lines[start:end], start + 1)]
        return "".join(shown[: whole_lines(shown, max(tokens, 40))]).removesuffix("\n")


def _order(change: FileChange) -> tuple[int, str]:
    """Code, then tests, then texts."""
    path = change.path.lower()
    if path.endswith((".md", ".rst", ".txt", ".adoc")):
        return 2, change.path
    return int("test" in path or "spec" in path), change.path
