"""Recordings that programs write line by line: Codex, `codex exec`, Copilot CLI, Gemini CLI. Written here, by nobody's agent."""

from __future__ import annotations

import json
from typing import Any

Row = dict[str, Any]


def text_of(rows: list[Row]) -> bytes:
    """The rows as JSONL."""
    return b"\n".join(json.dumps(row).encode() for row in rows)


def stamp(at_s: float) -> str:
    return f"2026-01-01T10:{int(at_s) // 60:02}:{at_s % 60:06.3f}Z"


# --- Codex ----------------------------------------------------------------------------------------------------------


def envelope(kind: str, at_s: float, payload: Row) -> Row:
    return {"timestamp": stamp(at_s), "type": kind, "payload": payload}


def meta(at_s: float = 0, **more: Any) -> Row:
    return envelope("session_meta", at_s, {"id": "s1", "cli_version": "0.144.2", **more})


def item(at_s: float, kind: str, **more: Any) -> Row:
    return envelope("response_item", at_s, {"type": kind, **more})


def said(at_s: float, role: str, *texts: str) -> Row:
    kind = "output_text" if role == "assistant" else "input_text"
    return item(at_s, "message", role=role, content=[{"type": kind, "text": text} for text in texts])


def called(at_s: float, call: str, command: str = "ls") -> Row:
    return item(at_s, "function_call", name="exec_command", arguments=json.dumps({"cmd": command}), call_id=call)


def came(at_s: float, call: str, output: object = "ok") -> Row:
    return item(at_s, "function_call_output", call_id=call, output=output)


def event(at_s: float, kind: str, **more: Any) -> Row:
    return envelope("event_msg", at_s, {"type": kind, **more})


class Meter:
    """The counts of a session, as Codex adds them up."""

    def __init__(self) -> None:
        self.total = [0, 0, 0]

    def lose(self, prompt: int, cached: int, output: int) -> None:
        """A request whose count is not written."""
        self.total = [a + b for a, b in zip(self.total, (prompt, cached, output), strict=True)]

    def count(self, at_s: float, prompt: int, cached: int, output: int) -> Row:
        self.lose(prompt, cached, output)
        return self.again(at_s, prompt, cached, output)

    def again(self, at_s: float, prompt: int = 0, cached: int = 0, output: int = 0) -> Row:
        """The same total once more."""
        names = ("input_tokens", "cached_input_tokens", "output_tokens")
        info = {
            "total_token_usage": dict(zip(names, self.total, strict=True)),
            "last_token_usage": dict(zip(names, (prompt, cached, output), strict=True)),
        }
        return event(at_s, "token_count", info=info)


def codex() -> list[Row]:
    """A session with all that a rollout may hold."""
    meter = Meter()
    summary = {"type": "compaction", "encrypted_content": "x"}
    return [
        meta(base_instructions={"text": "You are an agent."}, dynamic_tools=[{"name": "look", "inputSchema": {"type": "object"}}]),
        envelope("turn_context", 0.1, {"model": "m"}),
        said(0.2, "developer", "Be brief."),
        said(0.3, "user", "Go"),
        event(0.3, "token_count", info=None),
        item(2, "reasoning", summary=[{"type": "summary_text", "text": "Plan"}], encrypted_content="x"),
        said(2.1, "assistant", "Looking."),
        called(2.2, "c1"),
        item(2.3, "local_shell_call", call_id="c2", status="completed", action={"type": "exec", "command": ["ls"]}),
        came(3, "c1"),
        came(3.2, "c2", [{"type": "input_text", "text": "two"}]),
        meter.count(3.3, 300, 100, 50),
        meter.again(3.4, 300, 100, 50),
        item(5, "custom_tool_call", call_id="c3", name="apply_patch", input="*** Begin Patch\n*** Update File: a.rs\n"),
        item(5.5, "custom_tool_call_output", call_id="c3", output="Done"),
        meter.count(5.6, 420, 300, 20),
        envelope("compacted", 8, {"message": "", "replacement_history": [said(0, "user", "Go")["payload"], summary]}),
        item(9, "web_search_call", status="completed", action={"type": "search", "query": "q"}),
        said(9.5, "assistant", "Done."),
        meter.count(9.6, 390, 0, 10),
    ]  # fmt: skip


# --- codex exec -----------------------------------------------------------------------------------------------------


def begun(name: str, kind: str, **more: Any) -> Row:
    return {"type": "item.started", "item": {"id": name, "type": kind, **more}}


def ended(name: str, kind: str, **more: Any) -> Row:
    return {"type": "item.completed", "item": {"id": name, "type": kind, **more}}


def command(name: str, line: str = "ls", output: str = "a.rs") -> list[Row]:
    more = {"command": line, "status": "completed"}
    return [
        begun(name, "command_execution", **more, aggregated_output=""),
        ended(name, "command_execution", **more, aggregated_output=output),
    ]


def turn_end(prompt: int, output: int, cached: int = 0) -> Row:
    usage = {"input_tokens": prompt, "cached_input_tokens": cached, "output_tokens": output}
    return {"type": "turn.completed", "usage": usage}


