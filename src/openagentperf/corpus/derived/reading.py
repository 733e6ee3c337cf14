"""Which file is read next and how much of it: what is about to be changed, what a search found, then the neighbours, outwards."""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from openagentperf.corpus.derived.change import unreadable
from openagentperf.corpus.derived.step import Step, bash, step, whole_lines
from openagentperf.corpus.derived.workspace import Workspace, parent_folder
from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate
from openagentperf.seeds import Permutation, Stream

_BEFORE_LINES = 12
"""So many lines above the place that a search named."""
_WINDOWS = 8
"""Files in one command at most."""
_ENOUGH = 0.6
"""Of the room: a window that fills less is read together with the next ones."""
_WORTH_TOKENS = 120
"""A smaller rest is not worth a second file."""
_AGAIN_LINES = 25
"""Around an edit, so many lines may be read again."""
_DATA_ENDINGS = (
    "csv css eot gif htm html ico ipynb jpg json lock log map min.js png po pot sum svg tsv ttf woff xml xsd"
)
_DATA = frozenset(_DATA_ENDINGS.split())
"""Read when nothing else is left."""


class Window(NamedTuple):
    path: str
    start: int
    end: int
    """Lines start .. end-1, counted from 0."""


class Reader:
    """Reads each line once, but for what edits changed. `around` is the file whose neighbours come first."""

    def __init__(self, workspace: Workspace, around: str, stream: Stream) -> None:
        self._workspace = workspace
        self._stream = stream
        self._leads: deque[tuple[str, int]] = deque()
        self._rest: deque[str] = deque()
        self._unread: dict[str, list[tuple[int, int]]] = {}
        self._neighbours = _outwards(workspace, around, stream)
        self.last: Window | None = None
        self.dry = False
        """Asked for more than there is."""

    def lead(self, path: str, line: int) -> None:
        """To be read soon: the file, around a line."""
        self._leads.append((path, line))

    def changed(self, path: str, line: int, count: int) -> None:
        """Lines `line` .. `line + count` - 1 were put there: they and those around may be read again, next."""
        lines = self._workspace.lines(path)
        if lines is not None:
            place = (max(0, line - _AGAIN_LINES), min(len(lines), line + count + _AGAIN_LINES))
            self._unread[path] = [place] if place[0] < place[1] else []
            self._leads.appendleft((path, line))

    def read(self, tokens: int) -> Step | None:
        """One call whose result message is about `tokens` long: a window of a file, or of several; None where all has been read."""
        window = self._next(tokens, numbered=True)
        if window is None:
            return None
        shown = self._numbered(window)
        room = tokens - estimate(shown)
        if estimate(shown) + MESSAGE_TOKENS >= _ENOUGH * tokens or room < _WORTH_TOKENS:
            return self._file(window, shown)
        windows = [window]
        texts = [self._plain(window)]
        room = tokens - MESSAGE_TOKENS - estimate(texts[0])
        while room >= _WORTH_TOKENS and len(windows) < _WINDOWS:
            more = self._next(room + MESSAGE_TOKENS, numbered=False)
            if more is None:
                break
            windows.append(more)
            texts.append(self._plain(more))
            room -= estimate(texts[-1])
        if len(windows) == 1:
            return self._file(window, shown)
        commands = [f"sed -n '{w.start + 1},{w.end}p' {shlex.quote(w.path)}" for w in windows]
        return bash("read several", "; ".join(commands), "".join(texts).removesuffix("\n"), windows[0].path)

    def quote(self, tokens: int) -> str:
        """The next window as a message quotes it, about `tokens` long; "" where all has been read."""
        window = self._next(tokens - 16, numbered=False)
        if window is None:
            return ""
        return f"\n{window.path}:{window.start + 1}\n```\n{self._plain(window).removesuffix(chr(10))}\n```\n"

    def _file(self, window: Window, shown: str) -> Step:
        path, start, end = window
        return step("read", "read_file", shown, path, path=path, offset=start + 1, limit=end - start)

    def _next(self, tokens: int, numbered: bool) -> Window | None:
        """The next window, marked as read."""
        while (place := self._place()) is not None:
            path, line = place
            lines = self._workspace.lines(path)
            if not lines or unreadable(lines):
                continue
            spans = self._unread.setdefault(path, [(0, len(lines))])
            span = next((span for span in spans if span[0] <= line < span[1]), spans[0] if spans else None)
            if span is None:
                continue
            first, last = span[0], min(span[1], len(lines))
            shown = [f"{0:>6}\t{text}" if numbered else text for text in lines[first:last]]
            start = first
            if whole_lines(shown, tokens) < len(shown) and first <= line < last:
                start = max(first, line - _BEFORE_LINES)
            end = start + whole_lines(shown[start - first :], tokens)
            if end <= start:
                spans.remove(span)
                continue
            spans[spans.index(span) : spans.index(span) + 1] = [
                part for part in ((span[0], start), (end, span[1])) if part[0] < part[1]
            ]
            if spans:
                self._rest.append(path)
                if end < last and self._stream.below(2):
                    self._leads.appendleft((path, end))
            self.last = Window(path, start, end)
            return self.last
        self.dry = True
        return None

    def _place(self) -> tuple[str, int] | None:
        if self._leads:
            return self._leads.popleft()
        if (path := next(self._neighbours, None)) is not None:
            return path, 0
        return (self._rest.popleft(), 0) if self._rest else None

    def _numbered(self, window: Window) -> str:
        lines = self._workspace.lines(window.path) or ()
        shown = (f"{n:>6}\t{line}" for n, line in enumerate(lines[window.start : window.end], window.start + 1))
        return "".join(shown).removesuffix("\n")

    def _plain(self, window: Window) -> str:
        return "".join((self._workspace.lines(window.path) or ())[window.start : window.end])


def _outwards(workspace: Workspace, around: str, stream: Stream) -> Iterator[str]:
    """Every file once: those of the folder of `around`, then of the folder above, ..., then those that hold data.

    Within a folder in a seeded order. A large tree is walked as far as it is asked for.
    """
    seed = stream.u64() >> 1
    later: list[str] = []
    inner, folder = "\0", parent_folder(around)
    while True:
        paths = workspace.below(folder)
        order = Permutation(len(paths), seed, folder)
        for index in range(len(paths)):
            path = paths[order[index]]
            if path.startswith(inner):
                continue
            if path.rpartition("/")[2].partition(".")[2].lower() in _DATA or path.rpartition(".")[2].lower() in _DATA:
                later.append(path)
            else:
                yield path
        if not folder:
            break
        inner, folder = f"{folder}/", parent_folder(folder)
    yield from later
