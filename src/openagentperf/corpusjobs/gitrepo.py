"""A local git repository, read through git's plumbing: commits, trees, blobs and diffs. Nothing of the repository is ever run.

A repository is a stranger's folder: its configuration can name programs (a file-system monitor, an external diff, text converters, hooks,
a signature checker, a transport). No command used here starts one: none touches a working tree or an index, diffs are told to use neither
external programs nor converters, and every transport is forbidden, so that a clone without all its objects is an error and no download.
The configuration of the user and of the system is not read, and no GIT_* variable is passed on.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from openagentperf.corpus.derived.change import read_tree, text_of
from openagentperf.errors import CorpusError, InfrastructureError

OBJECT_BYTES = 1 << 20
"""Larger blobs are data or generated code; no agent reads them, and a search tool leaves them out."""
DIFF_BYTES = 4 << 20
"""A longer diff is no task of one session."""
_KEPT_CHARS = 32 << 20
_PIECE = 1 << 16
_SETTINGS = (
    "safe.directory=*",  # the owner does not matter where nothing is run
    "core.bare=true",  # neither working tree nor index: a checkout's .gitattributes must not change a diff
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.hooksPath=/dev/null",
)
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


class GitRepo:
    """The repository at `path`: a working tree's root, or a bare repository. Use as a context; two processes serve its objects.

    CorpusError where `path` is none or has no commit on HEAD; InfrastructureError where git is not installed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        self._environment |= _ENVIRONMENT
        self._served: dict[str, subprocess.Popen[bytes]] = {}
        self._kept: OrderedDict[str, str | None] = OrderedDict()
        self._kept_chars = 0
        try:
            self._git_dir = self._found()
            self._environment["GIT_INDEX_FILE"] = str(self._git_dir / "no-index")
            self.head = self._head()
            self.name = self._name()
        except BaseException:
            self._errors.close()
            raise

    def __enter__(self) -> GitRepo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:  # fmt: skip
        for process in self._served.values():
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
            process.wait()
        self._errors.close()

    def commits(self) -> CommitIds:
        """Every commit of HEAD's history with exactly one parent, newest first: 20 bytes each (1 million: 20 MB).

        A shallow clone's last commits count as having none, since what they changed is not there.
        """
        ids = CommitIds(len(self.head) // 2)
        with self._start("rev-list", "--min-parents=1", "--max-parents=1", self.head) as process:
            for line in _stdout(process):
                ids.append(line.strip())
        self._check(process, "its history cannot be read")
        return ids

    def commit(self, object_id: str) -> bytes | None:
        """A commit as git stores it (change.read_commit); None where it is not there or longer than OBJECT_BYTES."""
        return self._object("commit", object_id)

    def blob(self, object_id: str) -> bytes | None:
        """The bytes of a file; None where it is longer than OBJECT_BYTES or is not there."""
        return self._object("blob", object_id)

    def text(self, object_id: str) -> str | None:
        """A file's text (change.text_of), kept: successive trees share nearly all of their blobs."""
        if object_id in self._kept:
            self._kept.move_to_end(object_id)
            return self._kept[object_id]
        data = self.blob(object_id)
        text = None if data is None else text_of(data)
        self._kept[object_id] = text
        self._kept_chars += len(text or "")
        while self._kept_chars > _KEPT_CHARS:
            self._kept_chars -= len(self._kept.popitem(last=False)[1] or "")
        return text

    def _object(self, wanted: str, object_id: str) -> bytes | None:
        kind, size = self._header("--batch-check", object_id)
        if kind != wanted or size > OBJECT_BYTES:
            return None
        self._header("--batch", object_id)
        out = _stdout(self._server("--batch"))
        data = out.read(size)
        if len(data) < size or out.read(1) != b"\n":
            raise self._broken("an object cannot be read")
        return data

    def diff(self, before: str, after: str) -> bytes | None:
        """Raw records and hunks without context, from commit `before` to `after` (change.read_diff); None above DIFF_BYTES."""
        process = self._start(
            "diff-tree", "-r", "-M", "-l200", "--raw", "-z", "-p", "-U0", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv",
            "--diff-algorithm=histogram", "--diff-filter=AMDR", "--ignore-submodules=none", "--submodule=short", before, after, "--",
        )  # fmt: skip
        with process:
            data = _limited(_stdout(process), DIFF_BYTES)
            if data is None:
                process.kill()
        if data is not None:
            self._check(process, f"the change of {after[:12]} cannot be read")
        return data

    def files(self, commit: str) -> Files:
        """The regular files of a commit's tree; memory: its list of paths, about 200 bytes each."""
        with self._start("ls-tree", "-r", "-z", "--full-tree", commit) as process:
            blobs = read_tree(_stdout(process).read())
        self._check(process, f"the files of {commit[:12]} cannot be listed")
        return Files(self, blobs)

    def _found(self) -> Path:
        if not self._path.is_dir():
            raise CorpusError(
                str(self._path), "is no folder", "a local git repository is needed", "clone it first, and name its folder"
            )  # fmt: skip
        # Git would look in the folders above: a path inside of another repository must not turn into that repository.
        root = self._path.resolve()
        self._environment["GIT_CEILING_DIRECTORIES"] = str(root.parent)
        try:
            process = self._start("rev-parse", "--absolute-git-dir", folder=root)
        except FileNotFoundError as error:
            raise InfrastructureError(
                "git", "is not found", "it reads the repository", "install git, and see that it is on PATH"
            ) from error
        out = process.communicate()[0]
        if process.returncode:
            why = self._said()
            raise CorpusError(
                str(self._path),
                f"is no git repository ({why})" if why else "is no git repository",
                "the root of a working tree or a bare repository is needed",
                "name the folder that holds .git, or clone the repository first",
            )
        return Path(os.fsdecode(out.rstrip(b"\n")))

    def _head(self) -> str:
        process = self._start("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        out = process.communicate()[0]
        if process.returncode:
            raise CorpusError(
                str(self._path), "has no commit on HEAD", "a history is what sessions are made of", "check out a branch that has one"
            )  # fmt: skip
        return out.decode().strip()

    def _name(self) -> str:
        """`owner/name` by the address of the remote `origin`, without what may be a password; else the folder's name."""
        process = self._start("config", "--local", "--get", "remote.origin.url")
        url = process.communicate()[0].decode("utf-8", "replace").strip()
        url = url.split("?")[0].split("#")[0].rstrip("/").removesuffix(".git")
        parts = [part for part in url.replace(":", "/").split("/") if part and "@" not in part]
        if ("://" in url or "@" in url) and not url.startswith("file:") and len(parts) >= 2:
            return "/".join(parts[-2:])
        root = self._git_dir.parent if self._git_dir.name == ".git" else self._path.resolve()
        return root.name.removesuffix(".git") or "repository"

    def _header(self, mode: str, object_id: str) -> tuple[str, int]:
        process = self._server(mode)
        assert process.stdin is not None
        try:
            process.stdin.write(object_id.encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError as error:
            raise self._broken("an object cannot be read") from error
        words = _stdout(process).readline().split()
        if not words:
            raise self._broken("an object cannot be read")
        return (words[1].decode(), int(words[2])) if len(words) == 3 else ("missing", 0)

    def _server(self, mode: str) -> subprocess.Popen[bytes]:
        if mode not in self._served:
            self._served[mode] = self._start("cat-file", mode, stdin=subprocess.PIPE)
        return self._served[mode]

    def _start(self, *arguments: str, folder: Path | None = None, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:  # fmt: skip
        settings = (
            [word for setting in _SETTINGS for word in ("-c", setting)] if folder is None else ["-c", _SETTINGS[0]]
        )
        place = ["-C", str(folder)] if folder is not None else [f"--git-dir={self._git_dir}"]
        return subprocess.Popen(
            ["git", "--no-pager", *settings, *place, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=self._environment,
            cwd=folder or self._git_dir,
        )

    def _check(self, process: subprocess.Popen[bytes], what: str) -> None:
        if process.wait():
            raise self._broken(what)

    def _broken(self, what: str) -> CorpusError:
        why = self._said()
        return CorpusError(
            str(self._path),
            f"{what} ({why})" if why else what,
            "every object of its history is needed",
            "check it by `git fsck`; a clone made with --filter lacks objects: clone it whole",
        )

    def _said(self) -> str:
        """The last line that git complained with."""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].removeprefix("fatal: ") if lines else ""


class CommitIds(Sequence[str]):
    """Commit ids, packed."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._packed = bytearray()

    def append(self, hexadecimal: bytes) -> None:
        self._packed += bytes.fromhex(hexadecimal.decode())

    def __len__(self) -> int:
        return len(self._packed) // self._width

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._packed[index * self._width : (index + 1) * self._width].hex()


class Files:
    """The text files of one tree, read when asked for (corpus.derived.workspace.Files)."""

    def __init__(self, repo: GitRepo, blobs: dict[str, str]) -> None:
        self.paths: Sequence[str] = sorted(blobs)
        self._repo = repo
        self._blobs = blobs

    def text(self, path: str) -> str | None:
        """A file's text; None: not there, above OBJECT_BYTES, or no text."""
        blob = self._blobs.get(path)
        return None if blob is None else self._repo.text(blob)


def _stdout(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout


def _limited(out: IO[bytes], limit: int) -> bytes | None:
    data = bytearray()
    while piece := out.read(_PIECE):
        data += piece
        if len(data) > limit:
            return None
    return bytes(data)
