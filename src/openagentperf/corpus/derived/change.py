"""What git prints about a commit, read into data: its message, its changed files with their hunks, the files of a tree."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct

Kind: TypeAlias = Literal["modified", "added", "deleted"]


class Hunk(Struct, frozen=True):
    """Lines `old`, which stand at line `at` (from 0) of the parent's file, become `new`. All lines hold their ends."""

    at: int
    old: tuple[str, ...]
    new: tuple[str, ...]


class FileChange(Struct, frozen=True, kw_only=True):
    path: str
    """In the commit; of a deleted file, in the parent."""
    before: str
    """In the parent: differs where the file was renamed; "" where it was added."""
    kind: Kind
    hunks: tuple[Hunk, ...]


class Commit(Struct, frozen=True, kw_only=True):
    id: str
    parent: str
    message: str
    changes: tuple[FileChange, ...] = ()
    left_out: int = 0
    """Changed files that are no text, too large, links or submodules."""


class RawHunk(NamedTuple):
    at: int
    old: tuple[bytes, ...]
    new: tuple[bytes, ...]


class RawChange(NamedTuple):
    """One record of `git diff-tree --raw -z -p -U0`."""

    status: str
    """A, M, D or R."""
    path: bytes
    before: bytes
    regular: bool
    """Both sides are files: no link, no submodule."""
    blob: str
    """The parent's; zeros where the file was added."""
    hunks: tuple[RawHunk, ...]
    binary: bool


LINE_CHARS = 2_000
"""A file with a longer line is minified or data: agents neither read nor edit it."""
_RANGES = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_FILES = re.compile(rb"^diff --git ", re.MULTILINE)
_REGULAR = ("100644", "100755", "000000")
_TRAILER = re.compile(
    r"(?i)^\s*([a-z]+(-[a-z]+)*-by|cc|change-id|git-svn-id|reviewed-on|differential revision|x-[a-z-]+):.*$"
)


def read_commit(object_id: str, data: bytes) -> Commit:
    """A commit object. Its author is not read, and the lines of its message that name people or reviews are dropped."""
    head, _, body = data.partition(b"\n\n")
    fields = dict(line.split(b" ", 1) for line in head.split(b"\n") if b" " in line and not line.startswith(b" "))
    encoding = fields.get(b"encoding", b"utf-8").decode("ascii", "replace")
    try:
        message = body.decode(encoding)
    except (LookupError, UnicodeDecodeError, ValueError):
        message = body.decode("utf-8", "replace")
    lines = [line.rstrip() for line in message.replace("\0", "").split("\n")]
    kept = "\n".join(line for line in lines if not _TRAILER.match(line)).strip()
    return Commit(id=object_id, parent=fields.get(b"parent", b"").decode("ascii", "replace"), message=kept)


def read_tree(data: bytes) -> dict[str, str]:
    """Blob ids of the regular files in `git ls-tree -r -z`, by path. Names that are not UTF-8 hold U+FFFD."""
    blobs = {}
    for entry in data.split(b"\0"):
        mode, tab, path = entry.partition(b"\t")
        if tab and mode.startswith((b"100644", b"100755")):
            blobs[path.decode("utf-8", "replace")] = mode.rsplit(b" ", 1)[1].decode("ascii")
    return blobs


def read_diff(data: bytes) -> list[RawChange]:
    """The changes in what `git diff-tree -r --raw -z -p -U0` printed for two commits. ValueError where it is something else."""
    raw, _, patch = data.partition(b"\0\0")
    starts = [found.start() for found in _FILES.finditer(patch)]
    sections = [patch[start:end] for start, end in zip(starts, [*starts[1:], len(patch)], strict=True)]
    records: list[tuple[list[str], bytes, bytes]] = []
    fields = iter(raw.split(b"\0"))
    for meta in fields:
        if meta:
            words = meta.removeprefix(b":").decode("ascii").split(" ")
            before = path = next(fields)
            if words[4].startswith("R"):
                path = next(fields)
            records.append((words, path, before))
    if len(records) != len(sections):
        raise ValueError(f"{len(records)} records and {len(sections)} patches")
    changes = []
    for ((mode_before, mode_after, blob, _, status), path, before), section in zip(records, sections, strict=True):
        regular = mode_before in _REGULAR and mode_after in _REGULAR
        binary = b"\nBinary files " in section and b"\n@@ " not in section
        changes.append(RawChange(status[0], path, before, regular, blob, _hunks(section) if regular else (), binary))
    return changes


