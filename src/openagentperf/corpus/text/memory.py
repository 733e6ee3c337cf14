"""What an agent with a memory comes back with: notes of its own that change a little, and blocks found in its store."""

from __future__ import annotations

from openagentperf.corpus.text.fill import fill
from openagentperf.corpus.text.repo import Repo
from openagentperf.corpus.tokens import Counter

_HEADING = "# Memory\n"
_FOUND = "\n# Found for this task\n"


class Memory:
    """Notes and store of one agent, over its life.

    A note that is worded anew stands where it stood, so the notes before the first such one are a prefix that a cache can serve, and
    nothing after it is, though most of it has the same bytes as before. Blocks of the store always have the same bytes.
    """

    __slots__ = ("_blocks", "_count", "_edited_share", "_notes", "_repo")

    def __init__(self, repo: Repo, store: tuple[int, ...], edited_share: float, count: Counter) -> None:
        self._repo = repo
        self._count = count
        self._edited_share = edited_share
        self._notes: list[str] = []
        self._blocks = [fill(count, tokens, self._block) for tokens in store]

    def front(self, tokens: int, blocks: tuple[int, ...]) -> str:
        """What stands before the task: about `tokens` of notes, some of them new or worded anew, then the blocks of these numbers."""
        stream = self._repo.stream
        for index in range(len(self._notes)):
            if stream.uniform() < self._edited_share:
                self._notes[index] = self._note()
        left = tokens - sum(map(self._count, self._notes))
        while left < 0:  # words that came out longer
            left += self._count(self._notes.pop())
        while (left := left - self._count(note := self._note())) >= 0:
            self._notes.append(note)
        found = "\n\n".join(self._blocks[block] for block in blocks)
        return f"{_HEADING}{''.join(self._notes)}{_FOUND}{found}\n\n"

    def _note(self) -> str:
        repo = self._repo
        return f"- {repo.path()}: {repo.prose(60)}\n"

    def _block(self, chars: int) -> str:
        """Lines of a file, or of an earlier session's notes."""
        repo = self._repo
        text = repo.prose(chars) if repo.stream.below(3) == 0 else repo.source(chars)
        return f"## {repo.path()}\n{text}"
