"""Tool calls of an answer: which tool, with which arguments, for which kind of result."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from openagentperf.corpus.text import words
from openagentperf.corpus.text.repo import Repo
from openagentperf.corpus.tokens import Counter


class Call(NamedTuple):
    kind: str
    """Of the result (results.RESULTS)."""
    tool: str
    arguments: str
    """JSON."""

    def tokens(self, count: Counter) -> int:
        return count(self.tool) + count(self.arguments)


SHORTEST = Call("listing", "bash", '{"command":"ls"}')
"""Fits every answer that a profile makes (profiles.Profile.answer_low)."""

_SHORT = ("listing", "log", "build", "edited")
_LONG = (
    "numbered",
    "numbered",
    "numbered",
    "plain",
    "plain",
    "grep",
    "grep",
    "tests",
    "tests",
    "diff",
    "listing",
    "build",
    "edited",
)
"""Kinds of result by how often agents ask for them; a long result is mostly a file."""
_EDIT_TOKENS = 60
"""An answer with so much room often holds an edit: its old and new lines are most of the answer."""
_CHARS_PER_TOKEN = 2.4
"""Of source put into an edit, per token of the room: JSON escapes and the answer's sentences take the rest."""


def drawn(repo: Repo, room: int, result_tokens: int, count: Counter) -> Call:
    """A call that costs at most `room` tokens, and suits a result of `result_tokens`."""
    if room >= _EDIT_TOKENS and repo.stream.below(3):
        call = _edit(repo, int(room * _CHARS_PER_TOKEN * (0.4 + 0.6 * repo.stream.uniform())))
    else:
        call = _plain_call(repo, words.pick(_SHORT if result_tokens < 40 else _LONG, repo.stream))
    return call if call.tokens(count) <= room else SHORTEST


def agent(repo: Repo, prompt: str, room: int, count: Counter) -> Call:
    """A call that starts a sub-agent; where its whole prompt would cost more than `room` tokens, with the beginning of it."""
    while True:
        call = _call("findings", "agent", description=repo.title(), prompt=prompt)
        if not prompt or call.tokens(count) <= room:
            return call
        prompt = prompt[: len(prompt) * 3 // 4]


def _edit(repo: Repo, chars: int) -> Call:
    old = repo.source(chars // 3)
    new = repo.source(chars - len(old))
    return _call(
        "edited", "edit_file", path=repo.path(), old_string=old[: chars // 2], new_string=new[: chars - chars // 3]
    )


def _plain_call(repo: Repo, kind: str) -> Call:
    draw = repo.stream.below
    if kind == "numbered":
        return _call(kind, "read_file", path=repo.path(), offset=1 + draw(400), limit=20 * (1 + draw(20)))
    if kind == "grep":
        return _call(kind, "grep", pattern=repo.name(), path=repo.folder())
    if kind == "edited":
        lines = [line for line in repo.source(60).split("\n") if line]
        return _call(kind, "edit_file", path=repo.path(), old_string=lines[0], new_string=lines[-1])
    commands = {
        "plain": f"sed -n '{1 + draw(300)},{400 + draw(300)}p' {repo.path()}",
        "listing": f"find {repo.folder()} -type f -printf '%s %p\\n'",
        "tests": f"{repo.grammar.runner} {repo.path() if draw(2) else ''}".rstrip(),
        "build": f"make -C {repo.folder()} check 2>&1 | tail -n {20 + draw(80)}",
        "diff": f"git diff HEAD~{1 + draw(5)} -- {repo.folder()}",
        "log": f"git log --oneline -{5 + draw(30)} -- {repo.folder()}",
    }
    return _call(kind, "bash", command=commands[kind])


def _call(kind: str, tool: str, **arguments: object) -> Call:
    return Call(kind, tool, msgspec.json.encode(arguments).decode())
