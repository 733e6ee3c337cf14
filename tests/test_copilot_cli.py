"""Copilot CLI sessions: one request an API call, sub-agents as branches, and inputs that no event holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from event_logs import Row, copilot, copilot_event, text_of, tool_request
from openagentperf.corpus.detect import detect
from openagentperf.corpus.formats import copilot_cli
from openagentperf.corpus.formats.copilot_line import UNHEARD
from openagentperf.corpus.formats.prefix import prefix
from openagentperf.corpus.tokens import estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Message, Skipped, ToolCall, Trajectory, histories

EXAMPLES = Path(__file__).parent / "data" / "formats"


class Log:
    """Events of one file, in the order in which they are added."""

    def __init__(self, **start: Any) -> None:
        self.rows: list[Row] = []
        self.add(0, "session.start", sessionId="s1", copilotVersion="1.0", **start)

    def add(self, at_s: float, kind: str, agent: str = "", /, **data: Any) -> None:
        self.rows.append(copilot_event(len(self.rows), at_s, kind, agent, **data))

    def user(self, at_s: float = 0.5, text: str = "Go", agent: str = "", /) -> None:
        self.add(at_s, "user.message", agent, content=text)

    def answer(self, at_s: float, *calls: Row, agent: str = "", **more: Any) -> None:
        more = {"content": "" if calls else "Done", "outputTokens": 7, **more}
        self.add(at_s, "assistant.message", agent, toolRequests=list(calls), **more)

    def done(self, at_s: float, call: str, text: str = "ok", agent: str = "", **more: Any) -> None:
        self.add(at_s, "tool.execution_complete", agent, toolCallId=call, result={"content": text}, **more)

    def read(self) -> Trajectory:
        skipped: list[Skipped] = []
        (session,) = copilot_cli.read(text_of(self.rows), "f", skipped)
        assert skipped == []
        return session


def contents(line: Trajectory | Branch) -> list[list[str]]:
    """Role and text of every message of every request."""
    return [[f"{message.role}:{message.content}" for message in messages] for messages in histories(line)]


def delays_s(line: Trajectory | Branch) -> list[float | None]:
    return [None if turn.tool_delay_ns is None else turn.tool_delay_ns / 1e9 for turn in line.turns]


def test_the_example_is_one_request() -> None:
    data = (EXAMPLES / "15_copilot-cli_events.jsonl").read_bytes()
    assert detect(data) == "copilot-cli"
    (session,) = copilot_cli.read(data, "15.jsonl", [])
    (turn,) = session.turns
    assert (session.id, session.harness, session.model) == ("s1", "copilot-cli 1.0.68", "demo-model")
    assert turn.appended == (Message("system", "You are an agent."), Message("user", "Fix bug"))
    assert (turn.output_tokens, turn.tool_calls) == (33, 1)
    assert (turn.input_tokens, turn.counted) == ((5 + 4) + (2 + 4), "estimated")  # 17 and 7 bytes at 3.5
    assert turn.tool_delay_ns == 500_000_000  # 03.500 - 03.000


def test_a_whole_session() -> None:
    (session,) = copilot_cli.read(text_of(copilot()), "f", [])
    (agent,) = session.branches
    assert [turn.output_tokens for turn in session.turns] == [33, 40, 4]
    assert [turn.cut for turn in session.turns] == ["", "", "compaction"]
    first, second, third = contents(session)
    assert first[0].startswith("system:You are an agent.\n")
    assert second[1:] == ["user:<now/>Go", "assistant:Looking.", "tool:a.py", "tool:Nothing."]
    assert third[1:] == ["user:So far", "user:On"]
    # The branch runs from turn 0's answer (2.0 s) to its last event (6.1 s is no event of its own); turn 1 waits for it.
    assert (agent.name, agent.parent, agent.after, agent.join) == ("b1", "", 0, 1)
    assert agent.delay_ns == 400_000_000  # 2.4 - 2.0
    assert contents(agent) == [["user:Search"], ["user:Search", "assistant:", "tool:no match"]]
    assert delays_s(agent) == [0.4, None]
    # 2.5 - 2.0 for the call beside the sub-agent; 6.2 - 6.0 from the sub-agent's end to its result
    assert delays_s(session) == [0.5, None, None]


def test_tools_that_were_counted_are_filled_in() -> None:
    (session,) = copilot_cli.read(text_of(copilot()), "f", [])
    texts = [sum(map(estimate_message, messages)) for messages in histories(session)]
    assert [turn.input_tokens for turn in session.turns] == texts
    assert texts[0] == 2000 + (5 + 4) + (3 + 4)  # the tools, "You are an agent.", "<now/>Go"
    assert {turn.counted for turn in session.turns} == {"estimated"}
    system = session.turns[0].appended[0].content.removeprefix("You are an agent.\n")
    assert system == prefix("copilot-cli 1.0.68", len(system))
    assert session.branches[0].turns[0].input_tokens == 2 + 4  # what a sub-agent is offered is not known


def test_a_system_prompt_that_was_only_counted_is_filled_in_too() -> None:
    log = Log()
    log.user()
    log.answer(2)
    log.add(3, "session.shutdown", systemTokens=500, toolDefinitionsTokens=1500, modelMetrics={})
    (turn,) = log.read().turns
    assert turn.input_tokens == 2000 + 5
    assert turn.appended[0].role == "system"


def test_the_sessions_total_tells_what_is_not_recorded() -> None:
    log = Log()
    log.user()
    log.answer(2, tool_request("c1", command="ls"))
    log.done(3, "c1")
    log.answer(4)
    usage = {"inputTokens": 2045, "outputTokens": 14, "cacheReadTokens": 0, "cacheWriteTokens": 0}
    log.add(5, "session.shutdown", modelMetrics={"m": {"requests": {"count": 2}, "usage": usage}})
    turns = log.read().turns
    # The texts are 5, and 5 + (2 + 5 + 4) + 5 = 21: "Go"; `bash` {"command":"ls"}; "ok". (2045 - 26) / 2 = 1009
    assert [turn.input_tokens for turn in turns] == [1009 + 5, 1009 + 21]
    log.rows[-1]["data"]["modelMetrics"]["m"]["requests"]["count"] = 3  # one that we do not know: no telling
    assert [turn.input_tokens for turn in log.read().turns] == [5, 21]


@pytest.mark.parametrize(
    ("usage", "want"),
    [
        ({"inputTokens": 900, "cacheReadTokens": 800, "outputTokens": 9}, (900, 800)),
        ({"inputTokens": 100, "cacheReadTokens": 800, "cacheWriteTokens": 50}, (950, 800)),  # the fresh ones alone
    ],
)
def test_a_captured_stream_has_the_usage_of_each_call(usage: Row, want: tuple[int, int]) -> None:
    log = Log()
    log.user()
    log.answer(2, apiCallId="a1", model="m")
    log.add(2, "assistant.usage", apiCallId="a1", model="m", **usage)
    (turn,) = log.read().turns
    assert (turn.input_tokens, turn.cached_tokens) == want
    assert (turn.output_tokens, turn.counted) == (7, "recorded")


def test_a_split_answer_is_one_request() -> None:
    log = Log()
    log.user()
    log.answer(2, apiCallId="a1", content="One", reasoningText="Think", outputTokens=5)
    log.answer(3, tool_request("c1", command="ls"), apiCallId="a1", content="Two", outputTokens=50)
    log.done(4, "c1")
    log.answer(5)
    first, _ = log.read().turns
    assert (first.output_tokens, first.tool_calls, first.tool_delay_ns) == (50, 1, 1_000_000_000)
    answer = log.read().turns[1].appended[0]
    assert (answer.content, answer.reasoning) == ("One\nTwo", "Think")


def test_answers_without_an_api_call_are_requests_each() -> None:
    log = Log()
    log.user()
    log.answer(2)
    log.answer(3)
    assert len(log.read().turns) == 2


def test_grammar_based_calls_are_texts() -> None:
    log = Log()
    log.user()
    log.answer(2, {"toolCallId": "c1", "name": "apply_patch", "arguments": "*** Update File: a.go", "type": "custom"})
    log.done(3, "c1")
    log.answer(4)
    session = log.read()
    assert session.turns[1].appended[0].tool_calls == (
        ToolCall("c1", "apply_patch", '{"input":"*** Update File: a.go"}'),
    )
    assert session.language == "Go"


def test_a_sub_agent_in_the_background_joins_nowhere() -> None:
    log = Log()
    log.user()
    log.answer(2, tool_request("c1", "task", prompt="Look"))
    log.add(2.1, "subagent.started", "b1", toolCallId="c1", executionMode="background")
    log.done(2.5, "c1", "started")
    log.user(2.6, "Look", "b1")
    log.answer(4, agent="b1")
    log.answer(5)
    session = log.read()
    (agent,) = session.branches
    assert (agent.after, agent.join) == (0, None)
    assert delays_s(session) == [0.5, None]


def test_older_versions_name_the_call_that_started_a_sub_agent() -> None:
    log = Log()
    log.user()
    log.answer(2, tool_request("c1", "task", prompt="Look"))
    log.add(2.1, "subagent.started", toolCallId="c1", agentName="explore")
    log.answer(4, tool_request("c2", "view", path="a.py"), parentToolCallId="c1")
    log.done(4.5, "c2", parentToolCallId="c1")
    log.answer(6, parentToolCallId="c1")
    log.done(6.5, "c1", "Found")
    log.answer(8)
    session = log.read()
    (agent,) = session.branches
    assert (agent.name, agent.after, agent.join, len(agent.turns)) == ("c1", 0, 1, 2)
    # Its first message is not recorded: the call that started it says what it was told.
    assert contents(agent)[0] == ['user:{"prompt": "Look"}']


def test_sub_agents_of_sub_agents() -> None:
    log = Log()
    log.user()
    log.answer(2, tool_request("c1", "task", prompt="A"))
    log.add(2.1, "subagent.started", "b1", toolCallId="c1")
    log.user(2.2, "A", "b1")
    log.answer(3, tool_request("c2", "task", prompt="B"), agent="b1")
    log.add(3.1, "subagent.started", "b2", toolCallId="c2", parentId="b1")
    log.user(3.2, "B", "b2")
    log.answer(4, agent="b2")
    log.done(4.5, "c2", agent="b1")
    log.answer(5, agent="b1")
    log.done(5.5, "c1")
    log.answer(7)
    outer, inner = log.read().branches
    assert (outer.name, outer.parent, outer.after, outer.join) == ("b1", "", 0, 1)
    assert (inner.name, inner.parent, inner.after, inner.join) == ("b2", "b1", 0, 1)


def test_a_sub_agent_of_whose_call_nothing_is_known_hangs_on_the_answer_before() -> None:
    log = Log()
    log.user()
    log.answer(2)
    log.answer(3, agent="b7")
    log.answer(4)
    session = log.read()
    assert [(agent.name, agent.after, agent.join) for agent in session.branches] == [("b7", 0, None)]
    assert contents(session.branches[0]) == [[f"user:{UNHEARD.content}"]]


def test_what_came_while_a_compaction_ran_stays() -> None:
    log = Log()
    log.user()
    log.answer(2, tool_request("c1", command="ls"))
    log.add(2.1, "session.compaction_start")
    log.done(3, "c1")
    log.answer(4, content="Half")
    log.add(4.5, "session.compaction_complete", success=True, summaryContent="So far")
    log.user(5, "On")
    log.answer(6)
    last = contents(log.read())[-1]
    assert last == ["user:So far", "user:[tool result]\nok", "assistant:Half", "user:On"]


def test_a_compaction_that_failed_changes_nothing() -> None:
    log = Log()
    log.user()
    log.answer(2)
    log.add(3, "session.compaction_complete", success=False, error="x")
    log.user(4, "On")
    log.answer(5)
    assert [turn.cut for turn in log.read().turns] == ["", ""]


def test_a_cleared_context_starts_anew() -> None:
    log = Log()
    log.add(0.1, "system.message", role="system", content="You are an agent.")
    log.user()
    log.answer(2)
    log.add(3, "session.context_cleared", initialMessage="Plan: x", messagesCleared=2)
    log.answer(5)
    assert contents(log.read())[1] == ["system:You are an agent.", "user:Plan: x"]


def test_the_system_prompt_is_told_once() -> None:
    log = Log()
    for text in ("One", "One", "Two"):
        log.add(0.1, "system.message", role="system", content=text)
    log.user()
    log.answer(2)
    session = log.read()
    assert contents(session) == [["system:One", "user:Go"]]
    assert session.notes == ("1 later system prompts that differ from the first: the first is used",)


def test_a_shell_command_of_the_users_is_no_tool_call() -> None:
    log = Log()
    log.user()
    log.answer(2)
    log.done(3, "x1", "secret", isUserRequested=True)
    log.user(4, "On")
    log.answer(5)
    assert contents(log.read())[1] == ["user:Go", "assistant:Done", "user:On"]


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b'{"type": "assistant.message", "id": "x", "data": {"content": 7}}',
        b'{"type": "user.message", "data": null}',
        b'{"type": "assistant.message", "data": {"toolRequests": [{"arguments": {"a": "\xff"}}]}}',
    ],
)
def test_a_bad_line_is_named_and_changes_nothing(bad: bytes) -> None:
    skipped: list[Skipped] = []
    rows = text_of(copilot()).splitlines()
    (session,) = copilot_cli.read(b"\n".join([*rows[:5], bad, *rows[5:]]), "f", skipped)
    assert [row.where for row in skipped] == ["f:6"]
    (clean,) = copilot_cli.read(text_of(copilot()), "f", [])
    assert session == clean


def test_nothing_answered_is_an_error() -> None:
    log = Log()
    log.user()
    with pytest.raises(CorpusError, match="no answered request"):
        log.read()
