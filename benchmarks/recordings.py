"""One made-up session in the formats of many programs, as each writes it: for the speed of imports where no real recordings are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from openagentperf.corpus.text.repo import Repo
from openagentperf.seeds import Stream

Row = dict[str, Any]


class Step(Struct):
    """One answer and what its tool gave back."""

    number: int
    text: str
    command: str
    result: str

    @property
    def call(self) -> str:
        return f"call_{self.number}"

    @property
    def arguments(self) -> str:
        return json.dumps({"command": self.command})

    @property
    def at_s(self) -> float:
        """When the answer had ended."""
        return 10.0 * self.number


class Session(Struct):
    name: str
    system: str
    task: str
    steps: list[Step]


def session(name: str, steps: int = 100, result_bytes: int = 2_000) -> Session:
    """A session whose texts are source code: 300 bytes an answer, `result_bytes` a result."""
    text = Repo("python", 200_000, Stream(1, "recordings", name)).source(steps * (300 + result_bytes) + 8_000)
    made: list[Step] = []
    at = 8_000
    for number in range(1, steps + 1):
        made.append(Step(number, text[at : at + 200], f"sed -n {number},200p a.py", text[at + 200 : at + result_bytes]))
        at += result_bytes
    return Session(name, text[:6_000], text[6_000:8_000], made)


def stamp(at_s: float) -> str:
    """ISO 8601, below one hour."""
    return f"2026-01-01T10:{int(at_s) // 60:02}:{at_s % 60:06.3f}Z"


def chat(given: Session) -> list[Row]:
    """The session as OpenAI messages."""
    messages: list[Row] = [{"role": "system", "content": given.system}, {"role": "user", "content": given.task}]
    for step in given.steps:
        function = {"name": "bash", "arguments": step.arguments}
        calls = [{"id": step.call, "type": "function", "function": function}]
        messages.append({"role": "assistant", "content": step.text, "tool_calls": calls})
        messages.append({"role": "tool", "tool_call_id": step.call, "content": step.result})
    return messages


def lines(rows: Sequence[object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def agentperf_local(given: Session) -> bytes:
    messages = chat(given)
    return lines(
        [
            {
                "version": 1, "turn_id": f"{given.name}:{step.number}", "task_id": given.name, "conversation_id": given.name,
                "conversation_idx": step.number - 1, "messages": messages[: 2 * step.number], "simulated_tool_delay_ms_after": 120.0,
                "target_output_tokens": 90, "recorded_prompt_tokens": 600 * step.number, "recorded_completion_tokens": 90,
            }
            for step in given.steps
        ]
    )  # fmt: skip


def asb(given: Session) -> bytes:
    messages = chat(given)
    return lines(
        [
            {
                "seq": step.number, "experiment_id": given.name, "timestamp": stamp(step.at_s), "messages": messages[: 2 * step.number],
                "model": "m", "prompt_tokens": 600 * step.number, "ttft_ms": 900.0, "total_time_s": 2.5, "completion_tokens": 90,
            }
            for step in given.steps
        ]
    )  # fmt: skip


def openhands_completions(given: Session) -> bytes:
    messages = chat(given)
    return lines(
        [
            {
                "messages": messages[: 2 * step.number], "tools": [], "kwargs": {}, "cost": 0.0, "latency_sec": 2.5,
                "timestamp": 1_790_000_000 + step.at_s,
                "response": {"id": f"r{step.number}", "model": "m", "choices": [{"message": messages[2 * step.number]}]},
                "usage_summary": {"prompt_tokens": 600 * step.number, "completion_tokens": 90},
            }
            for step in given.steps
        ]
    )  # fmt: skip


def swe_agent(given: Session) -> bytes:
    history = [{**message, "agent": "main"} for message in chat(given)]
    steps = [
        {
            "action": step.command,
            "observation": step.result,
            "response": step.text,
            "thought": step.text,
            "execution_time": 0.5,
            "state": {},
        }
        for step in given.steps
    ]
    return json.dumps({"environment": given.name, "trajectory": steps, "history": history, "info": {}}).encode()


def mini_swe_agent(given: Session) -> bytes:
    messages: list[Row] = [{"role": "system", "content": given.system}, {"role": "user", "content": given.task}]
    for step in given.steps:
        extra = {
            "actions": [{"command": step.command}],
            "timestamp": 1_790_000_000 + step.at_s,
            "response": {"usage": {"prompt_tokens": 600, "completion_tokens": 90}},
        }
        messages.append({"role": "assistant", "content": step.text, "extra": extra})
        messages.append(
            {"role": "user", "content": step.result, "extra": {"returncode": 0, "timestamp": 1_790_000_001 + step.at_s}}
        )
    return json.dumps(
        {"info": {"mini_version": "2.4.6"}, "messages": messages, "trajectory_format": "mini-swe-agent-1.1"}
    ).encode()


def nebius(given: Session) -> bytes:
    rows: list[Row] = [
        {"role": "system", "system_prompt": given.system, "text": None, "mask": False},
        {"role": "user", "text": given.task, "mask": False},
    ]
    for step in given.steps:
        rows += [
            {"role": "ai", "text": f"{step.text}\n```\n{step.command}\n```", "mask": True},
            {"role": "user", "text": step.result, "mask": False},
        ]
    return json.dumps({"instance_id": given.name, "model_name": "swe-agent-llama-70b", "trajectory": rows}).encode()


def lmcache(given: Session) -> bytes:
    rows: list[Row] = []
    told = f"{given.system}\n\n{given.task}"
    for step in given.steps:
        rows.append({"timestamp": round(step.at_s * 1e6), "input": told, "output": step.text, "session_id": given.name})
        told = f"{told}\n\n{step.text}\n\n{step.result}"
    return lines(rows)


def iswe(given: Session) -> bytes:
    def text(content: str) -> str:
        return json.dumps(content)  # a string of JSON is one of YAML

    head = f"localization:\n  instance_id: {given.name}\n  trajectory:\n"
    rows = (f"  - role: {message['role']}\n    content: {text(message['content'])}\n" for message in chat(given))
    return "".join([head, *rows]).encode()


def aider(given: Session) -> bytes:
    head = "# aider chat started at 2026-01-01 10:00:00\n\n> Aider v0.86.2\n> Main model: demo/model\n"
    end = "> Tokens: 2.6k sent, 96 received.\n"
    rows = (f"\n#### {step.command}\n\n{step.text}\n\n{step.result}\n\n{end}" for step in given.steps)
    return "".join([head, *rows]).encode()


def weka(given: Session) -> bytes:
    rows = [
        {
            "t": step.at_s, "type": "s", "in": 64 * (300 + 10 * step.number), "out": 90, "api_time": 2.0, "think_time": 1.0,
            "hash_ids": list(range(300 + 10 * step.number)),
            "input_types": ["tool_result"], "output_types": ["tool_use"], "stop": "tool_use",
        }
        for step in given.steps
    ]  # fmt: skip
    return json.dumps(
        {"id": given.name, "models": ["m"], "block_size": 64, "hash_id_scope": "local", "requests": rows}
    ).encode()


def mooncake(given: Session) -> bytes:
    return lines(
        [
            {
                "timestamp": round(1_000 * step.at_s),
                "input_length": 512 * (20 + step.number),
                "output_length": 90,
                "hash_ids": list(range(20 + step.number)),
            }
            for step in given.steps
        ]
    )


def qwen_bailian(given: Session) -> bytes:
    return lines(
        [
            {
                "chat_id": step.number, "parent_chat_id": step.number - 1 or -1, "timestamp": step.at_s,
                "input_length": 16 * (600 + 40 * step.number), "output_length": 90, "type": "text", "turn": step.number,
                "hash_ids": list(range(600 + 40 * step.number)),
            }
            for step in given.steps
        ]
    )  # fmt: skip


def azure_llm(given: Session) -> bytes:
    rows = [f"2023-11-16 18:17:{step.at_s % 60:010.7f},{600 + step.number},90\n" for step in given.steps]
    return "".join(["TIMESTAMP,ContextTokens,GeneratedTokens\n", *rows]).encode()


WRITERS: dict[str, Callable[[Session], bytes]] = {
    "agentperf-local": agentperf_local,
    "aider": aider,
    "asb": asb,
    "azure-llm": azure_llm,
    "iswe": iswe,
    "lmcache": lmcache,
    "mini-swe-agent": mini_swe_agent,
    "mooncake": mooncake,
    "nebius-swe-agent": nebius,
    "openai-chat": lambda given: lines([{"id": given.name, "messages": chat(given)}]),
    "openhands-completions": openhands_completions,
    "qwen-bailian": qwen_bailian,
    "swe-agent": swe_agent,
    "swe-rows": lambda given: lines([{"instance_id": given.name, "messages": chat(given)}]),
    "weka": weka,
}
"""By the importer's name."""
