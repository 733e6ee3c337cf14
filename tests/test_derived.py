"""The parts of derived sessions, on files that the tests hold: no git here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitrepos import MIT
from openagentperf.corpus.derived import licence, scope
from openagentperf.corpus.derived.change import (
    Commit,
    FileChange,
    Hunk,
    edited_bytes,
    read_commit,
    read_diff,
    read_tree,
    with_changes,
)
from openagentperf.corpus.derived.editing import Edit, grouped
from openagentperf.corpus.derived.looking import Looker
from openagentperf.corpus.derived.reading import Reader
from openagentperf.corpus.derived.session import Origin, derive
from openagentperf.corpus.derived.testing import Tests as Runs
from openagentperf.corpus.derived.workspace import Document, Workspace, quoted
from openagentperf.corpus.numbers import plan_session
from openagentperf.corpus.shape import profile_named
from openagentperf.corpus.text.harness import Harness
from openagentperf.corpus.tokens import estimate
from openagentperf.seeds import Stream


class Texts:
    """Files in memory."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.paths: Sequence[str] = sorted(texts)
        self._texts = texts

    def text(self, path: str) -> str | None:
        return self._texts.get(path)


RECORDS = (
    b":100644 100644 1111 2222 M\0a b.py\0:100644 100644 1111 2222 R090\0old.py\0new.py\0"
    b":000000 100755 0000 3333 A\0add.py\0:120000 120000 1 2 M\0link\0"
)
PATCH = b"""diff --git a/a b.py b/a b.py
index 1111..2222 100644
--- a/a b.py\t
+++ b/a b.py\t
@@ -2 +2,2 @@ def x
-two
+TWO
+too\r
@@ -5,0 +7 @@
+diff --git is only a line
diff --git a/old.py b/new.py
similarity index 90%
@@ -1,2 +0,0 @@
-one
-two
diff --git a/add.py b/add.py
--- /dev/null
@@ -0,0 +1 @@
+x
\\ No newline at end of file
diff --git a/link b/link
@@ -1 +1 @@
-a
\\ No newline at end of file
+b
\\ No newline at end of file
"""


def test_a_diff_is_read_with_its_names_from_the_records_and_its_lines_from_the_patch() -> None:
    first, moved, added, link = read_diff(RECORDS + b"\0" + PATCH)
    assert (first.status, first.path, first.before) == ("M", b"a b.py", b"a b.py")
    # An insertion "after line 5" stands before the sixth line, which is index 5.
    assert first.hunks == ((1, (b"two\n",), (b"TWO\n", b"too\r\n")), (5, (), (b"diff --git is only a line\n",)))
    assert (moved.before, moved.path, moved.hunks) == (b"old.py", b"new.py", ((0, (b"one\n", b"two\n"), ()),))
    assert (added.status, added.hunks) == ("A", ((0, (), (b"x",)),))
    assert (link.regular, link.hunks) == (False, ())
    assert edited_bytes([first]) == len(b"two\nTWO\ntoo\r\ndiff --git is only a line\n")
    with pytest.raises(ValueError, match="4 records and 3 patches"):
        read_diff(RECORDS + b"\0" + PATCH[: PATCH.index(b"diff --git a/link")] + b"")


def test_changes_that_do_not_fit_the_parent_s_file_are_left_out() -> None:
    raw = read_diff(b":100644 100644 aa bb M\0a.py\0\0" + b"diff --git a/a.py b/a.py\n@@ -2 +2 @@\n-two\n+TWO\n")
    commit = Commit(id="c", parent="p", message="m")
    fits = with_changes(commit, raw, {"aa": b"one\ntwo\n"}.get)
    assert fits.changes == (FileChange(path="a.py", before="a.py", kind="modified", hunks=(Hunk(1, ("two\n",), ("TWO\n",)),)),)  # fmt: skip
    for other in (b"one\n2\n", b"one\ntwo\n\0", b"one\ntwo\n" + b"x" * 3000, None):
        left = with_changes(commit, raw, lambda _, other=other: other)
        assert (left.changes, left.left_out) == ((), 1)


