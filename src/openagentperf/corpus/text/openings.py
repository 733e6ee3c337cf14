"""First user messages of a history. Each render makes about `chars` characters or more."""

from __future__ import annotations

from openagentperf.corpus.text.repo import Repo
from openagentperf.corpus.text.results import listing, trace

ORDER = """The conversation is about to grow beyond the context. Write a summary with which somebody who has seen none of it can go on: \
what the user asked for, in their words where they matter; which files were read or changed, with the parts that are needed again; what \
was tried and what came of it; errors, and how they were mended; what is left to be done, and the very next step. Do not call a tool.
"""
"""What a harness sends before it compacts."""


def report(repo: Repo, chars: int) -> str:
    """A bug report with a trace, the layout of the repository, and the file in question."""
    frames = "\n".join(trace(repo, 4 + repo.stream.below(8)))
    return (
        f"# {repo.title()}\n\n{repo.prose(chars // 6)}\n\n```\n{frames}\n```\n\n"
        f"Files of the repository, with their sizes:\n\n{listing(repo, chars // 4)}\n\n"
        f"It probably starts in {repo.path()}:\n\n```\n{repo.source(chars - chars // 4 - chars // 6)}\n```\n"
    )


def repository(repo: Repo, chars: int) -> str:
    """What to do, then the files of a repository, 2 to 30 KB each."""
    parts = [f"# {repo.title()}\n\n{repo.prose(min(4_000, chars // 6))}\n\nThe files that matter:\n"]
    made = len(parts[0])
    while made < chars:
        parts.append(f'\n<file path="{repo.path()}">\n{repo.source(2_000 + repo.stream.below(28_000))}\n</file>\n')
        made += len(parts[-1])
    return "".join(parts)


def summary(repo: Repo, chars: int) -> str:
    """What a compaction leaves: what was done so far, then files that the harness has read again."""
    parts = [f"This session goes on from an earlier one. What happened in it:\n\n# {repo.title()}\n"]
    made = 0
    while made < min(chars, 3_000 + chars // 3):
        parts.append(f"\n## {repo.title()}\n\n{repo.prose(600)}\n- {repo.path()}: `{repo.name()}`, `{repo.name()}`\n")
        made += len(parts[-1])
    parts.append("\nFiles as they are now:\n")
    while made < chars:
        parts.append(f"\n{repo.path()}:\n```\n{repo.source(1_000 + repo.stream.below(8_000))}\n```\n")
        made += len(parts[-1])
    return "".join(parts)
