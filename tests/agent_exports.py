"""Small recordings of OpenHands, OpenCode and OpenTelemetry, built anew for each test: with every kind of thing that they can hold."""

from __future__ import annotations

import json
from typing import Any

T0_S = 1_790_000_000
"""All times below are this one and some seconds."""


def iso(seconds: float) -> str:
    """2026-09-21T13:33:20 and so many seconds, below one hour."""
    return f"2026-09-21T13:{int(seconds) // 60:02}:{seconds % 60:09.6f}"


def lines_of(records: list[Any]) -> bytes:
    return b"\n".join(json.dumps(record).encode() for record in records)


# OpenHands V0


def v0_call(
    event: int, at: float, response: str, call: str, calls: list[str], action: str = "run", **args: Any
) -> dict[str, Any]:
    """An action of the model: one of the `calls` that its response makes."""
    message = {
        "role": "assistant",
        "content": "Look.",
        "tool_calls": [
            {"id": name, "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls main.py"}'}}
            for name in calls
        ],
    }
    return {
        "id": event,
        "timestamp": iso(at),
        "source": "agent",
        "message": "",
        "action": action,
        "args": {"command": "ls", "thought": "", **args},
        "tool_call_metadata": {
            "function_name": "bash",
            "tool_call_id": call,
            "total_calls_in_response": len(calls),
            "model_response": {
                "id": response,
                "model": "demo/model",
                "choices": [{"message": message}],
                "usage": {"prompt_tokens": 50, "completion_tokens": 5},
            },
        },
    }  # fmt: skip


def v0_seen(
    event: int, at: float, cause: int | None, content: str, observation: str = "run", **extras: Any
) -> dict[str, Any]:
    return {
        "id": event, "timestamp": iso(at), "source": "environment", "cause": cause, "message": "",
        "observation": observation, "content": content, "extras": extras,
    }  # fmt: skip


def v0_said(event: int, at: float, text: str, source: str = "user") -> dict[str, Any]:
    return {
        "id": event, "timestamp": iso(at), "source": source, "message": text, "action": "message", "args": {"content": text},
    }  # fmt: skip


def v0_system(event: int, at: float, text: str = "You are an agent.") -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "bash", "parameters": {}}}
    return {
        "id": event, "timestamp": iso(at), "source": "agent", "message": text, "action": "system",
        "args": {"content": text, "tools": [tool], "openhands_version": "0.59.0", "agent_class": "CodeActAgent"},
    }  # fmt: skip


def v0_usage(response: str, prompt: int, completion: int, cached: int = 0) -> dict[str, Any]:
    return {
        "model": "demo/model", "prompt_tokens": prompt, "completion_tokens": completion, "cache_read_tokens": cached,
        "cache_write_tokens": 0, "response_id": response,
    }  # fmt: skip


def v0_row(history: list[Any], usages: list[dict[str, Any]] | None = None, **metadata: Any) -> dict[str, Any]:
    return {
        "instance_id": "demo-1",
        "metadata": {"agent_class": "CodeActAgent", "llm_config": {"model": "demo/m"}, **metadata},
        "metrics": {"accumulated_cost": 0.0, "token_usages": usages or []},
        "history": history,
    }


def v0_history() -> list[dict[str, Any]]:
    """Two requests with tools, the first with parallel calls; then one that delegates, a condensation, and the last answer."""
    return [
        v0_system(0, 0),
        v0_said(1, 1, "Fix it"),
        v0_call(2, 3, "r1", "c1", ["c1", "c2"]),
        v0_seen(3, 3.5, 2, "a.py", metadata={"exit_code": 0, "working_dir": "/w"}),
        v0_call(4, 3.5, "r1", "c2", ["c1", "c2"]),
        v0_seen(5, 4.25, 4, "b.py"),
        v0_call(6, 6, "r2", "c3", ["c3"]),
        v0_seen(7, 7, 6, "no such file", "error"),
        v0_call(8, 9, "r3", "c4", ["c4"], "delegate", agent="BrowsingAgent", inputs={"task": "Search"}),
        v0_said(9, 9.5, "TASK: Search"),
        v0_said(10, 12, "Found it on the page.", "agent"),
        v0_seen(11, 13, 8, "It is there.", "delegate", outputs={}),
        {
            "id": 12, "timestamp": iso(15), "source": "agent", "message": "", "action": "condensation",
            "args": {"forgotten_events_start_id": 2, "forgotten_events_end_id": 7, "summary": "So far: nothing.", "summary_offset": 2},
        },
        v0_said(13, 18, "Done.", "agent"),
    ]  # fmt: skip


