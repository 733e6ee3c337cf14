"""Sessions out of a repository's history: what is in them is real, nothing is run, and the same HEAD gives the same bytes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from gitrepos import MIT, Made, git, module, project
from openagentperf.cli.corpus import app
from openagentperf.corpus.derived.session import FORMAT
from openagentperf.corpus.fit import fault
from openagentperf.corpus.prefix import prove
from openagentperf.corpus.tokens import estimate, estimate_answer, estimate_message
from openagentperf.corpusjobs.fromrepo import RepoReport, from_repo
from openagentperf.corpusjobs.gitrepo import GitRepo
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.corpusjobs.store import SET_NAME, read_set
from openagentperf.errors import CorpusError, InfrastructureError, UsageError
from openagentperf.plan import Workload
from openagentperf.records.trajectory import Trajectory, histories
from openagentperf.wire.chat import encode_message
from oracle import Oracle

ROOT = Path(__file__).resolve().parents[1]


def derived(
    repo: Path, out: Path, count: int | None = None, profile: str = "agentperf", seed: int = 1
) -> list[Trajectory]:
    from_repo(repo, out, count, seed, profile)
    return list(read_set(out, []))


def assert_sound(trajectory: Trajectory) -> None:
    """What every set needs: sendable, a proven prefix, and counts that are those of its text."""
    assert fault(trajectory) == ""
    assert prove(trajectory, encode_message).undeclared == ()
    tools = sum(map(estimate, trajectory.tools))
    following = [*trajectory.turns[1:], None]
    for messages, turn, after in zip(histories(trajectory), trajectory.turns, following, strict=True):
        assert turn.input_tokens == sum(map(estimate_message, messages)) + tools
        assert turn.tool_delay_ns is not None
        if after is not None and after.keep is None:
            answer = after.appended[0]
            assert answer.role == "assistant"
            assert turn.tool_calls == len(answer.tool_calls)
            assert turn.output_tokens >= estimate_answer(answer)


@pytest.mark.parametrize(("profile", "count"), [("agentperf", 5), ("demo", 8), ("interactive", 1)])
def test_what_tools_return_is_what_they_really_return(tmp_path: Path, profile: str, count: int) -> None:
    """Each session is played in a checkout of its commit's parent; at its end the checkout holds the commit."""
    made = project(tmp_path / "app")
    found = derived(made.path, tmp_path / "out", count, profile)
    assert len(found) == count
    played: dict[str, int] = {}
    for number, trajectory in enumerate(found):
        assert_sound(trajectory)
        oracle = Oracle(made.path, trajectory, tmp_path / f"tree{number}")
        oracle.play()
        git(oracle.folder, "add", "-A")
        assert git(oracle.folder, "diff", "--cached", trajectory.task) == b"", "all of the commit was done"
        for kind, times in oracle.played.items():
            played[kind] = played.get(kind, 0) + times
    assert {"grep", "read_file", "edit_file"} <= played.keys()
    assert sum(played.values()) > 30


def test_files_are_added_moved_removed_and_keep_their_line_ends(tmp_path: Path) -> None:
    made = Made(tmp_path / "app")
    text = module("core", 30)
    made.commit(
        "Start",
        {
            "src/core.py": text,
            "src/old name.py": module("old", 9),
            "src/gone.py": module("gone", 3),
            "src/dos.py": module("dos", 9).replace("\n", "\r\n"),
            "src/noend.py": module("noend", 9).rstrip("\n"),
            "src/empty.py": "",
            **{f"lib/part{k}.py": module(f"part{k}", 20) for k in range(6)},
        },
    )
    commit = made.commit(
        "Take it apart\n\nSigned-off-by: A Person <a@example.com>\nChange-Id: I12",
        {
            "src/core.py": text.replace("value + 7\n", "value - 7\n").replace("import os\n", "import os\nimport sys\n"),
            "src/old name.py": None,
            "src/new name.py": module("old", 9).replace("value + 8", "value + 80"),
            "src/gone.py": None,
            "src/fresh/added.py": module("added", 4) + "EOF\n",
            "src/dos.py": module("dos", 9).replace("value + 7\n", "value * 7\n").replace("\n", "\r\n"),
            "src/noend.py": module("noend", 9).rstrip("\n").replace("return noend_8_0", "return None") + "\n# end",
            "src/empty.py": "x = 1\n",
        },
    )
    for profile in ("agentperf", "demo"):  # the latter has no tool for new files: a shell writes them
        for seed in range(3):
            place = tmp_path / f"{profile}{seed}"
            (trajectory,) = derived(made.path, place / "out", 1, profile, seed)
            assert_sound(trajectory)
            assert trajectory.task == commit
            assert "Person" not in msgspec.json.encode(trajectory).decode()
            oracle = Oracle(made.path, trajectory, place / "tree")
            oracle.play()
            git(oracle.folder, "add", "-A")
            assert git(oracle.folder, "diff", "--cached", commit) == b""


