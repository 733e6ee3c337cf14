"""Formats are told by content alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openagentperf.corpus.detect import IMPORTERS, detect

EXAMPLES = Path(__file__).parent / "data" / "formats"
NODE = {"type": "user", "uuid": "u", "parentUuid": None, "sessionId": "s", "message": {"role": "user", "content": "x"}}
ASK = {"role": "user", "content": "x"}
ANSWER = {"role": "assistant", "content": "y"}


@pytest.mark.parametrize(
    ("file", "want"),
    [
        ("05_claude-code.jsonl", "claude-code"),
        ("09_openai_chat.jsonl", "openai-chat"),
        ("13_agentperf-local_manifest.json", "agentperf-local"),
        ("13b_agentperf-local_trace.jsonl", "agentperf-local"),
    ],
)
def test_examples(file: str, want: str) -> None:
    assert detect((EXAMPLES / file).read_bytes()) == want
    assert want in IMPORTERS


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", None),
        ("Hello", None),
        ("[]", None),
        ("7", None),
        ("{}\n{}", None),
        ("\x00\x01", None),
        ("[" * 10_000, None),
        ('{"type": "summary"}\n' * 40 + json.dumps(NODE), "claude-code"),  # titles before the tree
        ('{"cut": \n' + json.dumps(NODE), "claude-code"),  # a bad first line
        (json.dumps([{"messages": [ASK]}], indent=1), "openai-chat"),
        (json.dumps([ASK, ANSWER], indent=1), "openai-chat"),
        (json.dumps({"info": {}, "messages": [ASK, ANSWER]}, indent=1), "openai-chat"),
        # neighbours that must not be taken for one of ours
        ('{"timestamp": "x", "type": "session_meta", "payload": {}}', None),  # Codex
        ('{"sessionId": "s", "messages": [{"id": "1", "type": "user", "content": "x"}]}', None),  # Gemini CLI
        (json.dumps({"messages": [ASK], "ttft_ms": 900.0}), None),  # one request of a proxy's capture
        (json.dumps({"messages": [ASK], "kwargs": {}, "response": {}}), None),  # an OpenHands completion
        ('{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": [1]}', None),  # Mooncake
    ],
)
def test_by_content(text: str, want: str | None) -> None:
    assert detect(text.encode()) == want
