"""Repositories made by tests, with git itself: known files, known commits, the same ids every time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "LC_ALL": "C",
}


def git(repo: Path, *arguments: str, data: bytes = b"", date: int = 1_700_000_000) -> bytes:
    """What git printed."""
    dates = {"GIT_AUTHOR_DATE": f"{date} +0000", "GIT_COMMITTER_DATE": f"{date} +0000"}
    done = subprocess.run(
        ["git", "-C", str(repo), *arguments], input=data, capture_output=True, check=True, env=ENVIRONMENT | dates
    )
    return done.stdout


class Made:
    """A working tree. `commit` writes files (None: removes one) and commits them; returns the id."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        git(path, "init", "-q", "-b", "main")
        self._date = 1_700_000_000

    def commit(self, message: str, files: Mapping[str | bytes, bytes | str | None], *, encoding: str = "") -> str:
        for name, content in files.items():
            place = os.fsencode(self.path) + b"/" + (name if isinstance(name, bytes) else name.encode())
            if content is None:
                os.unlink(place)
                continue
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as file:
                file.write(content if isinstance(content, bytes) else content.encode())
        git(self.path, "add", "-A")
        return self.record(message, encoding=encoding)

    def record(self, message: str, *, encoding: str = "") -> str:
        """Commit what is staged."""
        self._date += 60
        settings = ("-c", f"i18n.commitEncoding={encoding}") if encoding else ()
        data = message.encode(encoding or "utf-8")
        git(
            self.path,
            *settings,
            "commit",
            "-q",
            "--allow-empty",
            "--allow-empty-message",
            "-F",
            "-",
            data=data,
            date=self._date,
        )
        return git(self.path, "rev-parse", "HEAD").decode().strip()


def module(name: str, functions: int, lines: int = 8) -> str:
    """A Python file with so many functions; every line is its own."""
    out = [f'"""Module {name}."""', "", "import os", ""]
    for index in range(functions):
        out += ["", f"def {name}_step_{index}(value):"]
        out += [f"    {name}_{index}_{line} = value + {line * 7 + index}" for line in range(lines)]
        out += [f"    return {name}_{index}_0", ""]
    return "\n".join(out) + "\n"


def project(path: Path, commits: int = 12) -> Made:
    """A small Python project: a package of eight modules with tests, and commits that each change one to three places."""
    made = Made(path)
    names = ("parser", "writer", "reader", "engine", "cache", "session", "router", "planner")
    files = {f"src/app/{name}.py": module(name, 12) for name in names}
    files |= {
        f"tests/test_{name}.py": f"from app.{name} import {name}_step_0\n\n\n"
        + "\n\n".join(f"def test_{name}_{k}():\n    assert {name}_step_0({k}) == {k}\n" for k in range(9))
        for name in names
    }
    files["README.md"] = "# App\n\n" + "\n".join(f"Paragraph {k} tells how the app works." for k in range(40)) + "\n"
    files["LICENSE"] = MIT
    made.commit("Start", files)
    for number in range(commits):
        name = names[number % len(names)]
        path_ = f"src/app/{name}.py"
        text = files[path_]
        for place in range(1 + number % 3):
            text = text.replace(
                f"    return {name}_{place * 4}_0\n",
                f"    if value > {number}:\n        return {name}_{place * 4}_1  # {number}\n    return {name}_{place * 4}_0\n",
                1,
            )
        files[path_] = text
        made.commit(f"Return early from {name} above {number}\n\nThe callers expect it.", {path_: text})
    return made


MIT = """MIT License

Copyright (c) 2024 Nobody

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files, to deal
in the Software without restriction, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.
"""