# OpenHands V1


def v1_event(kind: str, event: str, at: float, source: str = "agent", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "id": event, "timestamp": iso(at), "source": source, **more}


def v1_text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def v1_system(event: str = "e0", at: float = 0) -> dict[str, Any]:
    tool = {
        "kind": "FileEditorTool",
        "description": "Edits.",
        "action_type": "FileEditorAction",
        "title": "file_editor",
    }
    return v1_event("SystemPromptEvent", event, at, system_prompt=v1_text("You are an agent.")[0], tools=[tool])


def v1_user(event: str, at: float, text: str = "Fix it") -> dict[str, Any]:
    return v1_event("MessageEvent", event, at, "user", llm_message={"role": "user", "content": v1_text(text)})


def v1_said(event: str, at: float, text: str, response: str) -> dict[str, Any]:
    said = {"role": "assistant", "content": v1_text(text)}
    return v1_event("MessageEvent", event, at, llm_message=said, llm_response_id=response)


def v1_call(event: str, at: float, response: str, call: str, thought: str = "", **more: Any) -> dict[str, Any]:
    return v1_event(
        "ActionEvent", event, at, thought=v1_text(thought) if thought else [], tool_name="terminal", tool_call_id=call,
        tool_call={"id": call, "name": "terminal", "arguments": '{"command": "cat main.go"}', "origin": "completion"},
        llm_response_id=response, action={"kind": "TerminalAction", "command": "cat main.go"}, **more,
    )  # fmt: skip


def v1_result(event: str, at: float, call: str, action: str, text: str) -> dict[str, Any]:
    terminal = {"exit_code": 1, "working_dir": "/w"}
    return v1_event(
        "ObservationEvent", event, at, "environment", tool_name="terminal", tool_call_id=call, action_id=action,
        observation={"kind": "TerminalObservation", "content": v1_text(text), "metadata": terminal},
    )  # fmt: skip


def v1_condensed(
    event: str, at: float, forgotten: list[str], summary: str | None, offset: int | None
) -> dict[str, Any]:
    return v1_event(
        "Condensation", event, at, "environment", forgotten_event_ids=forgotten, summary=summary, summary_offset=offset,
        llm_response_id="s1",
    )  # fmt: skip


def v1_events() -> list[dict[str, Any]]:
    """Parallel calls; a condensation that keeps the task and the last result; an answer."""
    return [
        v1_system(),
        v1_user("e1", 1),
        v1_call("e2", 3, "r1", "c1", "Look.", reasoning_content="Hm."),
        v1_call("e3", 3.01, "r1", "c2"),
        v1_result("e4", 4, "c1", "e2", "x"),
        v1_result("e5", 5, "c2", "e3", "y"),
        v1_call("e6", 8, "r2", "c3"),
        v1_result("e7", 8.5, "c3", "e6", "z"),
        v1_condensed("e8", 10, ["e2", "e3", "e4", "e5"], "Nothing so far.", 2),
        v1_said("e9", 12, "Done.", "r3"),
    ]  # fmt: skip


def v1_state(usages: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "conv-1",
        "agent": {"kind": "Agent", "llm": {"model": "demo/m"}},
        "workspace": {"kind": "LocalWorkspace", "working_dir": "/w"},
        "stats": {"usage_to_metrics": {"agent": {"model_name": "demo/m", "token_usages": usages}}},
    }


# OpenHands completion logs


