"""iSWE's YAML, and YAML that is not to be trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

import index_rows
from openagentperf.corpus.detect import detect
from openagentperf.corpus.formats import iswe, yamldoc
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, ToolCall, Trajectory

EXAMPLES = Path(__file__).parent / "data" / "formats"
BOTH = """\
localization:
  instance_id: org__repo-1
  instance_config: {model: {name: m}}
  tokens_usage_info:
  - {input_tokens: 900, output_tokens: 70, total_tokens: 970}
  - {input_tokens: 1000, output_tokens: 80}
  trajectory:
  - {role: system, content: You find code.}
  - {role: user, content: 'The issue'}
  - role: assistant
    tool_calls: [get_class_info]
  - {role: tool, content: class A}
  - {role: assistant, content: 'null'}
  - {role: user, content: AgentFinishAction}
editing:
  instance_id: org__repo-1
  editing_instance_config: {model: {name: e}}
  tokens_usage_info:
  - {input_tokens: 500, output_tokens: 60}
  file_names: [src/A.java, src/B.java]
  trajectory:
  - {role: system, content: You edit code.}
  - {role: user, content: Edit src/A.java}
  - {role: assistant, content: Look at a.py}
"""


def read(text: str, skipped: list[Skipped] | None = None) -> list[Trajectory]:
    data = text.encode()
    assert detect(data) == "iswe"
    return list(iswe.read(data, "i.yaml", [] if skipped is None else skipped))


def test_the_example_has_one_request_of_two_counted() -> None:
    skipped: list[Skipped] = []
    (session,) = iswe.read((EXAMPLES / "19_iswe.yaml").read_bytes(), "19.yaml", skipped)
    (turn,) = session.turns
    assert skipped == []  # the editing part is empty
    assert (session.id, session.task, session.harness) == ("demo__demo-1:localization", "demo__demo-1", "iswe")
    assert turn.appended == (Message("system", "You find code."), Message("user", "The issue ..."))
    assert (turn.input_tokens, turn.output_tokens, turn.counted) == (4026, 67, "recorded")
    assert turn.tool_delay_ns is None


def test_the_two_parts_are_sessions_of_one_task() -> None:
    find, edit = read(BOTH)
    assert (find.id, edit.id) == ("org__repo-1:localization", "org__repo-1:editing")
    assert (find.task, edit.task) == ("org__repo-1", "org__repo-1")
    assert (find.model, edit.model) == ("m", "e")
    assert [turn.input_tokens for turn in (*find.turns, *edit.turns)] == [900, 1000, 500]
    assert [turn.output_tokens for turn in (*find.turns, *edit.turns)] == [70, 80, 60]
    assert {find.language, edit.language} == {"Java"}  # of the files that were edited, not of those that were named


def test_a_call_without_its_arguments_has_none() -> None:
    find, _ = read(BOTH)
    assert find.turns[0].tool_calls == 1
    assert find.turns[1].appended == (
        Message("assistant", tool_calls=(ToolCall("call_1", "get_class_info", "{}"),)),
        Message("tool", "class A", tool_call_id="call_1"),
    )
    assert f"1 {iswe.NAMES_ONLY}" in find.notes


def test_counts_that_are_none_are_estimated() -> None:
    text = BOTH.replace("input_tokens: 900, output_tokens: 70", "input_tokens: -900, output_tokens: " + "9" * 5000)
    find, _ = read(text)
    assert [turn.counted for turn in find.turns] == ["estimated", "recorded"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("localization:\n  instance_id: &a x\n  trajectory: *a\n", "aliases"),
        ("localization:\n  trajectory: " + "[" * 5000, "nested deeper"),
        ("localization:\n  n_turns: 2\n  ? [a]\n  : b\n", "no scalars"),
        ("localization:\n  n_turns: 2\n :", "expected"),
        (BOTH[: BOTH.index("The issue") + 4], "scanning"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, why: str) -> None:
    skipped: list[Skipped] = []
    with pytest.raises(CorpusError, match="no part with an answer"):
        read(text, skipped)
    (row,) = skipped
    assert row.where == "i.yaml"
    assert why in row.why


def test_yaml_is_text_in_lists_and_dicts() -> None:
    text = 'a: 1\nb: [x, "2", null, ~, "null"]\nc: !!python/object:os.system\n  d: |\n    e\n    f\n--- g\n'
    first, second = yamldoc.documents(text.encode())
    assert first == {"a": "1", "b": ["x", "2", "", "", "null"], "c": {"d": "e\nf\n"}}
    assert second == "g"


@pytest.mark.parametrize("text", ["a: 1\n", "localization: x\n", "notes:\n  localization:\n", '{"localization": 1}'])
def test_other_yaml_is_not_taken(text: str) -> None:
    assert detect(text.encode()) is None


def test_real_files_give_the_figures_of_their_index() -> None:
    chosen = index_rows.rows("iswe-yaml")
    assert len(chosen) == 51
    for row in chosen:
        turns = index_rows.turns_of(index_rows.imported(row, "iswe"), row)
        assert {turn.counted for turn in turns} == {"recorded"}
        assert index_rows.counts_off(turns, row, share=0) == {}, row["file"]
