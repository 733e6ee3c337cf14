"""Files and folders of recordings become one native set and a report of what was used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from openagentperf.corpus import rewrites
from openagentperf.corpusjobs.imports import ImportReport, Noted, Rewrite, import_paths
from openagentperf.corpusjobs.store import SET_NAME, read_set
from openagentperf.errors import CorpusError

EXAMPLES = Path(__file__).parent / "data" / "formats"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set as one finds it: recordings, a manifest, a licence, an index, and something else."""
    root = tmp_path / "set"
    (root / "deep").mkdir(parents=True)
    for name in ("05_claude-code.jsonl", "09_openai_chat.jsonl"):
        shutil.copy(EXAMPLES / name, root / "deep")
    for file in EXAMPLES.glob("13*_agentperf-local_*"):
        shutil.copy(file, root / "deep")
    (root / "LICENSES").mkdir()
    (root / "LICENSES" / "MIT.txt").write_text("MIT")
    (root / "index.jsonl").write_text("{}")
    (root / "picture.png").write_bytes(b"\x89PNG")
    return root


def test_a_folder_is_searched_and_everything_is_accounted_for(folder: Path, tmp_path: Path) -> None:
    report = import_paths([folder], tmp_path / "out", None)
    read = list(read_set(tmp_path / "out", []))
    # claude-code 1 turn, openai-chat 2, agentperf-local 2
    assert (report.files, report.trajectories, report.turns) == (3, 3, 5)
    assert report.formats == {"agentperf-local": 1, "claude-code": 1, "openai-chat": 1}
    assert report.input_tokens == sum(turn.input_tokens for session in read for turn in session.turns)
    assert report.output_tokens == sum(turn.output_tokens for session in read for turn in session.turns)
    names = {Path(row.where).name: row.why for row in report.skipped}
    assert names == {
        "13_agentperf-local_manifest.json": "is a manifest: it lists traces and holds none",
        "MIT.txt": "is no recording, by its name",
        "index.jsonl": "is no recording, by its name",
        "picture.png": "holds no line of JSON",
    }
    assert msgspec.json.decode(msgspec.json.encode(report), type=ImportReport) == report


def test_sub_agents_are_counted_with_all_their_turns(tmp_path: Path) -> None:
    def line(kind: str, uuid: str, content: object, parent: str | None = None, **more: object) -> str:
        usage = {"input_tokens": 100, "output_tokens": 7} if kind == "assistant" else None
        message = {"id": f"m{uuid}", "content": content, "usage": usage}
        return json.dumps(
            {"type": kind, "uuid": uuid, "parentUuid": parent, "sessionId": "s", "message": message, **more}
        )

    call = {"type": "tool_use", "id": "t1", "name": "Task", "input": {"prompt": "Look"}}
    mark = {"isSidechain": True, "agentId": "a7"}
    file = tmp_path / "s.jsonl"
    file.write_text(
        "\n".join(
            [
                line("user", "1", "Go"),
                line("assistant", "2", [call], "1"),
                line("user", "3", "Look", **mark),
                line("assistant", "4", [{"type": "text", "text": "Seen"}], "3", **mark),
                line("user", "5", [{"type": "tool_result", "tool_use_id": "t1", "content": "Seen"}], "2"),
                line("assistant", "6", [{"type": "text", "text": "Done"}], "5"),
            ]
        )
    )
    report = import_paths([file], tmp_path / "out", None)
    assert (report.trajectories, report.branches, report.turns) == (1, 1, 3)
    assert (report.input_tokens, report.output_tokens) == (300, 21)


def test_two_imports_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        import_paths([folder], tmp_path / name, None)
    assert (tmp_path / "a" / SET_NAME).read_bytes() == (tmp_path / "b" / SET_NAME).read_bytes()