def test_what_is_no_text_is_left_out_and_counted(tmp_path: Path) -> None:
    made = Made(tmp_path / "app")
    files: dict[str | bytes, bytes | str] = {f"src/part{k}.py": module(f"part{k}", 20) for k in range(6)}
    made.commit("Start", {**files, "logo.bin": b"a\0b", "lib.min.js": "x" * 5000, "data.py": "y = 1\n" * 200_000})
    git(made.path, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},vendored")
    (made.path / "link.py").symlink_to("src/part0.py")
    (made.path / "logo.bin").write_bytes(b"a\0c")
    (made.path / "lib.min.js").write_text("z" * 5000)
    (made.path / "data.py").write_text("y = 2\n" + "y = 1\n" * 200_000)  # 1.2 MB
    (made.path / "src/part1.py").write_text(module("part1", 20).replace("+ 14", "+ 15"))
    git(made.path, "add", "logo.bin", "lib.min.js", "data.py", "link.py", "src/part1.py")
    made.record("Change many kinds")
    (trajectory,) = derived(made.path, tmp_path / "out", 1)
    assert_sound(trajectory)
    # The binary, the minified and the large file, the link, the submodule; a large file is no text of a session.
    assert "5 changed files of the commit left out: no text, too large, links or submodules" in trajectory.notes
    assert "part1_" in msgspec.json.encode(trajectory).decode()


def test_names_and_texts_that_are_not_utf_8(tmp_path: Path) -> None:
    made = Made(tmp_path / "app")
    text = module("core", 20) + "# gr\u00fc\u00dfe\n"
    made.commit(
        "Start", {"src/core.py": text.encode("latin-1"), b"src/\xff\xfe.py": "a = 1\n", "src/b.py": module("b", 9)}
    )
    changed = {"src/core.py": text.replace("+ 7\n", "+ 8\n").encode("latin-1")}
    commit = made.commit("Gr\u00fc\u00dfe \u00e4ndern", changed, encoding="latin-1")
    (trajectory,) = derived(made.path, tmp_path / "out", 1)
    assert_sound(trajectory)
    assert trajectory.turns[0].appended[1].content.startswith("Gr\u00fc\u00dfe \u00e4ndern\n")
    encoded = msgspec.json.encode(trajectory).decode()
    assert "src/\ufffd\ufffd.py" in encoded
    assert commit in encoded


def test_the_same_head_and_seed_give_the_same_bytes_from_a_tree_and_from_a_bare_clone(tmp_path: Path) -> None:
    made = project(tmp_path / "one" / "app")
    (made.path / ".gitattributes").write_text("*.py -diff\n")  # of the checkout, not of the history
    subprocess.run(["git", "clone", "-q", "--bare", str(made.path), str(tmp_path / "two" / "app.git")], check=True)
    sets = [tmp_path / name for name in ("a", "b", "c")]
    derived(made.path, sets[0], 5)
    derived(made.path, sets[1], 5)
    derived(tmp_path / "two" / "app.git", sets[2], 5)
    first, *others = [(place / SET_NAME).read_bytes() for place in sets]
    assert [other == first for other in others] == [True, True]
    derived(made.path, tmp_path / "d", 5, seed=2)
    assert (tmp_path / "d" / SET_NAME).read_bytes() != first


def test_nothing_of_the_repository_is_run(tmp_path: Path) -> None:
    """Every program that a repository's configuration can name would leave a mark."""
    made = project(tmp_path / "app")
    mark, trap = tmp_path / "mark", tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    trap.chmod(0o755)
    for key in (
        "core.fsmonitor", "core.pager", "core.sshCommand", "diff.external", "diff.trap.command", "diff.trap.textconv", "gpg.program",
        "core.alternateRefsCommand", "remote.origin.uploadpack", "core.editor", "filter.trap.clean", "filter.trap.smudge",
    ):  # fmt: skip
        git(made.path, "config", key, str(trap))
    git(made.path, "config", "log.showSignature", "true")
    git(made.path, "config", "core.hooksPath", str(tmp_path))
    for hook in ("post-index-change", "reference-transaction", "post-checkout"):
        (tmp_path / hook).symlink_to(trap)
    (made.path / ".gitattributes").write_text("* diff=trap filter=trap\n")
    (made.path / ".git" / "info").mkdir(exist_ok=True)
    (made.path / ".git" / "info" / "attributes").write_text("* diff=trap filter=trap\n")
    assert len(derived(made.path, tmp_path / "out", 3)) == 3
    assert not mark.exists()


