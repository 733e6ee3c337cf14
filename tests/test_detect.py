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
        ("01_swe-agent.traj", "swe-agent"),
        ("02_mini-swe-agent.traj.json", "mini-swe-agent"),
        ("03a_openhands_v0_output.jsonl", "openhands-v0"),
        ("03b_openhands_v1_events.jsonl", "openhands-v1"),
        ("03c_openhands_completion.json", "openhands-completions"),
        ("04_opencode_export.json", "opencode"),
        ("05_claude-code.jsonl", "claude-code"),
        ("14_otel_genai_otlp.json", "otel-genai"),
        ("07a_aider.chat.history.md", "aider"),
        ("07b_aider_llm_history.txt", "aider"),
        ("08_atif_v1.8.json", "atif"),
        ("06_codex_rollout.jsonl", "codex-rollout"),
        ("06b_codex_exec_events.jsonl", "codex-exec"),
        ("09_openai_chat.jsonl", "openai-chat"),
        ("10_weka_agentx.json", "weka"),
        ("11_mooncake.jsonl", "mooncake"),
        ("11b_qwen-bailian.jsonl", "qwen-bailian"),
        ("12_azure_llm.csv", "azure-llm"),
        ("13_agentperf-local_manifest.json", "agentperf-local"),
        ("13b_agentperf-local_trace.jsonl", "agentperf-local"),
        ("15_copilot-cli_events.jsonl", "copilot-cli"),
        ("16_gemini-cli_session.json", "gemini-cli"),
        ("17_asb_scenario.jsonl", "asb"),
        ("18_lmcache_io.jsonl", "lmcache"),
        ("19_iswe.yaml", "iswe"),
        ("20_nebius_swe-agent_row.json", "nebius-swe-agent"),
        ("21_openagentperf-record.jsonl", "openagentperf-record"),
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
        ('{"timestamp": "x", "type": "session_meta", "payload": {}}', "codex-rollout"),
        ('{"type": "item.completed", "item": {"id": "0", "type": "agent_message"}}', "codex-exec"),
        ('{"type": "error", "message": "x"}\n{"type": "thread.started", "thread_id": "t"}', "codex-exec"),
        ('{"type": "user.message", "id": "e", "parentId": null, "data": {}}', "copilot-cli"),
        ('{"sessionId": "s", "projectHash": "0", "startTime": "x"}', "gemini-cli"),
        ('{"sessionId": "s", "messages": [{"id": "1", "type": "user", "content": "x"}]}', "gemini-cli"),
        (json.dumps({"info": {}, "messages": [ASK, ANSWER]}, indent=1), "openai-chat"),
        (json.dumps({"messages": [ASK], "ttft_ms": 900.0}), "asb"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": [1]}', "mooncake"),
        ("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,M,4,7,11,API log", "azure-llm"),
        # neighbours that must not be taken for one of ours
        (json.dumps({"messages": [ASK], "kwargs": {}, "response": {}}), None),  # an OpenHands completion
    ],
)
def test_by_content(text: str, want: str | None) -> None:
    assert detect(text.encode()) == want
