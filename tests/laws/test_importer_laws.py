"""Laws of every importer, on arbitrary bytes and on recordings that were cut, shuffled, doubled and spoiled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agent_exports
import event_logs
from openagentperf.corpus.detect import IMPORTERS, detect
from openagentperf.corpus.formats.blocktext import BlockText
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory
from sendable import assert_sendable

EXAMPLES = Path(__file__).parent.parent / "data" / "formats"


def use(call: str) -> list[object]:
    return [{"type": "tool_use", "id": call, "name": "f", "input": {}}]


def result(call: str, content: object) -> list[object]:
    return [{"type": "tool_result", "tool_use_id": call, "content": content}]


def node(kind: str, uuid: str, parent: str | None, message: object = None, **more: object) -> dict[str, object]:
    row = {"type": kind, "uuid": uuid, "parentUuid": parent, "sessionId": "s", **more}
    return row if message is None else {**row, "message": message}


def progress(kind: str, uuid: str, message: object) -> dict[str, object]:
    return {"type": "agent_progress", "agentId": "a1", "message": {"type": kind, "uuid": uuid, "message": message}}


CLAUDE = [
    node("user", "1", None, {"content": "Go"}),
    node("assistant", "2", "1", {"id": "m1", "content": use("t1")}),
    node("assistant", "3", "2", {"id": "m1", "content": use("t2"), "usage": {"input_tokens": 50}}),
    node("user", "4", "2", {"content": result("t1", "a")}),
    node("user", "5", "3", {"content": result("t2", [{"type": "text", "text": "b"}])}),
    node("attachment", "6", "5", attachment={"type": "skill_listing", "content": "s"}),
    node("assistant", "7", "6", {"id": "m2", "content": [{"type": "text", "text": "ok"}]}),
    node("system", "8", "7", subtype="microcompact_boundary", microcompactMetadata={"compactedToolIds": ["t1"]}),
    node("user", "9", "8", {"content": "Next"}),
    node("assistant", "10", "9", {"id": "m3", "content": []}),
    node("system", "11", None, subtype="compact_boundary", logicalParentUuid="10"),
    node("user", "12", "11", {"content": "So far"}, isCompactSummary=True),
    node("assistant", "13", "12", {"id": "m4", "content": "Done"}),
    node("user", "14", None, {"content": "Sub"}, isSidechain=True),
    node("assistant", "15", "14", {"id": "m5", "content": "Sub done"}, isSidechain=True),
    node("assistant", "16", "13", {"id": "m6", "content": [{"type": "tool_use", "id": "t3", "name": "Task", "input": {"prompt": "Sub"}}]}),
    node("progress", "17", "16", data=progress("user", "p1", {"content": "Sub"}), parentToolUseID="t3"),
    node("progress", "18", "17", data=progress("assistant", "p2", {"id": "m7", "content": use("t4")}), parentToolUseID="t3"),
    node("progress", "19", "18", data=progress("user", "p3", {"content": result("t4", "c")}), parentToolUseID="t3"),
    node(
        "user", "20", "16", {"content": result("t3", "Found")},
        toolUseResult={"agentId": "a1", "status": "completed", "content": [{"type": "text", "text": "Found"}],
                       "usage": {"input_tokens": 9}},
    ),
    node("assistant", "21", "20", {"id": "m8", "content": [{"type": "text", "text": "ok"}]}),
]  # fmt: skip


def one_line(file: str) -> bytes:
    """An example that is one JSON object, as a line of JSONL."""
    return msgspec.json.format((EXAMPLES / file).read_bytes(), indent=-1)


ITEM = b'{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go", "agent": "main"}, '
SWE_ROW = json.dumps(
    {
        "instance_id": "c1",
        "messages": f'[{ITEM.decode()}{{"role": "assistant", "content": "ls"}}]',
        "traj_id": "t1",
        "model": None,
        "tools": [],
    }
).encode()
LINES: dict[str, list[bytes]] = {
    "openagentperf-record": (EXAMPLES / "21_openagentperf-record.jsonl").read_bytes().splitlines(),
    "asb": (EXAMPLES / "17_asb_scenario.jsonl").read_bytes().splitlines() * 2,
    "azure-llm": (EXAMPLES / "12_azure_llm.csv").read_bytes().splitlines(),
    "lmcache": (EXAMPLES / "18_lmcache_io.jsonl").read_bytes().splitlines() * 2,
    "mooncake": (EXAMPLES / "11_mooncake.jsonl").read_bytes().splitlines(),
    "qwen-bailian": (EXAMPLES / "11b_qwen-bailian.jsonl").read_bytes().splitlines(),
    "weka": [one_line("10_weka_agentx.json")] * 2,
    "aider": (EXAMPLES / "07a_aider.chat.history.md").read_bytes().splitlines(),
    "atif": [one_line("08_atif_v1.8.json")] * 2,
    "codex-exec": event_logs.text_of(event_logs.codex_exec()).splitlines(),
    "codex-rollout": event_logs.text_of(event_logs.codex()).splitlines(),
    "copilot-cli": event_logs.text_of(event_logs.copilot()).splitlines(),
    "gemini-cli": event_logs.text_of(event_logs.gemini()).splitlines(),
    "iswe": (EXAMPLES / "19_iswe.yaml").read_bytes().splitlines(),
    "mini-swe-agent": [one_line("02_mini-swe-agent.traj.json")] * 2,
    "nebius-swe-agent": [one_line("20_nebius_swe-agent_row.json")] * 2,
    "swe-agent": [one_line("01_swe-agent.traj")] * 2,
    "swe-rows": [SWE_ROW] * 2,
    "opencode": agent_exports.lines_of(agent_exports.opencode()).splitlines(),
    "openhands-completions": agent_exports.lines_of(agent_exports.completions()).splitlines(),
    "openhands-v0": [agent_exports.lines_of([agent_exports.v0_row(agent_exports.v0_history())])] * 2,
    "openhands-v1": agent_exports.lines_of(agent_exports.v1_events()).splitlines(),
    "otel-genai": agent_exports.lines_of(agent_exports.otel()).splitlines(),
    "agentperf-local": (EXAMPLES / "13b_agentperf-local_trace.jsonl").read_bytes().splitlines(),
    "openai-chat": (EXAMPLES / "09_openai_chat.jsonl").read_bytes().splitlines() * 2,
    "claude-code": [json.dumps(row).encode() for row in CLAUDE],
}
BlockText("warm", 16)  # its source of text is made once a process: no example's time should hold that
NAMES = sorted(IMPORTERS)
NO_LINES = {"aider", "iswe"}
"""Not JSON: in Aider's log every line is text, and a YAML file is one value."""
NO_JSON = NO_LINES | {"azure-llm"}
SPOIL = [
    b"\xff\xfe",
    b"[" * 3000,
    b"{}",
    b"\x00",
    b'{"messages": [{}]}',
    b'{"type": "user", "uuid": "1"}',
    b"null",
    b'"\\ud800"',
]


