import sys
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from openagentperf.cli.corpus import app
from openagentperf.corpus.card import card
from openagentperf.corpusjobs.build import CARD_NAME, build
from openagentperf.corpusjobs.describe import Described, describe
from openagentperf.corpusjobs.imports import import_paths
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.corpusjobs.store import SET_NAME, read_set
from openagentperf.errors import CorpusError, PlanError, StorageError, UsageError
from openagentperf.plan import Workload
from openagentperf.records.card import Card
from openagentperf.records.trajectory import Skipped


def test_build_writes_a_set_and_its_card(tmp_path: Path) -> None:
    got = build("demo", 7, 1, tmp_path / "set")
    skipped: list[Skipped] = []
    back = list(read_set(tmp_path / "set", skipped))
    assert (len(back), skipped) == (7, [])
    assert got == card(back, "estimate")
    assert msgspec.json.decode((tmp_path / "set" / CARD_NAME).read_bytes(), type=Card) == got


def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        build("demo", 5, 3, tmp_path / name)
    for file in (SET_NAME, CARD_NAME):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_vocabulary_counts_and_is_named_in_the_card(tmp_path: Path) -> None:
    pytest.importorskip("quicktok", reason="needs the `tokenizers` extra")
    build("demo", 3, 1, tmp_path, "o200k")
    assert describe(tmp_path).card.counter == "o200k"


def test_describe_counts_a_compiled_corpus_and_its_native_set_alike(tmp_path: Path) -> None:
    built = build("demo", 4, 1, tmp_path / "set")
    prepared = prepare(Workload(corpus=str(tmp_path / "set")), 1, tmp_path / "compiled")
    assert describe(tmp_path / "set") == Described(card=built)
    assert describe(prepared.path).card == built


def test_a_stale_card_is_not_believed(tmp_path: Path) -> None:
    build("demo", 4, 1, tmp_path)
    (tmp_path / SET_NAME).write_bytes(b"".join((tmp_path / SET_NAME).read_bytes().splitlines(keepends=True)[:2]))
    assert describe(tmp_path).card.trajectories == 2


def test_describe_says_that_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        describe(tmp_path / "nowhere")


def test_an_unknown_profile_a_count_of_none_and_an_unknown_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="one of agentperf, demo"):
        build("nothing", 1, 1, tmp_path)
    with pytest.raises(UsageError, match="at least 1 trajectory"):
        build("demo", 0, 1, tmp_path)
    with pytest.raises(UsageError, match="one of estimate, o200k, cl100k, qwen3, llama3"):
        build("demo", 1, 1, tmp_path, "gpt")
    assert list(tmp_path.iterdir()) == [], "nothing is written for a wish that cannot be carried out"


def test_a_missing_tokenizer_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "quicktok", None)  # the import system's own way to say "not installed"
    with pytest.raises(UsageError, match=r"pip install 'openagentperf\[tokenizers\]'"):
        build("demo", 1, 1, tmp_path, "o200k")


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        build("demo", 1, 1, tmp_path / "file")


def test_the_commands(tmp_path: Path) -> None:
    runner = CliRunner()
    out = str(tmp_path / "set")
    built = runner.invoke(
        app, ["build", "--profile", "demo", "--count", "3", "--out", out, "--json"], catch_exceptions=False
    )
    assert msgspec.json.decode(built.stdout, type=Card).trajectories == 3
    shown = runner.invoke(app, ["card", out], catch_exceptions=False)
    assert "trajectories" in shown.stdout
    described = runner.invoke(app, ["card", out, "--json"], catch_exceptions=False)
    assert msgspec.json.decode(described.stdout, type=Described).card == msgspec.json.decode(built.stdout, type=Card)


def test_import_ends_with_one_object(tmp_path: Path) -> None:
    recording = tmp_path / "chat.jsonl"
    messages = [{"role": "user", "content": "Fix it."}, {"role": "assistant", "content": "Done."}]
    recording.write_bytes(msgspec.json.encode({"messages": messages}) + b"\n{broken\n")
    arguments = ["import", str(recording), "--out", str(tmp_path / "set")]
    said = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    report = msgspec.json.decode(said.stdout)
    assert (report["trajectories"], report["turns"], len(report["skipped"])) == (1, 1, 1)
    words = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert words.stdout.splitlines()[0] == "trajectories 1, turns 1, from files 1"
    heading, reason, *rest = words.stderr.splitlines()
    assert heading == "skipped: 1 (--json names them all)"
    assert reason.endswith(f": {recording}:2")
    assert rest == [
        f"written to {tmp_path / 'set'}",
        f"  look at it: openagentperf corpus card {tmp_path / 'set'}",
        f"  replay it:  openagentperf run --corpus {tmp_path / 'set'}",
    ]


def test_what_was_skipped_is_told_by_reason(tmp_path: Path) -> None:
    """A folder with many licences and pictures must not hide the one cut line."""
    folder = tmp_path / "my set"
    folder.mkdir()
    for n in range(20):
        (folder / f"{n:02}.png").write_bytes(b"\x89PNG")
    messages = [{"role": "user", "content": "Fix it."}, {"role": "assistant", "content": "Done."}]
    (folder / "chat.jsonl").write_bytes(msgspec.json.encode({"messages": messages}) + b"\n{broken\n")
    words = CliRunner().invoke(app, ["import", str(folder), "--out", str(folder / "out")], catch_exceptions=False)
    said = words.stderr.splitlines()
    assert said[0] == "skipped: 21 (--json names them all)"
    assert said[1] == f"  holds no line of JSON: {folder / '00.png'} and 19 more"
    assert said[2].endswith(f": {folder / 'chat.jsonl'}:2")
    assert said[-1] == f"  replay it:  openagentperf run --corpus '{folder / 'out'}'"


def test_import_tells_what_was_filled_in_and_what_breaks_the_prefix_within_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = []
    for k, contents in enumerate((["x"], ["y"], ["z"])):
        messages = [{"role": "user", "content": content} for content in contents]
        lines.append({"conversation_id": "a", "conversation_idx": k, "messages": messages, "target_output_tokens": 1})
    (tmp_path / "trace.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
    chat = [{"role": "user", "content": "Go"}, *({"role": "assistant", "content": c} for c in ("", "b"))]
    (tmp_path / "chat.jsonl").write_bytes(msgspec.json.encode({"messages": chat}))
    arguments = ["import", str(tmp_path / "trace.jsonl"), str(tmp_path / "chat.jsonl"), "--out", str(tmp_path / "set")]
    said = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert max(map(len, said.splitlines())) <= 80
    assert "filled in, changed or left out:\n  in 1 trajectories: 1 empty answers replaced by one space\n" in said
    words = " ".join(said.split())
    assert "rewrite history without declaring it: 2, in trajectories: 1 (the first: a, turn 1). A run leaves" in words


def test_an_out_folder_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    messages = [{"role": "user", "content": "Fix it."}, {"role": "assistant", "content": "Done."}]
    (tmp_path / "chat.jsonl").write_bytes(msgspec.json.encode({"messages": messages}))
    with pytest.raises(StorageError, match="a writable folder is needed"):
        import_paths([tmp_path / "chat.jsonl"], tmp_path / "file", None)
