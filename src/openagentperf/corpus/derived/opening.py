"""The user's messages: the task with what a harness puts beside it, and what a compaction leaves of a history."""

from __future__ import annotations

from collections.abc import Sequence

from openagentperf.corpus.derived.change import Commit
from openagentperf.corpus.derived.reading import Reader
from openagentperf.corpus.derived.step import whole_lines
from openagentperf.corpus.derived.workspace import Workspace
from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate
from openagentperf.records.trajectory import Message

_MESSAGE_SHARE = 0.5
"""Of the first message, at most so much is the commit's message; at least _MESSAGE_TOKENS are granted."""
_MESSAGE_TOKENS = 400
_RECENT = 12
_INSTRUCTIONS = (
    "AGENTS.md",
    "CLAUDE.md",
    "CONTRIBUTING.md",
    "CONTRIBUTING.rst",
    "CONTRIBUTING",
    "README.md",
    "README.rst",
    "README",
)
"""What harnesses read before the first request, or people point at; the first of each stem that is there."""
_WORTH_TOKENS = 60
_LISTED_SHARE = 0.25
"""Of what is left after the instructions, for the list of files."""


class Openings:
    """First user messages of a session's histories."""

    def __init__(
        self, name: str, commit: Commit, workspace: Workspace, recent: Sequence[tuple[str, str]], reader: Reader
    ) -> None:
        self._name = name
        self._commit = commit
        self._workspace = workspace
        self._recent = recent
        self._reader = reader

    def task(self, tokens: int) -> Message:
        """The commit's message as a task, the project's own instructions, recent commits, files: real, and up to `tokens` of them."""
        text = self._task(tokens)
        subjects = [f"{commit[:9]} {subject}\n" for commit, subject in self._recent[:_RECENT]]
        text = _with(text, f"Repository {self._name}, at {self._commit.parent[:12]}. Recent commits", subjects, tokens)
        seen: set[str] = set()
        for path in _INSTRUCTIONS:
            stem = path.partition(".")[0]
            lines = None if stem in seen else self._workspace.lines(path)
            if lines:
                seen.add(stem)
                text = _with(text, f"Contents of {path}", list(lines), tokens)
        paths = [f"{path}\n" for path in self._workspace.below("")]
        left = tokens - MESSAGE_TOKENS - estimate(text)
        text = _with(text, "Files", paths, tokens - int(left * (1 - _LISTED_SHARE)))
        return Message("user", self._filled(text, "Files that may matter", tokens))

    def order(self) -> Message:
        """The harness's order to sum up the history."""
        return Message(
            "user",
            "The conversation is about to exceed the context. Write a summary from which the work can go on: the task, what was "
            "learnt about the code and where, every change made so far with its reason, what is left to do, and the next step. "
            "Name files and symbols exactly. Do not call tools.",
        )

    def summary(self, tokens: int) -> Message:
        """What a new history starts with after a compaction: the task, the changes so far, and files read again."""
        text = (
            "This session continues one that ran out of context. Its task was:\n\n"
            f"{self._task(tokens // 2)}\n\nChanged so far: {', '.join(self._workspace.changed) or 'nothing yet'}."
        )
        diff = "".join(document.diff() for document in self._workspace.documents.values())
        text = _with(text, "The changes", diff.splitlines(keepends=True), tokens - tokens // 3)
        return Message("user", self._filled(text, "Files, read again", tokens))

    def _task(self, tokens: int) -> str:
        lines = [f"{line}\n" for line in self._commit.message.split("\n")]
        shown = whole_lines(lines, max(_MESSAGE_TOKENS, int(tokens * _MESSAGE_SHARE)))
        return "".join(lines[:shown]).strip() or f"Change {self._commit.changes[0].path}"

    def _filled(self, text: str, title: str, tokens: int) -> str:
        parts = [text, f"\n\n{title}:\n"]
        left = tokens - MESSAGE_TOKENS - sum(map(estimate, parts))
        found = False
        while left >= _WORTH_TOKENS and (shown := self._reader.quote(left)):
            parts.append(shown)
            left -= estimate(shown)
            found = True
        return "".join(parts if found else parts[:1]).rstrip("\n")


def _with(text: str, title: str, lines: list[str], tokens: int) -> str:
    """The text with a section of as many of the lines as fit, if it is worth a section."""
    head = f"\n\n{title}:\n"
    left = tokens - estimate(text) - estimate(head)
    if not lines or left < _WORTH_TOKENS:
        return text
    return f"{text}{head}{''.join(lines[: whole_lines(lines, left)]).rstrip()}"