@pytest.mark.parametrize(
    ("data", "parent", "message"),
    [
        (b"tree t\nparent p1\nauthor A <a@b> 1 +0000\n\nFix it\n\nBecause.\n", "p1", "Fix it\n\nBecause."),
        (b"tree t\n\nStart\n", "", "Start"),
        (b"parent p\nencoding ISO-8859-1\n\ngr\xfcn\n", "p", "gr\u00fcn"),
        (b"parent p\nencoding nonsense\n\ngr\xfcn\n", "p", "gr\ufffdn"),
        (b"parent p\ngpgsig -----BEGIN\n parent of nothing\n\nSigned\n", "p", "Signed"),
        # Trailers name people; what refers to issues stays.
        (
            b"parent p\n\nx\n\nFixes: #12\nSigned-off-by: A <a@b>\nCo-authored-by: B <b@c>\nChange-Id: I1\n",
            "p",
            "x\n\nFixes: #12",
        ),
        (b"", "", ""),
    ],
)
def test_a_commit_object(data: bytes, parent: str, message: str) -> None:
    commit = read_commit("c", data)
    assert (commit.parent, commit.message) == (parent, message)


def test_a_tree_lists_regular_files_only() -> None:
    data = b"100644 blob aa\tb.py\x00120000 blob bb\tlink\x00160000 commit cc\tsub\x00100755 blob dd\tdir/\xff run\0"
    assert read_tree(data) == {"b.py": "aa", "dir/\ufffd run": "dd"}


LINE = st.sampled_from(["a\n", "b\n", "    return x\n", "\n", "}\n"])


@st.composite
def documents(draw: st.DrawFn) -> tuple[list[str], list[Hunk]]:
    """A file of few different lines, and hunks in it that do not touch."""
    lines = draw(st.lists(LINE, max_size=30))
    if lines and draw(st.booleans()):
        lines[-1] = lines[-1].rstrip("\n") or "end"
    hunks: list[Hunk] = []
    at = 0
    while at <= len(lines):
        at += draw(st.integers(0, 6))
        removed = draw(st.integers(0, 3))
        if at + removed > len(lines):
            break
        whole = draw(st.lists(LINE, max_size=3))
        if removed or whole:
            hunks.append(Hunk(at, tuple(lines[at : at + removed]), tuple(whole)))
        at += removed + 1
    if hunks and lines and not lines[-1].endswith("\n") and hunks[-1].at == len(lines):
        hunks.pop()  # lines behind one without an end: git would replace that one
    return lines, hunks


@given(documents(), st.randoms(use_true_random=False), st.integers(0, 3))
def test_edits_in_any_order_make_the_file_of_the_commit(
    made: tuple[list[str], list[Hunk]], random: object, context: int
) -> None:
    lines, hunks = made
    want = list(lines)
    for hunk in reversed(hunks):
        want[hunk.at : hunk.at + len(hunk.old)] = hunk.new
    document = Document("a.py", lines, hunks)
    order = list(range(len(document.hunks)))
    random.shuffle(order)  # type: ignore[attr-defined]
    text = "".join(lines)
    for index in order:
        old, new = document.edit(index, context)
        assert old == text or (old and text.count(old) == 1)
        text = new if old == text else text.replace(old, new)
        document.make(index)
        assert text == "".join(document.lines)
    assert text == "".join(want)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=40), st.integers(1, 20))
def test_groups_hold_all_edits_in_order_and_none_is_empty(sizes: list[int], groups: int) -> None:
    change = FileChange(path="a", before="a", kind="modified", hunks=())
    planned = [Edit("hunk", change, index, tokens) for index, tokens in enumerate(sizes)]
    made = grouped(planned, groups)
    assert [edit for group in made for edit in group] == planned
    assert all(made)
    assert len(made) == min(groups, len(planned))


