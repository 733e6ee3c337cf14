"""Rows of nebius/SWE-agent-trajectories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from index_rows import imported, recounted, rows, unexpected
from openagentperf.corpus.detect import detect
from openagentperf.corpus.formats import nebius
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped

EXAMPLES = Path(__file__).parent / "data" / "formats"


def said(role: str, text: str | None, system_prompt: str | None = None) -> dict[str, Any]:
    return {"role": role, "text": text, "system_prompt": system_prompt, "mask": role == "ai", "cutoff_date": None}


ROW = {
    "instance_id": "org__repo-1",
    "model_name": "m",
    "trajectory": [
        said("system", None, "Be brief."),
        said("user", "Fix it"),
        said("ai", "```\nopen a.py\n```"),
        said("user", "ok"),
        said("ai", "Done."),
        said("user", "never sent"),
    ],
}


def test_the_example_is_one_request() -> None:
    skipped: list[Skipped] = []
    (session,) = nebius.read((EXAMPLES / "20_nebius_swe-agent_row.json").read_bytes(), "20.json", skipped)
    (turn,) = session.turns
    assert skipped == []
    assert (session.id, session.task, session.model) == ("demo__demo-1", "demo__demo-1", "swe-agent-llama-70b")
    assert turn.appended == (Message("system", "You are an agent."), Message("user", "Fix bug"))
    # ceil(17 / 3.5) + 4, ceil(7 / 3.5) + 4; "```\nls\n```" is 10 bytes
    assert (turn.input_tokens, turn.output_tokens, turn.counted) == (9 + 6, 3, "estimated")


@pytest.mark.parametrize(
    ("data", "sessions"),
    [
        (json.dumps(ROW), 1),
        (json.dumps(ROW, indent=1), 1),
        (json.dumps([ROW, ROW]), 2),
        (json.dumps(ROW) + "\n" + json.dumps(ROW), 2),
    ],
)
def test_shapes_of_files(data: str, sessions: int) -> None:
    assert detect(data.encode()) == "nebius-swe-agent"
    found = list(nebius.read(data.encode(), "n", []))
    assert [len(session.turns) for session in found] == [2] * sessions
    assert {session.language for session in found} == {"Python"}


def test_a_bad_row_is_named_and_the_rest_is_used() -> None:
    skipped: list[Skipped] = []
    data = json.dumps([ROW, {"trajectory": 7}, {"trajectory": [said("user", "x")]}]).encode()
    (session,) = nebius.read(data, "n.json", skipped)
    assert len(session.turns) == 2
    assert [row.where for row in skipped] == ["n.json[2]", "n.json[3]"]


def test_nothing_answered_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no row with an answer"):
        list(nebius.read(b"[]", "n.json", []))


def test_real_rows_give_the_figures_of_their_index() -> None:
    found = {row["file"]: recounted(imported(row, "nebius-swe-agent"), row) for row in rows("nebius-swe-agent-row")}
    assert len(found) >= 4
    assert unexpected(found, {}) == []