def read(name: str, data: bytes) -> tuple[list[Trajectory], list[Skipped]]:
    """What the importer gives; nothing where it raised the one error that it may raise."""
    skipped: list[Skipped] = []
    found: list[Trajectory] = []
    try:
        found.extend(IMPORTERS[name].read(data, "f", skipped))
    except CorpusError:
        assert found == [], "a file that gave something is no error"
    return found, skipped


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_else(name: str, data: bytes) -> None:
    found, _ = read(name, data)
    for session in found:
        assert_sendable(session)
    detect(data)


KEYS = sorted(
    {key for row in CLAUDE for key in row} | {"messages", "role", "content", "id", "text", "tool_calls", "usage"}
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


@pytest.mark.parametrize("name", NAMES)
@given(records=st.lists(JSON, max_size=4))
def test_arbitrary_json_raises_nothing_else(name: str, records: list[object]) -> None:
    found, _ = read(name, "\n".join(map(json.dumps, records)).encode())
    for session in found:
        assert_sendable(session)


@st.composite
def replaced(draw: st.DrawFn) -> tuple[str, bytes]:
    """A good recording with one value, anywhere in it, replaced by any other."""
    name = draw(st.sampled_from([name for name in NAMES if name not in NO_JSON]))
    lines = list(LINES[name])
    at = draw(st.integers(0, len(lines) - 1))
    record = json.loads(lines[at])
    places: list[tuple[Any, Any]] = []
    inside: list[Any] = [record]
    while inside:
        value = inside.pop()
        keys = list(value) if isinstance(value, dict) else range(len(value))
        places += ((value, key) for key in keys)
        inside += (value[key] for key in keys if isinstance(value[key], dict | list))
    parent, key = draw(st.sampled_from(places))
    parent[key] = draw(JSON)
    lines[at] = json.dumps(record).encode()
    return name, b"\n".join(lines)


@settings(max_examples=400)
@given(replaced())
def test_any_value_may_be_another(recording: tuple[str, bytes]) -> None:
    found, _ = read(*recording)
    for session in found:
        assert_sendable(session)
    detect(recording[1])


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[str, bytes]:
    """A good recording after a few accidents."""
    name = draw(st.sampled_from(NAMES))
    lines = list(LINES[name])
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        accident = draw(st.sampled_from(["cut", "double", "swap", "drop", "join", "bytes", "value", "insert"]))
        if accident == "cut":
            lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
        elif accident == "double":
            lines.insert(draw(st.integers(0, len(lines))), lines[at])
        elif accident == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        elif accident == "drop" and len(lines) > 1:
            del lines[at]
        elif accident == "join" and len(lines) > 1:
            lines[at : at + 2] = [b"".join(lines[at : at + 2])]
        elif accident == "bytes":
            where = draw(st.integers(0, len(lines[at])))
            lines[at] = lines[at][:where] + draw(st.binary(min_size=1, max_size=3)) + lines[at][where + 1 :]
        elif accident == "value":
            old = draw(st.sampled_from([b'"t1"', b'"c1"', b'"content"', b"null", b"{}"]))
            lines[at] = lines[at].replace(old, draw(st.sampled_from([b'"z"', b"7", b"[]", b"{}", b"null"])))
        elif accident == "insert":
            lines.insert(at, draw(st.sampled_from(SPOIL)))
    return name, b"\n".join(lines)


@settings(max_examples=300)
@given(spoiled())
def test_spoiled_recordings_stay_sendable(recording: tuple[str, bytes]) -> None:
    name, data = recording
    found, skipped = read(name, data)
    for session in found:
        assert_sendable(session)
    for row in skipped:
        assert row.where.startswith("f")
        assert row.why


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NO_LINES])
@given(at=st.integers(0, 20), spoil=st.sampled_from([b"\xff", b"[" * 3000, b'{"cut', b'{"messages": 7, "type": 7}']))
def test_a_bad_line_changes_nothing_else_and_is_named(name: str, at: int, spoil: bytes) -> None:
    lines = LINES[name]
    at = min(at, len(lines))
    clean, _ = read(name, b"\n".join(lines))
    found, skipped = read(name, b"\n".join([*lines[:at], spoil, *lines[at:]]))
    assert [row.where for row in skipped] == [f"f:{at + 1}"]
    assert [session.turns for session in found] == [session.turns for session in clean]


@pytest.mark.parametrize("name", NAMES)
def test_good_recordings_are_sendable_and_skip_nothing(name: str) -> None:
    found, skipped = read(name, b"\n".join(LINES[name]))
    assert skipped == []
    assert found
    for session in found:
        assert_sendable(session)
