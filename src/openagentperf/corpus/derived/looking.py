"""Searches and listings, computed from the files as they are at that moment of the session."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence

from openagentperf.corpus.derived import scope
from openagentperf.corpus.derived.change import Commit
from openagentperf.corpus.derived.reading import Reader
from openagentperf.corpus.derived.step import Step, bash, step, whole_lines
from openagentperf.corpus.derived.workspace import Workspace, parent_folder, quoted
from openagentperf.seeds import Stream

_MATCH_CHARS = 200
_LEADS = 4
"""Matching files that are read next."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{3,60}")
_DEFINED = re.compile(
    r"\b(?:def|func|fn|class|struct|interface|function|type|trait|enum|module|impl|object|record)\s+([A-Za-z_]\w{3,60})"
)
_KEYWORDS = (
    "abstract assert async await bool boolean break case catch char class const continue default defer delete double elif "
    "else enum except export extends false final finally float func function from global goto if impl implements import "
    "include instanceof interface into lambda match module mutable namespace none null nullptr object override package pass "
    "print private protected public raise readonly require return self sizeof static string struct super switch template "
    "test tests that then this throw throws trait true type typedef undefined union unsafe unsigned using value var void "
    "volatile when where while will with yield"
)
_COMMON = frozenset(_KEYWORDS.split())


class Looker:
    """Commands that look around. What a search finds becomes a lead of the reader."""

    def __init__(
        self, workspace: Workspace, commit: Commit, around: str, recent: Sequence[tuple[str, str]], reader: Reader, stream: Stream
    ) -> None:  # fmt: skip
        self._workspace = workspace
        self._reader = reader
        self._stream = stream
        self._recent = recent
        self._scope = scope.around(workspace, around)
        self._symbols = _symbols(commit)
        self._asked: set[str] = set()

    def grep(self, tokens: int) -> Step | None:
        """A search for a name of the change, later for one defined in what was read last; None where none is left."""
        symbol = self._symbol()
        if symbol is None:
            return None
        matches: list[str] = []
        places: list[tuple[str, int]] = []
        for path in self._scope.paths(self._workspace):
            if not self._workspace.mentions(path, symbol):
                continue
            for number, line in enumerate(self._workspace.lines(path) or ()):
                if symbol in line:
                    if not places or places[-1][0] != path:
                        places.append((path, number))
                    matches.append(f"{path}:{number + 1}:{line.strip()[:_MATCH_CHARS]}\n")
        for place in places[:_LEADS]:
            self._reader.lead(*place)
        shown = whole_lines(matches, tokens)
        text = "".join(matches[:shown]).removesuffix("\n")
        if shown < len(matches):
            text += f"\n[{len(matches) - shown} more matches not shown]"
        if self._scope.pattern:
            return bash("grep", f"grep -Hn {symbol} {self._scope.pattern}", text, symbol)
        return step("grep", "grep", text or "No matches.", symbol, pattern=symbol, path=self._scope.folder or ".")

    def listing(self, tokens: int) -> Step:
        """The tracked files of a folder around the change: of the largest that fits, else the first files of the smallest."""
        folder = self._scope.folder
        paths = self._tracked(folder)
        while folder:
            above = self._tracked(parent_folder(folder))
            lines = [f"{quoted(path)}\n" for path in above]
            if whole_lines(lines, tokens) < len(lines):
                break
            folder, paths = parent_folder(folder), above
        lines = [f"{quoted(path)}\n" for path in paths]
        shown = whole_lines(lines, tokens)
        cut = f" | head -n {shown}" if shown < len(lines) else ""
        where = f" {shlex.quote(folder)}" if folder else ""
        return bash(
            "list", f"git ls-files{where}{cut}", "".join(lines[:shown]).removesuffix("\n"), folder or "the repository"
        )

    def sizes(self, tokens: int) -> Step | None:
        """Line counts of files of the folder, as `wc -l` prints them."""
        start = self._stream.below(1 << 30)
        paths = [path for path in self._scope.paths(self._workspace) if self._workspace.mentions(path, "\n")]
        if not paths:
            return None
        room = max(1, min(len(paths), (tokens - 8) // 16, 40))
        chosen = sorted({paths[(start + k) % len(paths)] for k in range(room)})
        texts = ["".join(self._workspace.lines(path) or ()) for path in chosen]
        counts = [(text.count("\n"), path) for text, path in zip(texts, chosen, strict=True)]
        width = 1
        if len(counts) > 1:  # wc makes its columns as wide as the size of all files
            width = len(str(sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)))
            counts.append((sum(count for count, _ in counts), "total"))
        rows = [f"{count:>{width}} {path}" for count, path in counts]
        return bash("sizes", f"wc -l {' '.join(map(shlex.quote, chosen))}", "\n".join(rows), chosen[0])

    def log(self, tokens: int) -> Step | None:
        """The latest commits before this one; None for the first."""
        if not self._recent:
            return None
        lines = [f"{commit[:9]} {subject}\n" for commit, subject in self._recent]
        shown = whole_lines(lines, tokens)
        return bash("log", f"git log --oneline -n {shown}", "".join(lines[:shown]).removesuffix("\n"))

    def diff(self, tokens: int) -> Step | None:
        """What the session has changed so far; None before its first edit of a file that was there."""
        texts = [document.diff() for document in self._workspace.documents.values()]
        lines = "".join(texts).splitlines(keepends=True)
        if not lines:
            return None
        shown = whole_lines(lines, tokens)
        cut = f" | head -n {shown}" if shown < len(lines) else ""
        return bash("diff", f"git diff{cut}", "".join(lines[:shown]).removesuffix("\n"))

    def status(self) -> Step:
        """What `git status` prints in its short form."""
        changed = sorted(self._workspace.changed.items(), key=lambda item: (item[1] == "??", item[0]))
        rows = []
        for path, letters in changed:
            before = self._workspace.moved.get(path)
            source = "" if before is None else f"{quoted(before, spaces=True)} -> "
            rows.append(f"{letters} {source}{quoted(path, spaces=True)}")
        return bash("status", "git status --short -uall", "\n".join(rows))

    def _tracked(self, folder: str) -> list[str]:
        return [path for path in self._workspace.below(folder) if self._workspace.changed.get(path) != "??"]

    def _symbol(self) -> str | None:
        left = [symbol for symbol in self._symbols if symbol not in self._asked][:5]
        if not left and self._reader.last is not None:
            path, start, end = self._reader.last
            text = "".join((self._workspace.lines(path) or ())[start:end])
            left = sorted({name for name in _DEFINED.findall(text) if name.lower() not in _COMMON} - self._asked)
        if not left:
            return None
        chosen = left[self._stream.below(len(left))]
        self._asked.add(chosen)
        return chosen


def _symbols(commit: Commit) -> list[str]:
    """Names in the lines that the commit takes away, then in those that it puts in: the most frequent first, no keywords."""
    old: Counter[str] = Counter()
    new: Counter[str] = Counter()
    for change in commit.changes:
        for hunk in change.hunks:
            for tally, lines in ((old, hunk.old), (new, hunk.new)):
                tally.update(name for line in lines for name in _NAME.findall(line) if name.lower() not in _COMMON)
    ranked = [sorted(tally, key=lambda name: (-tally[name] * len(name), name)) for tally in (old, new)]
    return list(dict.fromkeys([*ranked[0], *ranked[1]]))
