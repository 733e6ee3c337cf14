"""OpenTelemetry GenAI spans: chat spans are requests, tool spans delays, nested agents branches; with and without recorded text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import agent_exports as ex
from imported import sent
from openagentperf.corpus.formats import otel
from openagentperf.corpus.formats.lengths import Lengths
from openagentperf.corpus.tokens import estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Message, Skipped, ToolCall, Trajectory, histories

EXAMPLES = Path(__file__).parent / "data" / "formats"
S = 1_000_000_000
TASK = {"role": "user", "parts": ex.part("Fix it")}
DONE = ex.part("Done.")


def read(*records: Any, skipped: list[Skipped] | None = None) -> list[Trajectory]:
    return list(otel.read(ex.lines_of(list(records)), "f", [] if skipped is None else skipped))


def one(*spans: dict[str, Any], skipped: list[Skipped] | None = None) -> Trajectory:
    (session,) = read(ex.batch(*spans), skipped=skipped)
    return session


def agent(
    number: int, start: float, end: float, parent: int | None = None, name: str = "main", **more: Any
) -> dict[str, Any]:
    return ex.span(
        f"invoke_agent {name}", number, start, end, parent, operation__name="invoke_agent", agent__name=name, **more
    )


def tool(number: int, start: float, end: float, parent: int, call: str = "c1") -> dict[str, Any]:
    return ex.span(
        "execute_tool t",
        number,
        start,
        end,
        parent,
        operation__name="execute_tool",
        tool__name="t",
        tool__call__id=call,
    )


def texts(line: Trajectory | Branch) -> list[tuple[str, str]]:
    """What was recorded of the last request: without a filled system prompt."""
    return [(message.role, message.content) for message in sent(line) if message.role != "system"]


def test_the_example() -> None:
    skipped: list[Skipped] = []
    (session,) = otel.read((EXAMPLES / "14_otel_genai_otlp.json").read_bytes(), "14", skipped)
    (turn,) = session.turns
    assert skipped == []
    assert (session.id, session.model, session.harness) == ("c-1", "demo-model", "demo-agent")
    assert (turn.input_tokens, turn.output_tokens, turn.cached_tokens, turn.counted) == (900, 40, 512, "recorded")
    assert (turn.tool_calls, turn.tool_delay_ns) == (1, 1 * S)  # the tool's span: 2.2 .. 3.2
    assert turn.appended[-1] == Message("user", "Fix bug")
    assert session.branches == ()


def test_a_nested_agent_is_a_branch() -> None:
    skipped: list[Skipped] = []
    (session,) = read(*ex.otel(), skipped=skipped)
    assert skipped == []
    assert (session.id, session.language) == ("conv", "Ruby")
    assert [(turn.input_tokens, turn.output_tokens) for turn in session.turns] == [(200, 10), (600, 10)]
    (branch,) = session.branches
    assert (branch.name, branch.parent, branch.after, branch.join) == ("helper", "", 0, 1)
    assert branch.delay_ns == 3 * S  # the answer came at 3, its first request was sent at 6
    # the tool ran 4 .. 14, the sub-agent's request 6 .. 12
    assert [turn.tool_delay_ns for turn in session.turns] == [4 * S, None]
    assert session.turns[1].appended == (
        Message("assistant", tool_calls=(ToolCall("c1", "bash", '{"command": "ls a.rb"}'),)),
        Message("tool", "found", tool_call_id="c1"),
    )


def test_a_batch_a_line_or_all_in_one_is_the_same() -> None:
    lines = ex.otel()
    whole = {"resourceSpans": [resource for line in lines for resource in line["resourceSpans"]]}
    assert read(whole) == read(*lines) == read(*reversed(lines)) == read(*lines, lines[0])  # the last: sent again


def test_tools_that_ran_at_once_are_waited_for_together() -> None:
    session = one(
        agent(1, 0, 30),
        ex.chat(2, 1, 3, 1, [TASK], [ex.tool_call("c1"), ex.tool_call("c2")]),
        tool(3, 4, 6, 1),
        tool(4, 5, 7, 1, "c2"),  # together 4 .. 7
        tool(5, 8, 9, 1, "c3"),
        ex.chat(6, 15, 18, 1, [TASK, {"role": "assistant", "parts": DONE}], DONE),
        tool(7, 17, 17.5, 1),  # while the answer came: the program streams
    )
    assert [turn.tool_delay_ns for turn in session.turns] == [4 * S, 500_000_000]
    assert session.turns[0].tool_calls == 2


def test_without_tool_spans_the_gap_behind_a_call_is_the_delay() -> None:
    asked = {"role": "assistant", "parts": [ex.tool_call("c1")]}
    told = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": {"ok": True}}]}
    said = {"role": "assistant", "parts": DONE}
    session = one(
        ex.chat(1, 1, 3, 9, [TASK], [ex.tool_call("c1")]),
        ex.chat(2, 5, 6, 9, [TASK, asked, told], DONE),
        ex.chat(3, 60, 61, 9, [TASK, asked, told, said, {"role": "user", "parts": ex.part("And?")}], DONE),
    )
    assert [turn.tool_delay_ns for turn in session.turns] == [2 * S, None, None]  # 3 .. 5; then a person
    assert sent(session)[3] == Message("tool", '{"ok": true}', tool_call_id="c1")


def test_a_conversation_goes_on_in_further_traces() -> None:
    said = {"role": "assistant", "parts": DONE}
    more = {"role": "user", "parts": ex.part("And?")}
    (session,) = read(
        ex.batch(
            agent(1, 0, 5, conversation__id="c"),
            ex.chat(2, 1, 3, 1, [TASK], DONE),
            {**agent(1, 50, 55, conversation__id="c"), "traceId": "t2"},
            {**ex.chat(2, 51, 53, 1, [TASK, said, more], DONE), "traceId": "t2"},
        )
    )
    assert len(session.turns) == 2
    assert session.branches == ()


def test_a_conversation_that_only_its_requests_name() -> None:
    """Instrumentation of a client library knows the conversation; the spans around and beside its own do not."""
    session = one(
        agent(1, 0, 30),
        ex.chat(2, 1, 3, 1, [TASK], [ex.tool_call("c1")], conversation__id="c"),
        tool(3, 4, 14, 1),
        agent(4, 5, 13, 3, "helper"),
        ex.chat(5, 6, 12, 4, [{"role": "user", "parts": ex.part("Search")}], DONE),
        ex.chat(6, 15, 18, 1, [TASK, {"role": "assistant", "parts": DONE}], DONE, conversation__id="c"),
    )
    assert session.id == "c"
    assert [turn.tool_delay_ns for turn in session.turns] == [4 * S, None]  # 4 .. 14 less 6 .. 12
    assert [branch.name for branch in session.branches] == ["helper"]


def test_a_sub_agent_with_a_conversation_of_its_own_stays_one() -> None:
    session = one(
        agent(1, 0, 30),
        ex.chat(2, 1, 3, 1, [TASK], [ex.tool_call("c1")], conversation__id="c"),
        agent(4, 5, 13, 1, "helper", conversation__id="d"),
        ex.chat(5, 6, 12, 4, [{"role": "user", "parts": ex.part("Search")}], DONE, conversation__id="d"),
    )
    assert (session.id, [branch.name for branch in session.branches]) == ("c", ["helper"])


def test_agents_side_by_side_are_branches_of_the_first() -> None:
    other = {"role": "user", "parts": ex.part("Review it")}
    session = one(
        agent(1, 0, 5, 99, conversation__id="c"),
        ex.chat(2, 1, 3, 1, [TASK], DONE),
        agent(3, 6, 9, 99, "reviewer", conversation__id="c"),
        ex.chat(4, 7, 8, 3, [other], DONE),
        agent(5, 10, 15, 99, conversation__id="c"),
        ex.chat(6, 11, 12, 5, [TASK, {"role": "assistant", "parts": DONE}, other], DONE),
    )
    assert len(session.turns) == 2
    assert [(b.name, b.after, b.join) for b in session.branches] == [("reviewer", 0, 1)]


def test_an_agent_span_around_agents_that_asks_nothing_itself_is_no_line() -> None:
    session = one(
        agent(1, 0, 30, name="workflow"),
        agent(2, 1, 20, 1, "coder"),
        ex.chat(3, 2, 3, 2, [TASK], [ex.tool_call("c1")]),
    )
    assert (len(session.turns), session.branches) == (1, ())


def test_sub_agents_of_sub_agents() -> None:
    session = one(
        agent(1, 0, 60),
        ex.chat(2, 1, 2, 1, [TASK], [ex.tool_call("c1")]),
        tool(3, 3, 50, 1),
        agent(4, 4, 49, 3, "a"),
        ex.chat(5, 5, 6, 4, [{"role": "user", "parts": ex.part("Sub")}], [ex.tool_call("c2")]),
        agent(6, 7, 40, 4, "b"),
        ex.chat(7, 8, 9, 6, [{"role": "user", "parts": ex.part("Subsub")}], DONE),
        ex.chat(8, 41, 42, 4, [{"role": "user", "parts": ex.part("Sub")}, {"role": "assistant", "parts": DONE}], DONE),
        ex.chat(9, 51, 52, 1, [TASK, {"role": "assistant", "parts": DONE}], DONE),
    )
    assert [(b.name, b.parent, b.after, b.join) for b in session.branches] == [("a", "", 0, 1), ("b", "a", 0, 1)]


def test_a_wrapper_of_a_request_and_a_failed_one_are_no_requests() -> None:
    session = one(
        ex.chat(1, 0, 9, 99, None, []),  # written by the program; the library inside writes the next
        ex.chat(2, 1, 3, 1, [TASK], DONE),
        {**ex.span("chat m", 3, 4, 5, None, operation__name="chat"), "status": {"code": 2}},
    )
    assert len(session.turns) == 1
    assert "1 requests that failed left out" in session.notes


OLD = {"operation__name": "chat", "system": "openai", "usage__prompt_tokens": 70, "usage__completion_tokens": 5}
ASKED = [{"role": "system", "content": "S"}, {"role": "user", "content": "Go"}]


@pytest.mark.parametrize(
    "attributes",
    [
        {**OLD, "prompt": ASKED, "completion": [{"role": "assistant", "content": "Yes."}]},
        {
            **OLD, "prompt__0__role": "system", "prompt__0__content": "S", "prompt__1__role": "user", "prompt__1__content": "Go",
            "completion__0__role": "assistant", "completion__0__content": "Yes.",
        },
        {**OLD, "system_instructions": [{"type": "text", "content": "S"}], "input__messages": [{"role": "user", "parts": ex.part("Go")}]},
        {**OLD, "system_instructions": "S", "input__messages": [{"role": "user", "content": "Go"}]},
        {**OLD, "input__messages": [{"role": "system", "content": [{"type": "text", "text": "S"}]}, {"role": "user", "content": "Go"}]},
    ],
)  # fmt: skip
def test_where_messages_have_stood_over_the_years(attributes: dict[str, Any]) -> None:
    session = one(ex.span("chat m", 1, 0, 1, **attributes))
    (turn,) = session.turns
    system, user = turn.appended
    assert system.content.startswith("S")
    assert user == Message("user", "Go")
    assert (turn.input_tokens, turn.output_tokens) == (70, 5)


def with_events(*events: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    made = [{"name": name, "attributes": [{"key": key, "value": ex.value_of(value)} for key, value in about.items()]}
            for name, about in events]  # fmt: skip
    return {**ex.span("chat m", 1, 0, 1, **{**OLD, "usage__prompt_tokens": 4}), "events": made}


def test_messages_in_events() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    session = one(
        with_events(
            ("gen_ai.user.message", {"content": "Go"}),
            ("gen_ai.assistant.message", {"tool_calls": calls}),
            ("gen_ai.tool.message", {"id": "c1", "content": "ok"}),
            ("gen_ai.choice", {"index": 0, "message": {"content": "Yes.", "tool_calls": calls}}),
            ("exception", {"message": "no"}),
        )
    )
    assert session.turns[0].tool_calls == 1
    assert session.turns[0].appended == (
        Message("user", "Go"),
        Message("assistant", tool_calls=(ToolCall("c1", "f", "{}"),)),
        Message("tool", "ok", tool_call_id="c1"),
    )
    carried = with_events(("gen_ai.content.prompt", {"gen_ai.prompt": ASKED}))
    assert [message.content for message in one(carried).turns[0].appended] == ["S", "Go"]
    assert one(with_events(("gen_ai.content.prompt", {"gen_ai.prompt": "Go"}))).turns[0].appended == (
        Message("user", "Go"),
    )


def test_calls_and_tools_one_attribute_a_field() -> None:
    span = ex.span(
        "chat m", 1, 0, 1, **OLD, prompt__0__role="user", prompt__0__content="Go", completion__0__role="assistant",
        completion__0__tool_calls__0__name="f", completion__0__tool_calls__0__arguments='{"a": 1}', completion__0__tool_calls__0__id="c1",
    )  # fmt: skip
    for key, value in {"name": "f", "description": "F", "parameters": '{"type": "object"}'}.items():
        span["attributes"].append({"key": f"llm.request.functions.0.{key}", "value": ex.value_of(value)})
    session = one(span)
    assert session.turns[0].tool_calls == 1
    assert json.loads(session.tools[0]) == {
        "type": "function", "function": {"name": "f", "description": "F", "parameters": {"type": "object"}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "want"),
    [
        ({"input_tokens": 900, "output_tokens": 40, "cache_read__input_tokens": 512}, (900, 40, 512)),
        # fewer than the cache served: Anthropic's own counts, 100 + 512 + 8
        ({"input_tokens": 100, "output_tokens": 40, "cache_read__input_tokens": 512, "cache_creation__input_tokens": 8}, (620, 40, 512)),
        ({"input_tokens": 900, "output_tokens": 40, "reasoning__output_tokens": 30}, (900, 40, None)),
        ({"input_tokens": 900, "output_tokens": 40, "reasoning__output_tokens": 50}, (900, 90, None)),
        ({"prompt_tokens": 900, "completion_tokens": 40, "cache_read_input_tokens": 5}, (900, 40, 5)),
        ({"input_tokens": "-3", "prompt_tokens": 900, "output_tokens": "many", "completion_tokens": 4}, (900, 4, None)),
    ],
)  # fmt: skip
def test_counts(usage: dict[str, Any], want: tuple[int, int, int | None]) -> None:
    attributes = {f"usage__{name}": value for name, value in usage.items()}
    session = one(ex.span("chat m", 1, 0, 1, operation__name="chat", input__messages=[TASK], **attributes))
    (turn,) = session.turns
    assert (turn.input_tokens, turn.output_tokens, turn.cached_tokens) == want


def lengths(line: Trajectory | Branch) -> list[int]:
    """Tokens of the text of each request."""
    return [sum(map(estimate_message, messages)) for messages in histories(line)]


def test_without_text_a_session_has_the_recorded_lengths() -> None:
    usage = [(900, 40, 512), (1400, 30, 900), (1410, 20, 1400), (700, 10, 512)]
    session = one(
        agent(1, 0, 99),
        *(
            ex.chat(
                index, 2 * index, 2 * index + 1, 1, None, [],
                usage__input_tokens=prompt, usage__output_tokens=output, usage__cache_read__input_tokens=cached,
                response__finish_reasons=["tool_calls"],
            )
            for index, (prompt, output, cached) in enumerate(usage, 2)
        ),
        tool(20, 5.25, 5.75, 1),
    )  # fmt: skip
    assert lengths(session) == [900, 1400, 1410, 700]
    assert [turn.input_tokens for turn in session.turns] == [900, 1400, 1410, 700]
    assert [turn.cached_tokens for turn in session.turns] == [512, 900, 1400, 512]
    assert [turn.cut for turn in session.turns] == ["", "", "", "compaction"]  # 700 is below 80 % of 1410
    assert [message.role for message in sent(session)] == ["system", "user"]
    assert session.turns[0].tool_delay_ns == 500_000_000
    assert session.turns[0].tool_calls == 1
    note = "4 requests whose text was not recorded filled in with text of our own of the recorded length"
    assert note in session.notes


def test_text_of_our_own_is_shared_as_far_as_a_cache_served_it() -> None:
    def first(trace: str) -> Sequence[Message]:
        span = ex.chat(1, 0, 1, 9, None, [], usage__input_tokens=900, usage__cache_read__input_tokens=500)
        return one({**span, "traceId": trace}).turns[0].appended

    one_, other = first("t1"), first("t2")
    assert one_[0] == other[0]
    assert estimate_message(one_[0]) == 500
    assert one_[1] != other[1]


@pytest.mark.parametrize(
    ("first", "then", "want"),
    [
        (100, 200, [100, 200]),
        (100, 110, [100, 110]),  # 5 tokens each: as short as messages can be
        (100, 105, [100, 110]),
        (100, 90, [100, 110]),  # a little shorter: reasoning that was dropped, no cut
        (100, 79, [100, 79]),  # a cut
        (1, 1, [5, 15]),
        (12, 11, [12, 22]),
    ],
)
def test_lengths_are_exact_where_messages_can_be(first: int, then: int, want: list[int]) -> None:
    made = Lengths("session", "harness")
    made.add(first, 30, None, 0)
    made.add(then, 30, None, 0)
    line = Trajectory(id="x", turns=made.turns)
    assert lengths(line) == want
    assert [turn.input_tokens for turn in made.turns] == [first, then]


def test_more_text_than_fits_into_memory_is_not_made() -> None:
    skipped: list[Skipped] = []
    # 5 M tokens are more than any prompt. The others begin a history anew or go on with it: 4 + 1 + 3 + 1 + 3 + 1 + 3 M are 16 of the
    # 16.8 M that are made: the next 1 M is too many, while 4 M again are nothing new.
    prompts = [5_000_000, *(4_000_000, 1_000_000) * 5]
    session = one(
        *(
            ex.chat(index, index, index + 1, 99, None, [], usage__input_tokens=size)
            for index, size in enumerate(prompts)
        ),
        skipped=skipped,
    )
    assert [turn.input_tokens for turn in session.turns] == [4_000_000, 1_000_000] * 3 + [4_000_000] * 2
    assert [row.why for row in skipped] == [
        f"span s{number}: a prompt of {prompts[number]} tokens whose text was not recorded" for number in (0, 8, 10)
    ]


def test_requests_without_text_that_ran_at_once_are_lines_of_their_own() -> None:
    session = one(
        agent(1, 0, 99),
        ex.chat(2, 1, 3, 1, None, []),
        ex.chat(3, 4, 9, 1, None, []),
        ex.chat(4, 5, 6, 1, None, []),
        ex.chat(5, 10, 11, 1, None, []),
    )
    assert [turn.input_tokens for turn in session.turns] == [200, 300, 500]
    # begun at 5, when the answer of turn 0 had come and that of turn 1 had not; turn 1 was sent at 4: it did not wait
    assert [(b.after, b.join, [t.input_tokens for t in b.turns]) for b in session.branches] == [(0, None, [400])]


FLAT = {
    "span_id": "b", "parent_span_id": "a", "name": "chat m", "start_time": "2026-01-01T10:00:00Z", "end_time": "2026-01-01T10:00:02Z",
    "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.prompt_tokens": 70,
        "gen_ai.usage.completion_tokens": 5, "gen_ai.input.messages": json.dumps(ASKED),
        "gen_ai.output.messages": [{"role": "assistant", "content": "Yes."}],
    },
    "status": {"code": 1},
}  # fmt: skip
CONTEXT = {key: value for key, value in FLAT.items() if key != "span_id"} | {
    "context": {"trace_id": "t", "span_id": "b"}
}


@pytest.mark.parametrize(
    "records",
    [
        [{"trace_id": "t", "spans": [FLAT]}],
        [[{"trace_id": "t", "spans": [FLAT]}]],
        [{**FLAT, "trace_id": "t"}],
        [CONTEXT],
    ],
)
def test_flat_traces_and_single_spans(records: list[Any]) -> None:
    (session,) = read(*records)
    assert (session.id, session.model) == ("t", "m")
    assert [(turn.input_tokens, turn.output_tokens) for turn in session.turns] == [(70, 5)]
    assert texts(session) == [("user", "Go")]


def test_spans_that_cannot_be_used_are_told() -> None:
    skipped: list[Skipped] = []
    bare = ex.span("chat m", 7, 0, 1, operation__name="chat")
    (session,) = read({"spam": 1}, ex.batch(ex.chat(1, 2, 3, 9, None, []), bare), skipped=skipped)
    assert len(session.turns) == 1
    assert [(row.where, row.why) for row in skipped] == [
        ("f:1", "is no span and no batch of spans"),
        ("f:2", "span s7: a request without messages and without a count"),
    ]
    with pytest.raises(CorpusError, match=r"holds no answered request, chat spans \(gen_ai.operation.name\)"):
        read(ex.batch(tool(1, 0, 1, 0)))


def test_spans_in_a_ring_end() -> None:
    one_, other = agent(1, 0, 9, 2), agent(2, 0, 9, 1, "b")
    session = one(one_, other, ex.chat(3, 1, 2, 1, [TASK], DONE), ex.chat(4, 3, 4, 2, [TASK], DONE))
    assert 1 + len(session.branches) == 2


def test_a_chain_of_ten_thousand_spans_is_climbed() -> None:
    """Ten times as deep as Python calls."""
    chain = [agent(number, 0, 9, number - 1) for number in range(1, 10_000)]
    session = one(*chain, ex.chat(10_000, 1, 2, 9_999, [TASK], DONE))
    assert len(session.turns) == 1
