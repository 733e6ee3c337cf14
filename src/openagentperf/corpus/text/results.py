"""Tool results: what the tools of a coding agent print. Each makes about `chars` characters or more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from openagentperf.corpus.text.repo import Repo

Render: TypeAlias = Callable[[Repo, int], str]


def listing(repo: Repo, chars: int) -> str:
    """Sizes and paths."""

    def line() -> str:
        draw = repo.stream.u64()
        return f"{draw % 60_000:>7} {repo.paths[(draw >> 32) % len(repo.paths)]}"

    return _lines(chars, line)


def numbered(repo: Repo, chars: int) -> str:
    """A file as `cat -n` shows it."""
    first = 1 + repo.stream.below(400)
    return "\n".join([f"{n:>6}\t{line}" for n, line in enumerate(repo.source(chars).split("\n"), first)])


def plain(repo: Repo, chars: int) -> str:
    """Lines of a file, as `sed -n` prints them."""
    return repo.source(chars)


def grep(repo: Repo, chars: int) -> str:
    """Matches: path, line, text. A file has a few."""
    out = []
    path, number = repo.path(), 1
    for index, line in enumerate(repo.source(chars).split("\n")):
        if index % 5 == 0:
            path, number = repo.path(), 1 + repo.stream.below(90)
        if line:
            out.append(f"{path}:{number + 7 * (index % 5)}:{line}")
    return "\n".join(out)


_HUNK = "   -++  + -- +   "
"""First characters of a hunk's lines, in turn."""


def diff(repo: Repo, chars: int) -> str:
    """A unified diff, a file every 34 lines."""
    out = []
    for index, line in enumerate(repo.source(chars).split("\n")):
        if index % 34 == 0:
            path, new = repo.path(), repo.stream.u64()
            out.append(
                f"diff --git a/{path} b/{path}\nindex {new >> 36:07x}..{new & 0xFFFFFFF:07x} 100644\n--- a/{path}\n+++ b/{path}"
            )
        if index % 17 == 0:
            at = 1 + repo.stream.below(600)
            out.append(f"@@ -{at},13 +{at},14 @@")
        out.append(_HUNK[index % 17] + line)
    return "\n".join(out)


def tests(repo: Repo, chars: int) -> str:
    """A test run: names and outcomes, failures with a trace and the source around, a summary."""
    out: list[str] = []
    made = passed = failed = 0
    while made < chars:
        start = len(out)
        for _ in range(3 + repo.stream.below(9)):
            out.append(f"✓ {_place(repo)} ({repo.stream.below(900)} ms)")
            passed += 1
        failed += 1
        out.append(f"✗ {_place(repo)}\n  Error: {repo.message()}")
        out.extend(trace(repo, 3 + repo.stream.below(6)))
        out.append(repo.source(300))
        made += sum(map(len, out[start:]))
    out.append(f"{failed} failed, {passed} passed in {repo.stream.below(9000) / 100:.2f}s")
    return "\n".join(out)


def trace(repo: Repo, depth: int) -> list[str]:
    """Frames of a stack trace."""
    return [f"    at {_place(repo)}:{1 + repo.stream.below(60)}" for _ in range(depth)]


def _place(repo: Repo) -> str:
    """A function in a file."""
    draw = repo.stream.u64()
    path, name = repo.paths[(draw >> 32) % len(repo.paths)], repo.names[(draw >> 16) % len(repo.names)]
    return f"{path}:{1 + draw % 800} {name}"


def build(repo: Repo, chars: int) -> str:
    """What a compiler or a linter complains about."""

    def complaint() -> str:
        draw = repo.stream.u64()
        level = ("error", "warning", "note")[draw % 3]
        line, column = 1 + (draw >> 8) % 900, 1 + (draw >> 24) % 40
        code = repo.source(24).split("\n")[-1].strip()
        path = repo.paths[(draw >> 40) % len(repo.paths)]
        return f"{path}:{line}:{column}: {level}: {repo.message()}\n{line:>5} | {code}\n      | {'^':>{column}}"

    return _lines(chars, complaint)


def log(repo: Repo, chars: int) -> str:
    """`git log --oneline`."""
    return _lines(chars, lambda: f"{repo.stream.u64() >> 28:09x} {repo.title()}")


def edited(repo: Repo, chars: int) -> str:
    """What an edit tool answers, with the lines around the change."""
    return f"Edited {repo.path()}. The lines around the change:\n{numbered(repo, chars)}"


def findings(repo: Repo, chars: int) -> str:
    """What a sub-agent reports."""
    return _lines(chars, lambda: f"## {repo.title()}\n{repo.prose(400)}\n- {_place(repo)}\n- {_place(repo)}\n")


RESULTS: dict[str, Render] = {
    "listing": listing,
    "numbered": numbered,
    "plain": plain,
    "grep": grep,
    "diff": diff,
    "tests": tests,
    "build": build,
    "log": log,
    "edited": edited,
    "findings": findings,
}


def _lines(chars: int, line: Callable[[], str]) -> str:
    out: list[str] = []
    made = 0
    while made < chars:
        out.append(line())
        made += len(out[-1]) + 1
    return "\n".join(out)