def test_a_diff_of_the_edits_so_far_is_what_git_prints() -> None:
    lines = [f"{k}\n" for k in range(30)]
    hunks = [Hunk(1, ("1\n",), ("one\n", "uno\n")), Hunk(20, (), ("new\n",)), Hunk(29, ("29\n",), ("end",))]
    document = Document("src/a b.py", lines, hunks)
    assert document.diff() == ""
    document.make(0)
    document.make(2)
    assert document.diff() == (
        "diff --git a/src/a b.py b/src/a b.py\n--- a/src/a b.py\t\n+++ b/src/a b.py\t\n"
        "@@ -1,5 +1,6 @@\n 0\n-1\n+one\n+uno\n 2\n 3\n 4\n"
        "@@ -27,4 +28,4 @@\n 26\n 27\n 28\n-29\n+end\n\\ No newline at end of file\n"
    )


@pytest.mark.parametrize(
    ("path", "plain", "status"),
    [
        ("src/a.py", "src/a.py", "src/a.py"),
        ("a b.py", "a b.py", '"a b.py"'),
        ('say "x".py', '"say \\"x\\".py"', '"say \\"x\\".py"'),
        ("gr\u00fcn\t.py", '"gr\\303\\274n\\t.py"', '"gr\\303\\274n\\t.py"'),
    ],
)
def test_paths_are_quoted_as_git_quotes_them(path: str, plain: str, status: str) -> None:
    assert (quoted(path), quoted(path, spaces=True)) == (plain, status)


def test_the_workspace_is_the_parent_with_the_edits_so_far() -> None:
    moved = FileChange(path="lib/new.py", before="lib/old.py", kind="modified", hunks=(Hunk(0, ("a\n",), ("b\n",)),))
    workspace = Workspace(Texts({"lib/old.py": "a\n", "lib/gone.py": "x\n", "top.py": "t\n"}), [moved])
    assert list(workspace.below("lib")) == ["lib/gone.py", "lib/old.py"]
    assert workspace.lines("lib/old.py") == ["a\n"]
    workspace.move("lib/old.py", "lib/new.py")
    workspace.remove("lib/gone.py")
    workspace.write("lib/sub/made.py", ["m\n"])
    workspace.make("lib/new.py", 0)
    assert list(workspace.below("")) == ["lib/new.py", "lib/sub/made.py", "top.py"]
    assert [workspace.lines(path) for path in ("lib/old.py", "lib/gone.py")] == [None, None]
    assert workspace.lines("lib/new.py") == ["b\n"]
    assert workspace.mentions("lib/sub/made.py", "m")
    assert workspace.changed == {"lib/new.py": "RM", "lib/gone.py": "D ", "lib/sub/made.py": "??"}


@pytest.mark.parametrize(
    ("files", "path", "want"),
    [
        ({"a/b/x.py": 3, "a/y.py": 3}, "a/b/x.py", scope.Scope("")),  # all of it is small
        ({"a/b/x.py": 300, "z/y.py": 300}, "a/b/x.py", scope.Scope("a")),  # the root would be too many
        ({"a/x.py": 300, "a/x.c": 300}, "a/x0.py", scope.Scope("a", ".py")),  # the folder is too large: files like it
        ({"a/x.py": 500}, "a/x0.py", scope.Scope("a", file="a/x0.py")),
        ({"x.py": 500}, "Makefile", scope.Scope("", file="Makefile")),
    ],
)
def test_a_search_goes_as_far_as_can_be_read(files: dict[str, int], path: str, want: scope.Scope) -> None:
    texts = {"Makefile": ""}
    for name, count in files.items():
        stem, _, ending = name.rpartition(".")
        texts |= {f"{stem}{k}.{ending}": "" for k in range(count)}
    workspace = Workspace(Texts(texts), [])
    found = scope.around(workspace, path)
    assert found == want
    assert len(found.paths(workspace)) <= scope.SEARCHED_FILES


