"""Plays a derived session in a real checkout: every tool call is carried out, and its recorded result must be what really comes out."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import msgspec

from gitrepos import ENVIRONMENT, git
from openagentperf.corpus.derived.step import NOTHING
from openagentperf.records.trajectory import Message, ToolCall, Trajectory

_TESTS = re.compile(r"python -m pytest|go test|cargo test|npm test|mvn|bundle exec|make check")
SETTINGS = ("core.abbrev=9", "diff.algorithm=histogram", "status.renames=true")


class Oracle:
    """A checkout of the parent of a trajectory's commit."""

    def __init__(self, repo: Path, trajectory: Trajectory, folder: Path, encoding: str = "utf-8") -> None:
        self.commit = trajectory.task
        self.folder = folder
        self.encoding = encoding
        self.played: dict[str, int] = {}
        git(repo, "worktree", "add", "-q", "--detach", str(folder), f"{self.commit}^")
        self._trajectory = trajectory

    def play(self) -> None:
        """All calls in order; AssertionError where a result is not what the tool really says."""
        waiting: dict[str, ToolCall] = {}
        for turn in self._trajectory.turns:
            for message in turn.appended:
                for call in message.tool_calls:
                    waiting[call.id] = call
                if message.role == "tool":
                    self._check(waiting.pop(message.tool_call_id), message)
        assert not waiting

    def _check(self, call: ToolCall, message: Message) -> None:
        arguments = msgspec.json.decode(call.arguments, type=dict[str, object])
        command = str(arguments.get("command", call.name))
        kind = " ".join(command.split()[:2]) if call.name == "bash" else call.name
        self.played[kind] = self.played.get(kind, 0) + 1
        if call.name == "bash":
            self._bash(command, message.content)
        elif call.name == "read_file":
            offset, limit = arguments["offset"], arguments["limit"]
            assert isinstance(offset, int)
            assert isinstance(limit, int)
            lines = self._text(str(arguments["path"])).split("\n")[offset - 1 : offset - 1 + limit]
            assert message.content == "\n".join(f"{n:>6}\t{line}" for n, line in enumerate(lines, offset))
        elif call.name == "grep":
            self._grep(str(arguments["pattern"]), str(arguments["path"]), message.content)
        elif call.name == "edit_file":
            path, old, new = (str(arguments[name]) for name in ("path", "old_string", "new_string"))
            text = self._text(path)
            assert text.count(old) == 1, "an edit names a text that occurs once"
            self._put(path, text.replace(old, new))
            shown = message.content.split("\n", 1)[1]
            for row in shown.split("\n"):
                number, line = row.split("\t", 1)
                assert self._text(path).split("\n")[int(number) - 1] == line
        else:
            assert call.name == "write_file"
            self._put(str(arguments["path"]), str(arguments["content"]))

    def _bash(self, command: str, shown: str) -> None:
        if _TESTS.match(command):
            return  # made up, and said so in the trajectory's notes
        done = subprocess.run(
            ["bash", "-c", "git() { command git -c " + " -c ".join(SETTINGS) + ' "$@"; }; ' + command],
            cwd=self.folder, env=ENVIRONMENT, capture_output=True, check=True,
        )  # fmt: skip
        real = done.stdout.decode(self.encoding)
        if command.startswith("git diff"):
            lines = [re.sub(r"^(@@ .* @@).*$", r"\1", line) for line in real.removesuffix("\n").split("\n")]
            kept = [line for line in lines if not line.startswith("index ")]  # the one line that a session lacks
            rows = shown.split("\n")
            assert rows[: len(kept)] == kept
            assert len(rows) <= len(lines)
        else:
            assert (real.removesuffix("\n") or NOTHING) == shown, command

    def _grep(self, pattern: str, path: str, shown: str) -> None:
        command = ["grep", "-rIn", "--exclude-dir=.git", "--exclude=.git", "--", pattern, path]
        done = subprocess.run(command, cwd=self.folder, env=ENVIRONMENT, capture_output=True, check=False)
        real = set()
        for line in done.stdout.decode(self.encoding).split("\n"):
            if line:
                place, number, text = line.split(":", 2)
                real.add(f"{place.removeprefix('./')}:{number}:{text.strip()[:200]}")
        rows = shown.split("\n")
        more = re.fullmatch(r"\[(\d+) more matches not shown\]", rows[-1])
        rows = rows[:-1] if more else rows
        if rows == ["No matches."]:
            assert not real
            return
        assert set(rows) <= real
        assert len(rows) + (int(more[1]) if more else 0) == len(real)

    def _text(self, path: str) -> str:
        return (self.folder / path).read_bytes().decode(self.encoding)

    def _put(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(text.encode(self.encoding))