def completion(
    at: float, latency: float, messages: list[dict[str, Any]], answer: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """One request, answered at `at` seconds, `latency` seconds after it was sent."""
    return {
        "messages": messages,
        "tools": [{"type": "function", "function": {"name": "bash", "parameters": {}}}],
        "kwargs": {"temperature": 0.0},
        "response": {"id": f"r{at}", "model": "demo/m", "choices": [{"message": {"role": "assistant", **answer}}]},
        "cost": 0.0,
        "timestamp": T0_S + at,
        "latency_sec": latency,
        "usage_summary": {"prompt_tokens": 100 + int(at), "completion_tokens": 7, "reasoning_tokens": 0, "cache_read_tokens": 64},
        **more,
    }  # fmt: skip


def chat_call(call: str, arguments: str = '{"command": "ls main.rs"}', name: str = "bash") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"content": None, "tool_calls": [{"id": call, "type": "function", "function": function}]}


def completions() -> list[dict[str, Any]]:
    """A session of three requests; the last one behind a summary, for which a request of its own was sent."""
    system, task = {"role": "system", "content": "You are an agent."}, {"role": "user", "content": "Fix it, please."}
    first = {"role": "assistant", **chat_call("c1")}
    result = {"role": "tool", "tool_call_id": "c1", "content": "main.rs"}
    second = {"role": "assistant", **chat_call("c2")}
    summary = "A summary of all that happened."
    return [
        completion(2, 1.5, [system, task], chat_call("c1")),
        completion(5, 2, [system, task, first, result], chat_call("c2")),
        completion(9, 1, [{"role": "user", "content": "Sum it up."}], {"content": summary}),
        completion(
            12, 2,
            [system, task, {"role": "user", "content": summary}, second, {"role": "tool", "tool_call_id": "c2", "content": "ok"}],
            {"content": "Done."},
        ),
    ]  # fmt: skip


# OpenCode


def oc_tokens(prompt: int, output: int, cached: int = 0, written: int = 0, **more: int) -> dict[str, Any]:
    return {"input": prompt, "output": output, "reasoning": 0, "cache": {"read": cached, "write": written}, **more}


def oc_user(message: str, at: float, text: str = "Fix it", *parts: dict[str, Any]) -> dict[str, Any]:
    info = {
        "id": message,
        "role": "user",
        "time": {"created": ms(at)},
        "agent": "build",
        "model": {"providerID": "p", "modelID": "m"},
    }
    return {"info": info, "parts": [{"type": "text", "text": text}, *parts]}


def ms(seconds: float) -> int:
    return T0_S * 1000 + round(seconds * 1000)


def oc_tool(
    call: str, start: float, end: float, output: str = "ok", tool: str = "bash", **state: Any
) -> dict[str, Any]:
    about = {"status": "completed", "input": {"command": "ls a.ts"}, "output": output, "title": "", "metadata": {}}
    return {
        "type": "tool",
        "callID": call,
        "tool": tool,
        "state": {**about, "time": {"start": ms(start), "end": ms(end)}, **state},
    }


def oc_finish(tokens: dict[str, Any], reason: str = "tool-calls") -> dict[str, Any]:
    return {"type": "step-finish", "reason": reason, "cost": 0, "tokens": tokens}


def oc_answer(message: str, parent: str, at: float, *parts: dict[str, Any], **info: Any) -> dict[str, Any]:
    about = {
        "id": message, "role": "assistant", "parentID": parent, "modelID": "m", "providerID": "p", "mode": "build",
        "time": {"created": ms(at), "completed": ms(at + 1)}, "cost": 0, "tokens": oc_tokens(0, 0), "finish": "stop",
    }  # fmt: skip
    return {"info": {**about, **info}, "parts": [{"type": "step-start"}, *parts]}


def oc_export(session: str, messages: list[dict[str, Any]], version: str = "1.2.12", **info: Any) -> dict[str, Any]:
    about = {
        "id": session, "projectID": "p", "directory": "/w", "title": "t", "version": version,
        "time": {"created": ms(0), "updated": ms(99)},
    }  # fmt: skip
    return {"info": {**about, **info}, "messages": messages}


