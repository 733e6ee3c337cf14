import sys
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from openagentperf.cli.corpus import app
from openagentperf.corpus.card import card
from openagentperf.corpus.numbers import plan_session
from openagentperf.corpus.prefix import common_bytes
from openagentperf.corpus.profiles import PROFILES
from openagentperf.corpusfile import open_corpus
from openagentperf.corpusjobs.build import CARD_NAME, build
from openagentperf.corpusjobs.describe import Described, describe
from openagentperf.corpusjobs.imports import import_paths
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.corpusjobs.store import SET_NAME, read_set
from openagentperf.errors import CorpusError, PlanError, StorageError, UsageError
from openagentperf.plan import Workload
from openagentperf.records.card import Card
from openagentperf.records.trajectory import Skipped
from openagentperf.seeds import Stream


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


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_compiles_whole(tmp_path: Path, name: str) -> None:
    """Its prefix breaks only where that is declared, nothing is cut, and no delay is missing."""
    count = 2 if name == "long" else 8
    workload = Workload(corpus=name, trajectories=count, max_context_tokens=PROFILES[name].max_context_tokens)
    prepared = prepare(workload, 1, tmp_path)
    shapes = [plan_session(PROFILES[name], Stream(1, "shape", name, index)) for index in range(count)]
    planned = [turn for shape in shapes for turn in shape.turns]
    planned += [turn for main in planned for agent in main.agents for turn in agent.turns]
    assert (prepared.card.trajectories, prepared.card.turns) == (count, len(planned))
    assert prepared.card.input_tokens.max == max(turn.input_tokens for turn in planned)
    assert prepared.card.cuts.get("compaction", 0) == sum(turn.opening is not None for turn in planned) - sum(
        1 + sum(len(turn.agents) for turn in shape.turns) for shape in shapes
    )
    assert prepared.card.tool_delay_missing == 0
    assert prepared.skipped == ()
    assert [note for note in prepared.notes if not note.startswith("tool delays above 60 s")] == []


def test_a_returning_agent_s_pause_is_kept_and_counted_or_cut(tmp_path: Path) -> None:
    """docs/methodology.md#workload: it is carried as the tool delay of a session's last answer."""
    kept = prepare(Workload(corpus="stateful", trajectories=2), 1, tmp_path)
    assert kept.card.tool_delay_s is not None
    assert kept.card.tool_delay_s.max > 60
    assert [note for note in kept.notes if note.startswith("tool delays above 60 s, waited for in full: ")]
    cut = prepare(Workload(corpus="stateful", trajectories=2, max_tool_delay_s=45), 1, tmp_path)
    assert cut.card.tool_delay_s is not None
    assert cut.card.tool_delay_s.max == 45
    assert [note for note in cut.notes if note.startswith("tool delays cut to 45 s: ")]


def test_a_returning_agent_begins_with_what_its_memory_still_has_in_common(tmp_path: Path) -> None:
    """System prompt, replay nonce and the notes before the first reworded one are the bytes of its session before: a cache can serve them.

    One note in twenty is reworded: the first of them is the very first note in 5 % of the returns, and beyond 200 bytes in most.
    """
    corpus = open_corpus(prepare(Workload(corpus="stateful", trajectories=4), 1, tmp_path).path)
    beyond = []
    for t in range(corpus.trajectories):
        starts = [k for k in range(corpus.turns(t)) if k == 0 or corpus.slot(t, k).start != corpus.slot(t, k - 1).start]
        bodies = [b"".join(corpus.message_pieces(t, k, b"phase nonce", b"replay nonce")) for k in starts]
        for old, new in pairwise(bodies):
            common = new[: common_bytes(old, new)]
            assert common.count(b"replay nonce") == 1
            beyond.append(len(common) - common.index(b"replay nonce"))
    assert sum(size > 200 for size in beyond) > 0.6 * len(beyond) > 5


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
    with pytest.raises(PlanError, match="one of agentperf, demo, interactive, long, stateful"):
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
    assert "rewrite history without declaring it: 2, in trajectories: 1. A run leaves these out unless" in words
    assert " turns 2: all behind one place is another history (first: a, turn 1)" in words


def test_an_out_folder_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    messages = [{"role": "user", "content": "Fix it."}, {"role": "assistant", "content": "Done."}]
    (tmp_path / "chat.jsonl").write_bytes(msgspec.json.encode({"messages": messages}))
    with pytest.raises(StorageError, match="a writable folder is needed"):
        import_paths([tmp_path / "chat.jsonl"], tmp_path / "file", None)
