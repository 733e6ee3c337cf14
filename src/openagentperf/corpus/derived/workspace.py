"""The checkout that a session works on: the parent commit's files, and the session's edits so far."""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import Protocol

from openagentperf.corpus.derived.change import FileChange, Hunk, lines_of

_PLAIN = re.compile(r"[ !#-\[\]-~]*")
NEAR_LINES = 3
"""Hunks with so few lines between them are one edit."""


class Files(Protocol):
    """The parent commit's files."""

    @property
    def paths(self) -> Sequence[str]:
        """Sorted."""

    def text(self, path: str) -> str | None:
        """A text file; None where it is none, too large, or not there."""


class Document:
    """A file with edits that are still to be made."""

    def __init__(self, path: str, lines: Sequence[str], hunks: Sequence[Hunk]) -> None:
        self.path = path
        self.lines = list(lines)
        self._parts = _near(hunks)
        self.hunks = [_joined(lines, parts) for parts in self._parts]
        self._original = lines
        self._made: set[int] = set()

    def at(self, index: int) -> int:
        """Where hunk `index` begins in the file as it is now."""
        before = (self.hunks[i] for i in self._made if i < index)
        return self.hunks[index].at + sum(len(hunk.new) - len(hunk.old) for hunk in before)

    def edit(self, index: int, context: int) -> tuple[str, str]:
        """Text to replace and text to put there, with about `context` lines around it, so that the former occurs once in the file.

        Both lack their last line end where both have one, as agents write them. Equal to the whole file where nothing less is unique.
        """
        hunk, at, whole = self.hunks[index], self.at(index), "".join(self.lines)
        while True:
            start, end = max(0, at - context), at + len(hunk.old) + context
            head, tail = "".join(self.lines[start:at]), "".join(self.lines[at + len(hunk.old) : end])
            old, new = head + "".join(hunk.old) + tail, head + "".join(hunk.new) + tail
            if old.endswith("\n") and new.endswith("\n") and len(old) > 1 and len(new) > 1:
                old, new = old[:-1], new[:-1]
            if (old and whole.find(old, whole.find(old) + 1) < 0) or (start == 0 and end >= len(self.lines)):
                return old, new
            context = 2 * context + 1

    def make(self, index: int) -> None:
        """Hunk `index` is in the file from now on."""
        at, hunk = self.at(index), self.hunks[index]
        self.lines[at : at + len(hunk.old)] = hunk.new
        self._made.add(index)

    def diff(self, context: int = 3) -> str:
        """What `git diff` prints of the edits made, without its `index` line and the names behind @@; "" before the first."""
        groups: list[list[Hunk]] = []
        for hunk in (part for index in sorted(self._made) for part in self._parts[index]):
            last = groups[-1][-1] if groups else None
            if last is not None and hunk.at - (last.at + len(last.old)) <= 2 * context:
                groups[-1].append(hunk)
            else:
                groups.append([hunk])
        if not groups:
            return ""
        old, new, end = quoted(f"a/{self.path}"), quoted(f"b/{self.path}"), "\t" if " " in self.path else ""
        out = [f"diff --git {old} {new}\n--- {old}{end}\n+++ {new}{end}\n"]
        shift = 0
        for group in groups:
            out += self._section(group, context, shift)
            shift += sum(len(hunk.new) - len(hunk.old) for hunk in group)
        return "".join(out)

    def _section(self, group: list[Hunk], context: int, shift: int) -> Iterator[str]:
        first, last = group[0], group[-1]
        start, end = max(0, first.at - context), min(len(self._original), last.at + len(last.old) + context)
        grown = sum(len(hunk.new) - len(hunk.old) for hunk in group)
        yield f"@@ -{_range(start, end - start)} +{_range(start + shift, end - start + grown)} @@\n"
        at = start
        for hunk in group:
            yield from (f" {_ended(line)}" for line in self._original[at : hunk.at])
            yield from (f"-{_ended(line)}" for line in hunk.old)
            yield from (f"+{_ended(line)}" for line in hunk.new)
            at = hunk.at + len(hunk.old)
        yield from (f" {_ended(line)}" for line in self._original[at:end])