def test_every_line_is_read_once_and_neighbours_come_before_strangers() -> None:
    texts = {
        f"{folder}/f{k}.py": "".join(f"{folder}{k} line {n}\n" for n in range(40))
        for folder in ("near", "far")
        for k in range(5)
    }
    reader = Reader(Workspace(Texts(texts | {"near/data.json": "{}\n"}), []), "near/f0.py", Stream(1, "t"))
    reader.lead("far/f3.py", 20)
    seen: list[str] = []
    places: list[str] = []
    while (step := reader.read(300)) is not None:
        assert estimate(step.result) <= 330
        places.append(step.about)
        shown = re.findall(r"\w+ line \d+", step.result)
        seen += shown
    assert reader.dry
    assert len(seen) == len(set(seen)) == 10 * 40
    assert places[0] == "far/f3.py", "what a search found is read first"
    assert all("near" in place for place in places[2:5])


def test_an_edit_makes_its_neighbourhood_new() -> None:
    reader = Reader(Workspace(Texts({"a.py": "".join(f"line {n}\n" for n in range(200))}), []), "a.py", Stream(1, "t"))
    while reader.read(5000):
        pass
    reader.changed("a.py", 100, 2)
    step = reader.read(5000)
    assert step is not None
    assert (step.result.split("\n")[0], step.result.split("\n")[-1]) == (
        "    76\tline 75",
        "   127\tline 126",
    )  # 25 lines on either side


def test_searches_ask_for_names_of_the_change_and_lead_the_reader() -> None:
    texts = {f"f{k}.py": f"x = compute_total({k})\n" * 3 for k in range(8)}
    change = FileChange(
        path="f0.py", before="f0.py", kind="modified", hunks=(Hunk(0, ("x = compute_total(0)\n",), ("x = 1\n",)),)
    )
    workspace = Workspace(Texts(texts), [])
    reader = Reader(workspace, "f0.py", Stream(1, "t"))
    looker = Looker(
        workspace, Commit(id="c", parent="p", message="m", changes=(change,)), "f0.py", (), reader, Stream(2, "t")
    )
    step = looker.grep(60)
    assert step is not None
    assert msgspec.json.decode(step.arguments) == {"pattern": "compute_total", "path": "."}
    assert step.result.startswith("f0.py:1:x = compute_total(0)\n")
    shown = step.result.count("compute_total")
    assert step.result.endswith(f"[{24 - shown} more matches not shown]")
    read = reader.read(40)
    assert read is not None
    assert read.about == "f0.py"
    assert looker.grep(60) is None, "no other name is left"


@pytest.mark.parametrize(
    ("language", "path", "text", "command", "line"),
    [
        ("Python", "test_a.py", "def test_one():\n", "python -m pytest -v test_a.py", r"test_a\.py::test_one PASSED \[100%\]"),
        ("Go", "pkg/a_test.go", "func TestOne(t *testing.T) {\n", "go test -v ./pkg", r"--- PASS: TestOne \(\d\.\d\ds\)"),
        ("Rust", "tests/a.rs", "#[test]\nfn one() {\n", "cargo test", r"test one \.\.\. ok"),
        ("TypeScript", "src/a.spec.ts", "it('does one', () => {\n", "npm test -- src/a.spec.ts", r"  ✓ does one \(\d+ ms\)"),
        ("Kotlin", "src/test/ATest.kt", "@Test\nfun one() {\n", "mvn -q test", r"\[INFO\] src/test/ATest\.kt > one PASSED"),
        ("Ruby", "spec/a_spec.rb", 'it "does one" do\n', "bundle exec rspec spec/a_spec.rb", "  does one"),
        ("C", "tests/a.c", "int test_one(void) {\n", "make check", r"PASS: tests/a\.c test_one"),
    ],
)  # fmt: skip
def test_test_output_names_real_tests(language: str, path: str, text: str, command: str, line: str) -> None:
    tests = Runs(Workspace(Texts({path: text, "src/a.py": "x\n"}), []), "src/a.py", language, Stream(1, "t"))
    step = tests.run(500, 1_500_000_000)
    assert step is not None
    assert msgspec.json.decode(step.arguments) == {"command": command}
    assert re.search(f"^{line}$", step.result, re.MULTILINE), step.result
    assert tests.runs == 1