def test_equal_ids_get_a_number(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.jsonl" for n in range(3)]
    for file in files:
        shutil.copy(EXAMPLES / "09_openai_chat.jsonl", file)
    report = import_paths(files, tmp_path, "openai-chat")
    assert report.files == 3
    assert [session.id for session in read_set(tmp_path, [])] == ["conv-1", "conv-1~2", "conv-1~3"]


def test_a_recording_without_an_id_has_the_name_of_its_file(tmp_path: Path) -> None:
    for place in ("here", "there"):
        shutil.copytree(EXAMPLES, tmp_path / place / "logs")
        import_paths([tmp_path / place / "logs"], tmp_path / f"set-{place}", None)
    here, there = ([session.id for session in read_set(tmp_path / f"set-{place}", [])] for place in ("here", "there"))
    assert here == there
    assert "02_mini-swe-agent.traj.json" in here


def test_a_licence_is_kept_where_it_is_given(tmp_path: Path) -> None:
    file = EXAMPLES / "09_openai_chat.jsonl"
    for licence in ("", "MIT"):
        import_paths([file], tmp_path, None, licence)
        assert {session.licence for session in read_set(tmp_path, [])} == {licence}


def test_what_importers_filled_in_or_changed_is_summed_up_by_kind(tmp_path: Path) -> None:
    def chat(*contents: str) -> bytes:
        messages = [{"role": "user", "content": "Go"}]
        messages += [{"role": "assistant", "content": content} for content in contents]
        return json.dumps({"messages": messages}).encode() + b"\n"

    file = tmp_path / "chat.jsonl"
    file.write_bytes(chat("a", "", "b") + chat("a") + chat("", "", "", "b"))
    # The last answer of a conversation is no part of any request. The first of two answers in a row stays as it is.
    assert import_paths([file], tmp_path / "out", None).noted == (
        Noted("empty answers replaced by one space", 2, 1, 3),
    )


def test_undeclared_rewrites_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    usual = {"conversation_id": "a", "simulated_tool_delay_ms_after": 1, "target_output_tokens": 1}
    lists = [["x"], ["y"], ["y", "z"]]
    file.write_text(
        "\n".join(
            json.dumps({**usual, "conversation_idx": k, "messages": [{"role": "user", "content": c} for c in contents]})
            for k, contents in enumerate(lists)
        )
    )
    assert import_paths([file], tmp_path / "out", None).rewritten == (Rewrite("a", 1, rewrites.REPLACED),)


@pytest.mark.parametrize(
    ("content", "format", "why"),
    [
        ("", None, "is empty, a recording is needed"),
        ("{broken\n", None, "holds no line of JSON"),
        ("{broken\n", "claude-code", r"holds no answered request \(lines that could not be used: 1; the first, 1: "),
        ('{"a": 1}\n', None, r"is in no known format.*\(docs/corpus.md\)"),
        ('{"id":"a","turns":[]}\n', None, "is a set of trajectories already.*--corpus takes it"),
        ('{"messages": [{"role": "user", "content": "x"}]}', None, "holds no conversation with an answer"),
        ("{}", "claude-code", "holds no answered request, assistant lines are needed"),
        ("{}", "csv", r"one of .*agentperf-local, claude-code, .* is needed: name one of these"),
    ],
)
def test_a_named_file_that_yields_nothing_is_an_error(
    tmp_path: Path, content: str, format: str | None, why: str
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(content)
    with pytest.raises(CorpusError, match=why):
        import_paths([EXAMPLES / "05_claude-code.jsonl", bad], tmp_path / "out", format)
    assert not (tmp_path / "out" / SET_NAME).exists()


@pytest.mark.parametrize(
    ("files", "format", "why"),
    [
        ({}, None, "is an empty folder"),
        ({".hidden": "{}"}, None, "is an empty folder"),
        ({"a.txt": "hello", "b.json": "{}"}, None, r"\(files: 2; the first, \S+/a.txt, holds no line of JSON\)"),
        ({"a.json": "{}"}, "openai-chat", "holds no usable recording.*leave --format out"),
        ({"LICENSE": "MIT"}, None, r"holds no usable recording \(files: 1\)"),
    ],
)
def test_a_named_folder_that_yields_nothing_is_an_error(
    tmp_path: Path, files: dict[str, str], format: str | None, why: str
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    for name, content in files.items():
        (bad / name).write_text(content)
    paths = [EXAMPLES / "09_openai_chat.jsonl", bad]
    with pytest.raises(CorpusError, match=why) as caught:
        import_paths(paths, tmp_path / "out", format)
    assert caught.value.where == str(bad), "the one that is wrong is named, though the other path is not"
    assert not (tmp_path / "out" / SET_NAME).exists()


def test_a_path_that_is_not_there_and_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        import_paths([tmp_path / "gone.jsonl"], tmp_path / "out", None)
    with pytest.raises(CorpusError, match="has no path"):
        import_paths([], tmp_path / "out", None)
    assert not (tmp_path / "out").exists()