def oc_text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def opencode() -> list[dict[str, Any]]:
    """A session that asks a sub-agent, with that one's export; then a compaction that keeps the last answer."""
    task = oc_tool("t2", 10, 20, "<task_result>Found</task_result>", "task", metadata={"sessionId": "ses_child"})
    return [
        oc_export(
            "ses_main",
            [
                oc_user("m1", 0),
                oc_answer(
                    "m2", "m1", 1, {"type": "reasoning", "text": "Hm.", "time": {"start": 0}}, oc_text("Look."),
                    oc_tool("t1", 3, 3.5), oc_finish(oc_tokens(500, 40, 9000, 100, total=9640)),
                ),
                oc_answer("m3", "m1", 4, task, oc_finish(oc_tokens(600, 30, 9100))),
                oc_user("m4", 21, "Go on", {"type": "compaction", "auto": True, "tail_start_id": "m3"}),
                oc_answer("m5", "m4", 22, oc_text("Summary."), oc_finish(oc_tokens(8000, 50), "stop"), summary=True, mode="compaction"),
                oc_answer("m6", "m4", 30, oc_text("Done."), oc_finish(oc_tokens(300, 20, 7000), "stop")),
            ],
        ),
        oc_export(
            "ses_child",
            [
                oc_user("n1", 10.5, "Search"),
                oc_answer("n2", "n1", 11, oc_tool("t9", 12, 13), oc_finish(oc_tokens(700, 10))),
                oc_answer("n3", "n1", 14, oc_text("Found"), oc_finish(oc_tokens(800, 5), "stop")),
            ],
            parentID="ses_main",
        ),
    ]  # fmt: skip


# OpenTelemetry


def span(
    name: str, number: int, start: float, end: float, parent: int | None = None, trace: str = "t1", **attributes: Any
) -> dict[str, Any]:
    """A span in OTLP JSON; "__" in an attribute's name stands for its dot."""
    pairs = [{"key": f"gen_ai.{key.replace('__', '.')}", "value": value_of(value)} for key, value in attributes.items()]
    return {
        "traceId": trace, "spanId": f"s{number}", "parentSpanId": "" if parent is None else f"s{parent}", "name": name, "kind": 1,
        "startTimeUnixNano": str((T0_S * 1000 + round(start * 1000)) * 1_000_000),
        "endTimeUnixNano": str((T0_S * 1000 + round(end * 1000)) * 1_000_000),
        "attributes": pairs,
    }  # fmt: skip


def value_of(value: Any) -> dict[str, Any]:
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {"arrayValue": {"values": [{"stringValue": item} for item in value]}}
    return {"stringValue": value if isinstance(value, str) else json.dumps(value)}


def batch(*spans: dict[str, Any], service: str = "demo-agent") -> dict[str, Any]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {
        "resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "demo"}, "spans": list(spans)}]}]
    }


def part(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "content": text}]


def chat(
    number: int, start: float, end: float, parent: int, messages: list[Any] | None, answer: list[Any], **more: Any
) -> dict[str, Any]:
    """A request; without messages where the program did not opt in."""
    content: dict[str, Any] = {}
    if messages is not None:
        content = {"input__messages": messages, "output__messages": [{"role": "assistant", "parts": answer}]}
    return span(
        "chat m", number, start, end, parent, operation__name="chat", request__model="m",
        **{"usage__input_tokens": 100 * number, "usage__output_tokens": 10, **content, **more},
    )  # fmt: skip


def tool_call(call: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "tool_call", "id": call, "name": "bash", "arguments": arguments or {"command": "ls a.rb"}}


def otel() -> list[dict[str, Any]]:
    """One trace: an agent of two requests, between which a sub-agent of one ran inside a tool; a batch a line."""
    task = {"role": "user", "parts": part("Fix it")}
    asked = {"role": "assistant", "parts": [tool_call("c1")]}
    told = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "found"}]}
    return [
        batch(
            span("invoke_agent main", 1, 0, 30, operation__name="invoke_agent", agent__name="main", conversation__id="conv"),
            chat(2, 1, 3, 1, [task], [tool_call("c1")], usage__cache_read__input_tokens=64),
        ),
        batch(
            span("execute_tool ask", 3, 4, 14, 1, operation__name="execute_tool", tool__name="ask", tool__call__id="c1"),
            span("invoke_agent helper", 4, 5, 13, 3, operation__name="invoke_agent", agent__name="helper"),
            chat(5, 6, 12, 4, [{"role": "user", "parts": part("Search for it")}], part("found")),
            chat(6, 15, 18, 1, [task, asked, told], part("Done.")),
        ),
    ]  # fmt: skip