def test_without_tests_none_are_made_up() -> None:
    texts = Texts({"src/a.py": "def test_x(): pass\n", "tests/readme.txt": "x\n"})
    tests = Runs(Workspace(texts, []), "src/a.py", "Python", Stream(1, "t"))
    assert tests.run(500, 1) is None
    assert tests.runs == 0


@pytest.mark.parametrize("profile", ["agentperf", "demo", "interactive"])
def test_lengths_and_delays_follow_the_numbers(profile: str) -> None:
    """Turns, delays and outputs are the drawn ones; inputs are those of real text, which ends on whole lines."""
    texts = {
        f"src/f{k}.py": "".join(f"def part_{k}_{n}(value): return value + {n}\n" for n in range(900)) for k in range(80)
    }
    lines = texts["src/f0.py"].splitlines(keepends=True)
    hunks = tuple(Hunk(at, (lines[at],), (f"# {at}\n", lines[at])) for at in (20, 300, 700))
    change = FileChange(path="src/f0.py", before="src/f0.py", kind="modified", hunks=hunks)
    commit = Commit(id="c" * 40, parent="p" * 40, message="Say where\n\nEach part tells its line.", changes=(change,))
    law = profile_named(profile)
    harness = Harness(law, estimate)
    for number in range(6):
        shape = plan_session(law, Stream(3, "test", number))
        made = derive(commit, Texts(texts), Origin(name="o/r", licence="MIT"), shape, harness, Stream(4, number))
        assert len(made.turns) == len(shape.turns)
        for turn, planned in zip(made.turns, shape.turns, strict=True):
            assert turn.tool_delay_ns == planned.delay_ns
            assert turn.output_tokens >= planned.output_tokens
            assert (turn.cut == "compaction") == (planned.opening is not None and planned.opening.kind != "task")
        ends = [k for k, turn in enumerate(shape.turns) if turn.order_tokens or k + 1 == len(shape.turns)]
        for k in ends:
            assert (
                abs(made.turns[k].input_tokens - shape.turns[k].input_tokens)
                <= 0.05 * shape.turns[k].input_tokens + 400
            )


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        (MIT, "MIT"),
        ("  Apache License\n  Version 2.0, January 2004\n http://www.apache.org/licenses/\n", "Apache-2.0"),
        ("GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007\n", "GPL-3.0-only"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\n   Version 2.1, February 1999\n", "LGPL-2.1-only"),
        ("Mozilla Public License Version 2.0\n\n the GNU General Public License, Version 2.0, or later\n", "MPL-2.0"),
        ("Redistributions in binary form must reproduce the above copyright\n notice", "BSD-2-Clause"),
        ("Redistributions in binary form must reproduce\n ... endorse or promote products\n * derived from this software", "BSD-3-Clause"),
        ("SPDX-License-Identifier: MIT OR Apache-2.0\n", "MIT OR Apache-2.0"),
        ("All rights reserved.", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_a_licence_is_told_by_its_own_sentences(text: str, spdx: str) -> None:
    assert licence.spdx_of(text) == spdx


def test_two_licence_files_that_differ_say_nothing() -> None:
    assert licence.spdx_of_files([MIT, MIT]) == "MIT"
    assert licence.spdx_of_files([MIT, "Apache License Version 2.0"]) == ""
    assert licence.spdx_of_files([]) == ""
    named = ["LICENSE", "LICENCE.md", "COPYING.LESSER", "LICENSE-APACHE-2.0.txt", "UNLICENSE"]
    assert [
        name for name in [*named, "src/LICENSE", "licenses.json", "license_checker.py"] if licence.FILES.fullmatch(name)
    ] == named


def test_this_project_s_licence() -> None:
    assert licence.spdx_of((Path(__file__).resolve().parents[1] / "LICENSE").read_text()) == "Apache-2.0"