class Workspace:
    """Paths and lines as they are now. `documents` are the files that the session changes, by their path in the commit."""

    def __init__(self, files: Files, changes: Sequence[FileChange]) -> None:
        self._files = files
        self._gone: set[str] = set()
        self._put: dict[str, list[str]] = {}
        self._new: list[str] = []
        self._moved: dict[str, str] = {}
        self.changed: dict[str, str] = {}
        """Paths that edits touched, and the letters by which `git status` marks them."""
        self.moved: dict[str, str] = {}
        """Old names by new ones, of the files that have moved."""
        self.documents: dict[str, Document] = {}
        for change in changes:
            text = files.text(change.before) if change.kind == "modified" else None
            if text is not None:
                self.documents[change.path] = Document(change.path, lines_of(text), change.hunks)
                if change.path != change.before:
                    self._moved[change.before] = change.path

    def lines(self, path: str) -> Sequence[str] | None:
        """The lines of a file as it is now, with their ends; None where it is not there or no text."""
        if (own := self._own(path)) is not None:
            return own
        text = None if path in self._gone else self._files.text(path)
        return None if text is None else lines_of(text)

    def mentions(self, path: str, name: str) -> bool:
        """Whether a file holds a text; faster than its lines."""
        if (own := self._own(path)) is not None:
            return any(name in line for line in own)
        return path not in self._gone and name in (self._files.text(path) or "")

    def _own(self, path: str) -> Sequence[str] | None:
        """Lines that differ from the parent's, or may."""
        if path in self._gone:
            return None
        if path in self._put:
            return self._put[path]
        document = self.documents.get(self._moved.get(path, path))
        return None if document is None else document.lines

    def below(self, folder: str) -> Sequence[str]:
        """Paths of the files in a folder and its folders, sorted; "" is the root."""
        paths = self._files.paths
        if folder:
            start = bisect_left(paths, f"{folder}/")
            paths = paths[start : bisect_left(paths, f"{folder}0")]  # "0" follows "/"
        if not self._gone and not self._new:
            return paths
        new = [path for path in self._new if not folder or path.startswith(f"{folder}/")]
        return sorted([*(path for path in paths if path not in self._gone), *new])

    def write(self, path: str, lines: Sequence[str]) -> None:
        """A new file."""
        self._put[path] = list(lines)
        self._gone.discard(path)
        if path not in self._new:
            insort(self._new, path)
        self.changed[path] = "??"

    def remove(self, path: str) -> None:
        """A file is gone."""
        self._gone.add(path)
        self.changed[path] = "D "

    def move(self, before: str, path: str) -> None:
        """A document gets its new name."""
        self._gone.add(before)
        self._moved.pop(before, None)
        insort(self._new, path)
        self.moved[path] = before
        self.changed[path] = "R "

    def name(self, path: str) -> str:
        """What a file of `documents` is called at the moment: by its old name until it has moved."""
        return next((before for before, after in self._moved.items() if after == path), path)

    def make(self, path: str, index: int) -> None:
        """Hunk `index` of a document is in the file from now on."""
        self.documents[path].make(index)
        self.changed[path] = "RM" if path in self.moved else " M"


def parent_folder(path: str) -> str:
    return path.rpartition("/")[0]


def quoted(path: str, spaces: bool = False) -> str:
    """A path as git prints it: in quotes and escaped where it holds anything but printable ASCII; `spaces`: or a space."""
    if _PLAIN.fullmatch(path):
        return f'"{path}"' if spaces and " " in path else path
    escaped = "".join(
        f"\\{letter}" if letter in '"\\' else letter if " " <= letter <= "~" else _octal(letter) for letter in path
    )
    return f'"{escaped}"'


def _octal(letter: str) -> str:
    if letter in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[letter]
    return "".join(f"\\{byte:03o}" for byte in letter.encode("utf-8", "surrogatepass"))


def _near(hunks: Sequence[Hunk]) -> list[list[Hunk]]:
    """Hunks in order, those that are near each other together."""
    groups: list[list[Hunk]] = []
    for hunk in sorted(hunks, key=lambda hunk: hunk.at):
        last = groups[-1][-1] if groups else None
        if last is not None and hunk.at - (last.at + len(last.old)) <= NEAR_LINES:
            groups[-1].append(hunk)
        else:
            groups.append([hunk])
    return groups


def _joined(lines: Sequence[str], parts: Sequence[Hunk]) -> Hunk:
    """One hunk that does what the parts do, with the lines between them."""
    old, new = parts[0].old, parts[0].new
    at = parts[0].at + len(parts[0].old)
    for part in parts[1:]:
        between = tuple(lines[at : part.at])
        old, new = old + between + part.old, new + between + part.new
        at = part.at + len(part.old)
    return Hunk(parts[0].at, old, new)


def _range(start: int, count: int) -> str:
    """As git writes it: lines from 1, a length of 1 left out, and before an empty range the line in front of it."""
    return f"{start + 1}" if count == 1 else f"{start + 1 if count else start},{count}"


def _ended(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
