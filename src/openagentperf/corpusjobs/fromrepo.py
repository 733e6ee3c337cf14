"""Sessions out of a local repository's history: which commits, which numbers for each, and the set on disk.

Two passes. The first walks the history in a seeded order and looks at each commit's diff until every drawn session has a commit whose
edits have room in it; the second makes the sessions. A history of 100,000 commits is listed, not read.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from openagentperf.corpus.derived import licence as licences
from openagentperf.corpus.derived.change import Commit, edited_bytes, read_commit, read_diff, with_changes
from openagentperf.corpus.derived.session import Origin, derive, room
from openagentperf.corpus.formats.languages import of_extension
from openagentperf.corpus.profiles import Profile
from openagentperf.corpus.shape import SessionShape, plan_session, profile_named
from openagentperf.corpus.text.harness import Harness
from openagentperf.corpus.tokens import estimate
from openagentperf.corpusjobs.gitrepo import CommitIds, GitRepo
from openagentperf.corpusjobs.imports import Noted
from openagentperf.corpusjobs.tally import Tally
from openagentperf.errors import CorpusError, UsageError
from openagentperf.records.card import Card
from openagentperf.records.trajectory import Skipped, Trajectory
from openagentperf.seeds import Permutation, Stream

DEFAULT_COUNT = 100
MAX_FILES = 30
"""A commit that changes more is a rename, a reformat or a vendored library."""
_LOOKED_AT = 20
"""So many commits for each session asked for are looked at before sessions are drawn anew to fit those that were found."""
_DRAWN = 100
"""The largest of so many sessions says which commits are too large; so many are drawn to find one with room for a commit."""
_RECENT = 20
_TEXT_ENDINGS = "adoc cfg csv html ini json lock md po properties rst svg toml txt xml yaml yml"
_TEXTS = frozenset(_TEXT_ENDINGS.split())
"""A commit that changes nothing else is no coding task."""


class RepoReport(Struct, frozen=True, kw_only=True):
    """What was made of a repository. JSON-able."""

    repository: str
    head: str
    commits: int
    """Of HEAD's history, with exactly one parent: merges and roots are no tasks."""
    looked_at: int
    """In a seeded order, until there were enough."""
    redrawn: int
    """Sessions whose numbers were drawn anew because no commit that was found is small enough for the first ones."""
    card: Card
    noted: tuple[Noted, ...]
    skipped: tuple[Skipped, ...]
    """Commits that were looked at and are no task for a session, each with its reason."""


class _Pick(NamedTuple):
    commit: str
    shape: int
    """Number of the session's numbers: they are drawn from (seed, profile, this)."""


def from_repo(
    path: Path, out: Path, count: int | None = None, seed: int = 1, profile: str = "agentperf", licence: str = ""
) -> RepoReport:
    """Write `count` sessions derived from the history of the repository at `path`, and their card, to the folder `out`.

    count    None: up to DEFAULT_COUNT, as many as the history gives
    licence  SPDX id of the repository's text; "": by the licence file of each commit's parent, where it is known

    The same HEAD and arguments give the same bytes, with one version of git (it finds the hunks and renames). Memory: 20 bytes a commit,
    the paths of one tree, 32 M characters of text.
    CorpusError: no repository, no history, fewer usable commits than `count` (nothing is written then). UsageError: a count below 1, a
    profile whose sessions are not one task each. InfrastructureError: git is not installed. StorageError: the disk.
    """
    if count is not None and count < 1:
        raise UsageError("count", f"is {count}", "at least 1 trajectory is needed", "raise it")
    chosen = profile_named(profile)
    if chosen.returns is not None:
        raise UsageError(
            "profile", f"{profile!r} returns to a memory", "a commit is one task", "choose another profile"
        )
    with GitRepo(path) as repo:
        job = _Job(repo, chosen, seed, licence)
        picks = job.pick(count)
        tally = Tally()
        card = tally.write(out, job.sessions(picks))
        return RepoReport(
            repository=repo.name,
            head=repo.head,
            commits=len(job.commits),
            looked_at=job.looked_at,
            redrawn=job.redrawn,
            card=card,
            noted=tally.noted(),
            skipped=tuple(job.skipped),
        )


