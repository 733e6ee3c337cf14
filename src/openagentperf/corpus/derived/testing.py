"""Output of test runs, made up from the names of the repository's real tests: nothing is ever run."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from openagentperf.corpus.derived.step import Step, bash, whole_lines
from openagentperf.corpus.derived.workspace import Workspace, parent_folder
from openagentperf.seeds import Stream
from openagentperf.units import Ns, ns_to_s

_FILES_READ = 40
_FILES_RUN = 8
_TEST_FILE = re.compile(
    r"(^|/)(tests?|specs?|__tests__|testing)/.*\.\w+$|(^|/)test_[^/]*\.\w+$|[._-](test|spec)s?\.\w+$|Tests?\.(java|kt|kts|cs|scala|swift|php)$"
)


class Runner(NamedTuple):
    """How one language's tests are run and what each prints. `{path}`, `{name}`, `{n}` (ms) and `{percent}` are filled in."""

    command: str
    line: str
    names: re.Pattern[str]
    """Test names in a file, group 1."""
    summary: str
    """`{count}` tests, `{seconds}`."""
    of_folder: bool = False
    """The command takes one folder; else it takes the files."""


_QUOTED = r"""\b(?:it|test|describe|specify|context)\(?\s*["'`]([^"'`\n]{3,90})"""
_RUNNERS = {
    "Python": Runner(
        "python -m pytest -v {paths}",
        "{path}::{name} PASSED [{percent:>3}%]",
        re.compile(r"^\s*(?:async )?def (test\w+)", re.MULTILINE),
        "===== {count} passed in {seconds:.2f}s =====",
    ),
    "Go": Runner(
        "go test -v {paths}",
        "--- PASS: {name} ({seconds:.2f}s)",
        re.compile(r"^func (Test\w+)\(", re.MULTILINE),
        "PASS\nok\t{paths}\t{seconds:.3f}s",
        of_folder=True,
    ),
    "Rust": Runner(
        "cargo test",
        "test {name} ... ok",
        re.compile(r"#\[(?:\w+::)?test[^\]]*\]\s*(?:async )?fn (\w+)"),
        "\ntest result: ok. {count} passed; 0 failed; 0 ignored; finished in {seconds:.2f}s",
    ),
    "JavaScript": Runner(
        "npm test -- {paths}",
        "  ✓ {name} ({n} ms)",
        re.compile(_QUOTED),
        "\nTests:       {count} passed, {count} total\nTime:        {seconds:.2f} s",
    ),
    "Java": Runner(
        "mvn -q test",
        "[INFO] {path} > {name} PASSED",
        re.compile(r"@(?:Test|ParameterizedTest)\b[^{;]*?\b(?:void|fun)\s+`?(\w+)"),
        "[INFO] Tests run: {count}, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: {seconds:.2f} s",
    ),
    "Ruby": Runner(
        "bundle exec rspec {paths}",
        "  {name}",
        re.compile(_QUOTED),
        "\nFinished in {seconds:.2f} seconds\n{count} examples, 0 failures",
    ),
    "": Runner(
        "make check",
        "PASS: {path} {name}",
        re.compile(r"\b(\w*[Tt]est\w*)\s*\("),
        "# TOTAL: {count}\n# PASS:  {count}\n# FAIL:  0",
    ),
}
_LIKE = {"TypeScript": "JavaScript", "Kotlin": "Java", "Scala": "Java"}


class Tests:
    """Test runs of the repository, those nearest to `around` first."""

    def __init__(self, workspace: Workspace, around: str, language: str, stream: Stream) -> None:
        self._workspace = workspace
        self._stream = stream
        self._runner = _RUNNERS.get(_LIKE.get(language, language), _RUNNERS[""])
        self._files = _nearest(workspace, around)
        self.runs = 0
        """How many outputs were made up."""

    def run(self, tokens: int, delay_ns: Ns) -> Step | None:
        """A run in which all tests pass, of so many of the nearest test files that its output is about `tokens` long.

        None where the repository has no file that looks like tests.
        """
        lines: list[str] = []
        paths: list[str] = []
        runner, count, full = self._runner, 0, False
        for path in self._files:
            names = list(dict.fromkeys(runner.names.findall("".join(self._workspace.lines(path) or ()))))
            if not names or (runner.of_folder and paths and parent_folder(path) != parent_folder(paths[0])):
                continue
            paths.append(path)
            for index, name in enumerate(names, 1):
                percent, n = 100 * index // len(names), 1 + self._stream.below(40)
                text = runner.line.format(path=path, name=name, percent=percent, n=n, seconds=n / 1000)
                lines.append(f"{text}\n")
            count += len(names)
            full = whole_lines(lines, tokens) < len(lines)
            if full or len(paths) == _FILES_RUN:
                break
        if not lines:
            return None
        self.runs += 1
        named = [f"./{parent_folder(paths[0])}"] if runner.of_folder else paths
        summary = runner.summary.format(count=count, seconds=ns_to_s(delay_ns), paths=named[0])
        command = runner.command.format(paths=" ".join(map(shlex.quote, named)))
        if full:
            shown = max(1, whole_lines(lines, tokens - 30))
            lines = lines[-shown:]
            command += f" 2>&1 | tail -n {shown + 1 + summary.count(chr(10))}"
        return bash("test", command, "".join(lines) + summary, paths[0])


def _nearest(workspace: Workspace, around: str) -> list[str]:
    """Test files: those that name the file `around`, then by how many folders they share with it."""
    stem = around.rpartition("/")[2].partition(".")[0].lower().removeprefix("test_").removesuffix("_test")
    folders = parent_folder(around).split("/")

    def distance(path: str) -> tuple[bool, int, str]:
        shared = 0
        for mine, theirs in zip(folders, path.split("/"), strict=False):
            if mine != theirs:
                break
            shared += 1
        return stem not in path.lower(), -shared, path

    return sorted(filter(_TEST_FILE.search, workspace.below("")), key=distance)[:_FILES_READ]