def codex_exec() -> list[Row]:
    """A thread of two turns, with a poll and a plan in it."""
    plan = {"items": [{"text": "look", "completed": False}]}
    tests = {"command": "make test", "aggregated_output": ""}
    return [
        {"type": "thread.started", "thread_id": "t1"},
        {"type": "turn.started"},
        ended("i0", "reasoning", text="Plan"),
        *command("i1"),
        begun("i2", "todo_list", **plan),
        ended("i3", "reasoning", text="Test"),
        begun("i4", "command_execution", **tests),
        ended("i5", "reasoning", text="It still runs"),
        ended("i4", "command_execution", **{**tests, "aggregated_output": "passed"}),
        begun("i6", "mcp_tool_call", server="s", tool="t", arguments={"a": 1}, result=None, error=None),
        ended("i6", "mcp_tool_call", server="s", tool="t", arguments={"a": 1}, result={"content": [{"type": "text", "text": "r"}]}),
        ended("i7", "agent_message", text="Done."),
        ended("i2", "todo_list", **plan),
        turn_end(5000, 300, 4000),
        {"type": "turn.started"},
        ended("i0", "file_change", changes=[{"path": "a.ts", "kind": "update"}], status="completed"),
        ended("i1", "agent_message", text="Changed."),
        turn_end(2400, 30),
    ]  # fmt: skip


# --- Copilot CLI ----------------------------------------------------------------------------------------------------


def copilot_event(number: int, at_s: float, kind: str, agent: str = "", /, **data: Any) -> Row:
    row = {"type": kind, "id": f"e{number}", "parentId": f"e{number - 1}", "timestamp": stamp(at_s), "data": data}
    return {**row, "agentId": agent} if agent else row


def tool_request(call: str, name: str = "bash", **arguments: Any) -> Row:
    return {"toolCallId": call, "name": name, "arguments": arguments, "type": "function"}


def copilot() -> list[Row]:
    """A session with a sub-agent that is waited for, and a compaction."""
    rows = [
        (0.0, "session.start", "", {"sessionId": "s1", "copilotVersion": "1.0.68", "selectedModel": "m"}),
        (0.1, "system.message", "", {"role": "system", "content": "You are an agent."}),
        (0.2, "user.message", "", {"content": "Go", "transformedContent": "<now/>Go"}),
        (2.0, "assistant.message", "", {"content": "Looking.", "outputTokens": 33, "apiCallId": "a1",
            "toolRequests": [tool_request("c1", command="ls"), tool_request("c2", "task", prompt="Search")]}),
        (2.1, "tool.execution_start", "", {"toolCallId": "c1"}),
        (2.3, "subagent.started", "b1", {"toolCallId": "c2", "agentName": "explore"}),
        (2.4, "user.message", "b1", {"content": "Search"}),
        (2.5, "tool.execution_complete", "", {"toolCallId": "c1", "success": True, "result": {"content": "a.py"}}),
        (4.0, "assistant.message", "b1", {"content": "", "outputTokens": 9, "toolRequests": [tool_request("c3", command="rg x")]}),
        (4.4, "tool.execution_complete", "b1", {"toolCallId": "c3", "success": False, "error": {"message": "no match"}}),
        (6.0, "assistant.message", "b1", {"content": "Nothing.", "outputTokens": 5}),
        (6.1, "subagent.completed", "b1", {"toolCallId": "c2"}),
        (6.2, "tool.execution_complete", "", {"toolCallId": "c2", "success": True, "result": {"content": "Nothing."}}),
        (8.0, "assistant.message", "", {"content": "Half", "outputTokens": 40, "apiCallId": "a2"}),
        (8.1, "assistant.message", "", {"content": "Whole", "outputTokens": 40, "apiCallId": "a2"}),
        (9.0, "session.compaction_start", "", {}),
        (9.5, "session.compaction_complete", "", {"success": True, "summaryContent": "So far", "toolDefinitionsTokens": 2000}),
        (9.6, "user.message", "", {"content": "On"}),
        (11.0, "assistant.message", "", {"content": "Done.", "outputTokens": 4}),
        (12.0, "session.shutdown", "", {"modelMetrics": {}}),
    ]  # fmt: skip
    return [copilot_event(number, at_s, kind, agent, **data) for number, (at_s, kind, agent, data) in enumerate(rows)]


# --- Gemini CLI -----------------------------------------------------------------------------------------------------


def gemini_call(call: str, at_s: float, output: str = "a.py", **arguments: Any) -> Row:
    response = {"functionResponse": {"id": call, "name": "run_shell_command", "response": {"output": output}}}
    return {"id": call, "name": "run_shell_command", "args": arguments, "result": [response], "timestamp": stamp(at_s)}


def gemini_message(name: str, at_s: float, kind: str, content: object, **more: Any) -> Row:
    return {"id": name, "timestamp": stamp(at_s), "type": kind, "content": content, **more}


def gemini_tokens(prompt: int, output: int, thoughts: int = 0, cached: int = 0, tool: int = 0) -> Row:
    return {"input": prompt, "output": output, "cached": cached, "thoughts": thoughts, "tool": tool}


def gemini() -> list[Row]:
    """A session as newer versions write it: the answer again with its call's result, and a rewind."""
    answer = gemini_message("2", 3, "gemini", "Looking.", model="m", tokens=gemini_tokens(900, 20, 30, 800))
    call = gemini_call("c1", 3.5, command="ls")
    return [
        {"sessionId": "s1", "projectHash": "0", "startTime": stamp(0), "kind": "main"},
        gemini_message("1", 0, "user", [{"text": "Go"}]),
        answer,
        {**answer, "toolCalls": [call]},
        {"$set": {"lastUpdated": stamp(4)}},
        gemini_message("3", 5, "gemini", "Wrong.", model="m", tokens=gemini_tokens(950, 5)),
        {"$rewindTo": "3"},
        gemini_message("4", 7, "gemini", [{"text": "Done."}], model="m", tokens=gemini_tokens(960, 6)),
        gemini_message("5", 7.1, "info", "Saved."),
    ]