class _Job:
    def __init__(self, repo: GitRepo, profile: Profile, seed: int, licence: str) -> None:
        self._repo = repo
        self._profile = profile
        self._seed = seed
        self._licence = licence
        self._guessed: dict[tuple[str, ...], str] = {}
        self.commits: CommitIds = repo.commits()
        self.skipped: list[Skipped] = []
        self.looked_at = 0
        self.redrawn = 0

    def pick(self, count: int | None) -> list[_Pick]:
        """A commit for each session: the first whose edits have room in it, the smallest session that has.

        Where history has too few small commits, the sessions that are left are drawn anew, until one has room for the smallest commit that
        none took.
        """
        wanted = min(DEFAULT_COUNT, len(self.commits)) if count is None else count
        if len(self.commits) < wanted or not wanted:
            raise self._too_few(len(self.commits), count, "commits with one parent")
        rooms = [room(self._shape(index)) for index in range(max(wanted, _DRAWN))]
        largest = max(rooms)
        free = sorted((tokens, index) for index, tokens in enumerate(rooms[:wanted]))
        picks: list[_Pick] = []
        over: list[tuple[int, str]] = []
        for commit, tokens in self._usable(largest):
            place = bisect_left(free, (tokens, -1))
            if place < len(free):
                picks.append(_Pick(commit, free.pop(place)[1]))
            else:
                heapq.heappush(over, (tokens, commit))
            if not free or (self.looked_at >= _LOOKED_AT * wanted and len(picks) + len(over) >= wanted):
                break
        while over and len(picks) < wanted:
            tokens, commit = heapq.heappop(over)
            picks.append(_Pick(commit, self._redrawn(tokens, wanted)))
        if not picks or (count is not None and len(picks) < count):
            raise self._too_few(len(picks), count, "usable commits")
        return sorted(picks, key=lambda pick: pick.shape)

    def sessions(self, picks: Sequence[_Pick]) -> Iterator[Trajectory]:
        """The trajectories, one in memory at a time."""
        harness = Harness(self._profile, estimate)
        for commit_id, index in picks:
            commit, _ = self._commit(commit_id)
            files = self._repo.files(commit.parent)
            texts = [files.text(path) or "" for path in files.paths if licences.FILES.fullmatch(path)]
            origin = Origin(
                name=self._repo.name,
                licence=self._licence or licences.spdx_of_files(texts),
                recent=tuple(self._recent(commit.parent)),
            )
            stream = Stream(self._seed, "derived", self._profile.name, commit_id)
            yield derive(commit, files, origin, self._shape(index), harness, stream)

    def _usable(self, largest: int) -> Iterator[tuple[str, int]]:
        """Commits that are a task for a session, and the tokens of their edits, in a seeded order."""
        order = Permutation(len(self.commits), self._seed, "derived")
        for index in range(len(self.commits)):
            commit_id = self.commits[order[index]]
            self.looked_at += 1
            commit, tokens = self._commit(commit_id)
            if why := _fault(commit, tokens, largest):
                self.skipped.append(Skipped(commit_id, why))
            else:
                yield commit_id, tokens

    def _commit(self, commit_id: str) -> tuple[Commit, int]:
        """The commit with its changes, and what they cost in tokens; changes that no session could make are left out, all of them."""
        data = self._repo.commit(commit_id)
        commit = read_commit(commit_id, data or b"")
        diff = self._repo.diff(commit.parent, commit_id) if commit.parent else None
        raw = read_diff(diff) if diff is not None else []
        if not raw or len(raw) > MAX_FILES:
            return commit, 0
        return with_changes(commit, raw, self._repo.blob), edited_bytes(raw) * 2 // 7

    def _recent(self, commit_id: str) -> Iterator[tuple[str, str]]:
        """A commit and its first parents: ids and subjects, newest first."""
        for _ in range(_RECENT):
            data = self._repo.commit(commit_id) if commit_id else None
            if data is None:
                return
            commit = read_commit(commit_id, data)
            yield commit.id, commit.message.partition("\n")[0]
            commit_id = commit.parent

    def _shape(self, index: int) -> SessionShape:
        return plan_session(self._profile, Stream(self._seed, "derived-shape", self._profile.name, index))

    def _redrawn(self, tokens: int, wanted: int) -> int:
        """The next session number, from `wanted` on, with so much room; of those drawn, the one with the most."""
        first = wanted + self.redrawn * _DRAWN
        self.redrawn += 1
        best = (-1, first)
        for index in range(first, first + _DRAWN):
            best = max(best, (room(self._shape(index)), index))
            if best[0] >= tokens:
                break
        return best[1]

    def _too_few(self, found: int, count: int | None, what: str) -> CorpusError:
        looked = f" of {self.looked_at}" if self.looked_at else ""
        reasons: dict[str, int] = {}
        for row in self.skipped:
            reasons[row.why] = reasons.get(row.why, 0) + 1
        listed = "; ".join(f"{why}: {number}" for why, number in sorted(reasons.items(), key=lambda item: -item[1])[:4])
        return CorpusError(
            self._repo.name,
            f"has {found}{looked} {what}" + (f" ({listed})" if listed else ""),
            f"--count asks for {count}" if count is not None else "at least 1 is needed",
            "leave --count out: then it is as many as there are, up to 100"
            if found
            else "take a repository with more history (a shallow clone has little: git fetch --unshallow)",
        )


def _fault(commit: Commit, tokens: int, largest: int) -> str:
    """Why a commit is no task for a session; "" where it is one."""
    if not commit.parent:
        return "has no readable parent"
    edited = [change for change in commit.changes if change.hunks]
    if not commit.changes and not commit.left_out:
        return f"changes no file, more than {MAX_FILES}, or more than 4 MiB of text"
    if not any(_is_code(change.path) for change in edited):
        return "changes no code: texts, data or files that are no text"
    if tokens > largest:
        return "changes more than any session of the profile has room for"
    return ""


def _is_code(path: str) -> bool:
    name = path.rpartition("/")[2]
    _, dot, extension = name.rpartition(".")
    return bool(of_extension(extension)) or not dot or extension.lower() not in _TEXTS