def test_variables_of_git_and_the_user_s_settings_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(tmp_path / "app")
    derived(made.path, tmp_path / "a", 3)
    (tmp_path / "gitconfig").write_text(
        "[diff]\n\tnoprefix = true\n\tmnemonicPrefix = true\n[core]\n\tquotePath = false\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    derived(made.path, tmp_path / "b", 3)
    assert (tmp_path / "a" / SET_NAME).read_bytes() == (tmp_path / "b" / SET_NAME).read_bytes()


def test_merges_and_roots_are_no_tasks_and_a_shallow_clone_has_what_it_holds(tmp_path: Path) -> None:
    made = project(tmp_path / "app", commits=6)
    git(made.path, "checkout", "-q", "-b", "side", "HEAD~2")
    made.commit("Beside", {"src/app/side.py": module("side", 5)})
    git(made.path, "checkout", "-q", "main")
    git(made.path, "merge", "-q", "--no-ff", "-m", "Join", "side")
    with GitRepo(made.path) as repo:
        ids = list(repo.commits())
    assert len(ids) == 7, "six, and the one beside; not the root, not the merge"
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth", "3", f"file://{made.path}", str(shallow)], check=True)
    with GitRepo(shallow) as repo:
        kept = list(repo.commits())
    # The merge, its two parents, and their parents, which have none in the clone: two are left.
    tips = git(made.path, "rev-parse", "HEAD^1", "HEAD^2").decode().split()
    assert sorted(kept) == sorted(tips)
    assert set(kept) < set(ids)


def test_sessions_are_drawn_anew_where_no_commit_is_small_enough(tmp_path: Path) -> None:
    made = Made(tmp_path / "app")
    made.commit("Start", {f"src/part{k}.py": module(f"part{k}", 60) for k in range(8)})
    for k in range(3):
        made.commit(f"Rewrite part {k}", {f"src/part{k}.py": module(f"part{k}", 60).replace("value + ", "value - ")})
    # A commit has 480 changed lines of 35 bytes, twice: 9,600 tokens, and half of a session's growth at most may be edits. The median
    # session grows by 18,000.
    reports = [from_repo(made.path, tmp_path / f"{seed}", 3, seed) for seed in range(4)]
    assert all(report.card.trajectories == 3 for report in reports)
    assert sum(report.redrawn for report in reports) > 0
    assert all(report.card.input_tokens.max > 9_600 for report in reports)


def test_too_little_history_says_how_much_there_was(tmp_path: Path) -> None:
    made = project(tmp_path / "app", commits=4)
    made.commit("Words", {"README.md": "Only words.\n"})
    with pytest.raises(CorpusError, match=r"app: has 5 commits with one parent, --count asks for 9: leave --count out"):
        from_repo(made.path, tmp_path / "out", 9)
    with pytest.raises(
        CorpusError, match=r"has 4 of 5 usable commits \(changes no code: texts, data or files that are no text: 1\)"
    ):
        from_repo(made.path, tmp_path / "out", 5)
    assert not (tmp_path / "out").exists(), "nothing is written for a wish that cannot be carried out"
    report = from_repo(made.path, tmp_path / "out")
    assert (report.card.trajectories, report.commits, report.looked_at) == (4, 5, 5)
    assert [row.why for row in report.skipped] == ["changes no code: texts, data or files that are no text"]


def test_what_is_no_repository_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorpusError, match="is no folder"):
        from_repo(tmp_path / "nowhere", tmp_path / "out")
    made = Made(tmp_path / "app")
    with pytest.raises(CorpusError, match="has no commit on HEAD"):
        from_repo(made.path, tmp_path / "out")
    made.commit("Start", {"src/a.py": "a = 1\n"})
    with pytest.raises(CorpusError, match="app: has 0 commits with one parent, at least 1 is needed"):
        from_repo(made.path, tmp_path / "out")
    with pytest.raises(CorpusError, match="is no git repository"):
        from_repo(made.path / "src", tmp_path / "out")  # the repository lies above, and was not named
    with pytest.raises(UsageError, match="at least 1 trajectory"):
        from_repo(made.path, tmp_path / "out", 0)
    with pytest.raises(UsageError, match="returns to a memory"):
        from_repo(made.path, tmp_path / "out", 1, profile="stateful")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfrastructureError, match="git: is not found"):
        from_repo(made.path, tmp_path / "out")


