"""Laws of importers that read several files together: whatever the files hold, nothing is raised, and what comes out can be sent."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agent_exports as ex
from openagentperf.corpus.detect import GROUPED
from openagentperf.corpus.fit import fault
from openagentperf.corpus.formats.files import File
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory, histories, lines

RECORDS: dict[str, list[dict[str, Any]]] = {
    "opencode": ex.opencode(),
    "openhands-v0": ex.v0_history(),
    "openhands-v1": [*ex.v1_events(), ex.v1_state([ex.v0_usage("r1", 500, 5)])],
    "openhands-completions": ex.completions(),
}
NAMES = sorted(GROUPED)
FOLDERS = ["", "a/", "a/events/", "a/subagents/b/events/", "a/subagents/b/subagents/c/events/", "event_cache/"]


def unreadable() -> bytes:
    raise CorpusError("f", "cannot be read")


def as_file(name: str, data: bytes | None) -> File:
    return File(f"f/{name}", unreadable if data is None else lambda: data)


@st.composite
def folders(draw: st.DrawFn, name: str) -> list[File]:
    """The records of a good session in files, some of them spoiled, strewn over folders."""
    files = []
    for index, record in enumerate(RECORDS[name]):
        data: bytes | None = json.dumps(record).encode()
        match draw(st.sampled_from(["good", "good", "good", "twice", "cut", "bytes", "unreadable", "list", "gone"])):
            case "twice":
                data = b"%b\n%b" % (data, data)
            case "cut":
                data = (data or b"")[: draw(st.integers(0, 300))]
            case "bytes":
                data = draw(st.binary(max_size=20))
            case "unreadable":
                data = None
            case "list":
                data = b"[%b]" % data
            case "gone":
                continue
        files.append(as_file(f"{draw(st.sampled_from(FOLDERS))}{index:03}.json", data))
    return sorted(files, key=lambda file: file.where)


def read(name: str, files: list[File]) -> tuple[list[Trajectory], list[Skipped]]:
    skipped: list[Skipped] = []
    return list(GROUPED[name].read_group(files, skipped)), skipped


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=100)
@given(st.data())
def test_whatever_files_hold_nothing_is_raised(name: str, data: st.DataObject) -> None:
    found, skipped = read(name, data.draw(folders(name)))
    for session in found:
        assert fault(session) == ""
        assert session.source.startswith("f")
        assert msgspec.json.decode(msgspec.json.encode(session), type=Trajectory) == session
        for line in lines(session):
            for messages in histories(line):
                assert any(message.role == "user" for message in messages)
    for row in skipped:
        assert row.where.startswith("f")
        assert row.why


@pytest.mark.parametrize("name", NAMES)
def test_a_good_session_in_files_is_one_trajectory(name: str) -> None:
    files = [as_file(f"s/{index:03}.json", json.dumps(record).encode()) for index, record in enumerate(RECORDS[name])]
    (session,), skipped = read(name, files)
    assert skipped == []
    assert len(session.turns) >= 3