def edited_bytes(changes: list[RawChange]) -> int:
    """Bytes of all lines taken away or put in."""
    return sum(len(line) for change in changes for hunk in change.hunks for line in (*hunk.old, *hunk.new))


def with_changes(commit: Commit, raw: list[RawChange], blob: Callable[[str], bytes | None]) -> Commit:
    """The commit with those changes that are text, checked against the parent's files; `blob` reads one by its id."""
    changes: list[FileChange] = []
    for change in raw:
        made = None if change.binary or not change.regular else _change(change, blob)
        if made is not None:
            changes.append(made)
    changed = [
        change for change in changes if change.hunks or change.kind != "modified" or change.path != change.before
    ]
    return Commit(
        id=commit.id,
        parent=commit.parent,
        message=commit.message,
        changes=tuple(changed),
        left_out=len(raw) - len(changes),
    )


def text_of(data: bytes) -> str | None:
    """A file's text: UTF-8, else Latin-1, in which every byte is a letter; None where a NUL says that it is none."""
    if b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def unreadable(lines: Iterable[str]) -> bool:
    """Whether a line is longer than LINE_CHARS: minified code or data, which agents neither read nor edit."""
    return max(map(len, lines), default=0) > LINE_CHARS


def lines_of(text: str) -> list[str]:
    """Its lines with their ends, split where git splits them: at line feeds alone."""
    lines = text.split("\n")
    last = lines.pop()
    return [f"{line}\n" for line in lines] + ([last] if last else [])


def _change(change: RawChange, blob: Callable[[str], bytes | None]) -> FileChange | None:
    path, before = change.path.decode("utf-8", "replace"), change.before.decode("utf-8", "replace")
    if change.status == "A":
        text = text_of(b"".join(line for hunk in change.hunks for line in hunk.new))
        if text is None:
            return None
        lines = lines_of(text)
        if unreadable(lines):
            return None
        return FileChange(path=path, before="", kind="added", hunks=(Hunk(0, (), tuple(lines)),))
    if change.status == "D":
        return FileChange(path=path, before=before, kind="deleted", hunks=())
    if not change.hunks:
        return FileChange(path=path, before=before, kind="modified", hunks=())
    data = blob(change.blob)
    text = None if data is None else text_of(data)
    if text is None:
        return None
    lines = lines_of(text)
    if unreadable(lines):
        return None
    # Both sides must be read in one encoding: a file that is Latin-1 before and UTF-8 after has no text that both are made of.
    encoding = "utf-8" if text.encode() == data else "latin-1"
    hunks = []
    for hunk in change.hunks:
        old, new = _decoded(hunk.old, encoding), _decoded(hunk.new, encoding)
        if new is None or unreadable(new) or old != tuple(lines[hunk.at : hunk.at + len(hunk.old)]):
            return None
        hunks.append(Hunk(hunk.at, old, new))
    return FileChange(path=path, before=before, kind="modified", hunks=tuple(hunks))


def _decoded(lines: tuple[bytes, ...], encoding: str) -> tuple[str, ...] | None:
    if any(b"\0" in line for line in lines):
        return None
    try:
        return tuple(line.decode(encoding) for line in lines)
    except UnicodeDecodeError:
        return None


def _hunks(section: bytes) -> tuple[RawHunk, ...]:
    lines = section.split(b"\n")
    hunks = []
    at = 0
    while at < len(lines):
        found = _RANGES.match(lines[at])
        at += 1
        if not found:
            continue
        first, removed, added = (1 if group is None else int(group) for group in found.groups())
        old, at = _side(lines, at, removed)
        new, at = _side(lines, at, added)
        # An insertion's line number is that of the line before it.
        hunks.append(RawHunk(first - 1 if removed else first, old, new))
    return tuple(hunks)


def _side(lines: list[bytes], at: int, count: int) -> tuple[tuple[bytes, ...], int]:
    """`count` lines without their mark, and where the next one stands; the last lacks its end where git says so."""
    side = [line[1:] + b"\n" for line in lines[at : at + count]]
    at += count
    if at < len(lines) and lines[at].startswith(b"\\ "):
        at += 1
        if side:
            side[-1] = side[-1][:-1]
    return tuple(side), at