def test_a_clone_without_its_objects_is_said_and_nothing_is_fetched(tmp_path: Path) -> None:
    made = project(tmp_path / "app", commits=3)
    git(made.path, "config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial.git"
    subprocess.run(
        ["git", "clone", "-q", "--bare", "--filter=blob:none", f"file://{made.path}", str(partial)], check=True
    )
    with pytest.raises(CorpusError, match="a clone made with --filter lacks objects: clone it whole"):
        from_repo(partial, tmp_path / "out", 2)


def test_a_broken_repository_is_said(tmp_path: Path) -> None:
    made = project(tmp_path / "app", commits=3)
    for file in (made.path / ".git" / "objects").glob("??/*"):
        if git(made.path, "cat-file", "-t", file.parent.name + file.name) == b"tree\n":
            file.chmod(0o644)
            file.write_bytes(b"rubbish")
    with pytest.raises(CorpusError, match="git fsck"):
        from_repo(made.path, tmp_path / "out", 2)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://someone:secret@example.com/owner/thing.git", "owner/thing"),
        ("https://example.com/owner/thing?private_token=secret", "owner/thing"),
        ("git@example.com:owner/thing.git", "owner/thing"),
        ("ssh://git@example.com:22/owner/thing", "owner/thing"),
        ("file:///srv/owner/thing.git", "app"),
        ("../elsewhere", "app"),
    ],
)
def test_the_source_is_named_by_its_origin_without_what_may_be_a_password(tmp_path: Path, url: str, name: str) -> None:
    made = Made(tmp_path / "app")
    made.commit("Start", {"a.py": "a = 1\n"})
    git(made.path, "config", "remote.origin.url", url)
    with GitRepo(made.path) as repo:
        assert repo.name == name


def test_provenance_stands_in_every_trajectory(tmp_path: Path) -> None:
    made = project(tmp_path / "app")
    for trajectory in derived(made.path, tmp_path / "out", 4):
        assert trajectory.format == FORMAT
        assert trajectory.id == f"app@{trajectory.task[:12]}"
        assert trajectory.source == f"app {trajectory.task}"
        assert (trajectory.licence, trajectory.language) == ("MIT", "Python")
        assert any("made up from the names of real tests" in note for note in trajectory.notes) == any(
            "pytest" in call.arguments for turn in trajectory.turns for m in turn.appended for call in m.tool_calls
        )
    from_repo(made.path, tmp_path / "own", 1, licence="Apache-2.0")
    assert [trajectory.licence for trajectory in read_set(tmp_path / "own", [])] == ["Apache-2.0"]


def test_a_run_can_replay_it(tmp_path: Path) -> None:
    made = project(tmp_path / "app")
    report = from_repo(made.path, tmp_path / "out", 4)
    prepared = prepare(Workload(corpus=str(tmp_path / "out")), 1, tmp_path / "compiled")
    assert prepared.skipped == ()
    assert prepared.card == report.card


def test_a_small_repository_gives_short_sessions_and_says_so(tmp_path: Path) -> None:
    made = Made(tmp_path / "app")
    made.commit("Start", {"a.py": "a = 1\nb = 2\n", "LICENSE": MIT})
    made.commit("Two", {"a.py": "a = 2\nb = 2\n"})
    (trajectory,) = derived(made.path, tmp_path / "out", 1)
    assert_sound(trajectory)
    assert any("all of the repository was read" in note for note in trajectory.notes)


def test_compactions_of_a_profile_are_declared(tmp_path: Path) -> None:
    """Of the profile `interactive` some sessions outgrow their context: found by trying seeds, whatever its numbers are."""
    made = project(tmp_path / "app")
    for seed in range(60):
        for trajectory in derived(made.path, tmp_path / f"{seed}", 8, "interactive", seed):
            if any(turn.keep is not None for turn in trajectory.turns):
                assert_sound(trajectory)
                assert {turn.cut for turn in trajectory.turns} == {"", "compaction"}
                return
    pytest.fail("no session was compacted")


def test_this_repository_s_own_history(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: there is no history")
    with GitRepo(ROOT) as repo:
        if len(repo.commits()) < 10:
            pytest.skip("a shallow clone: there is too little history")
    found = derived(ROOT, tmp_path / "out")
    assert found
    for trajectory in found:
        assert_sound(trajectory)


def test_the_command(tmp_path: Path) -> None:
    made = project(tmp_path / "app")
    arguments = ["from-repo", str(made.path), "--out", str(tmp_path / "set"), "--count", "3"]
    said = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    report = msgspec.json.decode(said.stdout, type=RepoReport)
    assert (report.card.trajectories, report.commits, report.repository) == (3, 12, "app")
    words = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert words.stdout.startswith(
        f"app at {report.head[:12]}: commits with one parent 12, looked at {report.looked_at}\n"
    )
    assert f"  replay it:  openagentperf run --corpus {tmp_path / 'set'}" in words.stderr
