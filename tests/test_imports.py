"""Files and folders of recordings become one native set and a report of what was used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from openagentperf.corpusjobs.imports import ImportReport, Rewrite, import_paths
from openagentperf.corpusjobs.store import SET_NAME, read_set
from openagentperf.errors import CorpusError

EXAMPLES = Path(__file__).parent / "data" / "formats"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set as one finds it: recordings, a manifest, a licence, an index, and something else."""
    root = tmp_path / "set"
    shutil.copytree(EXAMPLES, root / "deep")
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
    assert set(names) == {"13_agentperf-local_manifest.json", "MIT.txt", "index.jsonl", "picture.png"}
    assert "manifest" in names["13_agentperf-local_manifest.json"]
    assert "not known" in names["picture.png"]
    assert msgspec.json.decode(msgspec.json.encode(report), type=ImportReport) == report


def test_two_imports_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        import_paths([folder], tmp_path / name, None)
    assert (tmp_path / "a" / SET_NAME).read_bytes() == (tmp_path / "b" / SET_NAME).read_bytes()


def test_equal_ids_get_a_number(tmp_path: Path) -> None:
    file = EXAMPLES / "09_openai_chat.jsonl"
    report = import_paths([file, file, file], tmp_path, "openai-chat")
    assert report.files == 3
    assert [session.id for session in read_set(tmp_path, [])] == ["conv-1", "conv-1~2", "conv-1~3"]


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
    assert import_paths([file], tmp_path / "out", None).rewritten == (Rewrite("a", 1),)


@pytest.mark.parametrize(
    ("content", "format", "why"),
    [
        ("", None, "a format that is not known"),
        ('{"messages": [{"role": "user", "content": "x"}]}', None, "no conversation with an answer"),
        ("{}", "claude-code", "no answered request"),
        ("{}", "csv", "one of agentperf-local, claude-code, openai-chat is needed"),
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


def test_a_folder_of_nothing_and_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="nothing usable in it"):
        import_paths([tmp_path], tmp_path / "out", None)
    with pytest.raises(CorpusError, match="cannot be read"):
        import_paths([tmp_path / "gone.jsonl"], tmp_path / "out", None)
