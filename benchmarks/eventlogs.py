"""The session of benchmarks.recordings as programs log it: a line an event, or a document of steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from benchmarks.recordings import Row, Session, chat, lines, stamp


def claude_code(given: Session) -> bytes:
    rows: list[Row] = []

    def add(kind: str, at_s: float, message: Row) -> None:
        parent = str(len(rows)) if rows else None
        about = {"uuid": str(len(rows) + 1), "parentUuid": parent, "sessionId": given.name, "isSidechain": False}
        about |= {
            "version": "2.1.220",
            "cwd": "/w",
            "gitBranch": "main",
            "timestamp": stamp(at_s),
            "userType": "external",
        }
        rows.append({"type": kind, **about, "message": message})

    add("user", 0, {"role": "user", "content": given.task})
    for step in given.steps:
        usage = {
            "input_tokens": 5,
            "cache_creation_input_tokens": 600,
            "cache_read_input_tokens": 20_000 + 600 * step.number,
            "output_tokens": 90,
        }
        about = {"id": f"msg_{step.number}", "model": "m", "role": "assistant", "usage": usage}
        add("assistant", step.at_s - 1, {**about, "content": [{"type": "text", "text": step.text}]})
        use = {"type": "tool_use", "id": step.call, "name": "Bash", "input": {"command": step.command}}
        add("assistant", step.at_s, {**about, "content": [use]})
        add(
            "user",
            step.at_s + 1,
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": step.call, "content": step.result}]},
        )
    return lines(rows)


def codex_rollout(given: Session) -> bytes:
    rows: list[Row] = []

    def add(at_s: float, kind: str, **payload: Any) -> None:
        rows.append({"timestamp": stamp(at_s), "type": kind, "payload": payload})

    add(0, "session_meta", id=given.name, cwd="/w", cli_version="0.144.2", base_instructions={"text": given.system})
    add(0, "response_item", type="message", role="user", content=[{"type": "input_text", "text": given.task}])
    total = [0, 0, 0]
    for step in given.steps:
        add(
            step.at_s - 1,
            "response_item",
            type="message",
            role="assistant",
            content=[{"type": "output_text", "text": step.text}],
        )
        add(
            step.at_s,
            "response_item",
            type="function_call",
            name="exec_command",
            arguments=step.arguments,
            call_id=step.call,
        )
        add(step.at_s + 1, "response_item", type="function_call_output", call_id=step.call, output=step.result)
        last = [20_000 + 600 * step.number, 19_000 + 600 * step.number, 90]
        total = [a + b for a, b in zip(total, last, strict=True)]
        names = ("input_tokens", "cached_input_tokens", "output_tokens")
        add(step.at_s + 1, "event_msg", type="token_count", info={
            "total_token_usage": dict(zip(names, total, strict=True)), "last_token_usage": dict(zip(names, last, strict=True)),
        })  # fmt: skip
    return lines(rows)


def codex_exec(given: Session) -> bytes:
    rows: list[Row] = [{"type": "thread.started", "thread_id": given.name}, {"type": "turn.started"}]
    for step in given.steps:
        rows.append(
            {"type": "item.completed", "item": {"id": f"a{step.number}", "type": "agent_message", "text": step.text}}
        )
        item = {"id": f"c{step.number}", "type": "command_execution", "command": step.command}
        rows.append({"type": "item.started", "item": {**item, "aggregated_output": "", "status": "in_progress"}})
        rows.append(
            {
                "type": "item.completed",
                "item": {**item, "aggregated_output": step.result, "exit_code": 0, "status": "completed"},
            }
        )
    rows.append(
        {
            "type": "turn.completed",
            "usage": {
                "input_tokens": 30_000 * len(given.steps),
                "cached_input_tokens": 0,
                "output_tokens": 90 * len(given.steps),
            },
        }
    )
    return lines(rows)


def copilot_cli(given: Session) -> bytes:
    rows: list[Row] = []

    def add(at_s: float, kind: str, **data: Any) -> None:
        rows.append(
            {
                "type": kind,
                "id": f"e{len(rows)}",
                "parentId": f"e{len(rows) - 1}",
                "timestamp": stamp(at_s),
                "data": data,
            }
        )

    add(0, "session.start", sessionId=given.name, copilotVersion="1.0.68", selectedModel="m")
    add(0, "system.message", role="system", content=given.system)
    add(0, "user.message", content=given.task)
    for step in given.steps:
        request = {"toolCallId": step.call, "name": "bash", "arguments": {"command": step.command}, "type": "function"}
        add(
            step.at_s,
            "assistant.message",
            content=step.text,
            outputTokens=90,
            apiCallId=f"a{step.number}",
            toolRequests=[request],
        )
        add(step.at_s, "tool.execution_start", toolCallId=step.call)
        add(
            step.at_s + 1,
            "tool.execution_complete",
            toolCallId=step.call,
            success=True,
            result={"content": step.result},
        )
    add(3_599, "session.shutdown", modelMetrics={})
    return lines(rows)


def gemini_cli(given: Session) -> bytes:
    rows: list[Row] = [{"sessionId": given.name, "projectHash": "0", "startTime": stamp(0), "kind": "main"}]
    rows.append({"id": "0", "timestamp": stamp(0), "type": "user", "content": [{"text": given.task}]})
    for step in given.steps:
        response = {
            "functionResponse": {"id": step.call, "name": "run_shell_command", "response": {"output": step.result}}
        }
        call = {
            "id": step.call,
            "name": "run_shell_command",
            "args": {"command": step.command},
            "result": [response],
            "timestamp": stamp(step.at_s + 1),
        }
        tokens = {"input": 20_000 + 600 * step.number, "output": 90, "cached": 0, "thoughts": 0, "tool": 0}
        answer = {
            "id": str(step.number),
            "timestamp": stamp(step.at_s),
            "type": "gemini",
            "content": step.text,
            "model": "m",
            "tokens": tokens,
        }
        rows.append({**answer, "toolCalls": [call]})
    return lines(rows)


def openhands_v1(given: Session) -> bytes:
    rows: list[Row] = []

    def add(kind: str, at_s: float, source: str, **more: Any) -> None:
        rows.append({"kind": kind, "id": f"e{len(rows)}", "timestamp": stamp(at_s)[:-1], "source": source, **more})

    def text(content: str) -> list[Row]:
        return [{"type": "text", "text": content}]

    add("SystemPromptEvent", 0, "agent", system_prompt=text(given.system)[0], tools=[])
    add("MessageEvent", 0, "user", llm_message={"role": "user", "content": text(given.task)})
    for step in given.steps:
        call = {"id": step.call, "name": "terminal", "arguments": step.arguments, "origin": "completion"}
        add("ActionEvent", step.at_s, "agent", thought=text(step.text), tool_name="terminal", tool_call_id=step.call, tool_call=call,
            llm_response_id=f"r{step.number}", action={"kind": "TerminalAction", "command": step.command})  # fmt: skip
        add("ObservationEvent", step.at_s + 1, "environment", tool_name="terminal", tool_call_id=step.call, action_id=f"e{len(rows) - 1}",
            observation={"kind": "TerminalObservation", "content": text(step.result)})  # fmt: skip
    return lines(rows)


def opencode(given: Session) -> bytes:
    messages: list[Row] = []
    user = {
        "id": "m0",
        "role": "user",
        "time": {"created": 0},
        "agent": "build",
        "model": {"providerID": "p", "modelID": "m"},
    }
    messages.append({"info": user, "parts": [{"type": "text", "text": given.task}]})
    for step in given.steps:
        begun = round(step.at_s * 1_000)
        state = {
            "status": "completed",
            "input": {"command": step.command},
            "output": step.result,
            "title": "",
            "metadata": {},
            "time": {"start": begun, "end": begun + 500},
        }
        tokens = {"input": 600, "output": 90, "reasoning": 0, "cache": {"read": 20_000 + 600 * step.number, "write": 0}}
        info = {
            "id": f"m{step.number}",
            "role": "assistant",
            "parentID": "m0",
            "modelID": "m",
            "providerID": "p",
            "time": {"created": begun, "completed": begun + 900},
            "tokens": tokens,
        }
        tool = {"type": "tool", "callID": step.call, "tool": "bash", "state": state}
        finish = {"type": "step-finish", "reason": "tool-calls", "cost": 0, "tokens": tokens}
        messages.append({"info": info, "parts": [{"type": "text", "text": step.text}, tool, finish]})
    about = {
        "id": given.name,
        "projectID": "p",
        "directory": "/w",
        "title": "t",
        "version": "1.2.12",
        "time": {"created": 0, "updated": 9},
    }
    return lines([{"info": about, "messages": messages}])


def otel_genai(given: Session) -> bytes:
    messages = [_parts(message) for message in chat(given)]

    def span(number: int, start_s: float, end_s: float, name: str, **attributes: object) -> Row:
        pairs = [
            {
                "key": f"gen_ai.{key.replace('__', '.')}",
                "value": {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)},
            }
            for key, value in attributes.items()
        ]
        ends = [str(1_790_000_000_000_000_000 + round(at_s * 1e9)) for at_s in (start_s, end_s)]
        return {
            "traceId": given.name,
            "spanId": f"s{number}",
            "parentSpanId": "",
            "name": name,
            "startTimeUnixNano": ends[0],
            "endTimeUnixNano": ends[1],
            "attributes": pairs,
        }

    rows: list[Row] = []
    for step in given.steps:
        asked, answer = messages[: 2 * step.number], messages[2 * step.number]
        spans = [
            span(
                2 * step.number, step.at_s - 3, step.at_s, "chat m", operation__name="chat", request__model="m",
                conversation__id=given.name, usage__input_tokens=600 * step.number, usage__output_tokens=90,
                input__messages=json.dumps(asked), output__messages=json.dumps([answer]),
            ),
            span(
                2 * step.number + 1, step.at_s, step.at_s + 1, "execute_tool bash", operation__name="execute_tool",
                tool__name="bash", tool__call__id=step.call,
            ),
        ]  # fmt: skip
        rows.append(
            {
                "resourceSpans": [
                    {"resource": {"attributes": []}, "scopeSpans": [{"scope": {"name": "x"}, "spans": spans}]}
                ]
            }
        )
    return lines(rows)


def _parts(message: Row) -> Row:
    if message["role"] == "tool":
        return {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": message["tool_call_id"], "response": message["content"]}],
        }
    calls = [
        {"type": "tool_call", "id": call["id"], "name": "bash", "arguments": json.loads(call["function"]["arguments"])}
        for call in message.get("tool_calls", ())
    ]
    parts = [{"type": "text", "content": message["content"]}, *calls]
    return {"role": message["role"], "parts": parts}


def atif(given: Session) -> bytes:
    steps: list[Row] = [
        {"step_id": 1, "source": "system", "message": given.system},
        {"step_id": 2, "source": "user", "message": given.task},
    ]
    for step in given.steps:
        call = {"tool_call_id": step.call, "function_name": "bash", "arguments": {"command": step.command}}
        seen = {"results": [{"source_call_id": step.call, "content": step.result}]}
        metrics = {"prompt_tokens": 600 * step.number, "completion_tokens": 90}
        steps.append(
            {
                "step_id": step.number + 2,
                "source": "agent",
                "message": step.text,
                "tool_calls": [call],
                "observation": seen,
                "metrics": metrics,
            }
        )
    return json.dumps(
        {
            "schema_version": "ATIF-v1.6",
            "session_id": given.name,
            "agent": {"name": "a", "version": "1"},
            "steps": steps,
        }
    ).encode()


WRITERS: dict[str, Callable[[Session], bytes]] = {
    "atif": atif,
    "claude-code": claude_code,
    "codex-exec": codex_exec,
    "codex-rollout": codex_rollout,
    "copilot-cli": copilot_cli,
    "gemini-cli": gemini_cli,
    "opencode": opencode,
    "openhands-v1": openhands_v1,
    "otel-genai": otel_genai,
}
"""By the importer's name. Not made: `openhands-v0`, `openagentperf-record`."""
